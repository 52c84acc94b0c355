"""A real browser before a real viewer page."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING

from common.errors import BadSettings

if TYPE_CHECKING:
    from playwright.sync_api import Page

_WIDTH, _HEIGHT = 1280, 860


def program() -> str:
    """Where the browser is. Raises BadSettings where there is none, or nothing that drives it."""
    names = ("chromium", "chromium-browser", "chrome")
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None or find_spec("playwright") is None:
        raise BadSettings("no browser: pip install playwright, and chromium on the PATH")
    return found


@contextmanager
def logged_in(url: str, token: str, path: str = "/") -> Iterator[Page]:
    """A tab with `path` of the page at `url`. Raises as `program` does."""
    where = program()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # Root may run this, whom chromium's sandbox refuses; it sees our own pages only.
        browser = playwright.chromium.launch(executable_path=where, args=["--no-sandbox"])
        try:
            page = browser.new_page(
                ignore_https_errors=True, viewport={"width": _WIDTH, "height": _HEIGHT}
            )
            page.goto(f"{url}/login?next={path}")
            page.get_by_label("Viewer token").fill(token)
            page.get_by_role("button", name="Log in").click()
            yield page
        finally:
            browser.close()
