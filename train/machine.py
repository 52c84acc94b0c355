"""Training of the machine codec with its detector, and of the pixel detector (no bottleneck).

    x -> g_a -> y -> [* gain(q), round, * inverse gain(q)] -> y_hat -> detector
    loss = detection + lambda(q) * bits per pixel,   lambda(q) = first * ratio^q

Half of each batch is coded as inter layers: against the integers of the same place a moment before
(views.py), so that what does not change in the world does not change in the integers.

`train pixel` leaves out the bracket: it is the fair opponent, and its weights start the codec. It
can be its teacher too: what it finds in the same pictures, anchor by anchor, is then asked for
beside what people have marked (Hinton et al. 2015, "Distilling the knowledge in a neural network").
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cloud.models.blocks import channels_last
from cloud.models.detector import STRIDES, Detector, DetectorConfig, anchor_centres
from cloud.models.machine import MachineConfig, MachineModel
from train.data import Augment, Batch, Canvases, CocoFolder
from train.evaluate import Predict, detections, score
from train.loss import DetectionLoss, agreement, detection_loss
from train.run import Bar, Every, Run, Schedule, Trainee, cores, fed, qualities, stopping
from train.views import earlier


@dataclass
class Recipe(Schedule):
    """One run. Times in minutes of training; rates in bits per pixel."""

    bottleneck: bool = True
    quality: float | None = None  # 0..1: a single-rate model of this quality; None: of all
    compressed: bool = False  # train on pictures that went through image codecs too
    batch: int = 16
    size: int = 320
    learning_rate: float = 1.2e-3
    weight_decay: float = 0.03
    lambda_first: float = 230.0
    lambda_ratio: float = 0.0008
    inter: float = 0.5  # share of a batch
    hold: tuple[float, float] = (0.5, 0.9)  # in integers; drawn evenly for each batch
    follow: float = 1.0  # weight of agreement with the teacher, where there is one
    still: bool = False  # y is normalised by the statistics learnt before, not by the batch's
    rate_ramp: float = 0.08  # share of a run from a pixel detector over which lambda grows
    mosaic_off: float = 0.9
    evaluate_images: int = 200
    evaluate_side: int = 448  # longer side in pixels that pictures are scaled to


class Network(Trainee):
    """The codec's networks and the detector as one module, so that one EMA covers both."""

    def __init__(self, machine: MachineConfig, detector: DetectorConfig) -> None:
        super().__init__()
        self.machine = MachineModel(machine)
        self.detector = Detector(detector)

    @property
    def configs(self) -> dict[str, Any]:
        return {"machine": asdict(self.machine.config), "detector": asdict(self.detector.config)}

    def forward(
        self, x: Tensor, quality: Tensor | None, before: Tensor | None = None, hold: float = 0.5
    ) -> tuple[Tensor, Tensor, Tensor]:
        """x B 3 H W -> logits, boxes, bits B (zero without a bottleneck: quality None).

        before  K 3 H W: the first K pictures are inter layers after these
        """
        y = self.machine.encoder(x)
        if quality is None:
            return *self.detector(y), torch.zeros(len(x), device=x.device)
        k = 0 if before is None else len(before)
        y_hat, bits, _ = self.machine.quantise(y[k:], 0, quality[k:])
        if before is not None:
            with torch.no_grad():
                last = self.machine.quantise(self.machine.encoder(before), 0, quality[:k])[2]
            held, spent, _ = self.machine.quantise_inter(y[:k], last, hold, 0, quality[:k])
            y_hat, bits = torch.cat([held, y_hat]), torch.cat([spent, bits])
        return *self.detector(y_hat), bits


MachineRun = Run[Recipe, Network]

_SCORES = re.compile(r"detector\.heads\.\d\.score\.1\.")


def train(
    recipe: Recipe,
    data: Path,
    folder: Path,
    start: Path | None,
    device: torch.device,
    teacher: Path | None = None,
) -> MachineRun:
    """Runs `recipe` to its end (or on from its checkpoint); returns the finished run.

    start    a checkpoint whose weights a new run begins with
    teacher  folder of a pixel run whose findings this one is to share
    """
    torch.manual_seed(recipe.seed)
    random.seed(recipe.seed)
    folder.mkdir(parents=True, exist_ok=True)
    train_set = CocoFolder(data, "train")
    if recipe.compressed:
        from train.compressed import CodedPictures  # and with it every image codec

        train_set.samples = CodedPictures(train_set.samples, folder / "coded")
    val_set = CocoFolder(data, "val", recipe.evaluate_images)
    run = prepared(recipe, folder, len(train_set.labels), start, device)
    taught_by = None if teacher is None else load_network(teacher)[0].to(device)
    save, judge = Every(recipe.save_every, run), Every(recipe.evaluate_every, run)
    recent: list[Tensor] = []
    with stopping(run), Bar(run) as bar:
        for batch in batches(run, train_set):
            recent.append(step(run, batch.to(device), taught_by))
            bar.stepped()
            if run.step % 50 == 0:
                score_loss, box_loss, bpp, inter_bpp = torch.stack(recent).mean(0).tolist()
                run.log(score_loss=score_loss, box_loss=box_loss, bpp=bpp, inter_bpp=inter_bpp)
                recent.clear()
            if save.due():
                run.save()
            if judge.due() or run.progress >= 1:
                evaluate(run, data, val_set)
                bar.restart()
    run.save()
    return run


