"""MQTT: what is there now, for each camera and label, with discovery for Home Assistant.

    PREFIX/status                      online, offline (last will)            retained
    PREFIX/CAMERA/status               online, offline: is it connected       retained
    PREFIX/CAMERA/LABEL/present        ON, OFF                                retained
    PREFIX/CAMERA/LABEL/count          how many in the newest frame           retained
    PREFIX/events                      the rules' events, JSON

States are kept here and told anew after each connection: the newest is what counts, so nothing of
them can be lost. Events wait in memory while the broker is away, and the oldest go when there are
many: who needs each of them wants a webhook. Everything is published with QoS 1.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
import ssl
from collections import deque
from collections.abc import Callable, Iterable, Sequence

import aiomqtt
import structlog

from cloud.events import discovery
from cloud.events.config import MqttConfig
from cloud.events.presence import Change
from cloud.events.rules import Watcher
from cloud.metrics import Metrics
from cloud.sightings import Sighting
from common.errors import BadSettings

log = structlog.get_logger()

_EVENTS = 1000  # that wait for a broker which is away
_COUNT_S = 1.0  # a number of things is told at most so often
_FIRST_S, _MOST_S = 1.0, 60.0  # pauses between connections
_PATIENCE_S = 5.0  # with a broker that does not answer
_NOT_IN_TOPICS = re.compile(r"[^A-Za-z0-9_-]+")


class Mqtt:
    """One broker.

    labels   all that the detector knows
    cameras  those that are connected now, by name: looked at once a second
    known    those that were connected at any time, whose old states the broker may still have

    Raises BadSettings for files that cannot be read.
    """

    def __init__(
        self,
        config: MqttConfig,
        labels: Sequence[str],
        cameras: Callable[[], Iterable[str]],
        metrics: Metrics,
        *,
        known: Iterable[str] = (),
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._config, self._cameras, self._metrics, self._draw = config, cameras, metrics, draw
        scope = config.scope()
        self._scope = scope
        self._expected = tuple(camera for camera in known if scope.covers(camera))
        self._labels = tuple(label for label in labels if not scope.labels or label in scope.labels)
        self._watcher = Watcher(scope)
        self._states: dict[str, str] = {}  # by topic, retained; all that the broker should have
        self._changed: dict[str, None] = {}  # topics of those that it has not; in order
        self._counts: dict[str, int] = {}  # to be told with the next look at the cameras
        self._known: set[str] = set()  # cameras that are announced
        self._events: deque[bytes] = deque()
        self._stirred = asyncio.Event()
        self._tls = _tls_context(config)
        _password(config)

    def see(self, sighting: Sighting) -> None:
        """One frame; takes no time."""
        camera = sighting.frame.camera
        if not self._scope.covers(camera):
            return
        self._announce(camera)
        for label, change, _ in self._watcher.see(sighting):
            if label in self._labels:
                present = "ON" if change is Change.APPEARED else "OFF"
                self._set(self._topic(camera, label, "present"), present)
        seen = self._watcher.labels_in(sighting)
        for label in self._labels:
            count = seen[label].count if label in seen else 0
            self._counts[self._topic(camera, label, "count")] = count

    def tell(self, event: bytes) -> None:
        """One event, as JSON; the oldest that waits makes room for it."""
        if len(self._events) >= _EVENTS:
            self._events.popleft()
            self._metrics.mqtt_dropped.inc()
        self._events.append(event)
        self._stirred.set()

    async def run(self) -> None:
        """Works until cancelled; then says that it is offline."""
        for camera in self._expected:
            self._announce(camera)
        failures = 0
        while True:
            try:
                async with self._client() as client:
                    failures = 0
                    log.info("mqtt connected", host=self._config.host)
                    with self._metrics.mqtt_connected.track_inprogress():
                        await self._serve(client)
            except* (aiomqtt.MqttError, OSError, BadSettings) as errors:
                if failures == 0:
                    log.warning(
                        "no mqtt broker, trying again", host=self._config.host,
                        reason=str(errors.exceptions[0]),
                    )  # fmt: skip
            failures += 1
            bound = min(_MOST_S, _FIRST_S * 2.0 ** min(failures - 1, 64))
            await asyncio.sleep(self._draw() * bound)

    def _client(self) -> aiomqtt.Client:
        config = self._config
        return aiomqtt.Client(
            config.host,
            config.port or (8883 if config.tls else 1883),
            username=config.username,
            password=_password(config),
            will=aiomqtt.Will(self._topic("status"), "offline", qos=1, retain=True),
            keepalive=config.keepalive_s,
            timeout=_PATIENCE_S,
            tls_context=self._tls,
        )

    async def _serve(self, client: aiomqtt.Client) -> None:
        """Until the connection ends."""
        self._changed = dict.fromkeys(self._states)
        try:
            await _publish(client, self._topic("status"), "online", retain=True)
            if self._config.discovery:
                await client.subscribe(f"{self._config.discovery}/status")
            async with asyncio.TaskGroup() as group:
                group.create_task(self._listen(client))
                group.create_task(self._look())
                await self._tell_all(client)
        except asyncio.CancelledError:
            # A last will is for those who cannot speak: the broker forgets it when we part.
            with contextlib.suppress(aiomqtt.MqttError, TimeoutError):
                async with asyncio.timeout(_PATIENCE_S):
                    await client.publish(self._topic("status"), "offline", qos=1, retain=True)
            raise

    async def _listen(self, client: aiomqtt.Client) -> None:
        """Home Assistant says when it has started. Raises MqttError when the connection ends."""
        async for message in client.messages:
            if message.payload == b"online":
                self._changed = dict.fromkeys(self._states)
                self._stirred.set()

    async def _look(self) -> None:
        """Which cameras are connected, and what was counted."""
        while True:
            online = {camera for camera in self._cameras() if self._scope.covers(camera)}
            for camera in online - self._known:
                self._announce(camera)
            for camera in self._known:
                state = "online" if camera in online else "offline"
                self._set(self._topic(camera, "status"), state)
            for topic, count in self._counts.items():
                self._set(topic, str(count))
            self._counts.clear()
            await asyncio.sleep(_COUNT_S)

    async def _tell_all(self, client: aiomqtt.Client) -> None:
        while True:
            while self._changed:
                topic = next(iter(self._changed))
                del self._changed[topic]
                await _publish(client, topic, self._states[topic], retain=True)
            while self._events:
                await _publish(client, self._topic("events"), self._events[0])
                self._events.popleft()
            self._stirred.clear()
            await self._stirred.wait()

    def _announce(self, camera: str) -> None:
        """All that there is to say of a camera that is new here."""
        if camera in self._known:
            return
        self._known.add(camera)
        topics = {label: self._topic(camera, label) for label in self._labels}
        if self._config.discovery:
            availability = (self._topic("status"), self._topic(camera, "status"))
            for topic, payload in discovery.configurations(
                self._config.discovery, self._config.prefix, camera, topics, availability
            ):
                self._set(topic, payload)
        for topic in topics.values():
            self._set(f"{topic}/present", "OFF")
            self._set(f"{topic}/count", "0")

    def _set(self, topic: str, state: str) -> None:
        if self._states.get(topic) != state:
            self._states[topic] = state
            self._changed[topic] = None
            self._stirred.set()

    def _topic(self, *parts: str) -> str:
        return "/".join((self._config.prefix, *(_NOT_IN_TOPICS.sub("_", part) for part in parts)))


async def _publish(
    client: aiomqtt.Client, topic: str, payload: str | bytes, *, retain: bool = False
) -> None:
    """Returns when the broker has it."""
    await client.publish(topic, payload, qos=1, retain=retain)
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        # Before Python 3.12 wait_for, which the client uses, may swallow what cancels it.
        raise asyncio.CancelledError


def check_files(config: MqttConfig) -> None:
    """Raises BadSettings for a file that cannot be used."""
    _tls_context(config)
    _password(config)


def _tls_context(config: MqttConfig) -> ssl.SSLContext | None:
    if not config.tls:
        return None
    try:
        context = ssl.create_default_context(cafile=config.ca)
        if config.certificate is not None:
            context.load_cert_chain(config.certificate, config.key, password="")
    except OSError as error:  # ssl.SSLError is one
        raise BadSettings(f"mqtt: certificates: {error}") from error
    return context


def _password(config: MqttConfig) -> str | None:
    if config.password_file is None:
        return None
    try:
        return config.password_file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise BadSettings(f"mqtt: password_file {config.password_file}: {error}") from error
