"""The learned opponent: an image codec of its own kind, trained as long as ours (train/peer.py)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from bench.accuracy.opponents import Shown, Source
from train.codecs import scaled
from train.peer import Peer, compress, decompress, load_peers, peer_runs

SCALES = (1.0, 0.7, 0.5, 0.35)


class LearnedPeer:
    """Every network of a run at every scale. Raises BadSettings where the run is not finished."""

    name = "mbt2018-mean"

    def __init__(self, run: Path) -> None:
        self._run = run
        self._files = peer_runs(run)

    @property
    def settings(self) -> Sequence[tuple[str, str]]:
        return [(f"lambda {lmbda:g}", f"{scale:g}") for lmbda in self._files for scale in SCALES]

    def show(self, source: Source) -> list[Shown]:
        peers = _peers(self._run)
        shown = []
        for lmbda in self._files:
            for scale in SCALES:
                data = compress(peers[lmbda], scaled(source.picture.pixels, scale))
                shown.append(Shown(len(data), len(data), decompress(peers[lmbda], data)))
        return shown

    def about(self) -> dict[str, Any]:
        files = self._files.values()
        return {"files": [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]}


@cache
def _peers(run: Path) -> dict[float, Peer]:
    return load_peers(run)
