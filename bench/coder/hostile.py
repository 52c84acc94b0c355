"""Layers sent with ill will, and what reading them must come to: a typed error or a valid latent.

Layers of chains are mutated by flipped bits, other bytes, cuts, insertions, splices with layers of
other chains, and noise; or they come after a layer that is not the one before. For many of them
checksum and link are made right again, else nothing behind those would ever be reached; what is
then read is leant upon by the next. Each layer has a bound in time and in memory, by its size and
by that of its latent.
"""

from __future__ import annotations

import random
import time
import tracemalloc
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np

from bench.coder.latents import any_chain, scene
from common.bitstream import MAX_CHAIN, Header, Kind, crc32c, link, pack, read_header
from common.codec import Coded, MachineCodec
from common.coding.contexts import BANDS, MOST, Ints
from common.coding.temporal import Past
from common.errors import CorruptStream, ModelMismatch
from common.geometry import MAX_LATENT_SIDE, STRIDE

_WEIGHED_EVERY = 16  # layers; memory is watched in one of so many, as that makes reading slow
_LOOKS = 3  # before a bound counts as passed: what else this process does only adds
_HUGE = 0.0003  # share of layers that claim the largest latent, with a body to match
_SIDE = 96  # pixels: latents of up to 6 x 6 positions

Chain = Sequence[Coded]
_Look = tuple[Coded | None, str, float]  # what was read, how it ended, the seconds or bytes it took


@dataclass
class Outcomes:
    """How layers ended, and the worst of them: its share of what it may take is below 1."""

    counts: Counter[str] = field(default_factory=Counter)
    slowest_s: float = 0.0
    time_share: float = 0.0
    peak_bytes: int = 0
    memory_share: float = 0.0


BOUNDS = {
    "processor_seconds": "0.1 + 12e-6 M h w + 8e-6 bytes",
    "memory_bytes": "65536 + 48 M h w + 8 bytes",
}


def time_bound(integers: int, size: int) -> float:
    """Seconds of processor time that a layer of `size` bytes with M h w integers may take."""
    return 0.1 + 12e-6 * integers + 8e-6 * size


def memory_bound(integers: int, size: int) -> int:
    """Bytes that reading such a layer may need at any moment."""
    return 65536 + 48 * integers + 8 * size


def attack(
    codec: MachineCodec, seed: int, *, seconds: float = float("inf"), layers: float = float("inf")
) -> Outcomes:
    """Read mutated layers until time or number is up; return how they ended.

    Raises AssertionError, the layer in hex, for one that ends in another way or passes a bound.
    """
    rng = random.Random(seed)
    _prepare(codec)
    chains = _chains(codec, seed)
    outcomes = Outcomes()
    end = time.monotonic() + seconds
    while time.monotonic() < end and outcomes.counts.total() < layers:
        chain = rng.choice(chains)
        at = rng.randrange(len(chain))
        last = chain[at - 1] if at else None
        if rng.random() < 0.1:
            last = rng.choice(rng.choice(chains))
        for coded in chain[at : at + 3]:
            last = _judged(codec, _mutated(rng, coded.data, chains, last), last, outcomes)
            if last is None:
                break
    return outcomes


