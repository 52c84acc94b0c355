"""The encoder's network in ONNX Runtime: which of the weights' two files, and where it runs."""

from __future__ import annotations

import onnxruntime as ort

from common.errors import BadSettings
from edge.coding.providers import PROVIDERS, Precision, Provider, multiplies_bytes
from edge.coding.weights import EdgeWeights


def open_network(
    weights: EdgeWeights, *, threads: int, provider: Provider, precision: Precision
) -> ort.InferenceSession:
    """The network x uint8 1 H W 3 -> y float32 1 M H/16 W/16.

    Raises BadSettings for a provider that is not installed or does not start, and for a precision
    that the weights do not have.
    """
    installed = [name for name, full in PROVIDERS.items() if full in ort.get_available_providers()]
    if provider not in installed:
        raise BadSettings(
            f"provider {provider} is not installed; installed: {', '.join(installed)}"
        )
    session = ort.InferenceSession(
        choose(weights, provider, precision),
        session_options(threads),
        providers=[PROVIDERS[provider]],
        provider_options=[{"num_of_threads": str(threads)} if provider == "openvino" else {}],
    )
    if session.get_providers()[0] != PROVIDERS[provider]:  # it would go on with the CPU
        raise BadSettings(f"provider {provider} is installed, but does not start: see above why")
    return session


def session_options(threads: int) -> ort.SessionOptions:
    """Of a network that runs now and then, in a process that is to stay small."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.enable_cpu_mem_arena = False  # an arena keeps the largest picture's memory for good
    return options


def choose(weights: EdgeWeights, provider: Provider, precision: Precision) -> bytes:
    """The file to run. Raises BadSettings where the weights do not have it."""
    int8 = weights.encoder_int8
    if precision == "int8" and int8 is None:
        raise BadSettings("precision int8: these weights have no encoder.int8.onnx")
    quick = provider in ("cpu", "openvino") and multiplies_bytes()
    if int8 is not None and (precision == "int8" or (precision == "auto" and quick)):
        return int8
    return weights.encoder
