"""Pictures in a real browser: asked for by opening a frame, with detail only when one wants it."""

from __future__ import annotations

import io
import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import expect

from cloud.store import Auxiliary
from common.types import FrameId
from tests.cloud.decoders import auxiliary_of, did
from tests.cloud.web.browser import DESKTOP, PHONE, Served, Tab
from tests.cloud.web.page import CAR, PERSON, Page, scene_layer

OpenTab = Callable[..., Tab]
AMBER, STAGE = (255, 176, 32), (24, 27, 32)  # of a person, of an empty canvas
FRAME = "/frames/gate/b1/1"


def ready(beside: Served, *, decoder: bool = True, prior: bool = True) -> Path:
    """Frames 1 and 2 of the gate, and a decoder; its folder."""

    def make(page: Page) -> Path:
        for seq in (1, 2):
            at = time.time() - 60 + seq
            page.keep(seq, [PERSON, CAR], data=scene_layer(seq).data, at=at)
        return page.decoder(prior=prior) if decoder else page.data / "human"

    return beside.do(make)


def opened(beside: Served, tab: OpenTab, **options: Any) -> tuple[Tab, Any]:
    """A tab with frame 1 in it, and its dialog."""
    shown = tab(beside.url, **options)
    shown.log_in(beside.do(Page.token), FRAME)
    return shown, shown.page.get_by_role("dialog")


def drawn(shown: Tab) -> str:
    """What is on the canvas, to compare."""
    grab = "document.querySelector('dialog canvas').toDataURL()"
    return str(shown.page.evaluate(grab))


def pixels(shown: Tab, colour: tuple[int, int, int]) -> int:
    """How many of the canvas have this colour; `Tab.colours` is for canvases of few."""
    script = """([r, g, b]) => {
        const canvas = document.querySelector("dialog canvas");
        const {data} = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
        let found = 0;
        for (let i = 0; i < data.length; i += 4) {
            if (data[i] === r && data[i + 1] === g && data[i + 2] === b) found += 1;
        }
        return found;
    }"""
    return int(shown.page.evaluate(script, list(colour)))


def test_open_a_frame_see_it_add_detail_and_save_it(beside: Served, tab: OpenTab) -> None:
    """The way to a picture, once."""
    human = ready(beside)
    shown, dialog = opened(beside, tab)
    expect(dialog.get_by_text("Faithful view: no detail in it is generated.")).to_be_visible()
    expect(dialog.get_by_text("The picture was made here")).to_be_visible()
    faithful = drawn(shown)
    assert pixels(shown, AMBER) > 100
    assert pixels(shown, STAGE) < 100
    dialog.get_by_role("button", name="Boxes", exact=True).click()
    assert pixels(shown, AMBER) == 0

    dialog.get_by_role("combobox", name="Diffusion steps").select_option("2")
    dialog.get_by_role("button", name="Add detail").click()
    expect(dialog.get_by_text("it is not evidence")).to_be_visible()
    expect(dialog.get_by_text("2, seed 0")).to_be_visible()
    assert drawn(shown) != faithful
    slider = dialog.get_by_role("slider", name="From the faithful view")
    slider.fill("0")
    expect(dialog.get_by_text("Faithful view: no detail")).to_be_visible()
    slider.focus()
    shown.page.keyboard.press("ArrowRight")  # the slider's, not the next frame's
    expect(dialog.get_by_text("it is not evidence")).to_be_visible()
    assert shown.page.url.endswith(FRAME)
    with shown.page.expect_download() as download:
        dialog.get_by_role("link", name="Download picture").click()
    assert download.value.suggested_filename == "gate-b1-1-2-steps.png"
    with Image.open(download.value.path()) as picture:
        said = json.loads(picture.info["glimpse"])
    assert (said["frame"], said["steps"], said["generated"]) == ("gate/b1/1", 2, True)
    assert [line for line in did(human) if line.startswith("begin")] == ["begin 0", "begin 2"]


