"""A gauge for each certificate, and one warning a day when its end is near."""

from __future__ import annotations

import datetime

import pytest
from prometheus_client import CollectorRegistry

from cloud.access.expiry import Expiries
from cloud.metrics import Metrics

DAY = 86_400.0


class Clock:
    now = 1e9

    def __call__(self) -> float:
        return self.now


def at(seconds: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC)


def test_it_counts_down_and_warns_once_a_day(capsys: pytest.CaptureFixture[str]) -> None:
    clock, metrics = Clock(), Metrics(CollectorRegistry())
    expiries = Expiries(metrics, warn_s=10 * DAY, clock=clock)

    def left(name: str) -> float | None:
        return metrics.registry.get_sample_value(
            "glimpse_certificate_expiry_seconds", {"certificate": name}
        )

    def warnings() -> int:
        expiries.warn()
        return capsys.readouterr().out.count("a certificate expires")

    expiries.saw("server", at(clock.now + 11 * DAY))
    expiries.saw("camera gate", at(clock.now + 400 * DAY))
    assert (left("server"), left("camera gate")) == (11 * DAY, 400 * DAY)
    assert warnings() == 0
    clock.now += 1.5 * DAY
    assert left("server") == 9.5 * DAY
    assert [warnings(), warnings()] == [1, 0]
    clock.now += DAY
    assert warnings() == 1
    clock.now += 10 * DAY
    assert warnings() == 1
    assert (left("server") or 0) < 0
    expiries.saw("server", at(clock.now + 365 * DAY))  # renewed
    assert (warnings(), left("server")) == (0, 365 * DAY)
    expiries.saw("server", at(clock.now + 5 * DAY))
    assert "server" in capsys.readouterr().out  # at once, not a day later
