"""The decoder's process: real, with the tiny decoder in it."""

from __future__ import annotations

import asyncio
import io
import os
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cloud.pictures.values import Loading, Step, Work
from cloud.pictures.worker import DecoderProcess, Stopped
from common.codec import Coded, MachineCodec
from common.errors import CorruptStream, DecoderUnavailable, ModelMismatch, WrongBase
from tests.cloud.decoders import auxiliary_of, did, loads
from tests.cloud.serving import until
from tests.common.latents import scene_model

CODEC = MachineCodec(scene_model(8), 0x1A2B)


def coded(number: int = 0) -> Coded:
    y = np.zeros((8, 8, 10), np.int16)
    y[0, 0, 0] = number
    return CODEC.encode(y, width=160, height=120, side=160, quality=102)


def work(steps: int = 0, *, base: Coded | None = None, auxiliary: bytes | None = None) -> Work:
    return Work(base or coded(), auxiliary, steps, 1.0, 7)


@pytest.fixture
async def process(tmp_path: Path) -> AsyncIterator[DecoderProcess]:
    process = DecoderProcess(loads(tmp_path, CODEC.model_id), nice=3, timeout_s=60)
    yield process
    process.close()


async def test_a_picture_with_its_steps(process: DecoderProcess, tmp_path: Path) -> None:
    news: list[Loading | Step] = []
    made = await process.make(work(2), news.append)
    assert news[0] == Loading()
    steps = [(n.done, n.of) for n in news if isinstance(n, Step)]
    assert steps == [(0, 2), (1, 2), (2, 2)]
    with Image.open(io.BytesIO(made.picture.png)) as picture:
        assert picture.size == (160, 120) == (made.picture.width, made.picture.height)
    assert made.picture.decoder == "tiny-0d0d"
    assert made.picture.notes == ("it is tiny",)
    assert made.seconds.keys() == {"load", "preview", "diffuse", "encode"}
    assert made.faithful is not None
    assert made.faithful.png == (await process.make(work(0), news.append)).picture.png
    assert news.count(Loading()) == 1
    [first] = [line for line in did(tmp_path) if line.startswith("load")]
    assert int(first.split()[1]) == min(os.nice(0) + 3, 19)


async def test_a_preview_is_small(tmp_path: Path) -> None:
    base = CODEC.encode(
        np.zeros((8, 40, 60), np.int16), width=960, height=640, side=960, quality=102
    )
    news: list[Loading | Step] = []
    process = DecoderProcess(loads(tmp_path, CODEC.model_id), timeout_s=60)
    await process.make(work(base=base), news.append)
    process.close()
    assert isinstance(news[-1], Step)
    with Image.open(io.BytesIO(news[-1].preview)) as preview:
        assert (preview.format, max(preview.size)) == ("WEBP", 320)


async def test_what_was_seen_before_is_told_cell_by_cell(process: DecoderProcess) -> None:
    made = await process.make(work(auxiliary=auxiliary_of(coded())), lambda _: None)
    assert made.picture.seen is not None
    columns, rows, shares = made.picture.seen
    assert (columns, rows, set(shares)) == (20, 15, {128})


async def test_a_cancelled_one_stops_at_its_next_step(
    process: DecoderProcess, tmp_path: Path
) -> None:
    (tmp_path / "hold").touch()
    making = asyncio.create_task(process.make(work(8), lambda _: None))
    await until(lambda: "begin 8" in did(tmp_path))
    process.cancel()
    (tmp_path / "hold").unlink()
    with pytest.raises(Stopped):
        await making
    assert "end" not in did(tmp_path)
    await process.make(work(1), lambda _: None)  # the same process goes on
    assert [line for line in did(tmp_path) if line.startswith("load")] == [did(tmp_path)[0]]


async def test_one_that_is_cancelled_while_the_decoder_loads_is_never_begun(
    process: DecoderProcess, tmp_path: Path
) -> None:
    with pytest.raises(Stopped):
        await process.make(work(), lambda news: process.cancel())
    assert [line for line in did(tmp_path) if line.startswith("begin")] == []


@pytest.mark.parametrize(
    ("auxiliary", "error"),
    [
        (b"damaged", CorruptStream),
        (auxiliary_of(coded(), model=1), ModelMismatch),
        (auxiliary_of(coded(1)), WrongBase),
    ],
    ids=["damaged", "another model", "another frame"],
)
async def test_an_auxiliary_layer_that_does_not_fit(
    process: DecoderProcess, auxiliary: bytes, error: type[Exception]
) -> None:
    with pytest.raises(error):
        await process.make(work(auxiliary=auxiliary), lambda _: None)


async def test_layers_of_another_model(tmp_path: Path) -> None:
    process = DecoderProcess(loads(tmp_path, 0x7777), timeout_s=60)
    with pytest.raises(ModelMismatch, match="7777, not 1a2b"):
        await process.make(work(), lambda _: None)
    process.close()


async def test_weights_that_are_none(process: DecoderProcess, tmp_path: Path) -> None:
    (tmp_path / "broken").touch()
    for _ in range(2):
        with pytest.raises(ModelMismatch, match="not the weights"):
            await process.make(work(), lambda _: None)
    assert not process.loaded


async def test_a_decoder_that_fails_is_unavailable_and_the_next_picture_luckier(
    process: DecoderProcess, tmp_path: Path
) -> None:
    (tmp_path / "fail").write_text("out of memory")
    with pytest.raises(DecoderUnavailable, match="log"):
        await process.make(work(1), lambda _: None)
    (tmp_path / "fail").unlink()
    assert (await process.make(work(1), lambda _: None)).picture.width == 160


async def test_a_process_that_dies_is_made_anew(process: DecoderProcess, tmp_path: Path) -> None:
    (tmp_path / "die").touch()
    with pytest.raises(DecoderUnavailable, match="ended"):
        await process.make(work(1), lambda _: None)
    (tmp_path / "die").unlink()
    assert (await process.make(work(1), lambda _: None)).picture.width == 160


async def test_one_that_hangs_is_killed(tmp_path: Path) -> None:
    (tmp_path / "hold").touch()
    process = DecoderProcess(loads(tmp_path, CODEC.model_id), timeout_s=0.5)
    with pytest.raises(DecoderUnavailable, match="too long"):
        await process.make(work(1), lambda _: None)
    process.close()


async def test_unloading_ends_the_process(process: DecoderProcess, tmp_path: Path) -> None:
    await process.make(work(), lambda _: None)
    assert process.loaded
    await process.unload()
    assert not process.loaded
    await process.make(work(), lambda _: None)
    assert len([line for line in did(tmp_path) if line.startswith("load")]) == 2
