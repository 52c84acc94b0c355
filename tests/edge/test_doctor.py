from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from edge.doctor import examine
from edge.link.doctor import Wish
from edge.main import app
from edge.settings import read_settings
from tests.weights import photograph


@pytest.fixture
def nobody() -> Iterator[str]:
    """HOST:PORT where nobody listens, and nobody else will."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{taken.getsockname()[1]}"


@pytest.fixture
def photo(tmp_path: Path) -> str:
    path = tmp_path / "photo.png"
    Image.fromarray(photograph(np.random.default_rng(8), 120, 160)).save(path)
    return str(path)


async def finding(about: str, **settings: object) -> tuple[str, str, str]:
    examined = examine(read_settings(**{"camera": "gate", **settings}), Wish(None))
    async for one in examined:
        if one.about == about:
            await examined.aclose()  # type: ignore[attr-defined]
            return one.level, one.says, one.do
    raise AssertionError(f"nothing about {about}")


class TestNoCamera:
    async def test_no_such_device(self) -> None:
        level, says, do = await finding("camera", source="/dev/video9999")
        assert (level, says) == ("fail", "/dev/video9999: no such device")
        assert "cable" in do

    async def test_a_stream_that_does_not_answer(self, nobody: str) -> None:
        source = f"rtsp://user:secret@{nobody}/live"
        level, says, _ = await finding("camera", source=source, open_deadline_s=20)
        assert level == "fail"
        assert "secret" not in says

    async def test_a_file_that_is_not_there(self, tmp_path: Path) -> None:
        level, says, _ = await finding("camera", source=str(tmp_path / "none.mp4"))
        assert level == "fail"
        assert "none.mp4" in says


class TestSpool:
    async def test_in_memory(self, photo: str) -> None:
        assert (await finding("spool", source=photo))[0] == "warn"

    async def test_room_for_hours(self, photo: str, tmp_path: Path) -> None:
        level, says, _ = await finding("spool", source=photo, spool=tmp_path / "spool", fps=0.01)
        assert level == "ok"
        assert "hours without a server" in says

    async def test_room_for_minutes(self, photo: str, tmp_path: Path) -> None:
        level, _, do = await finding(
            "spool", source=photo, spool=tmp_path, fps=120, max_spool_bytes=4096
        )
        assert level == "warn"
        assert "max_spool_bytes" in do

    async def test_not_a_folder(self, photo: str) -> None:
        level, says, _ = await finding("spool", source=photo, spool=Path(photo) / "spool")
        assert level == "fail"
        assert "not writable" in says


async def test_an_encoder_that_is_too_slow(tmp_path: Path) -> None:
    Image.new("RGB", (2048, 1536)).save(tmp_path / "large.png")
    source = str(tmp_path / "large.png")
    level, _, do = await finding("encoder", source=source, fps=120, side=2048, threads=1)
    assert level == "warn"
    assert "--fps" in do


class TestCommand:
    def arguments(self, server: str, photo: str) -> list[str]:
        return ["doctor", "--camera", "gate", "--server", server, "--source", photo]

    def test_a_line_each_and_what_to_do(self, nobody: str, photo: str) -> None:
        result = CliRunner().invoke(app, self.arguments(nobody, photo))
        assert result.exit_code == 1
        assert "ok    camera        " in result.stdout
        assert f"fail  connection    {nobody}: " in result.stdout
        assert "-> is it running" in result.stdout
        assert result.stdout.splitlines()[-1] == "1 to mend, 1 to watch"

    def test_json(self, nobody: str, photo: str) -> None:
        result = CliRunner().invoke(app, [*self.arguments(nobody, photo), "--json"])
        found = [json.loads(line) for line in result.stdout.splitlines()]
        assert {one["about"]: one["level"] for one in found}["connection"] == "fail"
        assert all(one["do"] for one in found if one["level"] != "ok")

    def test_wrong_settings(self) -> None:
        result = CliRunner().invoke(app, ["doctor", "--server", "nowhere"])
        assert "HOST:PORT" in str(result.exception)
