"""A range coder on integers: symbols with 16-bit frequencies in, bytes out, and back.

The interval is [low, low + span) inside 48 bits. Each symbol narrows it to
`span // 2**16 * freq`; when the span falls below 2**32 the top 16 bits of `low` are settled and
go out, but for a carry that may still ripple into them. As the span never falls below 2**32,
rounding it down costs less than 2**-16 of a symbol, and one shift is always enough.

The last bytes are the shortest that name a number inside the interval; the decoder reads zeros
after them. It never has a reason to read more than `WINDOW` of these: whoever needs more holds
a cut stream. Every decoding step leaves `offset < span`, whatever the bytes are, so that numbers
stay small and a damaged stream ends in symbols or in CorruptStream, never in a hang.

Every number is below 2**49: `low` and `offset` start below 2**48, the interval only shrinks between
two shifts, and what is shifted by 16 bits is below 2**32.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence

from common.errors import CorruptStream

TOTAL_BITS = 16
TOTAL = 1 << TOTAL_BITS  # the frequencies of one table sum to this
WINDOW = 6  # bytes of the interval

_SPAN = 1 << 48
_LEAST = 1 << 32
_KEEP = _LEAST - 1


class Encoder:
    """Collects symbols; `finish` returns their bytes. One encoder makes one stream."""

    def __init__(self) -> None:
        self._low = 0
        self._span = _SPAN
        self._out = bytearray()

    def encode(self, low: int, freq: int) -> None:
        """Code one symbol: `low` is the sum of the frequencies before it, `freq` its own (>= 1)."""
        self.encode_all(((low, freq),))

    def encode_all(self, symbols: Iterable[tuple[int, int]]) -> None:
        """Code (low, freq) pairs in order."""
        base, span, out = self._low, self._span, self._out
        for low, freq in symbols:
            unit = span >> TOTAL_BITS
            base += unit * low
            span = unit * freq
            if span < _LEAST:
                if base >= _SPAN:
                    base -= _SPAN
                    _carry(out)
                out += (base >> 32).to_bytes(2, "big")
                base = (base & _KEEP) << 16
                span <<= 16
        self._low, self._span = base, span

    def finish(self) -> bytes:
        """Return the stream. The encoder must not be used afterwards."""
        first, last = self._low, self._low + self._span - 1
        for count in range(WINDOW + 1):  # the fewest bytes that stay in, zeros after them
            shift = 8 * (WINDOW - count)
            tail = -(-first >> shift) << shift
            if tail <= last:
                break
        if tail >= _SPAN:
            tail -= _SPAN
            _carry(self._out)
        return bytes(self._out) + tail.to_bytes(WINDOW, "big")[:count]


class Decoder:
    """Reads symbols back in the order in which they were coded."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._next = WINDOW
        self._span = _SPAN
        self._offset = int.from_bytes(data[:WINDOW].ljust(WINDOW, b"\0"), "big")

    def symbol(self, cumulative: Sequence[int]) -> int:
        """Return the index of the next symbol.

        cumulative  0, f0, f0+f1, ... 65536: one entry more than the table has symbols
        Raises CorruptStream when the bytes name no symbol or have run out.
        """
        unit = self._span >> TOTAL_BITS
        target = self._offset // unit
        if target >= TOTAL:
            raise CorruptStream("the coded integers leave their interval")
        index = bisect_right(cumulative, target) - 1
        low = cumulative[index]
        self._offset -= unit * low
        self._span = unit * (cumulative[index + 1] - low)
        if self._span < _LEAST:
            self._shift()
        return index

    def bit(self, freq: int) -> bool:
        """Return whether the second of two symbols comes next; `freq` (1..65535) is the first's."""
        unit = self._span >> TOTAL_BITS
        bound = unit * freq
        if self._offset < bound:
            self._span = bound
            if bound < _LEAST:
                self._shift()
            return False
        self._offset -= bound
        self._span = unit * (TOTAL - freq)
        if self._offset >= self._span:
            raise CorruptStream("the coded integers leave their interval")
        if self._span < _LEAST:
            self._shift()
        return True

    def finish(self) -> None:
        """Raise CorruptStream if bytes are left over."""
        if self._next < len(self._data):
            raise CorruptStream(f"{len(self._data) - self._next} bytes after the last integer")

    def _shift(self) -> None:
        at = self._next
        pair = self._data[at : at + 2]
        if at + 2 > len(self._data) + WINDOW:
            raise CorruptStream("the coded integers end early")
        self._next = at + 2
        self._offset = self._offset << 16 | int.from_bytes(pair.ljust(2, b"\0"), "big")
        self._span <<= 16


def _carry(out: bytearray) -> None:
    at = len(out) - 1
    while out[at] == 0xFF:
        out[at] = 0
        at -= 1
    out[at] += 1
