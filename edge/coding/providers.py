"""Where the encoder's network can run, and in which precision: the settings' own words for it."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Literal

Provider = Literal["cpu", "cuda", "tensorrt", "openvino"]
Precision = Literal["auto", "fp32", "int8"]

PROVIDERS: dict[Provider, str] = {  # and ONNX Runtime's
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
}

# Processors that multiply and add up bytes in one instruction: x86 with VNNI, Arm with dot product.
_BYTE_PRODUCTS = {"avx512_vnni", "avx_vnni", "asimddp"}


def multiplies_bytes(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether this processor has instructions that make int8 much faster than float."""
    try:
        features = set(cpuinfo.read_text().split())
    except OSError:  # not Linux: of the others, every 64-bit Arm machine of today has them
        return platform.machine().lower() in ("arm64", "aarch64")
    return not _BYTE_PRODUCTS.isdisjoint(features)
