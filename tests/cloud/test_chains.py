"""Chains of layers: read in order at no further cost, from the store when they must be."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from cloud.chains import Chains
from cloud.detector import LayerDetector
from cloud.metrics import Metrics
from cloud.store.memory import MemoryFrameStore
from common.bitstream import MAX_CHAIN, link, pack, pack_inter, unpack
from common.codec import Coded
from common.errors import BrokenChain, CorruptStream, ModelMismatch
from common.types import Layer
from tests.cloud.films import Film, filmed, sealed


@dataclass
class Reading:
    """Chains over a store; counts what is decoded."""

    detector: LayerDetector
    max_bytes: int = 1 << 20
    store: MemoryFrameStore = field(default_factory=MemoryFrameStore)
    decoded: int = 0

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """A new process: only the store is left."""
        self.metrics = Metrics(CollectorRegistry())
        self.chains = Chains(self._read, self.store.chain, self.metrics, max_bytes=self.max_bytes)

    @property
    def loads(self) -> float | None:
        return self.metrics.registry.get_sample_value("glimpse_chain_loads_total")

    def take(self, layer: Layer) -> Coded:
        """As the server does: into the store, through the detector."""
        self.store.put([layer])
        return self.chains.read(layer)

    def _read(self, data: bytes, last: Coded | None) -> Coded:
        self.decoded += 1
        return self.detector.read(data, last)


@pytest.fixture
def reading(tiny: LayerDetector) -> Reading:
    return Reading(tiny)


def same(read: Coded, sent: Coded) -> bool:
    return np.array_equal(read.y, sent.y) and read.header == sent.header


def test_layers_in_order_need_no_store(reading: Reading, film: Film) -> None:
    for layer, sent in zip(film.layers(), film.coded, strict=True):
        assert same(reading.take(layer), sent)
    assert (reading.loads, reading.decoded) == (0, len(film.coded))


def test_boots_and_cameras_have_chains_of_their_own(reading: Reading, film: Film) -> None:
    mixed = zip(film.layers(), film.layers(boot="b2"), film.layers("yard"), strict=True)
    for sent, layers in zip(film.coded, mixed, strict=True):
        assert all(same(reading.take(layer), sent) for layer in layers)
    assert reading.loads == 0


def test_after_a_restart_the_chain_is_read_from_the_store_once(
    reading: Reading, film: Film
) -> None:
    layers = film.layers()
    for layer in layers[:7]:
        reading.take(layer)
    reading.restart()
    reading.decoded = 0
    for layer, sent in zip(layers[7:], film.coded[7:], strict=True):
        assert same(reading.take(layer), sent)
    assert (reading.loads, reading.decoded) == (1, 7 + len(layers) - 7)


def test_layers_that_come_again_cost_one_chain(reading: Reading, film: Film) -> None:
    layers = film.layers()
    for layer in layers[:10]:
        reading.take(layer)
    for layer, sent in zip(layers[3:], film.coded[3:], strict=True):
        assert same(reading.take(layer), sent)
    assert reading.loads == 1


def test_what_comes_in_and_what_is_caught_up_with_may_take_turns(
    reading: Reading, film: Film
) -> None:
    layers = film.layers()
    reading.store.put(layers[:8])  # by a process that did not get to look at them
    for live, late in zip(layers[8:], layers[1:], strict=False):
        assert same(reading.take(live), film.coded[live.frame.seq])
        assert same(reading.chains.read(late), film.coded[late.frame.seq])
    assert reading.loads == 2


class TestALostLayer:
    def test_its_followers_are_told_so_at_no_cost_until_the_next_intra_layer(
        self, reading: Reading, film: Film
    ) -> None:
        layers = film.layers()
        reading.take(layers[0])
        for layer in layers[2:]:
            with pytest.raises(BrokenChain, match="missing"):
                reading.take(layer)
        assert (reading.loads, reading.decoded) == (1, 1)
        for layer, sent in zip(film.layers(first=100), film.coded, strict=True):
            assert same(reading.take(layer), sent)
        assert reading.loads == 1

    def test_after_a_restart_too(self, reading: Reading, film: Film) -> None:
        layers = film.layers()
        reading.store.put([*layers[:3], *layers[4:8]])
        for layer in layers[8:]:
            with pytest.raises(BrokenChain):
                reading.take(layer)
        assert (reading.loads, reading.decoded) == (1, 0)

    def test_one_from_a_film_of_another_day(
        self, reading: Reading, film: Film, tiny_folder: Path
    ) -> None:
        other = filmed(tiny_folder, 2, seed=6).layers(first=1)[1]
        reading.take(film.layers()[0])
        with pytest.raises(BrokenChain):
            reading.take(other)
        assert same(reading.take(film.layers(first=0)[1]), film.coded[1])

    def test_a_chain_of_another_model(self, reading: Reading, film: Film) -> None:
        header, body = unpack(film.chained[0], None)
        stranger = pack(replace(header, model=header.model ^ 1), body)
        follower = pack_inter(film.coded[1].header.kind, header.quality, link(stranger), b"body")
        frames = [layer.frame for layer in film.layers()]
        reading.store.put([Layer(frames[0], 0.0, stranger)])
        with pytest.raises(ModelMismatch, match=f"{header.model ^ 1:04x}"):
            reading.take(Layer(frames[1], 0.0, follower))

    def test_no_intra_layer_at_all(self, reading: Reading, film: Film) -> None:
        with pytest.raises(BrokenChain):
            reading.take(film.layers()[1])


def test_a_layer_that_cannot_be_read_breaks_the_chain(reading: Reading, film: Film) -> None:
    layers = film.layers()
    reading.take(layers[0])
    bad = unreadable(reading, film)
    with pytest.raises(CorruptStream):
        reading.take(Layer(layers[1].frame, 0.0, bad))
    with pytest.raises(BrokenChain):
        reading.take(layers[2])
    reading.restart()
    with pytest.raises(BrokenChain):
        reading.take(layers[3])


def unreadable(reading: Reading, film: Film) -> bytes:
    """An inter layer after the film's first: right but for its body."""
    rng = np.random.default_rng(9)
    head = film.chained[1][:4]
    for _ in range(500):
        data = sealed(head + rng.bytes(6) + bytes(2))
        try:
            reading.detector.read(data, film.coded[0])
        except CorruptStream:
            return data
    raise AssertionError("hundreds of random bodies decode")


