"""A real mosquitto process on a free port, and a client that remembers what it was told.

Without mosquitto on this machine the tests that need it are skipped, and say how to get it.
"""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path

import aiomqtt
import pytest

from cloud.access.certificates import CertificateFiles
from tests.cloud.serving import PATIENCE_S, until

# Debian puts it where only administrators look.
MOSQUITTO = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
needs_mosquitto = pytest.mark.skipif(
    MOSQUITTO is None, reason="no mosquitto here: apt-get install mosquitto, brew install mosquitto"
)


def free_port() -> int:
    with closing(socket.socket()) as s:
        s.bind(("127.0.0.1", 0))
        port: int = s.getsockname()[1]
        return port


@dataclass
class Broker:
    """One that can be killed and started again on its port; it forgets everything then."""

    folder: Path
    tls: CertificateFiles | None = None
    user: tuple[str, str] | None = None
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        self._launch()
        await until(self._listens)

    def _launch(self) -> None:
        assert MOSQUITTO is not None
        lines = [f"listener {self.port} 127.0.0.1", "user root", "persistence false"]
        if self.tls:
            lines += [f"certfile {self.tls.certificate}", f"keyfile {self.tls.key}"]
        if self.user:
            passwords = self.folder / "passwords"
            passwords.write_text(":".join(self.user) + "\n")
            subprocess.run(["mosquitto_passwd", "-U", passwords], check=True)
            lines += [f"password_file {passwords}"]
        else:
            lines += ["allow_anonymous true"]
        config = self.folder / "mosquitto.conf"
        config.write_text("\n".join(lines) + "\n")
        with (self.folder / "mosquitto.log").open("ab") as log:
            self.process = subprocess.Popen(
                [MOSQUITTO, "-c", str(config)], stdout=log, stderr=subprocess.STDOUT
            )

    def _listens(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self.folder / "mosquitto.log").read_text()
        with closing(socket.socket()) as s:
            return s.connect_ex(("127.0.0.1", self.port)) == 0

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    @asynccontextmanager
    async def follow(self, *topics: str) -> AsyncIterator[Follower]:
        """Everything under these topics from now on, and what is retained there."""
        async with aiomqtt.Client("127.0.0.1", self.port) as client:
            follower = Follower(client)
            for topic in topics:
                await client.subscribe(topic, qos=1)
            task = asyncio.create_task(follower.read())
            try:
                yield follower
            finally:
                task.cancel()
                await asyncio.wait([task])


@dataclass
class Follower:
    """newest: payload by topic; heard: every (topic, payload), in order."""

    client: aiomqtt.Client
    newest: dict[str, str] = field(default_factory=dict)
    heard: list[tuple[str, str]] = field(default_factory=list)
    retained: set[str] = field(default_factory=set)

    async def read(self) -> None:
        async for message in self.client.messages:
            topic = str(message.topic)
            assert isinstance(message.payload, bytes)
            self.newest[topic] = message.payload.decode()
            self.heard.append((topic, self.newest[topic]))
            if message.retain:
                self.retained.add(topic)

    async def until(self, done: Callable[[Follower], bool]) -> None:
        try:
            await until(lambda: done(self))
        except TimeoutError:
            raise AssertionError(f"after {PATIENCE_S} s: {self.heard}") from None


@asynccontextmanager
async def broker(
    folder: Path, *, tls: CertificateFiles | None = None, user: tuple[str, str] | None = None
) -> AsyncIterator[Broker]:
    running = Broker(folder, tls, user)
    await running.start()
    try:
        yield running
    finally:
        running.kill()
