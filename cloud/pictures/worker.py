"""The server's end of the decoder's process: started when there is work, ended when there is none.

make(work) ──> start the process if there is none ──> Loading
           ──> Step, Step, ... ──> Made, or one of our errors
cancel()   ──> the process stops at its next step; one that does not is killed
unload()   ──> the process ends, and its memory is free
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

import structlog

from cloud.pictures.process import (
    Answer,
    Cancel,
    Cancelled,
    Failed,
    Job,
    Made,
    Ready,
    main,
)
from cloud.pictures.values import Decoder, Loading, Step, Work
from common.errors import DecoderUnavailable, GlimpseError

log = structlog.get_logger()

_LOAD_S = 300.0  # torch's libraries from a slow disk, on a machine with other things to do
_STOP_S = 30.0  # for one step, after a cancel
_LOOK_S = 1.0  # how often the patience is looked at


class Stopped(Exception):
    """The work was cancelled."""


class DecoderProcess:
    """One process at the most, one work at a time.

    load       makes the decoder, in that process: to be found by its name there
    nice       how much less urgent than this process it is, 0..19
    timeout_s  of one work; the process is killed then
    """

    def __init__(self, load: Callable[[], Decoder], *, nice: int = 10, timeout_s: float) -> None:
        self._load, self._nice, self._timeout_s = load, nice, timeout_s
        self._thread = ThreadPoolExecutor(1, "decoder")
        self._process: BaseProcess | None = None
        self._pipe: Connection | None = None
        self._number = 0
        self._sent = 0  # the job that the process has; 0: none
        self._cancelled = 0
        self._cancelled_at = 0.0
        self._closing = threading.Event()
        self._lock = threading.Lock()  # sending, and what was sent

    @property
    def loaded(self) -> bool:
        """Whether there is a process."""
        return self._pipe is not None

    async def make(self, work: Work, tell: Callable[[Loading | Step], None]) -> Made:
        """`tell` is called in the event loop.

        Raises Stopped after `cancel`, one of our errors for layers that do not fit, ModelMismatch
        if there is no such decoder, DecoderUnavailable if it fails or takes too long.
        """
        loop = asyncio.get_running_loop()

        def tell_there(news: Loading | Step) -> None:
            loop.call_soon_threadsafe(tell, news)

        self._number += 1
        making = loop.run_in_executor(self._thread, self._make, self._number, work, tell_there)
        try:
            return await asyncio.shield(making)
        except asyncio.CancelledError:  # the server ends
            making.add_done_callback(lambda made: made.exception())  # it is nobody's any more
            self.kill()
            raise

    def cancel(self) -> None:
        """Stop the work at hand; `make` raises Stopped when it has."""
        with self._lock:
            self._cancelled, self._cancelled_at = self._number, time.monotonic()
            if self._sent == self._number and self._pipe is not None:
                self._send(Cancel(self._number))

    async def unload(self) -> None:
        """End the process, if there is one."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._end)

    def close(self) -> None:
        """End the process at once, and the thread."""
        self.kill()
        self._thread.shutdown()
        self._end()

    def kill(self) -> None:
        """At once and for good; a work at hand fails."""
        self._closing.set()
        if (process := self._process) is not None:
            process.kill()

    def _make(self, number: int, work: Work, tell: Callable[[Loading | Step], None]) -> Made:
        load_s = 0.0
        if self._process is None or not self._process.is_alive():
            tell(Loading())
            load_s = self._start()
        with self._lock:
            if self._cancelled == number:
                raise Stopped
            self._send(Job(number, work))
            self._sent = number
        try:
            made = self._follow(number, tell)
            return replace(made, seconds=made.seconds | {"load": load_s}) if load_s else made
        finally:
            self._sent = 0

    def _follow(self, number: int, tell: Callable[[Loading | Step], None]) -> Made:
        started = time.monotonic()
        while True:
            answer = self._receive(lambda: self._patience(number, started))
            match answer:
                case Step():
                    tell(answer)
                case Made():
                    return answer
                case Cancelled():
                    raise Stopped
                case Failed(reason, None):
                    log.error("the decoder failed", reason=reason)
                    raise DecoderUnavailable("the decoder failed; the server's log says why")
                case Failed(_, GlimpseError() as error):
                    raise error

    def _patience(self, number: int, started: float) -> float:
        """The moment at which it is over."""
        if self._cancelled == number:
            return self._cancelled_at + _STOP_S
        return started + self._timeout_s

    def _start(self) -> float:
        """How many seconds it took. Raises what `make` does."""
        self._end()
        if self._closing.is_set():
            raise DecoderUnavailable("the server shuts down")
        context = multiprocessing.get_context("spawn")  # no fork: gRPC has threads
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(
            target=main, args=(theirs, self._load, self._nice), name="decoder", daemon=True
        )
        self._process.start()
        theirs.close()
        if self._closing.is_set():  # meanwhile
            self._process.kill()
        started = time.monotonic()
        answer = self._receive(lambda: started + _LOAD_S)
        if isinstance(answer, Failed):
            self._end()
            raise answer.error or DecoderUnavailable(answer.reason)
        if not isinstance(answer, Ready):
            raise DecoderUnavailable("the decoder's process speaks out of turn")
        return time.monotonic() - started

    def _receive(self, until: Callable[[], float]) -> Answer:
        """The next message. Raises DecoderUnavailable after `until`, or if the process ended."""
        pipe, process = self._pipe, self._process
        if pipe is None or process is None:
            raise DecoderUnavailable("the decoder's process has ended")
        try:
            while not pipe.poll(_LOOK_S):
                if time.monotonic() >= until():
                    process.kill()
                    raise DecoderUnavailable("the decoder took too long, and was stopped")
            answer: Answer = pipe.recv()
        except (EOFError, OSError) as error:
            process.join(_LOOK_S)
            log.error("the decoder's process has ended", exit_code=process.exitcode)
            self._end()
            raise DecoderUnavailable("the decoder's process has ended; try again") from error
        return answer

    def _send(self, message: Job | Cancel) -> None:
        with contextlib.suppress(OSError):  # it has ended, and whoever reads is told
            if self._pipe is not None:
                self._pipe.send(message)

    def _end(self) -> None:
        with self._lock:
            pipe, self._pipe = self._pipe, None
        if pipe is not None:
            pipe.close()
        if self._process is not None:
            self._process.join(_LOOK_S)
            self._process.kill()
            self._process.join()
            self._process.close()
            self._process = None
