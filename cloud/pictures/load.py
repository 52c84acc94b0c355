"""The human decoder as its own process loads it: nothing of it is imported before."""

from __future__ import annotations

from pathlib import Path

from cloud.pictures.values import Decoder


def load_human(folder: Path, device: str, threads: int) -> Decoder:
    """threads: torch's own. Raises ModelMismatch, FileNotFoundError."""
    import torch

    from cloud.pictures.human import HumanDecoder

    torch.set_num_threads(threads)
    return HumanDecoder.load(folder, device)
