"""The gRPC health service, whose answers tell the time and the model of this server as well.

A camera's doctor learns from these what it could not ask otherwise without taking the place of the
camera that runs.
"""

from __future__ import annotations

import time
from typing import Any

import grpc
from grpc_health.v1.health import aio as health  # type: ignore[import-untyped]

TIME, MODEL = "glimpse-time", "glimpse-model"  # unix seconds; four hexadecimal digits


class HealthService(health.HealthServicer):  # type: ignore[misc]
    """model_id: of the detector, 0..65535."""

    def __init__(self, model_id: int) -> None:
        super().__init__()
        self._model = f"{model_id:04x}"

    async def Check(  # noqa: N802
        self, request: Any, context: grpc.aio.ServicerContext[Any, Any]
    ) -> Any:
        await context.send_initial_metadata(((TIME, f"{time.time():.6f}"), (MODEL, self._model)))
        return await super().Check(request, context)
