"""The environment variables that the two processes know."""

from __future__ import annotations

from cloud.settings import CloudSettings
from edge.settings import EdgeSettings


def variables() -> set[str]:
    """GLIMPSE_EDGE_... and GLIMPSE_CLOUD_..., one for each setting."""
    edge = {f"GLIMPSE_EDGE_{name.upper()}" for name in EdgeSettings.model_fields}
    return edge | {f"GLIMPSE_CLOUD_{name.upper()}" for name in CloudSettings.model_fields}
