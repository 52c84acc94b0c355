"""A camera that stands still sends a picture of itself, and later frames' pictures show by it."""

from __future__ import annotations

import asyncio
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import ANY

import numpy as np
import pytest
from PIL import Image

import glimpse
from cloud.folder import data_files
from cloud.store.sqlite import SqliteFrameStore
from edge.display import Display
from edge.run import run
from edge.settings import read_settings
from glimpse.v1 import ingest_pb2
from tests.cloud.decoders import decoder_folder, loads
from tests.cloud.serving import serving, until
from tests.human import tiny_human
from tests.weights import photograph, tiny_weights

PATIENCE_S = 240.0
LEFT_HALF = ((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0))


def scene(folder: Path) -> Path:
    """What the camera sees: the same for ever."""
    folder.mkdir()
    Image.fromarray(photograph(np.random.default_rng(1), 96, 128)).save(folder / "scene.png")
    return folder


async def test_a_still_of_a_masked_camera_goes_into_the_picture_of_a_later_frame(
    tmp_path: Path,
) -> None:
    weights, human = tmp_path / "weights", decoder_folder(tmp_path / "human")
    decoder = loads(human, tiny_weights(weights, detector=True).model_id)
    async with serving(tmp_path / "data", decoder, weights=weights, human=human) as served:
        settings = read_settings(
            camera="gate", server=f"127.0.0.1:{served.running.port}", fps=10, loop=True, threads=1,
            ca=data_files(served.settings.data)[2].authority, token=served.token("camera", "gate"),
            weights=weights, seconds=60, reference_s=3600, reference_quality=90, masks=(LEFT_HALF,),
            reference_window_s=1,
        )  # fmt: skip
        quiet = Display(io.StringIO(), io.StringIO())
        camera = asyncio.create_task(run(settings, str(scene(tmp_path / "scene")), quiet))
        try:
            await until(
                lambda: served.count("glimpse_stills_total", camera="gate", outcome="stored") == 1
            )
            first = len(served.stored())
            await until(lambda: len(served.stored()) > first + 2)
        finally:
            if not camera.done():
                os.kill(os.getpid(), signal.SIGTERM)  # its own handler ends it in order
            assert (await camera).error is None
        newest = max(served.stored().values(), key=lambda stored: stored.frame.seq)
        store = SqliteFrameStore(data_files(served.settings.data)[0])
        found = store.last_still("gate", newest.captured_at)
        store.close()
        assert found is not None
        with Image.open(io.BytesIO(found[1])) as still:
            pixels = np.asarray(still.convert("RGB")).astype(int)
        assert pixels.shape == (96, 128, 3)
        assert abs(pixels[:, :60] - 128).max() < 8  # nobody sees what is masked
        assert pixels[:, 70:].std() > 10
        frame = str(newest.frame)
        assert newest.frame.seq > found[0].frame.seq
        client = glimpse.AsyncClient.connect(
            f"127.0.0.1:{served.running.port}",
            ca=data_files(served.settings.data)[2].authority,
            token=served.viewer_token,
        )
        async with client:
            picture = await client.reconstruct(frame)
        assert picture.auxiliary_bytes == 0
        assert picture.seen is not None
        assert picture.seen.captured_at == pytest.approx(found[0].captured_at, abs=1e-5)
        reference = picture.provenance["layers"]["reference"]
        assert (reference["frame"], reference["bytes"]) == (str(found[0].frame), len(found[1]))
        with Image.open(io.BytesIO(picture.png)) as shown:
            there = np.asarray(shown).astype(int)
        assert abs(there[:, :60] - 128).max() < 8  # as the still has it


