"""The page as pictures, of real processes and a real browser, where there is one."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from bench.__main__ import app
from bench.service.page import page
from edge.coding.weights import DEFAULT_WEIGHTS
from tests.bench.films import make_film


def test_without_a_browser_it_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    result = CliRunner().invoke(app, ["page", "--out", str(tmp_path / "o")])
    assert result.exit_code == 2
    assert "no browser" in result.output
    assert not (tmp_path / "o").exists()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs chromium")
@pytest.mark.timeout(400)
def test_a_live_page_and_a_frame(tmp_path: Path) -> None:
    clip = make_film(tmp_path / "clip.mkv", 40)
    files = page(str(clip), tmp_path / "shots", DEFAULT_WEIGHTS, seconds=1)
    assert [file.name for file in files] == ["page_live.png", "page_frame.png"]
    for file in files:
        with Image.open(file) as shot:
            assert shot.size == (1280, 860)
            assert len(shot.convert("RGB").getcolors(1 << 24) or ()) > 50
