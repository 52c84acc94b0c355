"""`auxiliary` as a setting of a whole camera process's run, asked by a whole server."""

from __future__ import annotations

import asyncio
import io
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cloud.folder import data_files
from cloud.pictures.auxiliary import AuxiliaryFetcher
from common.bitstream import Kind, kind_of
from common.errors import AuxiliaryError, AuxiliaryGone, AuxiliaryUnsupported
from common.types import FrameId
from edge.display import Display
from edge.pictures.auxiliary import AuxiliaryEncoder
from edge.run import run
from edge.settings import EdgeSettings, read_settings
from tests.cloud.serving import Served, serving, until
from tests.edge.small_auxiliary import SmallAuxiliary
from tests.weights import photograph, tiny_weights


async def asked(tmp_path: Path, mode: str) -> bytes | AuxiliaryError:
    """What a server gets for the first frame that it has of a camera in this mode."""
    weights, photos = tmp_path / "weights", tmp_path / "photos"
    weights.mkdir()
    photos.mkdir()
    tiny_weights(weights, detector=True)
    rng = np.random.default_rng(1)
    for n in range(3):
        Image.fromarray(photograph(rng, 96, 128)).save(photos / f"{n}.png")
    async with serving(tmp_path / "data", weights=weights) as served:
        camera = asyncio.create_task(run(_settings(served, tmp_path, mode), str(photos), _quiet()))
        try:
            await until(lambda: len(served.stored()) > 3)
            boot = next(iter(served.stored().values())).frame.boot
            fetcher = AuxiliaryFetcher(served.running.ingest.speaking)
            with pytest.raises((AuxiliaryGone, AuxiliaryUnsupported)):
                await fetcher.fetch(FrameId("gate", "another", 1), 120, 20.0)
            return await fetcher.fetch(FrameId("gate", boot, 1), 120, 20.0)
        except AuxiliaryError as error:
            return error
        finally:
            if not camera.done():
                os.kill(os.getpid(), signal.SIGTERM)  # its own handler ends it in order
            assert (await camera).error is None


def _settings(served: Served, folder: Path, mode: str) -> EdgeSettings:
    options: dict[str, Any] = {"auxiliary": mode}
    return read_settings(
        camera="gate", server=f"127.0.0.1:{served.running.port}", fps=10, loop=True, threads=1,
        ca=data_files(served.settings.data)[2].authority, token=served.token("camera", "gate"),
        weights=served.settings.weights, spool=folder / "spool", seconds=60, **options,
    )  # fmt: skip


def _quiet() -> Display:
    return Display(io.StringIO(), io.StringIO())


@pytest.mark.parametrize("mode", ["later", "with_frame"])
async def test_a_camera_that_keeps_its_frames(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    small = SmallAuxiliary()  # real, but for the weights that it needs none of
    monkeypatch.setattr(AuxiliaryEncoder, "load", lambda *_, **__: small)
    data = await asked(tmp_path, mode)
    assert isinstance(data, bytes)
    assert kind_of(data) is Kind.AUXILIARY_INTRA
    assert data[4] == {"later": 120, "with_frame": 128}[mode]  # quality
    assert list((tmp_path / "spool" / "gate.ring").iterdir())


async def test_weights_without_an_encoder(tmp_path: Path) -> None:
    error = await asked(tmp_path, "later")
    assert isinstance(error, AuxiliaryUnsupported)
    assert "no auxiliary encoder" in str(error)


async def test_a_camera_that_is_to_keep_nothing(tmp_path: Path) -> None:
    error = await asked(tmp_path, "off")
    assert isinstance(error, AuxiliaryUnsupported)
    assert "auxiliary: off" in str(error)
