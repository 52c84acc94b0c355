"""Does every decoder read what was coded, whatever made it? And what do layers cost beyond ideal?

latents    the same random latents and chains, coded and read by processes with other numbers of
           threads, other hash seeds, and sums in other orders and types: every byte is alike
encoders   integers of real pictures, from each precision of the network, 1, 2 and 4 threads
           (coded_pictures.py)
mutated    layers with damage of all kinds, each within its bounds (hostile.py)
real bits  bytes on disk against the ideal code length and the header (real_bits.py)
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from bench.coder.coded_pictures import code_pictures, codec_of
from bench.coder.hostile import BOUNDS, Outcomes, attack
from bench.coder.latents import scene_tables
from bench.report import write_report
from bench.service.processes import ROOT
from common.codec import MachineCodec
from edge.capture.picture import PICTURE_SUFFIXES
from edge.coding.weights import load_weights

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_OWN_TABLES = 5  # one in so many mutated layers is read by the weights' tables, larger and slower
_PART = 5000  # mutated layers for one process


@dataclass(frozen=True, slots=True)
class Condition:
    """What a process is told. shuffle: seed of the order of its sums, None for the usual one."""

    threads: int
    hash_seed: int
    shuffle: int | None


CONDITIONS = (Condition(1, 0, None), Condition(2, 1, 7), Condition(4, 4242, 8))


def determinism(
    images: Path,
    out: Path,
    weights: Path,
    *,
    latents: int,
    mutations: int,
    most: int | None = None,
    jobs: int = 2,
    seed: int = 1,
) -> dict[str, Any]:
    """Measures with `jobs` processes at a time; writes determinism.json into `out`.

    most  only the first pictures of the folder `images`
    """
    ours = load_weights(weights)
    pictures = _pictures(images, most)
    figures = {
        "latents": _latents(seed, latents, jobs),
        "mutated": _mutated(seed, mutations, weights, jobs),
        **code_pictures(ours, pictures, seed),
    }
    write_report(out / "determinism.json", figures)
    return figures


def _latents(seed: int, latents: int, jobs: int) -> dict[str, Any]:
    with ThreadPoolExecutor(jobs) as pool:
        runs = list(pool.map(lambda condition: _run(condition, seed, latents), CONDITIONS))
    usual = np.array(runs[0]["crcs"])
    rows = []
    for condition, run in zip(CONDITIONS, runs, strict=True):
        rows.append(
            {
                "threads": condition.threads,
                "hash_seed": condition.hash_seed,
                "sums": "as usual" if condition.shuffle is None else "in random order and type",
                "other_bytes": int(np.count_nonzero(usual != np.array(run["crcs"]))),
                "read_back_wrong": run["mismatches"],
                "seconds": round(run["seconds"], 1),
            }
        )
    mismatches = sum(row["other_bytes"] + row["read_back_wrong"] for row in rows)
    return {"layers": latents, "mismatches": mismatches, "processes": rows}


def _run(condition: Condition, seed: int, latents: int) -> dict[str, Any]:
    environment = {**os.environ, "PYTHONHASHSEED": str(condition.hash_seed)}
    environment |= dict.fromkeys(_THREAD_VARIABLES, str(condition.threads))
    command = [sys.executable, "-m", "bench.coder.recoded", str(seed), str(latents)]
    if condition.shuffle is not None:
        command.append(str(condition.shuffle))
    began = time.monotonic()
    found = subprocess.check_output(command, cwd=ROOT, env=environment)
    report: dict[str, Any] = json.loads(found)
    return {**report, "seconds": time.monotonic() - began}


def _mutated(seed: int, mutations: int, weights: Path, jobs: int) -> dict[str, Any]:
    own = mutations // _OWN_TABLES
    parts = [*_parts(own, weights), *_parts(mutations - own, None)]
    context = get_context("spawn")  # a fork would bring the parent's memory along
    with ProcessPoolExecutor(jobs, context) as pool:
        done = list(pool.map(_attacked, *zip(*_seeded(parts, seed), strict=True)))
    counts: Counter[str] = sum((outcomes.counts for outcomes, _ in done), Counter())
    found = [outcomes for outcomes, _ in done]
    return {
        "layers": counts.total(),
        "outcomes": dict(counts.most_common()),
        "bounds": BOUNDS,
        "slowest_ms": round(1000 * max(one.slowest_s for one in found), 1),
        "share_of_time_bound": round(max(one.time_share for one in found), 3),
        "peak_layer_mb": round(max(one.peak_bytes for one in found) / 1e6, 2),
        "share_of_memory_bound": round(max(one.memory_share for one in found), 3),
        "peak_process_mb": round(max(peak for _, peak in done), 1),
    }


def _parts(layers: int, weights: Path | None) -> list[tuple[int, Path | None]]:
    whole, rest = divmod(layers, _PART)
    return [(size, weights) for size in (*[_PART] * whole, rest) if size]


def _seeded(
    parts: Sequence[tuple[int, Path | None]], seed: int
) -> Iterator[tuple[int, int, Path | None]]:
    for i, (layers, weights) in enumerate(parts):
        yield seed + i, layers, weights


def _attacked(seed: int, layers: int, weights: Path | None) -> tuple[Outcomes, float]:
    """Outcomes, and the process's peak memory in MB. weights: whose tables; None: small ones."""
    if weights is None:
        codec = MachineCodec(scene_tables(np.random.default_rng(8), 8), 0xA55A)
    else:
        codec = codec_of(load_weights(weights))
    outcomes = attack(codec, seed, layers=layers)
    return outcomes, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # Linux: from KB


def _pictures(images: Path, most: int | None) -> list[Path]:
    found = sorted(path for path in images.iterdir() if path.suffix.lower() in PICTURE_SUFFIXES)
    if not found:
        raise FileNotFoundError(f"no pictures in {images}")
    return found[:most]