def _prepare(codec: MachineCodec) -> None:
    """Have all tables ready: preparing them is no layer's cost."""
    y = np.zeros((codec.entropy.channels, 1, 1), dtype=np.int16)
    pasts = (None, Past(y, y)) if codec.entropy.codes_inter else (None,)
    for profile in range(16):
        for quality in range(0, 256, 256 // BANDS):
            for past in pasts:
                body = codec.entropy.encode(y, profile=profile, quality=quality, past=past)
                codec.entropy.decode(body, (1, 1), profile=profile, quality=quality, past=past)


def _chains(codec: MachineCodec, seed: int) -> list[Chain]:
    """Any integers, scenes, a chain as long as one may be; no chains if the model has none."""
    rng = np.random.default_rng(seed)
    m, most = codec.entropy.channels, _SIDE // STRIDE
    frames = [any_chain(rng, m, length, most) for length in (1, 1, 2, 3, 5, 8, MAX_CHAIN)]
    frames += [scene(rng, m, most, most, 6, density) for density in (0.01, 0.05, 0.2)]
    if not codec.entropy.codes_inter:
        frames = [[y] for seen in frames for y in seen]
    return [_coded(codec, rng, seen) for seen in frames]


def _coded(codec: MachineCodec, rng: np.random.Generator, seen: Sequence[Ints]) -> Chain:
    first, *others = seen
    _, h, w = first.shape
    quality = int(rng.integers(256))
    chain = [codec.encode(first, width=STRIDE * w, height=STRIDE * h, side=_SIDE, quality=quality)]
    for y in others:
        chain.append(codec.encode_inter(y, chain[-1], quality=int(rng.integers(256))))
    return chain


def _mutated(
    rng: random.Random, layer: bytes, chains: Sequence[Chain], last: Coded | None
) -> bytes:
    if rng.random() < _HUGE:
        return _huge(rng, chains[0][0].header.model)
    data = bytearray(layer)
    for _ in range(rng.randint(0, 3)):
        at = rng.randrange(len(data) + 1)
        match rng.randrange(6):
            case 0 if data:
                data[at % len(data)] ^= 1 << rng.randrange(8)
            case 1 if data:
                data[at % len(data)] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
            case 2:
                del data[at:]
            case 3:
                other = rng.choice(rng.choice(chains)).data
                data[at:] = other[rng.randrange(len(other)) :]
            case 4:
                data[at:at] = rng.randbytes(rng.randint(1, 40))
            case _ if rng.random() < 0.2:
                data = bytearray(rng.randbytes(rng.randint(0, 80)))
    if rng.random() < 0.7:
        _relink(data, last)
        data[-2:] = _checksum(data[:-2])
    return bytes(data)


def _relink(data: bytearray, last: Coded | None) -> None:
    """Let an inter layer name the layer that it will be read after."""
    if last is not None and len(data) > 4 and data[0] & 0x0F == Kind.MACHINE_INTER:
        data[2:4] = last.link.to_bytes(2, "big")


def _huge(rng: random.Random, model: int) -> bytes:
    """An intra layer as large as a header can say, its body noise."""
    most = STRIDE * MAX_LATENT_SIDE
    header = Header(Kind.MACHINE_INTRA, model, 0, rng.randrange(256), 0, most, most, most)
    return pack(header, rng.randbytes(rng.choice((100, 10_000, 200_000))))


def _checksum(data: bytes | bytearray) -> bytes:
    return (crc32c(bytes(data)) >> 16).to_bytes(2, "big")


def _judged(
    codec: MachineCodec, data: bytes, last: Coded | None, outcomes: Outcomes
) -> Coded | None:
    """Read one layer and note how it ended; return it if it could be read."""
    weigh = outcomes.counts.total() % _WEIGHED_EVERY == 0
    look, bound = (_weighed, memory_bound) if weigh else (_timed, time_bound)
    most = bound(_integers(codec, data, last), len(data))
    for _ in range(_LOOKS):
        coded, outcome, took = look(codec, data, last)
        if took <= most:
            break
    else:
        raise AssertionError(f"{look.__name__[1:]}: {took / most:.1f} of its bound: {data.hex()}")
    outcomes.counts[outcome] += 1
    if weigh:
        outcomes.peak_bytes = max(outcomes.peak_bytes, int(took))
        outcomes.memory_share = max(outcomes.memory_share, took / most)
    else:
        outcomes.slowest_s = max(outcomes.slowest_s, took)
        outcomes.time_share = max(outcomes.time_share, took / most)
    return coded


def _timed(codec: MachineCodec, data: bytes, last: Coded | None) -> _Look:
    began = time.thread_time()
    coded, outcome = _read(codec, data, last)
    return coded, outcome, time.thread_time() - began


def _weighed(codec: MachineCodec, data: bytes, last: Coded | None) -> _Look:
    tracemalloc.start()
    coded, outcome = _read(codec, data, last)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return coded, outcome, peak


def _integers(codec: MachineCodec, data: bytes, last: Coded | None) -> int:
    """M h w, for the largest latent that a reader may take this layer for."""
    positions = 0 if last is None else last.y[0].size
    with suppress(CorruptStream):
        h, w = codec.size(read_header(data))
        positions = max(positions, h * w)
    return codec.entropy.channels * positions


def _read(codec: MachineCodec, data: bytes, last: Coded | None) -> tuple[Coded | None, str]:
    try:
        coded = codec.decode(data, last)
    except (CorruptStream, ModelMismatch) as error:
        return None, type(error).__name__
    except Exception as error:
        raise AssertionError(f"{error!r} from {data.hex()}") from error
    if not _is_sound(codec, coded, data, last):
        raise AssertionError(f"an unsound latent from {data.hex()}")
    return coded, "decoded"


def _is_sound(codec: MachineCodec, coded: Coded, data: bytes, last: Coded | None) -> bool:
    y, is_inter = coded.y, coded.header.kind is Kind.MACHINE_INTER
    if is_inter and last is not None:
        before, place = last.y, last.place + 1
    else:
        before, place = y, 1
    return (
        y.dtype == np.int16
        and y.shape == (codec.entropy.channels, *codec.size(coded.header))
        and int(y.min()) >= -MOST
        and coded.before is before
        and coded.place == place <= MAX_CHAIN
        and coded.link == link(data)
    )
