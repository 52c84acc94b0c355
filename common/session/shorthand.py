"""Names and moments of layers by what they are beyond the layer before: a few bytes instead of 13.

Each end of a stream holds one Shorthand, and each layer passes both in the order of sending. The
first layer of a stream, and the first of another boot, is said in full.
"""

from __future__ import annotations

from dataclasses import dataclass

_FAR = 2**62  # steps beyond it are not said: they would not fit


@dataclass(frozen=True, slots=True)
class Said:
    """How a frame is named and when it was captured: microseconds since 1970-01-01 UTC."""

    boot: str
    seq: int
    captured_us: int


class Shorthand:
    """One end of one stream."""

    def __init__(self) -> None:
        self._last: Said | None = None

    def shorten(self, said: Said) -> tuple[int, int] | None:
        """Steps of seq, beyond 1, and of microseconds; None: it is to be said in full."""
        last, self._last = self._last, said
        if last is None or last.boot != said.boot:
            return None
        steps = said.seq - last.seq - 1, said.captured_us - last.captured_us
        return steps if max(map(abs, steps)) < _FAR else None

    def hear(self, said: Said) -> None:
        """A layer came that was said in full."""
        self._last = said

    def expand(self, seq_step: int, captured_step_us: int) -> Said | None:
        """A layer came that was shortened; None: there is none before it."""
        last = self._last
        if last is not None:
            seq, captured = last.seq + 1 + seq_step, last.captured_us + captured_step_us
            self._last = Said(last.boot, seq, captured)
        return None if last is None else self._last
