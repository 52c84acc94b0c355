from __future__ import annotations

import dataclasses
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.bitstream import (
    MAX_HEADER_BYTES,
    MAX_LAYER_BYTES,
    Header,
    Kind,
    check,
    crc32c,
    header_bytes,
    is_inter,
    kind_of,
    link,
    pack,
    pack_inter,
    read_header,
    unpack,
    unpack_inter,
)
from common.errors import CorruptStream, ModelMismatch

HEADER = Header(Kind.MACHINE_INTRA, 0xBEEF, 1, 200, 3, 1920, 1080, 640)

INTRA = (Kind.MACHINE_INTRA, Kind.AUXILIARY_INTRA)
INTER = (Kind.MACHINE_INTER, Kind.AUXILIARY_INTER)

headers = st.builds(
    Header,
    kind=st.sampled_from(INTRA),
    model=st.integers(0, 0xFFFF),
    profile=st.integers(0, 15),
    quality=st.integers(0, 255),
    ivn=st.integers(0, 255),
    width=st.integers(1, 4096),
    height=st.integers(1, 4096),
    side=st.integers(1, 128).map(lambda n: 32 * n),
)


def sealed(data: bytes) -> bytes:
    """`data` with a right checksum, as only a peer that means harm would send it."""
    return data + (crc32c(data) >> 16).to_bytes(2, "big")


@given(headers, st.binary(max_size=50))
def test_round_trip(header: Header, body: bytes) -> None:
    data = pack(header, body)
    assert len(data) - len(body) - 2 <= MAX_HEADER_BYTES
    assert unpack(data, None) == (header, body)
    assert unpack(data, header.model) == (header, body)
    assert read_header(data[:-1] + bytes([data[-1] ^ 1])) == header  # checked once is enough
    assert kind_of(data) is header.kind
    assert not is_inter(data)
    check(data)


@given(st.sampled_from(INTER), st.integers(0, 255), st.integers(0, 0xFFFF), st.binary(max_size=50))
def test_inter_round_trip(kind: Kind, quality: int, before: int, body: bytes) -> None:
    data = pack_inter(kind, quality, before, body)
    assert len(data) == len(body) + 6
    assert unpack_inter(data) == (quality, before, body)
    assert kind_of(data) is kind
    assert is_inter(data)
    check(data)


@given(headers, st.sampled_from(Kind))
def test_a_header_by_itself_comes_back_whatever_its_kind(header: Header, kind: Kind) -> None:
    header = dataclasses.replace(header, kind=kind)
    assert read_header(header_bytes(header)) == header


def test_every_byte_is_where_the_format_says() -> None:
    assert pack(HEADER, b"xyz") == sealed(
        bytes([0x10, 0xBE, 0xEF, 0x10, 200, 3, 0x80, 0x0F, 0xB8, 0x08, 20]) + b"xyz"
    )


def test_every_byte_of_an_inter_layer_is_where_the_format_says() -> None:
    data = pack_inter(Kind.MACHINE_INTER, 200, 0xBEEF, b"xyz")
    assert data == sealed(bytes([0x11, 200, 0xBE, 0xEF]) + b"xyz")


def test_checksum_and_link_are_the_two_halves_of_the_crc() -> None:
    for data in (pack(HEADER, b"xyz"), pack_inter(Kind.MACHINE_INTER, 200, 0xBEEF, b"xyz")):
        assert int.from_bytes(data[-2:], "big") << 16 | link(data) == crc32c(data[:-2])


def test_a_layer_is_read_as_what_it_is() -> None:
    with pytest.raises(CorruptStream, match="without the layers before"):
        unpack(pack_inter(Kind.MACHINE_INTER, 200, 0, b"xyz"), None)
    with pytest.raises(CorruptStream, match="no layer before it"):
        unpack_inter(pack(HEADER, b"xyz"))


def test_crc32c_check_value() -> None:
    assert crc32c(b"123456789") == 0xE3069283  # the catalogue's check value
    assert crc32c(b"") == 0


def test_sizes_follow_from_the_header() -> None:
    assert HEADER.working_size == (640, 360)
    assert HEADER.latent_size == (23, 40)
    largest = dataclasses.replace(HEADER, width=4096, height=4096, side=4096)
    assert largest.latent_size == (256, 256)


