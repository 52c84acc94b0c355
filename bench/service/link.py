"""What a camera sends over thin links: wire bytes, frames, quality and latency, trace by trace.

    glimpse-edge run ──TLS──> throttling proxy ──> glimpse-cloud serve
                              rate, delay and outage by a trace; bytes by the kernel's count

The processes are the real ones. The proxy is a TCP endpoint: what crosses it is counted at its
camera side, headers included. Its receive buffer is small, so that bytes wait at the camera, as
they do before a modem.
"""

from __future__ import annotations

import asyncio
import math
import signal
import tempfile
from asyncio.subprocess import DEVNULL
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.report import write_report
from bench.service.processes import ROOT, camera_command, make_token, read_summary, serving
from bench.service.proxy import SAMPLE_S, Proxy
from cloud.folder import data_files
from cloud.store.sqlite import SqliteFrameStore
from edge.rate.budget import parse_budget

_GRACE_S = 30.0  # for the camera to drain and end
_WINDOW_S = 60.0


@dataclass(frozen=True, slots=True)
class Trace:
    """A link and what the camera is asked to keep to on it.

    rate     share of the run passed, 0..1 -> bit/s, each way; 0: nothing passes
    delay    seconds, one way
    budget   as for `glimpse-edge run --budget`; None: none
    options  further ones of `glimpse-edge run`
    """

    name: str
    rate: Callable[[float], float]
    delay: float = 0.02
    budget: str | None = None
    options: tuple[str, ...] = ()


def _fast(_: float) -> float:
    return 1e6


TRACES = (
    Trace(
        "10 kbit/s, at once, boxes too",
        _fast,
        budget="10 kbit/s",
        options=("--gather", "5"),
    ),
    Trace(
        "10 kbit/s, at once, boxes only in the cloud",
        _fast,
        budget="10 kbit/s",
        options=("--gather", "5", "--no-boxes"),
    ),
    Trace(
        "5 kbit/s, by the second, boxes only in the cloud",
        _fast,
        budget="5 kbit/s",
        options=("--coalesce", "1", "--gather", "5", "--no-boxes"),
    ),
    Trace(
        "5 kbit/s, by the second, boxes too",
        _fast,
        budget="5 kbit/s",
        options=("--coalesce", "1", "--gather", "5"),
    ),
    Trace(
        "2 kbit/s, gathered for 5 s",
        _fast,
        budget="2 kbit/s",
        options=("--coalesce", "5", "--gather", "5"),
    ),
    Trace(
        "step",
        lambda at: 12e3 if 1 / 3 <= at < 2 / 3 else 64e3,
        budget="40 kbit/s",
        options=("--latency-target", "1"),
    ),
    Trace(
        "fading",
        lambda at: 24e3 + 18e3 * math.sin(at * 8 * math.pi),
        budget="40 kbit/s",
        options=("--latency-target", "1"),
    ),
    Trace("20 kbit/s, 600 ms", lambda _: 20e3, delay=0.3, options=("--latency-target", "2")),
    Trace(
        "outage",
        lambda at: 0.0 if 0.4 <= at < 0.6 else 64e3,
        budget="20 kbit/s",
        options=("--latency-target", "1"),
    ),
)


def link(source: str, out: Path, weights: Path, seconds: float, only: list[str]) -> dict[str, Any]:
    """Runs each trace (those whose name contains one of `only`, if any) for `seconds`.

    Writes link.json and link.png into `out`.
    """
    weights = weights.resolve()
    chosen = [t for t in TRACES if not only or any(part in t.name for part in only)]
    results, histories = [], []
    for trace in chosen:
        with tempfile.TemporaryDirectory(prefix="glimpse-link-") as folder:
            proxy, summary = _run(trace, Path(folder), source, weights, seconds)
            steady = _steady_fps(Path(folder), seconds)
        results.append(_result(trace, proxy, summary, seconds) | {"steady_fps": steady})
        histories.append(proxy.history)
    report: dict[str, Any] = {"source": Path(source).name, "seconds": seconds, "traces": results}
    write_report(out / "link.json", report)
    _plot(out / "link.png", chosen, histories, seconds)
    return report


def _run(
    trace: Trace, data: Path, source: str, weights: Path, seconds: float
) -> tuple[Proxy, dict[str, Any]]:
    make_token(data, "camera", "camera")
    with serving(data, {"GLIMPSE_CLOUD_WEIGHTS": str(weights)}) as server:
        proxy = Proxy(server, lambda at: trace.rate(min(at / seconds, 1.0)), trace.delay)
        returncode = asyncio.run(_drive(proxy, trace, data, source, weights, seconds))
    return proxy, read_summary(data, returncode)


