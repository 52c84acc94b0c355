from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from common.bitstream import Kind, pack, unpack
from common.codec import MachineCodec
from common.errors import CorruptStream, ModelMismatch
from tests.common.latents import clustered, model
from tests.fuzz.bitstream import codec, fuzz

SIZE = {"width": 640, "height": 480, "side": 320}


def test_round_trip() -> None:
    y = clustered(np.random.default_rng(1), 16, 15, 20, 0.02)
    made = MachineCodec(model(16), 0x1234)
    data = made.encode(y, **SIZE, quality=77, profile=1, ivn=5)
    header, back = made.decode(data)
    np.testing.assert_array_equal(back, y)
    assert (header.quality, header.profile, header.ivn, header.model) == (77, 1, 5, 0x1234)
    assert (header.width, header.height, header.side) == (640, 480, 320)
    assert header.kind is Kind.MACHINE_INTRA


def test_a_latent_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="positions"):
        codec().encode(np.zeros((8, 20, 15), dtype=np.int16), **SIZE, quality=0)


def test_another_model_is_refused() -> None:
    data = codec().encode(np.zeros((8, 15, 20), dtype=np.int16), **SIZE, quality=0)
    with pytest.raises(ModelMismatch):
        dataclasses.replace(codec(), model_id=1).decode(data)


def test_another_kind_is_refused() -> None:
    header, body = unpack(
        codec().encode(np.zeros((8, 15, 20), dtype=np.int16), **SIZE, quality=0), None
    )
    with pytest.raises(CorruptStream, match="AUXILIARY_INTRA"):
        codec().decode(pack(dataclasses.replace(header, kind=Kind.AUXILIARY_INTRA), body))


def test_a_picture_over_the_limit_is_refused() -> None:
    data = codec().encode(np.zeros((8, 15, 20), dtype=np.int16), **SIZE, quality=0)
    dataclasses.replace(codec(), max_side=320).decode(data)
    with pytest.raises(CorruptStream, match="more than 319"):
        dataclasses.replace(codec(), max_side=319).decode(data)


def test_mutated_layers_end_in_a_typed_error_or_a_layer() -> None:
    outcomes = fuzz(seconds=1.5, seed=1)
    assert outcomes["CorruptStream"] > 100
    assert outcomes["decoded"] > 0  # the checksum is often made right again, so bodies are reached
