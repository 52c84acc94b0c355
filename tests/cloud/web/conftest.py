from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.cloud.web.browser import Served, Tab, launched, served_beside
from tests.cloud.web.page import Page, page


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Page]:
    """The page's server, in the test's own loop."""
    async with page(tmp_path) as served:
        yield served


@pytest.fixture
async def viewer(served: Page) -> AsyncIterator[httpx.AsyncClient]:
    """A client that is logged in."""
    async with served.viewer() as client:
        yield client


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """Debian's chromium, or another one on the path, without a window.

    Not for a module with asynchronous tests: while it is there, this thread's loop is playwright's.
    """
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)
    if path is None:
        pytest.skip("no chromium on this machine: apt-get install chromium")
    with launched(path) as browser:
        yield browser


@pytest.fixture
def beside(tmp_path: Path) -> Iterator[Served]:
    """The page's server on a thread of its own."""
    with served_beside(tmp_path) as served:
        yield served


@pytest.fixture
def tab(chromium: Any) -> Iterator[Callable[..., Tab]]:
    """Opens tabs of fresh browsers; what a page complained about fails the test at its end."""
    tabs: list[Tab] = []

    def open_tab(url: str, **options: Any) -> Tab:
        tabs.append(Tab(chromium, url, options))
        return tabs[-1]

    yield open_tab
    for opened in tabs:
        opened.close()
    assert [fault for opened in tabs for fault in opened.faults] == []