async def _drive(
    proxy: Proxy, trace: Trace, data: Path, source: str, weights: Path, seconds: float
) -> int:
    """The camera process from start to end, through the proxy; its exit code."""
    async with asyncio.TaskGroup() as tasks:
        address = await proxy.start()
        command = [
            *camera_command(data, "camera", source, address), *trace.options,
            *(["--budget", trace.budget] if trace.budget else []),
            "--quality", "1", "--weights", str(weights), "--seconds", str(seconds),
        ]  # fmt: skip
        camera = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=DEVNULL)
        sampling = tasks.create_task(proxy.sample())
        try:
            returncode = await asyncio.wait_for(camera.wait(), seconds + _GRACE_S)
        except TimeoutError:
            camera.send_signal(signal.SIGTERM)
            returncode = await camera.wait()
        sampling.cancel()
        await proxy.stop()
    return returncode


def _result(trace: Trace, proxy: Proxy, summary: dict[str, Any], seconds: float) -> dict[str, Any]:
    budget = None if trace.budget is None else round(parse_budget(trace.budget) * 8)
    up, down = (_at(proxy.history, seconds, column) for column in (1, 2))
    ledger = ("captured", "skipped", "thinned", "bad", "coded", "acked", "refused", "expired",
              "waiting", "adds_up")  # fmt: skip
    return {
        "trace": trace.name,
        "options": list(trace.options),
        "budget_bit_s": budget,
        "wire_bit_s": round((up + down) * 8 / seconds),
        "up_bit_s": round(up * 8 / seconds),
        "down_bit_s": round(down * 8 / seconds),
        "worst_60_s_bit_s": _worst(proxy.history),
        "fps": round(summary["acked"] / seconds, 3),
        "quality": summary["mean_quality"],
        "layer_bytes": summary["mean_bytes"],
        "latency_ms": summary["capture_to_boxes_ms"],
        "ledger": {name: summary[name] for name in ledger},
    }


def _steady_fps(data: Path, seconds: float) -> float:
    """Stored frames a second, by capture, after the first third: connecting is paid for by then."""
    store = SqliteFrameStore(data_files(data)[0])
    try:
        captured = [stored.captured_at for stored in store.frames(limit=1_000_000)]
    finally:
        store.close()
    since = min(captured, default=0.0) + seconds / 3
    return round(sum(at >= since for at in captured) / (seconds * 2 / 3), 3)


def _at(history: list[tuple[float, int, int]], moment: float, column: int) -> int:
    """The total at a moment: a drain at the end is not part of the run."""
    return max((int(row[column]) for row in history if row[0] <= moment), default=0)


def _worst(history: list[tuple[float, int, int]]) -> int | None:
    """The most in any 60 s, both ways, in bit/s; None for a shorter run."""
    worst: float | None = None
    window: deque[tuple[float, int]] = deque()
    for moment, up, down in history:
        window.append((moment, up + down))
        while moment - window[0][0] > _WINDOW_S:
            began, total = window.popleft()
            # From just before the window to its end: never less than what fell into it.
            worst = max(worst or 0.0, (up + down - total) / max(moment - began, _WINDOW_S))
    return None if worst is None else round(worst * 8)


def _plot(
    path: Path, traces: list[Trace], histories: list[list[tuple[float, int, int]]], seconds: float
) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(
        len(traces), 1, figsize=(8, 2 * len(traces)), sharex=True, squeeze=False
    )
    for (axis,), trace, history in zip(axes, traces, histories, strict=True):
        times = [step / 4 for step in range(round(seconds * 4))]
        link_rate = [trace.rate(min(t / seconds, 1.0)) / 1000 for t in times]
        top = 80.0 if min(link_rate) > 100 else 1.2 * max(link_rate)
        axis.plot(times, link_rate, color="0.7", label="link")
        if trace.budget:
            budget = parse_budget(trace.budget) * 8 / 1000
            axis.axhline(budget, color="tab:red", ls="--", label="budget")
            top = max(2.5 * budget, max(link_rate) if max(link_rate) < 100 else 0.0)
        axis.plot(*_rates(history), color="tab:blue", label="wire, both ways")
        axis.set(ylim=(0, top), ylabel="kbit/s")
        axis.set_title(trace.name, fontsize=9, loc="left")
    axes[0][0].legend(fontsize=8, loc="upper right")
    axes[-1][0].set_xlabel("seconds")
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _rates(history: list[tuple[float, int, int]]) -> tuple[list[float], list[float]]:
    """Kilobits per second over the last two seconds of each moment."""
    step = round(2 / SAMPLE_S)
    pairs = list(zip(history, history[step:], strict=False))
    rates = [(b[1] + b[2] - a[1] - a[2]) * 8 / 1000 / max(b[0] - a[0], 1e-3) for a, b in pairs]
    return [b[0] for _, b in pairs], rates