@pytest.mark.parametrize(
    ("at", "value"),
    [
        (0, 0x20),  # version
        (0, 0x00),
        (0, 0x14),  # kind
        (3, 0x11),  # reserved bits
        (6, 0x00),  # width 0, then a height of two bytes that begins with 0x0F
        (7, 0x80),  # a third varint byte
        (7, 0x00),  # not the shortest form
        (7, 0x7F),  # over 4096
        (10, 0),  # side
        (10, 129),
    ],
)
def test_a_header_out_of_range_is_corrupt_even_with_a_right_checksum(at: int, value: int) -> None:
    data = bytearray(pack(HEADER, b"xyz")[:-2])
    data[at] = value
    with pytest.raises(CorruptStream):
        unpack(sealed(bytes(data)), HEADER.model)


def test_every_cut_is_corrupt() -> None:
    data = pack(HEADER, b"xyz")
    for end in range(len(data)):
        with pytest.raises(CorruptStream):
            unpack(data[:end], None)
        with suppress(CorruptStream):  # never anything else
            read_header(data[:end])
    for end in range(len(data) - 5):  # with a right checksum the cut must fall in the header
        with pytest.raises(CorruptStream):
            unpack(sealed(data[:end]), None)


def test_every_flipped_bit_is_corrupt() -> None:
    data = pack(HEADER, b"xyz")
    for i in range(8 * len(data)):
        bad = bytearray(data)
        bad[i // 8] ^= 1 << i % 8
        with pytest.raises(CorruptStream):
            unpack(bytes(bad), HEADER.model)


def test_every_cut_of_an_inter_layer_is_corrupt() -> None:
    data = pack_inter(Kind.MACHINE_INTER, 200, 0xBEEF, b"xyz")
    for end in range(len(data)):
        for read in (unpack_inter, check):
            with pytest.raises(CorruptStream):
                read(data[:end])
    for end in range(4):
        with pytest.raises(CorruptStream):
            unpack_inter(sealed(data[:end]))


def test_every_flipped_bit_of_an_inter_layer_is_corrupt() -> None:
    data = pack_inter(Kind.MACHINE_INTER, 200, 0xBEEF, b"xyz")
    for i in range(8 * len(data)):
        bad = bytearray(data)
        bad[i // 8] ^= 1 << i % 8
        for read in (unpack_inter, check):
            with pytest.raises(CorruptStream):
                read(bytes(bad))


@pytest.mark.parametrize("first", [0x00, 0x01, 0x21, 0xF1, 0x14, 0x1F])
def test_versions_and_kinds_that_nobody_knows(first: int) -> None:
    data = sealed(bytes([first, 200, 0, 0]) + b"xyz")
    for read in (kind_of, is_inter, unpack_inter):
        with pytest.raises(CorruptStream):
            read(data)


def test_another_model_is_named() -> None:
    with pytest.raises(ModelMismatch, match="beef"):
        unpack(pack(HEADER, b""), 0xBEEE)


def test_length_is_bounded() -> None:
    room = MAX_LAYER_BYTES - 13
    assert len(pack(HEADER, bytes(room))) == MAX_LAYER_BYTES
    with pytest.raises(ValueError, match="too long"):
        pack(HEADER, bytes(room + 1))
    with pytest.raises(ValueError, match="too long"):
        pack_inter(Kind.MACHINE_INTER, 0, 0, bytes(MAX_LAYER_BYTES - 5))
    for read in (unpack_inter, check, kind_of):
        with pytest.raises(CorruptStream, match="limit"):
            read(bytes(MAX_LAYER_BYTES + 1))
    with pytest.raises(CorruptStream, match="limit"):
        unpack(bytes(MAX_LAYER_BYTES + 1), None)


@pytest.mark.parametrize(("quality", "before"), [(-1, 0), (256, 0), (0, -1), (0, 0x10000)])
def test_an_inter_layer_that_cannot_be_written(quality: int, before: int) -> None:
    with pytest.raises(ValueError):
        pack_inter(Kind.MACHINE_INTER, quality, before, b"")


@pytest.mark.parametrize(
    "bad",
    [
        {"kind": 4},
        {"model": 1 << 16},
        {"profile": 16},
        {"quality": 256},
        {"ivn": -1},
        {"width": 0},
        {"height": 4097},
        {"side": 0},
        {"side": 100},
        {"side": 4128},
    ],
)
def test_a_header_that_cannot_be_written(bad: dict[str, int]) -> None:
    with pytest.raises(ValueError):
        dataclasses.replace(HEADER, **bad)  # type: ignore[arg-type]
