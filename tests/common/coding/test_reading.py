"""What the reader refuses; that it agrees with the writer is tested where whole latents go through.

Streams are written symbol by symbol here, as only a peer that means harm would write them.
"""

from __future__ import annotations

import numpy as np
import pytest

from common.coding.contexts import LARGEST, MOST
from common.coding.counting import SYMBOLS
from common.coding.rangecoder import TOTAL, Decoder, Encoder
from common.coding.reading import read_inter, read_intra
from common.coding.tables import Family, Lists
from common.coding.temporal import MOST_CHANGE
from common.errors import CorruptStream
from tests.common.latents import drawn

HALF = TOTAL >> 1


def lists(prefix: str) -> Lists:
    return Family(drawn(1).to_arrays(), prefix).tables(0, 0).lists


def escaped(prefix: str, excess: int, *, negative: bool = False) -> bytes:
    """One position of one channel: an escape with this excess, at contexts of a blank past."""
    tables, encoder = lists(prefix), Encoder()
    lean = 7 if prefix else 3  # nothing at any neighbour, nor before
    for table, symbol in ((tables.counts[0], 1), (tables.values[0][lean], SYMBOLS - 2 + negative)):
        encoder.encode(table[symbol], table[symbol + 1] - table[symbol])
    digits = bin(excess + 1)[2:]
    for digit in "0" * (len(digits) - 1) + digits:
        encoder.encode(HALF if digit == "1" else 0, HALF)
    return encoder.finish()


def test_the_largest_escape_is_read_and_the_next_is_not() -> None:
    room = MOST - LARGEST - 1
    rows = read_intra(Decoder(escaped("", room, negative=True)), (1, 1), lists(""))
    assert rows.tolist() == [[[-MOST]]]
    with pytest.raises(CorruptStream, match="out of range"):
        read_intra(Decoder(escaped("", room + 1)), (1, 1), lists(""))
    with pytest.raises(CorruptStream, match="escape is too long"):
        read_intra(Decoder(escaped("", 2**15)), (1, 1), lists(""))


def test_a_change_is_read_as_far_as_the_integer_stays_in_range() -> None:
    blank = np.zeros((1, 1, 1), dtype=np.int16)
    room = MOST - LARGEST - 1
    rows = read_inter(Decoder(escaped("inter_", room)), blank, blank, lists("inter_"))
    assert rows.tolist() == [[[MOST]]]
    for excess in (room + 1, MOST_CHANGE - LARGEST - 1):
        with pytest.raises(CorruptStream, match="an integer is out of range"):
            read_inter(Decoder(escaped("inter_", excess)), blank, blank, lists("inter_"))
    with pytest.raises(CorruptStream, match="an integer is out of range"):
        read_inter(Decoder(escaped("inter_", MOST_CHANGE - LARGEST)), blank, blank, lists("inter_"))
    with pytest.raises(CorruptStream, match="escape is too long"):
        read_inter(Decoder(escaped("inter_", 2**16)), blank, blank, lists("inter_"))


def test_no_past_is_changed_by_reading() -> None:
    blank = np.zeros((1, 1, 1), dtype=np.int16)
    read_inter(Decoder(escaped("inter_", 0)), blank, blank, lists("inter_"))
    assert not blank.any()