def batches(run: MachineRun, data: CocoFolder) -> Iterator[Batch]:
    """Batches until the run is over; no mosaics in its last part."""
    recipe, mosaic = run.recipe, run.progress < run.recipe.mosaic_off
    stream = _loader(data, recipe, recipe.seed + run.step, mosaic)
    while run.progress < 1 and not run.stopped:
        if mosaic and run.progress >= recipe.mosaic_off:
            mosaic, stream = False, _loader(data, recipe, recipe.seed + run.step, False)
        yield next(stream)


def prepared(
    recipe: Recipe, folder: Path, classes: int, start: Path | None, device: torch.device
) -> MachineRun:
    """A run as its folder's checkpoint left it, or one that begins (with `start`'s weights)."""

    saved = folder / "last.pt"
    path = saved if saved.exists() else start
    state = None if path is None else torch.load(path, map_location=device, weights_only=True)
    config = MachineConfig() if state is None else MachineConfig(**state["machine"])

    def fresh() -> Network:
        network = Network(config, DetectorConfig(classes=classes))
        return channels_last(network.to(device))

    network, average = fresh(), fresh()
    decayed = [p for p in network.parameters() if p.ndim > 1 and p.ndim != 3]
    plain = [p for p in network.parameters() if p.ndim <= 1 or p.ndim == 3]  # 3: gain tables
    groups = [
        {"params": decayed, "weight_decay": recipe.weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=(0.9, 0.98))
    run = MachineRun(folder, recipe, network, average, optimizer, device)
    if not run.load() and state is not None:
        begun = state["average"]  # one from before may lack a rate proxy
        if state["detector"]["classes"] != classes:  # what scores classes begins anew
            begun = {k: v for k, v in begun.items() if not _SCORES.search(k)}
        network.load_state_dict(begun, strict=False)
        if state["recipe"]["bottleneck"]:
            recipe.rate_ramp = 0.0  # let loose, a codec's bits rise fourfold and come back slowly
    recipe.still = recipe.bottleneck and start is not None  # batches differ threefold in what y is
    if run.step == 0:
        average.load_state_dict(network.state_dict())
    average.eval()
    return run


def _loader(data: CocoFolder, recipe: Recipe, seed: int, mosaic: bool) -> Iterator[Batch]:
    augment = Augment(recipe.size, 0.6 if mosaic else 0.0, len(data.labels))
    return fed(Canvases(data.samples, augment, recipe.batch, seed))


def step(run: MachineRun, batch: Batch, teacher: Network | None) -> Tensor:
    """One optimiser step; returns (score loss, box loss, bpp intra, bpp inter), detached."""
    recipe, network = run.recipe, run.network
    network.train()
    network.machine.encoder.normalise.train(not recipe.still)
    for group in run.optimizer.param_groups:
        group["lr"] = run.rate
    quality = _drawn(recipe, len(batch.x), run.device)
    x, before = batch.x.float().div(255), None
    if quality is not None and (count := round(recipe.inter * len(x))):
        before, now = earlier(x[:count], batch)
        x = torch.cat([now, x[count:]]).contiguous(memory_format=torch.channels_last)
    hold = random.uniform(*recipe.hold)
    with torch.autocast(run.device.type, torch.bfloat16):
        logits, boxes, bits = network(x, quality, before, hold)
    side = x.shape[-1]
    centres = torch.cat([anchor_centres(side // s, side // s, s, run.device) for s in STRIDES])
    found = detection_loss(logits, boxes, centres, batch)
    bpp = bits / (side * side)
    loss = found.total
    if teacher is not None:
        loss = loss + recipe.follow * _untaught(teacher, x, logits, boxes).total
    if quality is not None:
        ramp = 0.02 ** max(0.0, 1 - run.progress / recipe.rate_ramp) if recipe.rate_ramp else 1.0
        weight = recipe.lambda_first * recipe.lambda_ratio**quality
        loss = loss + (ramp * weight * bpp).mean()
    run.descend(loss)
    count = 0 if before is None else len(before)
    rates = [bpp[count:].mean(), bpp[:count].sum() / max(count, 1)]
    return torch.stack([found.score, found.box, *rates]).detach()


def _untaught(teacher: Network, x: Tensor, logits: Tensor, boxes: Tensor) -> DetectionLoss:
    """What these predictions lack of the teacher's, who sees the pictures without a bottleneck."""
    with torch.no_grad(), torch.autocast(x.device.type, torch.bfloat16):
        taught_logits, taught_boxes, _ = teacher(x, None)
    return agreement(logits, boxes, taught_logits, taught_boxes)


def _drawn(recipe: Recipe, count: int, device: torch.device) -> Tensor | None:
    """A quality for each picture, B; None without a bottleneck."""
    if not recipe.bottleneck:
        return None
    if recipe.quality is not None:
        return torch.full((count,), recipe.quality, device=device)
    return qualities(count, device)


def _judged(recipe: Recipe) -> tuple[float | None, ...]:
    """The qualities that an evaluation is made at."""
    if not recipe.bottleneck:
        return (None,)
    return (0.0, 0.4, 1.0) if recipe.quality is None else (recipe.quality,)


def evaluate(run: MachineRun, data: Path, val: CocoFolder) -> None:
    """mAP of the average network at a few qualities (without bottleneck: once); logs it."""
    for quality in _judged(run.recipe):
        predict = predictor(run.average, quality)
        rows, bpp = detections(predict, val.samples, run.recipe.evaluate_side)
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
    torch.set_num_threads(max(1, min(cores(), 16)))
