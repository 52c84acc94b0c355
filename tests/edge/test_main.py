"""The command line as a user meets it: real processes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edge.coding.weights import EdgeWeights
from tests.edge.rtsp import rtsp_server
from tests.edge.server import Server, serving, until
from tests.weights import photograph, tiny_weights

ROOT = Path(__file__).parents[2]
EDGE = [sys.executable, "-m", "edge.main"]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(5)
    for i in range(3):
        Image.fromarray(photograph(rng, 120, 160)).save(folder / f"{i}.jpg", quality=95)
    return folder


@pytest.fixture
def environment(weights_folder: Path) -> dict[str, str]:
    own = {name: v for name, v in os.environ.items() if not name.startswith("GLIMPSE_")}
    return own | {"GLIMPSE_EDGE_WEIGHTS": str(weights_folder)}


def edge(*arguments: object, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [*EDGE, *map(str, arguments)]
    return subprocess.run(
        command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60, check=False
    )


def test_encode_and_inspect(photos: Path, tmp_path: Path, environment: dict[str, str]) -> None:
    names = [photos / f"{i}.jpg" for i in range(3)]
    done = edge("encode", *names, "-o", tmp_path, "--json", env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    files = [tmp_path / f"{i}.glimpse" for i in range(3)]
    assert [line["out"] for line in lines] == [str(file) for file in files]
    for line, file in zip(lines, files, strict=True):
        assert line["bytes"] == file.stat().st_size
        assert line["bpp"] == pytest.approx(line["bytes"] * 8 / (160 * 120))
    assert sorted(p.name for p in tmp_path.iterdir()) == [file.name for file in files]

    done = edge("inspect", *files, "--json", env=environment)
    assert done.returncode == 0
    for text, line in zip(done.stdout.splitlines(), lines, strict=True):
        found = json.loads(text)
        parts = found["header_bytes"] + found["body_bytes"] + found["checksum_bytes"]
        assert parts == found["bytes"] == line["bytes"]
        assert (found["width"], found["height"], found["quality"]) == (160, 120, 102)
        assert found["nonzero"] >= found["positions"] > 0
    assert "nonzero integers" in edge("inspect", files[0], env=environment).stdout


def test_a_bad_picture_does_not_stop_the_others(
    photos: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    bad = tmp_path / "bad.jpg"
    bad.write_text("no picture")
    done = edge("encode", bad, photos / "0.jpg", "-o", tmp_path / "out", env=environment)
    assert done.returncode == 1
    assert done.stderr == f"glimpse-edge: {bad}: not a picture in a format that is known here\n"
    assert "0.glimpse  160 x 120" in done.stdout


def test_bytes(photos: Path, tmp_path: Path, environment: dict[str, str]) -> None:
    photo = photos / "0.jpg"
    done = edge("encode", photo, "-o", tmp_path, "--bytes", 90, "--json", env=environment)
    assert json.loads(done.stdout)["bytes"] <= 90
    done = edge("encode", photo, "-o", tmp_path, "--bytes", 5, env=environment)
    assert done.returncode == 1
    assert "at the least, not 5" in done.stderr


def test_inspect_reads_the_header_of_another_model(
    photos: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    edge("encode", photos / "0.jpg", "-o", tmp_path, env=environment)
    tiny_weights(tmp_path / "other", seed=1)
    file = tmp_path / "0.glimpse"
    for weights in (tmp_path / "other", tmp_path / "none"):
        done = edge("inspect", file, "--weights", weights, env=environment)
        assert done.returncode == 0
        assert "another model" in done.stdout
    file.write_bytes(file.read_bytes()[:-1])
    done = edge("inspect", file, env=environment)
    assert (done.returncode, done.stderr) == (
        1, f"glimpse-edge: {file}: the checksum does not match\n"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (["encode", "a/x.jpg", "b/x.png", "-o", "out"], 2, "two pictures"),
        (["encode", "x.jpg", "-o", "out", "--quality", "3"], 2, "quality"),
        (["encode", "x.jpg", "-o", "out", "--quality", "0.3", "--bytes", "9"], 2, "exclude"),
        (["encode", "x.jpg", "-o", "out", "--weights", "none"], 3, "none/manifest.json"),
        (["encode", "x.jpg", "-o", "pyproject.toml/out"], 2, "pyproject.toml"),
        (["encode", "x.jpg", "-o", "out", "--side", "33"], 2, "side"),
        (["run", "--source", "x.mp4", "--server", "nowhere"], 2, "HOST:PORT"),
        (["run", "--config", "none.yaml"], 2, "configuration file none.yaml: No such file"),
        (["config", "check", "pyproject.toml"], 2, "pyproject.toml: line 2"),
        (["run", "--source", "x.mp4", "--token-file", "none"], 2, "token file none"),
        (["run", "--source", "x.mp4", "--ca", "pyproject.toml"], 2, "no PEM certificate"),
    ],
)
def test_bad_usage(
    arguments: list[str], code: int, reason: str, environment: dict[str, str]
) -> None:
    done = edge(*arguments, env=environment)
    assert done.returncode == code
    assert reason in done.stderr
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr


def test_a_provider_that_is_not_installed(environment: dict[str, str]) -> None:
    own = environment | {"GLIMPSE_EDGE_PROVIDER": "tensorrt"}
    done = edge("encode", "x.jpg", "-o", "out", env=own)
    assert done.returncode == 2
    assert "provider tensorrt is not installed; installed: cpu" in done.stderr


def test_demo_clip(photos: Path, environment: dict[str, str]) -> None:
    done = edge("demo-clip", env=environment | {"GLIMPSE_DEMO_CLIP": str(photos)})
    assert (done.returncode, done.stdout) == (0, f"{photos}\n")
    assert "as asked for" in done.stderr


def test_encode_does_not_mask(photos: Path, tmp_path: Path, environment: dict[str, str]) -> None:
    everything = {"GLIMPSE_EDGE_MASKS": "[[[0, 0], [1, 0], [1, 1], [0, 1]]]"}
    edge("encode", photos / "0.jpg", "-o", tmp_path / "a", env=environment)
    edge("encode", photos / "0.jpg", "-o", tmp_path / "b", env=environment | everything)
    plain, masked = (tmp_path / folder / "0.glimpse" for folder in "ab")
    assert plain.read_bytes() == masked.read_bytes()


# ---------------------------------------------------------------- config


CAMERAS = """
server: cloud.example.org:443
token: do-not-tell
cameras:
  gate: {source: "rtsp://me:do-not-tell@10.0.0.7/live", masks: [[[0, 0], [1, 0], [0, 1]]]}
  yard: {source: /dev/video0, fps: 2}
