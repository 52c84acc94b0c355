"""Bytes on disk against what the entropy model says they should be, header and checksum included.

The ideal is the code length under the tables, in bytes and without rounding, and the header. What
is above it is the range coder's: it rounds each table's share of its interval down, and ends on a
whole byte.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from common.bitstream import Kind, header_bytes
from common.codec import Coded, MachineCodec
from common.coding.temporal import Past

FLOOR = 0.02
_CHECKSUM_BYTES = 2
_INTER_HEADER_BYTES = 4


@dataclass(frozen=True, slots=True)
class Excess:
    """A layer's size and the model's estimate of it, in bytes."""

    size: int
    ideal: float

    @property
    def relative(self) -> float:
        return self.size / self.ideal - 1


def excess(codec: MachineCodec, coded: Coded, last: Coded | None) -> Excess:
    """last: the layer before, for an inter layer."""
    header = coded.header
    is_inter = header.kind is Kind.MACHINE_INTER
    past = Past(last.y, last.before) if is_inter and last is not None else None
    bits = codec.entropy.bits(coded.y, profile=header.profile, quality=header.quality, past=past)
    around = _INTER_HEADER_BYTES if is_inter else len(header_bytes(header))
    return Excess(len(coded.data), bits / 8 + around + _CHECKSUM_BYTES)


def summary(found: Sequence[Excess]) -> dict[str, float | int]:
    """Excess of all layers together, and of the worst; what is over 2 % is short: how short?"""
    size, ideal = sum(one.size for one in found), sum(one.ideal for one in found)
    over = [one.size for one in found if one.relative > FLOOR]
    return {
        "layers": len(found),
        "mean_bytes": round(size / len(found), 1),
        "relative_excess": round(size / ideal - 1, 5),
        "worst_relative_excess": round(max(one.relative for one in found), 5),
        "worst_excess_bytes": round(max(one.size - one.ideal for one in found), 3),
        "layers_over_2_percent": len(over),
        "largest_of_them_bytes": max(over, default=0),
    }
