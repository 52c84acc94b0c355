from __future__ import annotations

import numpy as np
import pytest

from common.auxiliary import AuxiliaryCodec, name_of
from common.bitstream import Header, Kind, pack
from common.codec import Coded, MachineCodec
from common.errors import CorruptStream, ModelMismatch, WrongBase
from tests.common.latents import clustered, scene, scene_model
from tests.human import any_coefficients, tiny_tables

MODEL = 0x0A0A
CODEC = AuxiliaryCodec(tiny_tables(), MODEL)
MACHINE = MachineCodec(scene_model(16), 7)


def coded(seed: int = 0, width: int = 128, height: int = 96) -> Coded:
    y = clustered(np.random.default_rng(seed), 16, -(-height // 16), -(-width // 16), 0.02)
    return MACHINE.encode(y, width=width, height=height, side=128, quality=80)


def test_a_layer_comes_back() -> None:
    q = any_coefficients(np.random.default_rng(0), 6, 8, 0.1)
    data = CODEC.encode(q, coded(), side=128, quality=90)
    header, back = CODEC.decode(data, coded())
    np.testing.assert_array_equal(back, q)
    assert (header.kind, header.model, header.quality) == (Kind.AUXILIARY_INTRA, MODEL, 90)
    assert (header.width, header.height, header.working_size) == (128, 96, (128, 96))


def test_it_may_be_of_another_working_size_than_its_base() -> None:
    q = any_coefficients(np.random.default_rng(1), 3, 4, 0.1)
    data = CODEC.encode(q, coded(), side=64, quality=90)
    header, back = CODEC.decode(data, coded())
    assert header.working_size == (64, 48)
    np.testing.assert_array_equal(back, q)


def test_a_layer_of_another_frame_is_named_as_such() -> None:
    rng = np.random.default_rng(2)
    assert name_of(coded(1)) != name_of(coded(2))
    data = CODEC.encode(any_coefficients(rng, 6, 8, 0.1), coded(1), side=128, quality=90)
    with pytest.raises(WrongBase, match="another machine layer"):
        CODEC.decode(data, coded(2))


def test_an_inter_layer_has_the_name_of_the_intra_layer_of_its_integers() -> None:
    frames = scene(np.random.default_rng(3), 16, 6, 8, 2)
    first = MACHINE.encode(frames[0], width=128, height=96, side=128, quality=80)
    second = MACHINE.encode_inter(frames[1], first, quality=80)
    alone = MACHINE.decode(MACHINE.alone(second))
    assert second.header.kind is Kind.MACHINE_INTER
    assert name_of(alone) == name_of(second)


def test_what_is_no_auxiliary_layer_of_this_model_is_refused() -> None:
    q = any_coefficients(np.random.default_rng(4), 6, 8, 0.1)
    data = CODEC.encode(q, coded(), side=128, quality=90)
    with pytest.raises(ModelMismatch, match="0a0a"):
        AuxiliaryCodec(tiny_tables(), 1).decode(data, coded())
    with pytest.raises(CorruptStream, match="checksum"):
        CODEC.decode(data[:-1] + b"\0", coded())
    with pytest.raises(CorruptStream, match="over 64"):
        AuxiliaryCodec(tiny_tables(), MODEL, 64).decode(data, coded())
    machine = Header(Kind.MACHINE_INTRA, MODEL, 0, 80, 0, 128, 96, 128)
    with pytest.raises(CorruptStream, match="MACHINE_INTRA is no auxiliary"):
        CODEC.decode(pack(machine, b"body"), coded())


def test_coefficients_of_another_size_are_the_callers_mistake() -> None:
    with pytest.raises(ValueError, match="6, 8"):
        CODEC.encode(np.zeros((5, 8, 384), np.int16), coded(), side=128, quality=90)
