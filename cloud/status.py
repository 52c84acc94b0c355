"""The one table from our errors to gRPC status codes, and the one place that applies it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc

from cloud.metrics import Metrics
from common.errors import (
    AuxiliaryError,
    AuxiliaryGone,
    AuxiliaryTimeout,
    AuxiliaryUnsupported,
    BrokenChain,
    CameraOffline,
    CorruptStream,
    DecoderUnavailable,
    DiskFailed,
    GlimpseError,
    LimitReached,
    ModelMismatch,
    NotStored,
    PermissionDenied,
    RemoteProtocolError,
    StoreFull,
    Unauthenticated,
    WrongBase,
)

STATUS: dict[type[GlimpseError], grpc.StatusCode] = {
    CorruptStream: grpc.StatusCode.INVALID_ARGUMENT,
    BrokenChain: grpc.StatusCode.INVALID_ARGUMENT,
    WrongBase: grpc.StatusCode.INVALID_ARGUMENT,
    RemoteProtocolError: grpc.StatusCode.INVALID_ARGUMENT,
    ModelMismatch: grpc.StatusCode.FAILED_PRECONDITION,
    AuxiliaryError: grpc.StatusCode.UNAVAILABLE,
    CameraOffline: grpc.StatusCode.UNAVAILABLE,
    AuxiliaryGone: grpc.StatusCode.NOT_FOUND,
    AuxiliaryTimeout: grpc.StatusCode.DEADLINE_EXCEEDED,
    AuxiliaryUnsupported: grpc.StatusCode.FAILED_PRECONDITION,
    StoreFull: grpc.StatusCode.RESOURCE_EXHAUSTED,
    DiskFailed: grpc.StatusCode.RESOURCE_EXHAUSTED,
    LimitReached: grpc.StatusCode.RESOURCE_EXHAUSTED,
    NotStored: grpc.StatusCode.NOT_FOUND,
    DecoderUnavailable: grpc.StatusCode.UNAVAILABLE,
    Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
    PermissionDenied: grpc.StatusCode.PERMISSION_DENIED,
}


def status_of(error: GlimpseError) -> grpc.StatusCode:
    """The status of the error's class, or INTERNAL: then the fault is ours."""
    return STATUS.get(type(error), grpc.StatusCode.INTERNAL)


@asynccontextmanager
async def errors_as_status(
    context: grpc.aio.ServicerContext[Any, Any], metrics: Metrics
) -> AsyncIterator[None]:
    """Ends the call with the right status when the body raises one of our errors."""
    try:
        yield
    except GlimpseError as error:
        status = status_of(error)
        metrics.refused_calls.labels(status.name.lower()).inc()
        await context.abort(status, str(error))