async def test_a_camera_that_sends_what_is_no_still_goes_on(
    tmp_path: Path, layers: list[bytes]
) -> None:
    """A client that speaks the contract by hand, and badly."""
    file = io.BytesIO()
    Image.new("RGB", (64, 48)).save(file, "AVIF")
    good = file.getvalue()
    async with serving(tmp_path, max_still_bytes=2048) as served, served.camera() as camera:

        async def answer(seq: int, data: bytes, size: int | None = None) -> tuple[int, str]:
            piece = ingest_pb2.StillPiece(seq=seq, size=size or len(data), data=data)
            await camera.write(still_piece=piece)
            while not (message := await camera.read()).HasField("still_result"):
                pass
            assert message.still_result.seq == seq
            return message.still_result.outcome, message.still_result.reason

        refused, stored = ingest_pb2.OUTCOME_REFUSED, ingest_pb2.OUTCOME_STORED
        assert await answer(0, good) == (refused, "gate/b1/0 is not stored")
        await camera.send((0, layers[0]))
        await camera.acks(1)
        assert await answer(0, b"no picture") == (refused, "not an AVIF file")
        assert await answer(0, b"x", 2049) == (refused, "2049 bytes, the server takes 1 to 2048")
        assert await answer(1 << 63, good) == (refused, ANY)
        assert await answer(0, good) == (stored, "")
        assert await answer(0, good) == (stored, "")  # once more does no harm
        await camera.send((1, layers[1]))
        await camera.acks(2)
        assert served.count("glimpse_stills_total", camera="gate", outcome="stored") == 2
        assert served.count("glimpse_still_bytes_total", camera="gate") == 2 * len(good)


async def test_a_server_that_takes_no_stills_says_so(tmp_path: Path) -> None:
    async with serving(tmp_path, stills=0) as served, served.camera(hello=False) as camera:
        await camera.hello()
        assert (await camera.read()).welcome.max_still_bytes == 0


@contextmanager
def process(*words: object, **variables: str) -> Iterator[subprocess.Popen[str]]:
    """A command as one installs it, killed at the end."""
    script, *rest = words
    command = [str(Path(sys.executable).with_name(str(script))), *map(str, rest)]
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
        env=os.environ | variables,
    ) as running:  # fmt: skip
        try:
            yield running
        finally:
            running.kill()


@contextmanager
def server(folder: Path) -> Iterator[str]:
    """`glimpse-cloud serve`, its decoder the real one with random weights; its address."""
    quiet = {"GLIMPSE_CLOUD_DECODE_DEVICE": "cpu", "GLIMPSE_CLOUD_THREADS": "1"}
    with process(
        "glimpse-cloud", "serve", "--data", folder / "data", "--weights", folder / "weights",
        "--listen", "127.0.0.1:0", "--metrics-listen", "", "--web-listen", "", "--insecure",
        **quiet,
    ) as running:  # fmt: skip
        assert running.stderr is not None
        for line in running.stderr:
            if found := re.search(r"serving .*\bport=(\d+)", line):
                yield f"127.0.0.1:{found[1]}"
                return
    raise AssertionError("the server did not come up")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_real_camera_and_a_server_that_is_killed_after_it_took_the_still(tmp_path: Path) -> None:
    tiny_weights(tmp_path / "weights", detector=True)
    tiny_human(tmp_path / "weights", prior=False)
    photos = scene(tmp_path / "scene")

    def picture(client: glimpse.Client) -> glimpse.Picture:
        """Of the newest frame, as soon as a still goes into one."""
        for _ in range(round(PATIENCE_S)):
            frames = list(client.frames(camera="gate", limit=1))
            if frames:
                made = client.reconstruct(frames[0].frame, timeout_s=PATIENCE_S)
                if made.seen is not None:
                    return made
            time.sleep(1.0)
        raise AssertionError("no still goes into a picture")

    with server(tmp_path) as address:
        viewer = (tmp_path / "data" / "viewer.token").read_text().strip()
        token = subprocess.run(
            [Path(sys.executable).with_name("glimpse-cloud"), "token", "camera", "gate",
             "--data", tmp_path / "data"],
            capture_output=True, text=True, check=True,
        ).stdout.strip()  # fmt: skip
        with (
            process(
                "glimpse-edge", "run", "--camera", "gate", "--source", photos, "--loop",
                "--server", address, "--insecure", "--weights", tmp_path / "weights",
                GLIMPSE_EDGE_TOKEN=token, GLIMPSE_EDGE_REFERENCE_S="3600", GLIMPSE_EDGE_FPS="2",
                GLIMPSE_EDGE_REFERENCE_WINDOW_S="4",
            ),
            glimpse.Client.connect(address, token=viewer, insecure=True) as client,
        ):  # fmt: skip
            first = picture(client)
    with (
        server(tmp_path) as address,
        glimpse.Client.connect(address, token=viewer, insecure=True) as client,
    ):
        again = picture(client)
    for made in (first, again):
        assert made.auxiliary_bytes == 0
        assert made.seen is not None
        assert made.seen.captured_at > 1e9
    said = [json.dumps(made.provenance["layers"]["reference"]) for made in (first, again)]
    assert said[0] == said[1]
