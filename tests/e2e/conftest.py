from __future__ import annotations

from tests.cloud.conftest import _one_thread, encoder, layers  # fixtures

__all__ = ["_one_thread", "encoder", "layers"]