def test_a_chain_is_full_at_its_limit(reading: Reading, tiny_folder: Path) -> None:
    whole = filmed(tiny_folder, MAX_CHAIN)
    for layer, sent in zip(whole.layers(), whole.coded, strict=True):
        assert same(reading.take(layer), sent)
    beyond = sealed(whole.chained[1][:2] + whole.coded[-1].link.to_bytes(2, "big") + bytes(6))
    with pytest.raises(CorruptStream):
        reading.take(Layer(whole.layers(first=1)[-1].frame, 0.0, beyond))


def test_memory_is_bounded_and_who_was_forgotten_is_read_anew(
    tiny: LayerDetector, film: Film
) -> None:
    reading = Reading(tiny, max_bytes=5 * 2 * film.coded[1].y.nbytes)
    cameras = [f"cam{n}" for n in range(8)]
    for n, sent in enumerate(film.coded[:6]):
        for camera in cameras:
            assert same(reading.take(film.layers(camera)[n]), sent)
            assert reading.chains._bytes <= reading.max_bytes
    assert reading.loads == 5 * len(cameras)  # of eight, four fit
    for n, sent in enumerate(film.coded[6:], 6):
        for camera in cameras[:3]:
            assert same(reading.take(film.layers(camera)[n]), sent)
    assert reading.loads == 5 * len(cameras) + 3


def test_boots_without_number_take_no_memory(tiny: LayerDetector, film: Film) -> None:
    reading = Reading(tiny, max_bytes=100_000)
    for n in range(200):
        with pytest.raises(BrokenChain):
            reading.take(film.layers(boot=f"b{n}")[1])
    assert len(reading.chains._boots) < 100
    assert reading.chains._bytes <= 100_000


def test_damaged_layers_do_no_harm_to_what_follows(reading: Reading, film: Film) -> None:
    """Flipped bits, cuts and splices, often with a right checksum: a typed error or integers."""
    rng = random.Random(4)
    outcomes = {"error": 0, "integers": 0}
    for n in range(300):
        boot = f"b{n % 7}"
        data = bytearray(rng.choice(film.chained[1:]))
        for _ in range(rng.randint(0, 3)):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        if rng.random() < 0.2:
            del data[rng.randrange(len(data)) :]
        if rng.random() < 0.3:
            data[4:] = rng.choice(film.chained)[-rng.randint(2, 20) :]
        mutated = sealed(bytes(data)) if rng.random() < 0.8 else bytes(data)
        seq = 100 * n
        reading.take(film.layers(boot=boot, first=seq)[0])
        try:
            coded = reading.take(Layer(film.layers(boot=boot, first=seq)[1].frame, 0.0, mutated))
        except (CorruptStream, ModelMismatch):
            outcomes["error"] += 1
        else:
            assert coded.y.shape == film.coded[0].y.shape
            outcomes["integers"] += 1
        first, second = film.layers(boot=boot, first=seq + 50)[:2]
        assert same(reading.take(first), film.coded[0])
        assert same(reading.take(second), film.coded[1])
    assert min(outcomes.values()) > 10
