"""Events out: what the rules say of each frame, to webhooks and MQTT.

    bus ─Sighting─> rules ─Event─> a message for each frame ─> outbox ─> webhook
              └───> mqtt <────────────────┘

An event is safe once it is in the outbox. What happens before is as durable as this process: frames
that it detects on after a restart, because their boxes were not there yet, make no events.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import structlog

from cloud.bus import Bus
from cloud.events.config import EventsConfig, WebhookConfig
from cloud.events.mqtt import Mqtt
from cloud.events.mqtt import check_files as check_mqtt_files
from cloud.events.outbox import Outbox
from cloud.events.rules import Event, Rule, events_of
from cloud.events.webhooks import Pace, Webhook, read_secret
from cloud.lines import boxes_json
from cloud.metrics import Metrics
from cloud.sightings import Sighting
from common.errors import StoreFull

log = structlog.get_logger()

_WAITING = 4096  # frames that the rules may be behind


class EventsOut:
    """Follows the bus from the moment that it is made; close it when nothing of it runs any more.

    outbox   SQLite file of messages that wait
    labels   all that the detector knows
    cameras  those that are connected now
    known    those that ever were

    Raises BadSettings for files that cannot be read.
    """

    def __init__(
        self,
        config: EventsConfig,
        bus: Bus[Sighting],
        outbox: Path,
        metrics: Metrics,
        *,
        labels: Sequence[str],
        cameras: Callable[[], Iterable[str]],
        known: Iterable[str],
    ) -> None:
        check_files(config)
        self._metrics = metrics
        self._rules = [Rule(rule.name, rule.scope(), rule.cooldown_s) for rule in config.rules]
        self._mqtt = None
        if config.mqtt is not None:
            self._mqtt = Mqtt(config.mqtt, labels, cameras, metrics, known=known)
        self._outbox = Outbox(outbox)
        self._hooks = [(self._hook(hook), frozenset(hook.rules)) for hook in config.webhooks]
        self._sightings = bus.subscribe(size=_WAITING)

    def _hook(self, hook: WebhookConfig) -> Webhook:
        pace = Pace(hook.timeout_s, hook.retry_first_s, hook.retry_most_s, hook.give_up_s)
        return Webhook(
            hook.name, hook.url, hook.secret_file, self._outbox, self._metrics,
            pace=pace, queue=hook.queue,
        )  # fmt: skip

    async def run(self) -> None:
        """Works until cancelled, a closed bus included: what waits is still sent."""
        gone = await asyncio.to_thread(
            self._outbox.keep_only, [hook.name for hook, _ in self._hooks]
        )
        if gone:
            log.warning("messages of webhooks that are no more", dropped=gone)
        async with asyncio.TaskGroup() as group:
            for hook, _ in self._hooks:
                group.create_task(hook.run())
            if self._mqtt is not None:
                group.create_task(self._mqtt.run())
            await self._follow()

    def close(self) -> None:
        self._sightings.close()
        self._outbox.close()

    async def _follow(self) -> None:
        async for delivery in self._sightings:
            if delivery.missed:
                self._metrics.events_missed.inc(delivery.missed)
                log.warning("rules are behind", missed=delivery.missed)
            if self._mqtt is not None:
                self._mqtt.see(delivery.item)
            events = events_of(self._rules, delivery.item)
            if events:
                await self._tell(delivery.item, events)

    async def _tell(self, sighting: Sighting, events: Sequence[Event]) -> None:
        for event in events:
            self._metrics.events.labels(event.rule, event.change.value).inc()
        if self._mqtt is not None:
            self._mqtt.tell(message(sighting, events))
        for hook, rules in self._hooks:
            wanted = [event for event in events if not rules or event.rule in rules]
            if not wanted:
                continue
            try:
                await hook.put(str(sighting.frame), message(sighting, wanted))
            except StoreFull as error:
                self._metrics.events_missed.inc()
                log.warning("an event is lost", webhook=hook.name, reason=str(error))


def check_files(config: EventsConfig) -> None:
    """Raises BadSettings for a file that the configuration names and that cannot be used."""
    for hook in config.webhooks:
        read_secret(hook.secret_file)
    if config.mqtt is not None:
        check_mqtt_files(config.mqtt)


def message(sighting: Sighting, events: Iterable[Event]) -> bytes:
    """What goes out of one frame: JSON; unix seconds, pixels of the source picture."""
    content = {
        "frame": str(sighting.frame),
        "camera": sighting.frame.camera,
        "captured_at": round(sighting.captured_at, 3),
        "events": [
            {
                "rule": event.rule,
                "change": event.change.value,
                "label": event.label,
                "score": round(event.score, 4),
                "count": event.count,
            }
            for event in events
        ],
        "width": sighting.width,
        "height": sighting.height,
        "boxes": boxes_json(sighting.boxes),
    }
    return json.dumps(content, separators=(",", ":")).encode()
