"""The viewer page as people see it: screenshots of a real house.

    glimpse-edge run ──TLS──> glimpse-cloud serve ──TLS──> chromium

First the live view, then the stored frame with the most in view, opened, with the picture for which
the camera is asked.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from bench.service.browser import logged_in, program
from bench.service.processes import (
    camera_command,
    demo_clip,
    free_port,
    make_token,
    running,
    serving,
)

if TYPE_CHECKING:
    from playwright.sync_api import Page

_PATIENCE_MS = 120_000  # the machine may be busy, and the decoder has to be loaded
_IN_VIEW = "tiles => tiles.map(tile => tile.querySelectorAll('rect').length)"


def page(source: str | None, out: Path, weights: Path, *, seconds: float) -> list[Path]:
    """Writes page_live.png and page_frame.png into `out` after `seconds` of a camera.

    Raises BadSettings where there is no browser, playwright's errors for what does not appear.
    """
    program()  # what is missing is said before anything starts
    with tempfile.TemporaryDirectory(prefix="glimpse-page-") as folder:
        data = Path(folder)
        make_token(data, "camera", "gate").rename(data / "camera.token")
        token = make_token(data, "viewer", "viewer").read_text().strip()
        web = f"127.0.0.1:{free_port()}"
        env = {"GLIMPSE_CLOUD_WEIGHTS": str(weights.resolve())}
        with serving(data, env, web) as server:
            command = [
                *camera_command(data, "gate", source or demo_clip(), server),
                "--weights", str(weights.resolve()), "--auxiliary", "later",
            ]  # fmt: skip
            with (
                running(command, data / "camera.log"),
                logged_in(f"https://{web}", token) as tab,
            ):
                out.mkdir(parents=True, exist_ok=True)
                return [_live(tab, out, seconds), _frame(tab, out)]


def _live(tab: Page, out: Path, seconds: float) -> Path:
    tab.locator(".camera .badge", has_text="Live").wait_for(timeout=_PATIENCE_MS)
    tab.wait_for_timeout(1000 * seconds)
    tab.screenshot(path=out / "page_live.png")
    return out / "page_live.png"


def _frame(tab: Page, out: Path) -> Path:
    tab.get_by_role("link", name="Frames", exact=True).click()
    tab.locator(".tile").first.wait_for(timeout=_PATIENCE_MS)
    tiles = tab.locator(".tile")
    in_view: list[int] = tiles.evaluate_all(_IN_VIEW)
    tiles.nth(in_view.index(max(in_view))).click()
    dialog = tab.get_by_role("dialog")
    more = dialog.get_by_role("button", name="Ask the camera for more")
    more.click(timeout=_PATIENCE_MS)
    dialog.get_by_text("Bytes for a picture as good").wait_for(timeout=_PATIENCE_MS)
    tab.screenshot(path=out / "page_frame.png")
    return out / "page_frame.png"