def test_what_was_seen_before_is_said_and_shown(beside: Served, tab: OpenTab) -> None:
    ready(beside)
    file = io.BytesIO()
    Image.new("RGB", (640, 480), (90, 120, 60)).save(file, "AVIF")
    still = FrameId("gate", "b1", 1)
    assert beside.do(lambda page: page.store.put_still(still, file.getvalue(), most=9))
    shown = tab(beside.url)
    shown.log_in(beside.do(Page.token), "/frames/gate/b1/2")
    dialog = shown.page.get_by_role("dialog")
    label = re.compile(r"no detail in it is generated\. Background as seen \w+ at \d+:\d+:\d+\.")
    expect(dialog.get_by_text(label)).to_be_visible()
    expect(dialog.get_by_text("50% of it, in an earlier still")).to_be_visible()
    expect(dialog.get_by_text("from the layers and a still taken")).to_be_visible()
    plain = drawn(shown)
    toggle = dialog.get_by_role("button", name="What was seen")
    toggle.click()
    expect(toggle).to_have_attribute("aria-pressed", "true")
    assert drawn(shown) != plain
    toggle.click()
    assert drawn(shown) == plain
    shown.page.keyboard.press("ArrowLeft")  # to a frame that is its own reference
    expect(toggle).to_have_attribute("aria-pressed", "false")
    assert shown.violations() == []


def test_who_leaves_the_frame_leaves_the_picture(beside: Served, tab: OpenTab) -> None:
    human = ready(beside)
    (human / "hold").touch()
    shown, dialog = opened(beside, tab)
    expect(dialog.get_by_role("progressbar", name="Making the picture")).to_be_visible()
    while "begin 0" not in did(human):
        shown.page.wait_for_timeout(50)
    shown.page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()

    def free(page: Page) -> bool:
        return not any(entry.askers for entry in page.pictures._line.entries())

    while not beside.do(free):
        shown.page.wait_for_timeout(50)
    (human / "hold").unlink()