"""


def test_config_check(tmp_path: Path, environment: dict[str, str]) -> None:
    file = tmp_path / "cameras.yaml"
    file.write_text(CAMERAS)
    done = edge("config", "check", file, env=environment | {"GLIMPSE_EDGE_QUALITY": "0.7"})
    assert (done.returncode, done.stderr) == (0, "")
    assert "do-not-tell" not in done.stdout
    lines = done.stdout.splitlines()
    assert [line for line in lines if not line.startswith(" ")] == ["gate:", "yard:"]
    for line in ("server = cloud.example.org:443", "fps = 2.0", "token = **********"):
        assert f"  {line}" in lines
    assert lines.count("  quality = 0.7") == 2


def test_config_check_lists_every_fault(tmp_path: Path, environment: dict[str, str]) -> None:
    file = tmp_path / "cameras.yaml"
    file.write_text("cameras:\n  gate: {fps: 0, fsp: 1}\n  yard: {fps: 1}\n  pool: {server: x}\n")
    done = edge("config", "check", file, env=environment)
    assert done.returncode == 2
    faults = done.stderr.splitlines()
    assert len(faults) == 3
    for fault, part in zip(faults, ("gate: fps", "gate: fsp", "pool: server"), strict=True):
        assert fault.startswith(f"glimpse-edge: {file}: camera {part}: ")
    assert "yard:" in done.stdout
    file.write_text("fps: [")
    done = edge("config", "check", file, env=environment)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)


# ---------------------------------------------------------------- run


@pytest.fixture
async def server(weights: EdgeWeights) -> AsyncIterator[Server]:
    async with serving(Server(weights.manifest.model_id, token="secret")) as service:
        yield service


async def start(
    server: str, source: Path | str, folder: Path, environment: dict[str, str], *arguments: object
) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *EDGE, "run", "--camera", "gate", "--source", str(source), "--server", server,
        "--insecure", "--json", str(folder / "summary.json"), *map(str, arguments),
        cwd=ROOT, env={"GLIMPSE_EDGE_TOKEN": "secret"} | environment,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip


async def end_of(process: asyncio.subprocess.Process) -> tuple[int, str, str]:
    out, err = await asyncio.wait_for(process.communicate(), 30)
    return process.returncode or 0, out.decode(), err.decode()


async def test_run_to_the_sources_end(
    server: Server, photos: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    process = await start(server.address, photos, tmp_path, environment, "--fps", 10)
    code, out, err = await end_of(process)
    assert code == 0, err
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["adds_up"]
    assert summary["captured"] == 3
    assert summary["acked"] == len(server.stored) == summary["coded"] > 0
    assert summary["capture_to_boxes_ms"]["frames"] == summary["acked"]
    if sys.platform == "linux":
        layers = sum(len(layer.data) for layer in server.stored.values())
        assert layers < summary["wire"]["sent_bytes"] < layers + 5000
    assert "adds up" in out
    assert "secret" not in out + err


async def test_a_signal_ends_it_with_a_summary(
    server: Server, photos: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    process = await start(server.address, photos, tmp_path, environment, "--loop", "--fps", 30)
    await until(lambda: len(server.stored) > 5)
    process.send_signal(signal.SIGTERM)
    code, out, err = await end_of(process)
    assert code == 0, err
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["adds_up"]
    assert summary["acked"] == len(server.stored)
    assert summary["waiting"] == 0
    assert "captured" in out


async def test_kill_9_loses_nothing(
    server: Server, photos: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    server.cut_at = 4  # stored and not acked: what the next boot has to find out
    options = ("--spool", tmp_path / "spool", "--fps", 50)
    process = await start(server.address, photos, tmp_path, environment, "--loop", *options)
    await until(lambda: server.cuts >= 1)
    process.kill()
    await process.communicate()
    server.cut_at = 0
    code, _, err = await end_of(
        await start(server.address, photos, tmp_path, environment, *options)
    )
    assert code == 0, err
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["adds_up"]
    assert summary["waiting"] == 0
    boots = {frame.boot for frame in server.stored}
    assert len(boots) == 2
    for boot in boots:
        numbers = sorted(frame.seq for frame in server.stored if frame.boot == boot)
        assert numbers == list(range(len(numbers)))


async def test_no_server(photos: Path, tmp_path: Path, environment: dict[str, str]) -> None:
    process = await start(
        "127.0.0.1:9", photos, tmp_path, environment | {"GLIMPSE_EDGE_DRAIN_S": "0.2"}, "--fps", 50
    )
    code, _, err = await end_of(process)
    assert code == 4
    assert err.count("trying again") == 1
    assert err.splitlines()[-1].startswith("glimpse-edge: 127.0.0.1:9: ")
    assert "are lost: there is no --spool" in err
    assert json.loads((tmp_path / "summary.json").read_text())["adds_up"]


async def test_a_wrong_token(
    server: Server, photos: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    wrong = environment | {"GLIMPSE_EDGE_TOKEN": "guess"}
    process = await start(server.address, photos, tmp_path, wrong, "--loop")
    code, _, err = await end_of(process)
    assert code == 5
    assert "does not know this camera: this token is not known here" in err
    assert server.stored == {}
    assert json.loads((tmp_path / "summary.json").read_text())["adds_up"]


async def test_another_model(
    server: Server, photos: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    server.model_id ^= 1
    code, _, err = await end_of(await start(server.address, photos, tmp_path, environment))
    assert code == 5
    assert "holds model" in err


async def test_a_bad_source(server: Server, tmp_path: Path, environment: dict[str, str]) -> None:
    process = await start(server.address, tmp_path / "gone.mp4", tmp_path, environment)
    code, _, err = await end_of(process)
    assert code == 3
    assert "gone.mp4: no such file" in err


async def test_a_camera_of_a_configuration_file(
    server: Server, photos: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    file = tmp_path / "cameras.yaml"
    file.write_text(
        f"insecure: true\nserver: {server.address}\n"
        f"cameras: {{gate: {{source: none}}, yard: {{source: {photos}, fps: 10}}}}\n"
    )
    process = await asyncio.create_subprocess_exec(
        *EDGE, "run", "--config", str(file), "--camera", "yard", cwd=ROOT,
        env=environment | {"GLIMPSE_EDGE_TOKEN": "secret"},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    code, _, err = await end_of(process)
    assert code == 0, err
    assert {frame.camera for frame in server.stored} == {"yard"}


async def test_what_a_mask_covers_changes_no_byte(
    server: Server, tmp_path: Path, environment: dict[str, str]
) -> None:
    """Two pictures that differ under the mask only, seen as the server sees them."""
    rng = np.random.default_rng(6)
    scene, other = photograph(rng, 120, 160), photograph(rng, 120, 160)
    other[:, 84:] = scene[:, 84:]
    for i, picture in enumerate((scene, other)):
        Image.fromarray(picture).save(tmp_path / f"{i}.png")
    left_half = {"GLIMPSE_EDGE_MASKS": "[[[0, 0], [0.53, 0], [0.53, 1], [0, 1]]]"}
    for masks in (left_half, {}):
        for i in range(2):
            process = await start(
                server.address, tmp_path / f"{i}.png", tmp_path, environment | masks
            )
            code, _, err = await end_of(process)
            assert code == 0, err
    layers = [layer.data for layer in server.stored.values()]
    assert len(layers) == 4
    assert layers[0] == layers[1]
    assert layers[2] != layers[3]
    assert layers[0] != layers[2]


async def test_a_stream_that_stalls_does_not_hold_up_the_end(
    server: Server, tmp_path: Path, environment: dict[str, str]
) -> None:
    with rtsp_server() as camera:
        process = await start(server.address, camera.url, tmp_path, environment, "--fps", 20)
        await until(lambda: len(server.stored) > 5)
        camera.stalled.set()
        process.send_signal(signal.SIGTERM)
        ending = asyncio.get_running_loop().time()
        code, out, err = await end_of(process)
        assert asyncio.get_running_loop().time() - ending < 5
    assert code == 0, err
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["adds_up"]
    assert summary["acked"] == len(server.stored)
    assert "user:secret" not in out + err
