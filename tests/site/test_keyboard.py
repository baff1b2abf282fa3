"""Keys that play: by their position, without modifiers, where there is something to play."""

import pytest
from playwright.sync_api import Page, expect

from local.seed import sample_calls
from tests.support.browser import Tab
from tests.support.player import at, current, loaded, recording, until
from tests.support.project import PutCall

STARTS = [float(turn["timestamp"]) for turn in sample_calls()[88]["transcript"]]
PRESS = """([code, key, options]) => document.body.dispatchEvent(
  new KeyboardEvent("keydown", { code, key, bubbles: true, cancelable: true, ...options }))"""


@pytest.fixture
def page(tab: Tab) -> Page:
    page = tab.shown(88)
    loaded(page)
    return page


def test_keys_play_seek_and_move_by_turns(page: Page) -> None:
    page.keyboard.press("]")
    at(page, STARTS[1])
    page.keyboard.press("]")
    page.keyboard.press("]")
    at(page, STARTS[3])
    page.keyboard.press("[")
    at(page, STARTS[2])
    page.keyboard.press("ArrowRight")
    at(page, STARTS[2] + 5)
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    at(page, STARTS[2] - 5)
    page.keyboard.press("Space")
    until(page, "paused === false")
    page.keyboard.press("Space")
    until(page, "paused")


def test_space_plays_while_the_link_to_the_recording_has_the_focus(page: Page) -> None:
    page.get_by_role("link", name="Open recording").press("Space")
    until(page, "paused === false")
    assert page.evaluate("scrollY") == 0


def test_a_key_is_known_by_its_place_and_not_by_its_letter(page: Page) -> None:
    page.evaluate(PRESS, ["BracketRight", "ъ", {}])  # as on a Russian layout
    at(page, STARTS[1])


@pytest.mark.parametrize("modifier", ["shiftKey", "ctrlKey", "altKey", "metaKey"])
def test_keys_with_modifiers_are_the_browsers(page: Page, modifier: str) -> None:
    for code in ("ArrowRight", "BracketRight", "Space"):
        taken = not page.evaluate(PRESS, [code, code, {modifier: True}])
        assert not taken, code
    assert recording(page, "currentTime") == 0
    assert recording(page, "paused")


def test_without_a_recording_the_keys_are_the_browsers(tab: Tab, put_call: PutCall) -> None:
    turns = [{"role": "user", "content": f"Turn {i}", "timestamp": f"{i}"} for i in range(60)]
    page = tab.shown(put_call({"recording_object": None, "transcript": turns}))
    page.keyboard.press("Space")
    page.wait_for_timeout(500)
    assert page.evaluate("scrollY") > 0
    page.keyboard.press("]")
    expect(current(page)).to_have_count(0)
    expect(page.get_by_role("button", name="Keyboard shortcuts")).to_be_hidden()


def test_keys_in_a_field_are_text(tab: Tab, page: Page) -> None:
    tab.unfold()
    for field in (page.get_by_label("Call ID"), page.get_by_label("Search transcript")):
        field.fill("88")
        for key in ("]", "ArrowLeft", "Space", "?"):
            field.press(key)
        expect(field).to_have_value("88 ?]")
    assert recording(page, "currentTime") == 0
    assert recording(page, "paused")


def test_they_are_listed_and_switched_off_under_the_question_mark(tab: Tab, page: Page) -> None:
    page.keyboard.press("?")
    listed = page.get_by_role("dialog", name="Keyboard shortcuts")
    expect(listed).to_be_visible()
    tab.screenshot("shortcuts")
    listed.get_by_role("checkbox", name="Use these keys on this page").uncheck()
    page.keyboard.press("Escape")
    expect(listed).to_be_hidden()
    for key in ("]", "ArrowRight", "Space", "?"):
        page.keyboard.press(key)
    expect(listed).to_be_hidden()
    assert recording(page, "currentTime") == 0
    page.reload()
    loaded(page)
    page.keyboard.press("]")
    assert recording(page, "currentTime") == 0
    slider = page.get_by_role("slider", name="Timeline")
    slider.press("ArrowRight")  # the slider's own
    until(page, "currentTime === 5")
    page.get_by_role("button", name="Keyboard shortcuts").click()
    listed.get_by_role("checkbox", name="Use these keys on this page").check()
    page.get_by_role("button", name="Close").click()
    page.keyboard.press("]")
    at(page, STARTS[1])
