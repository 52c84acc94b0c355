"""The page in a real browser: what a person sees, and can do, with a mouse, a keyboard, a phone."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from cloud.access.identity import Identities
from cloud.store import Found
from common.types import Box, FrameId, Layer, Presence
from tests.cloud.web.browser import DESKTOP, PHONE, Served, Tab, served_beside
from tests.cloud.web.page import CAR, PERSON, Page, layer_bytes, sighting

OpenTab = Callable[..., Tab]
# Of a person, a car and a bus, as cloud/drawing.py has them.
AMBER, BLUE, GREEN = (255, 176, 32), (64, 190, 255), (120, 220, 120)


def now_showing(served: Served, seq: int, *boxes: Box, camera: str = "gate") -> None:
    seen = sighting(seq, *boxes, camera=camera, at=time.time())

    def show(page: Page) -> None:
        page.connected.add(camera)
        page.bus.publish(seen)

    served.do(show)


def test_log_in_see_boxes_open_a_frame(beside: Served, tab: OpenTab) -> None:
    """The way through the page, once."""
    beside.do(lambda page: page.keep(17, [PERSON, CAR], at=time.time() - 60))
    shown = tab(beside.url)
    shown.log_in(beside.do(Page.token))
    now_showing(beside, 18, PERSON)
    card = shown.page.locator(".camera")
    expect(card.get_by_text("1 person")).to_be_visible()
    expect(card.locator(".badge")).to_have_text("Live")
    shown.page.wait_for_timeout(500)  # a box fades in
    assert AMBER in shown.colours(".camera canvas")

    shown.page.get_by_role("link", name="Frames", exact=True).click()
    shown.page.locator(".tile").first.click()
    dialog = shown.page.get_by_role("dialog")
    expect(dialog.get_by_role("row", name=re.compile("person 90%"))).to_be_visible()
    expect(dialog.get_by_text("streets-1a2b")).to_be_visible()
    assert {AMBER, BLUE} <= shown.colours("dialog canvas")
    with shown.page.expect_download() as download:
        dialog.get_by_role("link", name="Download layer").click()
    assert download.value.suggested_filename == "gate-b1-17.glimpse"
    assert Path(download.value.path()).read_bytes() == layer_bytes()
    shown.page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    shown.page.get_by_role("button", name="Log out").click()
    expect(shown.page.get_by_label("Viewer token")).to_be_visible()


@pytest.mark.slow
class TestLooks:
    @pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
    @pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
    def test_every_view_is_sound_and_fits(
        self, beside: Served, tab: OpenTab, size: tuple[int, int], dark: bool
    ) -> None:
        name = f"{'phone' if size == PHONE else 'desktop'}-{'dark' if dark else 'light'}"
        street(beside)
        shown = tab(beside.url, size=size, dark=dark, touch=size == PHONE)
        shown.expected = ("401", "404")

        def look(view: str) -> None:
            shown.shoot(f"{name}-{view}")
            assert shown.violations() == [], view
            wide = shown.page.evaluate("document.documentElement.scrollWidth - innerWidth")
            assert wide <= 0, f"{view} is {wide} px too wide"

        shown.go("/")
        look("login")
        shown.page.get_by_label("Viewer token").fill("guess")
        shown.page.get_by_role("button", name="Log in").click()
        expect(shown.page.get_by_role("alert")).to_contain_text("not known here")
        look("login-wrong")
        shown.log_in(beside.do(Page.token))
        with walking(beside):
            shown.page.wait_for_timeout(3000)
            look("live")
        shown.go("/frames")
        expect(shown.page.locator(".tile").first).to_be_visible()
        shown.page.wait_for_timeout(300)
        look("frames")
        shown.page.locator(".tile").nth(2).click()
        expect(shown.page.get_by_role("dialog").get_by_role("table")).to_be_visible()
        look("frame")
        shown.go("/frames/gate/b1/999999")
        expect(shown.page.get_by_text("This frame is not stored")).to_be_visible()
        look("frame-gone")
        shown.go("/frames?camera=porch&label=bus")
        expect(shown.page.get_by_text("No frames match")).to_be_visible()
        look("frames-none")
        shown.go("/nothing")
        look("missing")

    def test_an_empty_server_says_what_to_do(self, beside: Served, tab: OpenTab) -> None:
        shown = tab(beside.url)
        shown.log_in(beside.do(Page.token))
        expect(shown.page.get_by_text("glimpse-cloud token camera gate")).to_be_visible()
        shown.shoot("empty-live")
        assert shown.violations() == []
        shown.page.get_by_role("link", name="Frames", exact=True).click()
        expect(shown.page.get_by_text("Nothing stored yet")).to_be_visible()
        assert shown.violations() == []

    def test_cameras_are_called_what_they_are(self, beside: Served, tab: OpenTab) -> None:
        street(beside)
        shown = tab(beside.url)
        shown.log_in(beside.do(Page.token))
        now_showing(beside, 1, PERSON)
        late = sighting(1, CAR, camera="late", at=time.time() - 300)
        beside.do(lambda page: page.bus.publish(late))

        def card(name: str) -> Any:
            return shown.page.locator(f".camera[data-camera='{name}']")

        expect(card("gate").locator(".badge")).to_have_text("Live")
        expect(card("late").locator(".badge")).to_have_text("Behind by 5 min")
        expect(card("dock").locator(".badge")).to_contain_text("Silent since")
        expect(card("dock")).to_contain_text("look at its power and uplink")
        expect(card("porch").locator(".badge")).to_have_text("Never seen")
        while BLUE not in shown.colours(".camera[data-camera='dock'] canvas"):  # as last seen
            shown.page.wait_for_timeout(100)


@pytest.mark.slow
class TestUse:
    def test_by_keyboard_alone(self, beside: Served, tab: OpenTab) -> None:
        street(beside)
        shown = tab(beside.url)
        shown.go("/frames")
        press = shown.page.keyboard.press
        shown.page.keyboard.type(beside.do(Page.token))  # the field has the focus
        press("Enter")
        expect(shown.page.locator(".tile").first).to_be_visible()
        press("Tab")
        expect(shown.page.get_by_text("Skip to content")).to_be_focused()
        for _ in range(60):
            if shown.page.evaluate("document.activeElement.className") == "tile":
                break
            press("Tab")
        else:
            raise AssertionError("no frame can be reached")
        first = shown.page.evaluate("document.activeElement.getAttribute('href')")
        press("Enter")
        dialog = shown.page.get_by_role("dialog")
        expect(dialog.get_by_role("table")).to_be_visible()
        assert shown.page.url.endswith(first)
        press("ArrowRight")
        shown.page.wait_for_url(lambda url: not url.endswith(first))
        press("ArrowLeft")
        shown.page.wait_for_url(lambda url: url.endswith(first))
        press("Escape")
        expect(dialog).to_be_hidden()
        slider = shown.page.get_by_role("slider", name="Go to a time")
        slider.focus()
        spoken = slider.get_attribute("aria-valuetext")
        for _ in range(20):
            press("ArrowLeft")
        assert slider.get_attribute("aria-valuetext") != spoken
        expect(shown.page.get_by_label("Until")).not_to_have_value("")

    def test_filters_and_the_address_agree(self, beside: Served, tab: OpenTab) -> None:
        street(beside)
        shown = tab(beside.url)
        shown.log_in(beside.do(Page.token), "/frames")
        shown.page.get_by_label("Camera").select_option("dock")
        tiles = shown.page.locator(".tile")
        expect(tiles.first).to_contain_text("dock")
        shown.page.get_by_label("In view").select_option("bus")
        expect(shown.page.get_by_text("No frames match")).to_be_visible()
        assert shown.page.url.endswith("/frames?camera=dock&label=bus")
        shown.page.reload()
        expect(shown.page.get_by_label("In view")).to_have_value("bus")
        shown.page.get_by_role("button", name="Show all frames").click()
        expect(tiles.first).to_be_visible()
        assert shown.page.url.endswith("/frames")

    def test_older_frames_come_as_one_scrolls(self, beside: Served, tab: OpenTab) -> None:
        beside.do(lambda page: page.keep_many(range(300)))
        shown = tab(beside.url)
        shown.log_in(beside.do(Page.token), "/frames")
        tiles = shown.page.locator(".tile")
        expect(tiles.first).to_be_visible()
        for _ in range(60):
            if tiles.count() == 300:
                break
            shown.page.mouse.wheel(0, 4000)
            shown.page.wait_for_timeout(100)
        expect(tiles).to_have_count(300)
        names = tiles.evaluate_all("tiles => tiles.map(tile => tile.getAttribute('href'))")
        assert names == [f"/frames/gate/b1/{seq}" for seq in reversed(range(300))]
        expect(shown.page.get_by_text("No older frames match")).to_be_visible()

    def test_new_frames_wait_until_they_are_asked_for(self, beside: Served, tab: OpenTab) -> None:
        beside.do(lambda page: page.keep(1, None, at=time.time()))
        shown = tab(beside.url)
        shown.log_in(beside.do(Page.token), "/frames")
        expect(shown.page.locator(".tile")).to_contain_text("pending")
        now_showing(beside, 1, PERSON)  # the detector got to it
        expect(shown.page.locator(".tile")).to_contain_text("1 person")
        beside.do(lambda page: page.keep(2, [CAR], at=time.time()))
        now_showing(beside, 2, CAR)
        shown.page.get_by_role("button", name="new frame").click()
        expect(shown.page.locator(".tile")).to_have_count(2)

    def test_a_class_can_be_left_out(self, beside: Served, tab: OpenTab) -> None:
        shown = tab(beside.url, calm=True)
        shown.log_in(beside.do(Page.token))
        now_showing(beside, 1, PERSON, CAR)
        expect(shown.page.locator(".camera .view")).to_have_text("1 car, 1 person")
        assert {AMBER, BLUE} <= shown.colours(".camera canvas")
        button = shown.page.get_by_role("button", name="person", exact=True)
        button.click()
        expect(button).to_have_attribute("aria-pressed", "false")
        shown.page.wait_for_timeout(200)
        assert BLUE in (left := shown.colours(".camera canvas"))
        assert AMBER not in left

    def test_what_has_no_place_is_named(self, beside: Served, tab: OpenTab) -> None:
        def keep(page: Page) -> None:
            page.keep(1, None, at=time.time())
            bus = (Presence("bus", 0.75),)
            page.store.write([], [Found(FrameId("gate", "b1", 1), (), "m", presences=bus)])

        beside.do(keep)
        shown = tab(beside.url)
        shown.log_in(beside.do(Page.token), "/frames/gate/b1/1")
        dialog = shown.page.get_by_role("dialog")
        expect(dialog.get_by_role("row", name="bus 75%")).to_be_visible()
        expect(dialog.get_by_text("what is in view, and not where")).to_be_visible()
        assert GREEN in shown.colours("dialog canvas")
        shown.shoot("frame-presences")
        shown.page.keyboard.press("Escape")
        expect(shown.page.locator(".tile")).to_contain_text("bus")
        shown.page.get_by_role("link", name="Live", exact=True).click()
        expect(shown.page.locator(".camera .view")).to_have_text("bus")
        assert shown.violations() == []

    def test_who_wants_no_motion_gets_none(self, beside: Served, tab: OpenTab) -> None:
        shown = tab(beside.url, calm=True)
        shown.log_in(beside.do(Page.token))
        now_showing(beside, 1, PERSON)
        expect(shown.page.locator(".camera .view")).to_have_text("1 person")
        now_showing(beside, 2, Box("person", 0.9, 14.0, 24.0, 34.0, 84.0))
        shown.page.wait_for_timeout(400)
        grab = "document.querySelector('.camera canvas').toDataURL()"
        first = shown.page.evaluate(grab)
        shown.page.wait_for_timeout(1000)
        assert shown.page.evaluate(grab) == first


@pytest.mark.slow
class TestTrouble:
    def test_it_outlives_a_restart_of_the_server(self, tmp_path: Path, tab: OpenTab) -> None:
        with served_beside(tmp_path) as served:
            port, token = served.page.port, served.do(Page.token)
            shown = tab(served.url)
            shown.expected = ("ERR_", "Failed to load")
            shown.log_in(token)
            now_showing(served, 1, PERSON)
            expect(shown.page.locator(".camera .view")).to_have_text("1 person")
        expect(shown.page.locator("#notice")).to_contain_text("does not answer")
        expect(shown.page.locator("#notice")).to_contain_text("What you see is from")
        shown.shoot("server-away")
        with served_beside(tmp_path, port) as served:
            expect(shown.page.locator("#link-text")).to_have_text("Connected")
            expect(shown.page.locator("#notice")).to_be_hidden()
            now_showing(served, 2, CAR)
            expect(shown.page.locator(".camera .view")).to_have_text("1 car")
            shown.close()

    def test_it_leads_to_the_login_when_the_token_is_withdrawn(
        self, beside: Served, tab: OpenTab, tmp_path: Path
    ) -> None:
        shown = tab(beside.url)
        shown.expected = ("401",)
        shown.log_in(beside.do(Page.token))
        (tmp_path / "tokens").write_text("")
        shown.page.wait_for_url("**/login?next=*")

    def test_an_answer_that_fails_can_be_asked_for_again(
        self, beside: Served, tab: OpenTab
    ) -> None:
        beside.do(lambda page: page.keep(1, [PERSON]))
        shown = tab(beside.url)
        shown.expected = ("500", "503")
        shown.log_in(beside.do(Page.token))
        fault = {"status": 500, "body": '{"error": "the server has a fault"}'}
        shown.page.route("**/api/frames?*", lambda route: route.fulfill(**fault))
        shown.page.get_by_role("link", name="Frames", exact=True).click()
        expect(shown.page.get_by_role("alert")).to_contain_text("the server has a fault")
        shown.page.unroute("**/api/frames?*")
        shown.page.get_by_role("button", name="Try again").click()
        expect(shown.page.locator(".tile")).to_have_count(1)

    def test_a_link_from_another_site_needs_no_second_login(
        self, beside: Served, tab: OpenTab
    ) -> None:
        """The cookie is strict: the first request comes without it."""
        beside.do(lambda page: page.keep(1, [PERSON]))
        shown = tab(beside.url)
        shown.log_in(beside.do(Page.token))
        link = f"<a href='{beside.url}/frames/gate/b1/1'>frame</a>"
        shown.page.goto("data:text/html," + link)
        shown.page.get_by_text("frame").click()
        expect(shown.page.get_by_role("dialog").get_by_role("table")).to_be_visible()


@pytest.mark.slow
def test_usable_within_a_second_of_loading_with_ten_thousand_frames(
    beside: Served, tab: OpenTab
) -> None:
    """The best of five: what the page needs, and not what else the machine does."""
    beside.do(lambda page: page.keep_many(range(10_000)))
    shown = tab(beside.url)
    shown.log_in(beside.do(Page.token), "/frames")
    taken = []
    for _ in range(5):
        shown.go("/frames")
        expect(shown.page.locator(".tile")).to_have_count(60)
        mark = "performance.getEntriesByName('glimpse-usable')[0]?.startTime ?? null"
        while (usable := shown.page.evaluate(mark)) is None:
            shown.page.wait_for_timeout(20)
        taken.append(usable)
    assert min(taken) < 1000, taken


def street(served: Served) -> None:
    """Three cameras with a past, and one that never came."""
    end = time.time()

    def fill(page: Page) -> None:
        page.identities.add("camera", "porch")
        for camera, ago in (("gate", 20.0), ("yard", 400.0), ("dock", 7200.0)):
            frames = [FrameId(camera, "b1", seq) for seq in range(200)]
            layers = [
                Layer(name, end - ago - (200 - name.seq) * 4, layer_bytes(bytes(80 + name.seq)))
                for name in frames
            ]
            found = [Found(name, scene(name.seq), "streets-1a2b") for name in frames]
            page.store.write(layers, found)

    served.do(fill)
    data = served.page.data
    assert Identities(data / "tokens").names("camera") == {"porch"}


def scene(seq: int) -> tuple[Box, ...]:
    """Some people who walk, and a car that stands."""
    people = [
        Box("person", 0.9 - n / 10, x, y, x + 9, y + 26)
        for n, (x, y) in enumerate(
            ((10 + seq * 2 % 130, 40), (140 - seq % 120, 70), (60 + seq % 40, 20))
        )
        if (seq // 30 + n) % 4
    ]
    return (*people, Box("car", 0.55, 100, 84, 142, 112))


class walking:  # noqa: N801 - reads as what it does
    """While the body runs, frames of now come in from 'gate' and 'yard'."""

    def __init__(self, served: Served) -> None:
        self._served, self._over = served, threading.Event()
        self._thread = threading.Thread(target=self._walk)

    def _walk(self) -> None:
        for seq in range(1000, 2000):
            for camera in ("gate", "yard"):
                now_showing(self._served, seq, *scene(seq + len(camera) * 37), camera=camera)
            if self._over.wait(0.2):
                return

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
