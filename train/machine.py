"""Training of the machine codec with its detector, and of the pixel detector (no bottleneck).

    x -> g_a -> y -> [* gain(q), round, * inverse gain(q)] -> y_hat -> detector
    loss = detection + lambda(q) * bits per pixel,   lambda(q) = first * ratio^q

`train pixel` leaves out the bracket: it is the fair opponent, and its weights start the codec.
The schedule runs on elapsed training time, so the same command is right on a laptop and on a GPU;
a resumed run goes on where it stopped.
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
from typing import Any

import torch
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn
from torch.utils.data import DataLoader

from cloud.models.blocks import channels_last
from cloud.models.detector import STRIDES, Detector, DetectorConfig, anchor_centres
from cloud.models.machine import MachineConfig, MachineModel
from train.data import Augment, Batch, Canvases, CocoFolder
from train.evaluate import Predict, detections, score
from train.loss import detection_loss

_LONGEST_STEP_S = 10.0  # a paused process does not use up its schedule


@dataclass
class Recipe:
    """One run. Times in minutes of training; rates in bits per pixel."""

    bottleneck: bool = True
    minutes: float = 60.0
    batch: int = 16
    size: int = 384
    learning_rate: float = 1.5e-3
    weight_decay: float = 0.03
    lambda_first: float = 30.0
    lambda_ratio: float = 0.01
    rate_ramp: float = 0.25  # share of the run over which lambda grows from almost nothing
    mosaic_off: float = 0.9
    save_every: float = 3.0
    evaluate_every: float = 20.0
    evaluate_images: int = 200
    seed: int = 0


class Network(nn.Module):
    """The codec's networks and the detector as one module, so that one EMA covers both."""

    def __init__(self, machine: MachineConfig, detector: DetectorConfig) -> None:
        super().__init__()
        self.machine = MachineModel(machine)
        self.detector = Detector(detector)

    def forward(self, x: Tensor, quality: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """x B 3 H W -> logits, boxes, bits B (zero without a bottleneck: quality None)."""
        y = self.machine.encoder(x)
        if quality is None:
            return *self.detector(y), torch.zeros(len(x), device=x.device)
        y_hat, bits, _ = self.machine.quantise(y, 0, quality)
        return *self.detector(y_hat), bits


@dataclass
class Run:
    """Everything that a checkpoint holds, and where it is kept."""

    folder: Path
    recipe: Recipe
    network: Network
    average: Network
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

    def save(self) -> None:
        state = {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "elapsed": self.elapsed,
            "step": self.step,
            "recipe": asdict(self.recipe),
            "machine": asdict(self.network.machine.config),
            "detector": asdict(self.network.detector.config),
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


def train(
    recipe: Recipe, data: Path, folder: Path, start: Path | None, device: torch.device
) -> Run:
    """Runs `recipe` to its end (or on from its checkpoint); returns the finished run."""
    torch.manual_seed(recipe.seed)
    folder.mkdir(parents=True, exist_ok=True)
    train_set = CocoFolder(data, "train")
    val_set = CocoFolder(data, "val", recipe.evaluate_images)
    run = _prepare(recipe, folder, len(train_set.labels), start, device)
    save, judge = _Every(recipe.save_every, run), _Every(recipe.evaluate_every, run)
    recent: list[Tensor] = []
    with _stopping(run), _Bar(run) as bar:
        for batch in _batches(run, train_set):
            recent.append(_step(run, batch.to(device)))
            bar.stepped()
            if run.step % 50 == 0:
                score_loss, box_loss, bpp = torch.stack(recent).mean(0).tolist()
                run.log(score_loss=score_loss, box_loss=box_loss, bpp=bpp)
                recent.clear()
            if save.due():
                run.save()
            if judge.due() or run.progress >= 1:
                evaluate(run, data, val_set)
                bar.restart()
    run.save()
    return run


class _Every:
    """Says when so many minutes of training have passed since it last did."""

    def __init__(self, minutes: float, run: Run) -> None:
        self._seconds, self._run, self._last = 60 * minutes, run, run.elapsed

    def due(self) -> bool:
        if self._run.elapsed - self._last < self._seconds:
            return False
        self._last = self._run.elapsed
        return True


class _Bar(Progress):
    """The progress bar, which also keeps the run's time."""

    def __init__(self, run: Run) -> None:
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


def _batches(run: Run, data: CocoFolder) -> Iterator[Batch]:
    """Batches until the run is over; no mosaics in its last part."""
    recipe, mosaic = run.recipe, run.progress < run.recipe.mosaic_off
    stream = _loader(data, recipe, recipe.seed + run.step, mosaic)
    while run.progress < 1 and not run.stopped:
        if mosaic and run.progress >= recipe.mosaic_off:
            mosaic, stream = False, _loader(data, recipe, recipe.seed + run.step, False)
        yield next(stream)


@contextlib.contextmanager
def _stopping(run: Run) -> Iterator[None]:
    """SIGTERM and ctrl-C end the run after its step; `train` then saves."""
    names = (signal.SIGTERM, signal.SIGINT)
    before = [signal.signal(name, lambda *_: setattr(run, "stopped", True)) for name in names]
    try:
        yield
    finally:
        for name, handler in zip(names, before, strict=True):
            signal.signal(name, handler)


def _prepare(
    recipe: Recipe, folder: Path, classes: int, start: Path | None, device: torch.device
) -> Run:
    def fresh() -> Network:
        network = Network(MachineConfig(), DetectorConfig(classes=classes))
        return channels_last(network.to(device))

    network, average = fresh(), fresh()
    decayed = [p for p in network.parameters() if p.ndim > 1 and p.ndim != 3]
    plain = [p for p in network.parameters() if p.ndim <= 1 or p.ndim == 3]  # 3: gain tables
    groups = [
        {"params": decayed, "weight_decay": recipe.weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=(0.9, 0.98))
    run = Run(folder, recipe, network, average, optimizer, device)
    if not run.load() and start is not None:
        state = torch.load(start, map_location=device, weights_only=True)
        network.load_state_dict(state["average"])
    if run.step == 0:
        average.load_state_dict(network.state_dict())
    average.eval()
    return run


def _loader(data: CocoFolder, recipe: Recipe, seed: int, mosaic: bool) -> Iterator[Batch]:
    augment = Augment(recipe.size, 0.6 if mosaic else 0.0, len(data.labels))
    stream = Canvases(data.samples, augment, recipe.batch, seed)
    workers = max(1, min((os.cpu_count() or 1) - 2, 14))  # a GPU eats what ten of them make
    return iter(DataLoader(stream, batch_size=None, num_workers=workers, prefetch_factor=4))


def _step(run: Run, batch: Batch) -> Tensor:
    """One optimiser step; returns (score loss, box loss, bpp) of the batch, detached."""
    recipe, network = run.recipe, run.network
    network.train()
    for group in run.optimizer.param_groups:
        group["lr"] = recipe.learning_rate * _schedule(run)
    quality = _qualities(len(batch.x), run.device) if recipe.bottleneck else None
    x = batch.x.float().div(255)
    with torch.autocast(run.device.type, torch.bfloat16):
        logits, boxes, bits = network(x, quality)
    side = x.shape[-1]
    centres = torch.cat([anchor_centres(side // s, side // s, s, run.device) for s in STRIDES])
    found = detection_loss(logits, boxes, centres, batch)
    bpp = bits / (side * side)
    loss = found.total
    if quality is not None:
        ramp = 0.02 ** max(0.0, 1 - run.progress / recipe.rate_ramp)
        weight = recipe.lambda_first * recipe.lambda_ratio**quality
        loss = loss + (ramp * weight * bpp).mean()
    run.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(network.parameters(), 10.0)
    run.optimizer.step()
    run.step += 1
    _follow(run)
    return torch.stack([found.score.detach(), found.box.detach(), bpp.mean().detach()])


def _schedule(run: Run) -> float:
    """Linear warm-up over 200 steps, then half a cosine over the run's time down to 2 %."""
    warm = min(1.0, (run.step + 1) / 200)
    return warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * run.progress)))


def _qualities(count: int, device: torch.device) -> Tensor:
    """Uniform over 0..1, both ends hit exactly now and then: nothing pulls on them from beyond."""
    return (torch.rand(count, device=device) * 1.2 - 0.1).clamp(0, 1)


def _follow(run: Run) -> None:
    """The average network follows: exponential, quick at first."""
    keep = 0.9995 * (1 - math.exp(-run.step / 600))
    with torch.no_grad():
        for slow, fast in zip(
            run.average.state_dict().values(), run.network.state_dict().values(), strict=True
        ):
            if slow.dtype.is_floating_point:
                slow.lerp_(fast, 1 - keep)
            else:
                slow.copy_(fast)


def evaluate(run: Run, data: Path, val: CocoFolder) -> None:
    """mAP of the average network at a few qualities (without bottleneck: once); logs it."""
    for quality in (0.0, 0.4, 1.0) if run.recipe.bottleneck else (None,):
        rows, bpp = detections(predictor(run.average, quality), val.samples)
        ids = [s.image_id for s in val.samples]
        figures = score(data / "val.json", ids, rows, val.categories)
        named = {} if quality is None else {"quality": quality, "bpp_estimate": bpp}
        run.log(**named, **figures)
        print(json.dumps({"minutes": round(run.elapsed / 60)} | named | figures), flush=True)


def predictor(network: Network, quality: float | None) -> Predict:
    """A `train.evaluate.Predict` of this network at one quality."""
    device = next(network.parameters()).device

    def predict(x: Tensor) -> tuple[Tensor, Tensor, float]:
        with (
            torch.inference_mode(),
            torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cpu"),
        ):
            q = None if quality is None else torch.full((1,), quality, device=device)
            logits, boxes, bits = network(x.to(device), q)
        return logits.float().cpu(), boxes.float().cpu(), float(bits[0])

    return predict


def load_network(folder: Path) -> tuple[Network, dict[str, Any]]:
    """A run's average network, in float32 on the CPU, and the rest of its checkpoint."""
    state = torch.load(folder / "last.pt", map_location="cpu", weights_only=True)
    network = Network(MachineConfig(**state["machine"]), DetectorConfig(**state["detector"]))
    network.load_state_dict(state["average"])
    return channels_last(network.eval()), state


def threads() -> None:
    """Leaves one core's worth of work to the data loader on large machines, none on small ones."""
    torch.set_num_threads(max(1, min(os.cpu_count() or 1, 16)))