@pytest.mark.slow
class TestOnTheWay:
    def test_it_can_be_stopped_and_begun_again(self, beside: Served, tab: OpenTab) -> None:
        human = ready(beside)
        (human / "hold").touch()
        shown, dialog = opened(beside, tab)
        dialog.get_by_role("button", name="Stop", exact=True).click()
        expect(dialog.get_by_text("It was stopped.")).to_be_visible()
        (human / "hold").unlink()
        dialog.get_by_role("button", name="Make a picture").click()
        expect(dialog.get_by_text("Faithful view: no detail")).to_be_visible()
        assert shown.violations() == []

    def test_the_camera_is_asked_only_by_hand(self, beside: Served, tab: OpenTab) -> None:
        ready(beside)
        _, dialog = opened(beside, tab)
        ask = dialog.get_by_role("button", name="Ask the camera for more")
        ask.click()
        expect(dialog.get_by_text("gate is not connected")).to_be_visible()
        answer = auxiliary_of(scene_layer(1))

        def connect(page: Page) -> None:
            page.gate.answer = answer

        beside.do(connect)
        ask.click()
        expect(dialog.get_by_text("50% of it, in an earlier still")).to_be_visible()
        expect(ask).to_be_hidden()
        assert beside.do(lambda page: page.store.auxiliary(FrameId("gate", "b1", 1))) is not None

    def test_a_server_without_a_decoder(self, beside: Served, tab: OpenTab) -> None:
        ready(beside, decoder=False)
        shown, dialog = opened(beside, tab)
        expect(dialog.get_by_text("it has no human decoder")).to_be_visible()
        expect(dialog.get_by_text("No picture of it was ever sent")).to_be_visible()
        assert pixels(shown, AMBER) > 100
        shown.shoot("picture-no-decoder")
        assert shown.violations() == []

    def test_a_server_without_a_prior_offers_no_detail(self, beside: Served, tab: OpenTab) -> None:
        ready(beside, prior=False)
        shown, dialog = opened(beside, tab)
        expect(dialog.get_by_text("Faithful view: no detail")).to_be_visible()
        expect(dialog.get_by_role("link", name="Download picture")).to_be_visible()
        expect(dialog.get_by_role("button", name="Add detail")).to_have_count(0)
        expect(dialog.get_by_role("combobox", name="Diffusion steps")).to_have_count(0)
        assert shown.violations() == []

    def test_a_decoder_that_fails_says_what_to_do(self, beside: Served, tab: OpenTab) -> None:
        human = ready(beside)
        (human / "fail").write_text("no memory")
        shown, dialog = opened(beside, tab)
        alert = dialog.get_by_role("alert")
        expect(alert).to_contain_text("the decoder failed")
        expect(alert).to_contain_text("Another try may succeed")
        shown.shoot("picture-fault")
        assert shown.violations() == []
        (human / "fail").unlink()
        alert.get_by_role("button", name="Try again").click()
        expect(dialog.get_by_text("Faithful view: no detail")).to_be_visible()

    def test_a_frame_that_expires_while_it_is_looked_at(self, beside: Served, tab: OpenTab) -> None:
        ready(beside)
        shown, dialog = opened(beside, tab)
        shown.expected = ("404",)
        expect(dialog.get_by_text("Faithful view: no detail")).to_be_visible()
        beside.do(lambda page: page.store.expire(2))
        dialog.get_by_role("button", name="Add detail").click()
        expect(dialog.get_by_role("alert")).to_contain_text("not stored")
        expect(dialog.get_by_role("alert").get_by_role("button")).to_have_count(0)

    def test_a_server_that_goes_away(self, beside: Served, tab: OpenTab) -> None:
        ready(beside)
        shown, dialog = opened(beside, tab)
        shown.expected = ("Failed to load resource", "ERR_")
        expect(dialog.get_by_text("Faithful view: no detail")).to_be_visible()
        shown.page.route("**/picture", lambda route: route.abort())
        dialog.get_by_role("button", name="Add detail").click()
        expect(dialog.get_by_role("alert")).to_contain_text("cannot be reached")

    def test_each_frame_has_its_own(self, beside: Served, tab: OpenTab) -> None:
        human = ready(beside)
        shown = tab(beside.url)
        shown.log_in(beside.do(Page.token), "/frames")
        shown.page.locator(".tile").first.click()
        dialog = shown.page.get_by_role("dialog")
        expect(dialog.get_by_text("Faithful view: no detail")).to_be_visible()
        first = drawn(shown)
        shown.page.keyboard.press("ArrowRight")
        shown.page.wait_for_url(re.compile("/gate/b1/1$"))
        expect(dialog.get_by_text("Faithful view: no detail")).to_be_visible()
        assert drawn(shown) != first
        assert did(human).count("begin 0") == 2


@pytest.mark.slow
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_it_is_sound_and_fits(
    beside: Served, tab: OpenTab, size: tuple[int, int], dark: bool
) -> None:
    name = f"{'phone' if size == PHONE else 'desktop'}-{'dark' if dark else 'light'}"
    human = ready(beside)
    data = auxiliary_of(scene_layer(1))
    beside.do(lambda page: page.store.put_auxiliary(FrameId("gate", "b1", 1), Auxiliary(data, 99)))
    (human / "hold").touch()
    shown, dialog = opened(beside, tab, size=size, dark=dark, touch=size == PHONE)

    def look(view: str) -> None:
        shown.shoot(f"{name}-{view}")
        assert shown.violations() == [], view
        wide = shown.page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert wide <= 0, f"{view} is {wide} px too wide"

    expect(dialog.get_by_role("button", name="Stop", exact=True)).to_be_visible()
    look("picture-waiting")
    (human / "hold").unlink()
    expect(dialog.get_by_text("Faithful view: no detail")).to_be_visible()
    look("picture-faithful")
    dialog.get_by_role("button", name="Add detail").click()
    expect(dialog.get_by_text("it is not evidence")).to_be_visible()
    look("picture-detail")
    dialog.get_by_role("heading", name="Picture", exact=True).scroll_into_view_if_needed()
    shown.shoot(f"{name}-picture-panel")
