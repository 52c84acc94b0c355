from __future__ import annotations

import math
import random
from itertools import accumulate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.coding.rangecoder import TOTAL, WINDOW, Decoder, Encoder
from common.errors import CorruptStream


def table(rng: random.Random, size: int) -> list[int]:
    """A cumulative table of `size` symbols; skewed, with many frequencies of 1."""
    weights = [rng.random() ** 8 for _ in range(size)]
    freq = [1 + int((TOTAL - size) * w / sum(weights)) for w in weights]
    freq[rng.randrange(size)] += TOTAL - sum(freq)
    return [0, *accumulate(freq)]


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**32), st.integers(2, 70), st.integers(0, 400), st.booleans())
def test_round_trip_within_a_byte_of_the_ideal(
    seed: int, size: int, count: int, only_rare: bool
) -> None:
    rng = random.Random(seed)
    tables = [table(rng, size) for _ in range(5)]
    symbols = []
    for _ in range(count):
        cumulative = rng.choice(tables)
        target = rng.randrange(TOTAL)
        symbol = rng.randrange(size) if only_rare else sum(c <= target for c in cumulative) - 1
        symbols.append((cumulative, symbol))
    encoder, ideal = Encoder(), 0.0
    for cumulative, symbol in symbols:
        freq = cumulative[symbol + 1] - cumulative[symbol]
        encoder.encode(cumulative[symbol], freq)
        ideal -= math.log2(freq / TOTAL)
    data = encoder.finish()
    assert len(data) <= ideal / 8 * 1.0001 + 1
    decoder = Decoder(data)
    assert [decoder.symbol(cumulative) for cumulative, _ in symbols] == [s for _, s in symbols]
    decoder.finish()


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(1, TOTAL - 1), st.booleans()), max_size=300))
def test_bits_round_trip(bits: list[tuple[int, bool]]) -> None:
    encoder = Encoder()
    encoder.encode_all((f, TOTAL - f) if bit else (0, f) for f, bit in bits)
    decoder = Decoder(encoder.finish())
    assert [decoder.bit(f) for f, _ in bits] == [bit for _, bit in bits]
    decoder.finish()


def test_carry_ripples_through_a_run_of_ff() -> None:
    encoder = Encoder()
    symbols = [(TOTAL - 1, 1)] * 40 + [(TOTAL - 1, 1), (TOTAL >> 1, TOTAL >> 1)] * 3
    encoder.encode_all(symbols)
    decoder = Decoder(encoder.finish())
    assert [decoder.bit(TOTAL - f) for _, f in symbols] == [True] * len(symbols)


def test_nothing_takes_no_bytes() -> None:
    assert Encoder().finish() == b""
    Decoder(b"").finish()


def test_a_cut_stream_ends_in_an_error() -> None:
    decoder = Decoder(b"")
    for _ in range(16):  # WINDOW bytes of zeros are read at once; the next two are too many
        decoder.bit(TOTAL >> 1)
    with pytest.raises(CorruptStream, match="end early"):
        list(iter(lambda: decoder.bit(TOTAL >> 1), None))  # for ever, but for the error


def test_left_over_bytes_are_an_error() -> None:
    with pytest.raises(CorruptStream, match="after the last"):
        Decoder(bytes(WINDOW + 1)).finish()


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=40), st.integers(0, 2**32))
def test_any_bytes_end_in_symbols_or_an_error(data: bytes, seed: int) -> None:
    rng = random.Random(seed)
    decoder = Decoder(data)
    cumulative = table(rng, 9)
    try:
        for _ in range(500):
            if rng.random() < 0.5:
                assert 0 <= decoder.symbol(cumulative) < 9
            else:
                decoder.bit(rng.randrange(1, TOTAL))
        decoder.finish()
    except CorruptStream:
        pass
