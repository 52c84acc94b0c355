"""One training run: what its checkpoint holds, its clock, its end.

The schedule runs on elapsed training time, so that the same command is right on a laptop and on a
GPU, and a run that was interrupted goes on where it stopped.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset

_LONGEST_STEP_S = 10.0  # a paused process does not use up its schedule
_STOPS = (signal.SIGTERM, signal.SIGINT)


@dataclass
class Schedule:
    """What every recipe has. Times in minutes of training."""

    minutes: float = 60.0
    learning_rate: float = 1e-3
    memory: int = 2000  # steps that the average network remembers, about
    save_every: float = 3.0
    evaluate_every: float = 20.0
    seed: int = 0


class Trainee(nn.Module):
    """A network that knows what it was built from."""

    @property
    def configs(self) -> dict[str, Any]:
        """Plain values, from which it can be built again."""
        raise NotImplementedError


R = TypeVar("R", bound=Schedule)
N = TypeVar("N", bound=Trainee)
T = TypeVar("T")


@dataclass
class Run(Generic[R, N]):
    """Everything that a checkpoint holds, and where it is kept."""

    folder: Path
    recipe: R
    network: N
    average: N
    optimizer: torch.optim.Optimizer
    device: torch.device
    elapsed: float = 0.0
    step: int = 0
    stopped: bool = False  # SIGTERM or ctrl-C: save, and go on another day

    @property
    def progress(self) -> float:
        """Share of the run that is done, 0..1."""
        whole = 60 * self.recipe.minutes
        return min(1.0, self.elapsed / whole) if whole > 0 else 1.0

    @property
    def rate(self) -> float:
        """Of learning: linear warm-up over 200 steps, then half a cosine down to 2 %."""
        warm = min(1.0, (self.step + 1) / 200)
        share = 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * self.progress))
        return self.recipe.learning_rate * warm * share

    def save(self) -> None:
        state = {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "elapsed": self.elapsed,
            "step": self.step,
            "recipe": asdict(self.recipe),
            **self.network.configs,
        }
        partial = self.folder / "last.pt.part"
        torch.save(state, partial)
        partial.replace(self.folder / "last.pt")

    def load(self) -> bool:
        """Goes on from this folder's checkpoint, if there is one."""
        path = self.folder / "last.pt"
        if not path.exists():
            return False
        state = torch.load(path, map_location=self.device, weights_only=True)
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.elapsed, self.step = state["elapsed"], state["step"]
        return True

    def log(self, **row: float) -> None:
        with (self.folder / "log.jsonl").open("a") as f:
            f.write(
                json.dumps({"step": self.step, "minutes": round(self.elapsed / 60, 2)} | row) + "\n"
            )

    def descend(self, loss: Tensor) -> None:
        """One step of the optimiser; the average network follows, quickly at first."""
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 10.0)
        self.optimizer.step()
        self.step += 1
        memory = self.recipe.memory
        keep = (1 - 1 / memory) * (1 - math.exp(-self.step / (0.3 * memory)))
        with torch.no_grad():
            for slow, fast in zip(
                self.average.state_dict().values(), self.network.state_dict().values(), strict=True
            ):
                if slow.dtype.is_floating_point:
                    slow.lerp_(fast, 1 - keep)
                else:
                    slow.copy_(fast)


class Every:
    """Says when so many minutes of training have passed since it last did."""

    def __init__(self, minutes: float, run: Run[Any, Any]) -> None:
        self._seconds, self._run, self._last = 60 * minutes, run, run.elapsed

    def due(self) -> bool:
        if self._run.elapsed - self._last < self._seconds:
            return False
        self._last = self._run.elapsed
        return True


class Bar(Progress):
    """The progress bar, which also keeps the run's time."""

    def __init__(self, run: Run[Any, Any]) -> None:
        super().__init__(TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
        self._run = run
        self._row = self.add_task(run.folder.name, total=60 * run.recipe.minutes)
        self.restart()

    def restart(self) -> None:
        """What passed since the last step was not training."""
        self._clock = time.monotonic()

    def stepped(self) -> None:
        now = time.monotonic()
        self._run.elapsed += min(now - self._clock, _LONGEST_STEP_S)
        self._clock = now
        text = f"{self._run.folder.name} step {self._run.step}"
        self.update(self._row, completed=self._run.elapsed, description=text)


@contextlib.contextmanager
def stopping(run: Run[Any, Any]) -> Iterator[None]:
    """SIGTERM and ctrl-C end the run after its step; who trains then saves."""
    before = [signal.signal(name, lambda *_: setattr(run, "stopped", True)) for name in _STOPS]
    try:
        yield
    finally:
        for name, handler in zip(_STOPS, before, strict=True):
            signal.signal(name, handler)


def fed(stream: IterableDataset[T], workers: int | None = None) -> Iterator[T]:
    """What `stream` makes, made ahead by other processes: one, and more on a large machine."""
    count = workers or max(1, min(cores() - 2, 14))  # a GPU eats what ten of them make
    loader = DataLoader(
        stream, batch_size=None, num_workers=count, prefetch_factor=4, worker_init_fn=_unstopped
    )
    return iter(loader)


def _unstopped(_worker: int) -> None:
    """A signal to all of a terminal's or a service's processes is the trainer's to answer: without
    its workers it would not come to the end of its step, and not to saving."""
    for name in _STOPS:
        signal.signal(name, signal.SIG_IGN)


def cores() -> int:
    """How many this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def qualities(count: int, device: torch.device) -> Tensor:
    """Uniform over 0..1, both ends hit exactly now and then: nothing pulls on them from beyond."""
    return (torch.rand(count, device=device) * 1.2 - 0.1).clamp(0, 1)
