"""That layers end well is tested where the codec is; here, that an ill end is noticed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bench.coder import hostile
from bench.coder.hostile import attack
from common.codec import Coded, MachineCodec
from common.errors import CorruptStream
from tests.common.latents import drawn, model


class Careless(MachineCodec):
    """Lets a wrong kind of error out."""

    def decode(self, data: bytes, last: Coded | None = None) -> Coded:
        try:
            return super().decode(data, last)
        except CorruptStream as error:
            raise KeyError("x") from error


class Wrapping(MachineCodec):
    """Returns integers that no latent has."""

    def decode(self, data: bytes, last: Coded | None = None) -> Coded:
        coded = super().decode(data, last)
        return replace(coded, y=coded.y.astype(np.int8))


@pytest.mark.parametrize(
    ("codec", "what"), [(Careless, "KeyError.* from [0-9a-f]*"), (Wrapping, "an unsound latent")]
)
def test_an_ill_end_is_told_with_its_layer(codec: type[MachineCodec], what: str) -> None:
    with pytest.raises(AssertionError, match=what):
        attack(codec(drawn(2), 1), 1, layers=500)


@pytest.mark.parametrize(("bound", "what"), [("time_bound", "timed"), ("memory_bound", "weighed")])
def test_a_bound_that_is_passed_is_told(
    monkeypatch: pytest.MonkeyPatch, bound: str, what: str
) -> None:
    monkeypatch.setattr(hostile, bound, lambda *_: 1e-6)
    with pytest.raises(AssertionError, match=f"{what}: [0-9.]+ of its bound: [0-9a-f]*"):
        attack(MachineCodec(drawn(2), 1), 1, layers=500)


@pytest.mark.parametrize("stalls", [1, hostile._LOOKS])
def test_only_what_is_slow_at_every_look_passes_its_bound(
    monkeypatch: pytest.MonkeyPatch, stalls: int
) -> None:
    """A collector of garbage, say, may have worked in this thread while a layer was read."""
    look, left = hostile._timed, [9.0] * stalls

    def stalled(codec: MachineCodec, data: bytes, last: Coded | None) -> hostile._Look:
        coded, outcome, took = look(codec, data, last)
        return coded, outcome, took + (left.pop() if left else 0)

    monkeypatch.setattr(hostile, "_timed", stalled)
    if stalls == hostile._LOOKS:
        with pytest.raises(AssertionError, match="of its bound"):
            attack(MachineCodec(drawn(2), 1), 1, layers=100)
        return
    outcomes = attack(MachineCodec(drawn(2), 1), 1, layers=100)
    assert not left
    assert 0 < outcomes.time_share <= 1
    assert outcomes.slowest_s < 9


def test_the_same_seed_does_the_same() -> None:
    runs = [attack(MachineCodec(drawn(2), 1), 5, layers=100).counts for _ in range(2)]
    assert runs[0] == runs[1]
    assert runs[0].total() >= 100


def test_a_model_without_inter_tables_is_attacked_too() -> None:
    outcomes = attack(MachineCodec(model(2), 1), 1, layers=100)
    assert outcomes.counts["decoded"] > 0
    assert outcomes.counts["BrokenChain"] == 0
