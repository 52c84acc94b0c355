"""Every error of ours has a status, and a caller sees it."""

from __future__ import annotations

from typing import Any, cast

import grpc
import pytest
from prometheus_client import CollectorRegistry

from cloud.metrics import Metrics
from cloud.status import STATUS, errors_as_status, status_of
from common import errors

OURS = {errors.GlimpseError, errors.LocalProtocolError, errors.BadPicture}
OURS |= {errors.BadSettings, errors.Unreachable}


class Call:
    """The part of a servicer context that ends a call."""

    def __init__(self) -> None:
        self.ended: tuple[grpc.StatusCode, str] | None = None

    async def abort(self, code: grpc.StatusCode, details: str) -> None:
        self.ended = (code, details)


def test_each_error_is_the_callers_with_a_status_or_ours() -> None:
    every = {
        value
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, errors.GlimpseError)
    }
    assert every == STATUS.keys() | OURS
    assert STATUS.keys().isdisjoint(OURS)
    for kind in OURS:
        assert status_of(kind("x")) is grpc.StatusCode.INTERNAL


async def test_it_ends_the_call_and_is_counted() -> None:
    call, metrics = Call(), Metrics(CollectorRegistry())
    async with errors_as_status(cast(Any, call), metrics):
        raise errors.CorruptStream("the checksum does not match")
    assert call.ended == (grpc.StatusCode.INVALID_ARGUMENT, "the checksum does not match")
    labels = {"status": "invalid_argument"}
    assert metrics.registry.get_sample_value("glimpse_refused_calls_total", labels) == 1


async def test_other_errors_pass() -> None:
    call, metrics = Call(), Metrics(CollectorRegistry())
    with pytest.raises(KeyError):
        async with errors_as_status(cast(Any, call), metrics):
            raise KeyError("a bug")
    assert call.ended is None
