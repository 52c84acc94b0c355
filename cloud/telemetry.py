"""What cameras tell of themselves -> metrics: nobody has to reach a camera to know how it is."""

from __future__ import annotations

from dataclasses import dataclass, field

from cloud.metrics import Metrics
from common.session.events import Telemetry

_OUTCOMES = ("captured", "skipped", "thinned", "acked", "refused", "expired")
_COUNTS = (*_OUTCOMES, "wire_bytes", "reconnects")


@dataclass(slots=True)
class Told:
    """The last word of each camera: a camera counts from its start, metrics from this process's."""

    metrics: Metrics
    _last: dict[str, tuple[str, Telemetry]] = field(default_factory=dict)

    def record(self, camera: str, boot: str, telemetry: Telemetry) -> None:
        """`camera` has an identity here: that bounds the labels."""
        before = self._before(camera, boot, telemetry)
        self._last[camera] = boot, telemetry
        metrics = self.metrics
        for outcome in _OUTCOMES:
            more = getattr(telemetry, outcome) - getattr(before, outcome)
            metrics.edge_frames.labels(camera, outcome).inc(more)
        metrics.edge_wire_bytes.labels(camera).inc(telemetry.wire_bytes - before.wire_bytes)
        metrics.edge_reconnects.labels(camera).inc(telemetry.reconnects - before.reconnects)
        metrics.edge_spool_frames.labels(camera).set(telemetry.spool_frames)
        metrics.edge_spool_bytes.labels(camera).set(telemetry.spool_bytes)
        metrics.edge_spool_max_bytes.labels(camera).set(telemetry.spool_max_bytes)
        metrics.edge_spool_oldest.labels(camera).set(telemetry.spool_oldest_s)
        metrics.edge_quality.labels(camera).set(min(telemetry.quality, 255) / 255)
        metrics.edge_budget.labels(camera).set(telemetry.budget)

    def _before(self, camera: str, boot: str, telemetry: Telemetry) -> Telemetry:
        """What the camera had counted when it told last; nothing if it began anew."""
        last_boot, last = self._last.get(camera, ("", Telemetry()))
        fell = any(getattr(telemetry, name) < getattr(last, name) for name in _COUNTS)
        return Telemetry() if fell or last_boot != boot else last
