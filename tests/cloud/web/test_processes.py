"""Real processes: camera, server and browser; and the server is killed in between."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Error, expect

from bench.service.processes import CLOUD, ROOT, camera_command, free_port, make_token
from tests.cloud.web.browser import Tab
from tests.weights import photograph

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

PATIENCE_MS = 60_000
DECODER_MS = 200_000  # it is the least urgent of all processes, and a busy machine lets it wait


class House:
    """A server and a camera with one data folder, on ports that stay the same."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._address, web = (f"127.0.0.1:{free_port()}" for _ in range(2))
        self.web = web
        make_token(data, "camera", "gate")
        self.token = make_token(data, "viewer", "alice").read_text().strip()
        self._pictures = data / "pictures"
        self._pictures.mkdir()
        rng = np.random.default_rng(8)
        for n in range(12):
            Image.fromarray(photograph(rng, 120, 160)).save(self._pictures / f"{n:02}.png")

    @contextmanager
    def server(self) -> Iterator[None]:
        """It tells even what it hardly believes, so that there are boxes whatever the weights."""
        command = [
            *CLOUD, "serve", "--listen", self._address, "--web-listen", self.web,
            "--metrics-listen", "", "--data", str(self._data),
        ]  # fmt: skip
        with _running(command, {"GLIMPSE_CLOUD_MIN_SCORE": "0.02"}):
            yield

    @contextmanager
    def camera(self) -> Iterator[None]:
        command = camera_command(self._data, "gate", str(self._pictures), self._address)
        with _running([*command, "--fps", "2", "--auxiliary", "later"], {}):
            yield


@contextmanager
def _running(command: Sequence[str], env: Mapping[str, str]) -> Iterator[None]:
    """A process that is killed, not asked, at the end."""
    with subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, **env}, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        try:
            yield
        finally:
            process.kill()


def reach(shown: Tab) -> None:
    """Loads the page as soon as there is one."""
    for _ in range(600):
        try:
            shown.go("/login")
        except Error:
            shown.page.wait_for_timeout(100)
        else:
            return
    raise AssertionError("the server does not come up")


def see_its_picture(shown: Tab, dialog: Any) -> None:
    """Made by the decoder of the weights that ship: first alone, then with what the camera has."""
    expect(dialog.get_by_text("Faithful view: no detail")).to_be_visible(timeout=DECODER_MS)
    expect(dialog.get_by_text("Made of the machine layer alone")).to_be_visible()
    ask = dialog.get_by_role("button", name="Ask the camera for more")
    ask.click()
    expect(dialog.get_by_text("Bytes for a picture as good")).to_be_visible(timeout=DECODER_MS)
    expect(dialog.get_by_text("Made of the machine layer alone")).to_have_count(0)
    expect(ask).to_have_count(0)
    shares = dialog.locator(".spent .bar").evaluate_all(
        "bars => bars.map(bar => bar.offsetWidth / bar.parentElement.offsetWidth)"
    )
    assert max(shares) == pytest.approx(1, abs=0.02)
    assert 0 < min(shares) < 1
    dialog.get_by_role("combobox", name="Diffusion steps").select_option("1")
    dialog.get_by_role("button", name="Add detail").click()
    expect(dialog.get_by_text("it is not evidence")).to_be_visible(timeout=DECODER_MS)
    assert shown.violations() == []
    shown.shoot("process-frame")


def test_from_a_camera_to_a_frame_on_the_screen(tmp_path: Path, tab: Callable[..., Tab]) -> None:
    house = House(tmp_path)
    shown = tab(f"https://{house.web}")
    shown.expected = ("ERR_", "Failed to load")
    card = shown.page.locator(".camera[data-camera='gate']")
    in_view = re.compile(r"\d+ (person|people|car|motorcycle|bus|truck)")
    with ExitStack() as stack:
        with house.server():
            reach(shown)
            stack.enter_context(house.camera())
            shown.log_in(house.token)
            expect(card.locator(".view")).to_have_text(in_view, timeout=PATIENCE_MS)
            expect(card.locator(".badge")).to_have_text("Live", timeout=PATIENCE_MS)
            shown.shoot("process-live")
        expect(shown.page.locator("#notice")).to_contain_text("does not answer")
        stack.enter_context(house.server())
        expect(shown.page.locator("#link-text")).to_have_text("Connected", timeout=PATIENCE_MS)
        expect(card.locator(".badge")).to_have_text("Live", timeout=PATIENCE_MS)
        shown.page.get_by_role("link", name="Frames", exact=True).click()
        shown.page.locator(".tile", has_text=in_view).first.click()
        dialog = shown.page.get_by_role("dialog")
        expect(dialog.get_by_role("table")).to_be_visible()
        expect(dialog.get_by_text("160 × 120 px").first).to_be_visible()
        see_its_picture(shown, dialog)
        with shown.page.expect_download() as download:
            dialog.get_by_role("link", name="Download layer").click()
        layer = tmp_path / "gate.glimpse"
        download.value.save_as(layer)
    command = [*CLOUD, "detect", str(layer), "--min-score", "0.02", "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert '"width": 160, "height": 120' in done.stdout
