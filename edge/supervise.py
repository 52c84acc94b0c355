"""One process for each camera of a configuration file, kept running: `glimpse-edge run --all`.

    ends with 0     its source has ended: it is done
    ends otherwise  it is started again: after 1 s, 2 s, 4 s, ... 60 s, and after 1 s once it has
                    run for a minute

SIGTERM and SIGINT go on to all of them, and a second one too; the last one out ends this process.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import structlog

log = structlog.get_logger()

FAILED = 1  # of a process that a signal ended


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds: the first pause, the longest one, and a life after which it is the first again."""

    first: float = 1.0
    most: float = 60.0
    well_after: float = 60.0


async def supervise(
    commands: Mapping[str, Sequence[str]],
    write: Callable[[str], None],
    patience: Patience | None = None,
) -> int:
    """Runs each command until it ends with 0, or a signal comes; the worst exit code at the end.

    commands  by the name that stands before each line of its output
    write     takes such a line
    """
    children = [
        _Child(name, command, write, patience or Patience()) for name, command in commands.items()
    ]

    def stop(number: int) -> None:
        for child in children:
            child.stop(number)

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop, number)
    try:
        return max(await asyncio.gather(*(child.run() for child in children)), default=0)
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


class _Child:
    def __init__(
        self, name: str, command: Sequence[str], write: Callable[[str], None], patience: Patience
    ) -> None:
        self._name, self._command, self._write, self._patience = name, command, write, patience
        self._process: Process | None = None
        self._stopping = asyncio.Event()

    def stop(self, number: int) -> None:
        self._stopping.set()
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(number)

    async def run(self) -> int:
        """The last exit code: 0 if the source has ended, or it drained in peace."""
        loop = asyncio.get_running_loop()
        pause = self._patience.first
        while True:
            began = loop.time()
            code = await self._once()
            if code == 0 or self._stopping.is_set():
                return code
            if loop.time() - began >= self._patience.well_after:
                pause = self._patience.first
            log.warning("a camera ended, starting it again", camera=self._name, exit_code=code,
                        in_seconds=pause)  # fmt: skip
            try:
                await asyncio.wait_for(self._stopping.wait(), pause)
                return code
            except TimeoutError:
                pause = min(2 * pause, self._patience.most)

    async def _once(self) -> int:
        """A session of its own: the terminal's ctrl-C is to come from here, and once."""
        self._process = process = await asyncio.create_subprocess_exec(
            *self._command, stdout=PIPE, stderr=STDOUT, start_new_session=True
        )
        if self._stopping.is_set():  # it came while this one was being started
            process.send_signal(signal.SIGTERM)
        if process.stdout is not None:
            async for line in process.stdout:
                self._write(f"{self._name}: {line.decode(errors='replace').rstrip()}")
        code = await process.wait()
        return code if code >= 0 else FAILED


def camera_command(config: str, camera: str) -> list[str]:
    """One camera of a file, as a process of its own."""
    return [sys.executable, "-m", "edge.main", "run", "--config", config, "--camera", camera]
