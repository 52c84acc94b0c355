from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import onnxruntime as ort
import pytest

from common.errors import BadSettings, ModelMismatch
from edge.coding.network import open_network
from edge.coding.providers import PROVIDERS, Precision, Provider
from edge.coding.weights import EdgeWeights, load_weights
from tests.weights import add_int8, encoder_onnx, tiny_weights

ABSENT = [name for name, full in PROVIDERS.items() if full not in ort.get_available_providers()]


@pytest.fixture
def both(weights: EdgeWeights) -> EdgeWeights:
    """Weights whose int8 file can be told from the other by its output."""
    return replace(weights, encoder_int8=encoder_onnx(np.random.default_rng(99)))


def uses_int8(weights: EdgeWeights, precision: Precision) -> bool:
    x = np.arange(32 * 32 * 3, dtype=np.uint8).reshape(1, 32, 32, 3)

    def y(chosen: EdgeWeights, precision: Precision) -> Any:
        network = open_network(chosen, threads=1, provider="cpu", precision=precision)
        return network.run(["y"], {"x": x})[0]

    found, fp32 = y(weights, precision), y(replace(weights, encoder_int8=None), "fp32")
    assert found.shape == fp32.shape
    return not np.array_equal(found, fp32)


def test_precision(both: EdgeWeights, monkeypatch: pytest.MonkeyPatch) -> None:
    assert uses_int8(both, "int8")
    assert not uses_int8(both, "fp32")
    for quick in (True, False):
        monkeypatch.setattr("edge.coding.network.multiplies_bytes", lambda quick=quick: quick)
        assert uses_int8(both, "auto") is quick


def test_weights_without_int8(weights: EdgeWeights) -> None:
    assert weights.encoder_int8 is None
    assert not uses_int8(weights, "auto")
    with pytest.raises(BadSettings, match=r"no encoder\.int8\.onnx"):
        open_network(weights, threads=1, provider="cpu", precision="int8")


def test_the_int8_file_is_checked_like_any_other(tmp_path: Path) -> None:
    tiny_weights(tmp_path)
    add_int8(tmp_path, b"another network")
    assert load_weights(tmp_path).encoder_int8 == b"another network"
    (tmp_path / "encoder.int8.onnx").write_bytes(b"")
    with pytest.raises(ModelMismatch, match=r"encoder\.int8\.onnx"):
        load_weights(tmp_path)


def test_every_provider_has_a_name() -> None:
    assert set(PROVIDERS) == set(get_args(Provider))
    assert set(PROVIDERS.values()) <= set(ort.get_all_providers())


@pytest.mark.skipif(not ABSENT, reason="this ONNX Runtime has them all")
def test_what_is_not_installed_is_said_with_what_is(weights: EdgeWeights) -> None:
    for provider in ABSENT:
        with pytest.raises(BadSettings, match=f"{provider} is not installed; installed: cpu"):
            open_network(weights, threads=1, provider=provider, precision="auto")


@pytest.mark.skipif("cuda" not in ABSENT, reason="it may start here")
def test_a_provider_that_does_not_start_is_not_replaced_in_silence(
    weights: EdgeWeights, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ort, "get_available_providers", lambda: list(PROVIDERS.values()))
    with (
        pytest.warns(UserWarning, match="CUDAExecutionProvider"),  # and goes on with the CPU
        pytest.raises(BadSettings, match="cuda is installed, but does not start"),
    ):
        open_network(weights, threads=1, provider="cuda", precision="auto")
