"""A real browser before a real page."""

from __future__ import annotations

import asyncio
import hashlib
import io
import subprocess
import tarfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from playwright.sync_api import Browser, ConsoleMessage, expect, sync_playwright

from tests.cloud.web.page import Page, page

T = TypeVar("T")

ROOT = Path(__file__).parents[3]
SCREENSHOTS = ROOT / "screenshots"  # ignored by git
DESKTOP, PHONE = (1280, 860), (390, 844)

_AXE = "axe-core-4.14.1"
_AXE_SHA256 = "e6b0ce02b84d892e2e33e403485e7f3d6c29e2be6df65daf44d89ba564139745"
_RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]

expect.set_options(timeout=20_000)  # the machine may be busy


@contextmanager
def launched(path: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        # A test may run as root, whom chromium's sandbox refuses; it sees our own pages only.
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


class Served:
    """A page's server on a thread. `do` runs a function of it there."""

    def __init__(self, page: Page, loop: asyncio.AbstractEventLoop) -> None:
        self.page, self._loop = page, loop

    @property
    def url(self) -> str:
        return self.page.url

    def do(self, work: Callable[[Page], T]) -> T:
        async def working() -> T:
            return work(self.page)

        return asyncio.run_coroutine_threadsafe(working(), self._loop).result(20)


@contextmanager
def served_beside(data: Path, port: int = 0) -> Iterator[Served]:
    """Serves the page of this data folder while the body runs."""
    ready = threading.Event()
    found: list[Served] = []

    async def serve() -> None:
        async with page(data, port=port) as served:
            stop = asyncio.Event()
            found.append(Served(served, asyncio.get_running_loop()))
            stops.append(stop)
            ready.set()
            await stop.wait()

    stops: list[asyncio.Event] = []
    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    assert ready.wait(20)
    try:
        yield found[0]
    finally:
        found[0].do(lambda _: stops[0].set())
        thread.join()


class Tab:
    """One tab of a browser that knows nothing yet.

    options  size: width and height; dark, calm: what the system prefers; touch
    faults   what it complained about: errors of scripts, blocked loads, requests to elsewhere
    """

    def __init__(self, browser: Browser, url: str, options: dict[str, Any]) -> None:
        width, height = options.get("size", DESKTOP)
        self.url = url
        self.faults: list[str] = []
        self.expected: tuple[str, ...] = ()  # complaints that a test provokes
        self._context = browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if options.get("dark") else "light",
            reduced_motion="reduce" if options.get("calm") else "no-preference",
            has_touch=bool(options.get("touch")),
            ignore_https_errors=True,
            accept_downloads=True,
            locale="en-GB",
            timezone_id="Europe/Berlin",
        )
        self.page = self._context.new_page()
        self.page.on("pageerror", lambda error: self._complain(str(error)))
        self.page.on("console", self._logged)
        self.page.on("request", lambda request: self._asked(request.url))

    def go(self, path: str) -> None:
        self.page.goto(self.url + path)

    def log_in(self, token: str, path: str = "/") -> None:
        self.go(path)
        self.page.get_by_label("Viewer token").fill(token)
        self.page.get_by_role("button", name="Log in").click()
        expect(self.page.locator("#link-text")).to_have_text("Connected")

    def shoot(self, name: str) -> None:
        """A picture for people to look at."""
        SCREENSHOTS.mkdir(exist_ok=True)
        self.page.screenshot(path=SCREENSHOTS / f"{name}.png")

    def colours(self, canvas: str) -> set[tuple[int, int, int]]:
        """Which colours are on a canvas."""
        script = """(canvas) => {
            const {data} = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
            const found = new Set();
            for (let i = 0; i < data.length; i += 4) found.add(data.slice(i, i + 3).join());
            return [...found];
        }"""
        found: list[str] = self.page.locator(canvas).first.evaluate(script)
        return {(int(r), int(g), int(b)) for r, g, b in (text.split(",") for text in found)}

    def violations(self) -> list[str]:
        """What axe-core finds wrong with the page as it is."""
        self.page.evaluate(axe())
        run = "rules => axe.run(document, {runOnly: rules})"
        found = self.page.evaluate(run, _RULES)["violations"]
        return [f"{v['id']}: {v['nodes'][0]['html'][:200]}" for v in found]

    def close(self) -> None:
        self._context.close()

    def _logged(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self._complain(message.text)

    def _complain(self, text: str) -> None:
        if not any(part in text for part in self.expected):
            self.faults.append(text)

    def _asked(self, url: str) -> None:
        if not url.startswith((self.url, "data:", "blob:")):
            self.faults.append(f"asks for {url}")


def axe() -> str:
    """axe-core's script, from npm's registry, checked and kept in a folder that git ignores."""
    kept = ROOT / "cache" / f"{_AXE}.tgz"
    if not kept.exists():
        kept.parent.mkdir(exist_ok=True)
        name, _, version = _AXE.rpartition("-")
        command = ["npm", "pack", "--silent", f"{name}@{version}"]
        subprocess.run(command, cwd=kept.parent, check=True, capture_output=True)
    archive = kept.read_bytes()
    assert hashlib.sha256(archive).hexdigest() == _AXE_SHA256, f"{kept} is not {_AXE}"
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        script = files.extractfile("package/axe.min.js")
        assert script is not None
        return script.read().decode()
