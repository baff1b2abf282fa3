"""Follow playback: until the person reads elsewhere, and again when a turn or the box is clicked."""

import re
from collections.abc import Callable
from typing import Literal

import pytest
from playwright.sync_api import Page, expect

from tests.support.browser import Tab
from tests.support.player import current, loaded, said
from tests.support.project import PutCall

QUICK = said(*(str(i / 2) for i in range(150)))
SELECT = """() => getSelection().removeAllRanges() ?? getSelection().setBaseAndExtent(
  ...[10, 11].flatMap((i) => [document.querySelectorAll("#turns p")[i].firstChild, 0]))"""


@pytest.fixture
def playing(tab: Tab, put_call: PutCall) -> Page:
    """Play a call whose speakers change every half second."""
    page = tab.shown(put_call(QUICK))
    loaded(page)
    page.get_by_role("button", name="Play from 0:20").first.click()
    expect(page.get_by_role("checkbox", name="Follow playback")).to_be_checked()
    expect(current(page)).to_have_text(re.compile("Turn (4[1-9]|[5-9])"))
    return page


def turn_wheel(page: Page) -> None:
    page.mouse.move(400, 500)
    page.mouse.wheel(0, 400)


ELSEWHERE: dict[str, Callable[[Page], object]] = {
    "the wheel": turn_wheel,
    "Page Down": lambda page: page.keyboard.press("PageDown"),
    "End": lambda page: page.keyboard.press("End"),
    "Tab": lambda page: page.keyboard.press("Tab"),
    "a letter": lambda page: page.keyboard.press("a"),
    "the bar of the window": lambda page: page.evaluate("scrollBy(0, -300)"),
    "a focus": lambda page: page.get_by_label("Search transcript").focus(),
    "a selection": lambda page: page.evaluate(SELECT),
}


@pytest.mark.parametrize("what", ELSEWHERE)
def test_it_stops_for_whatever_the_person_does(playing: Page, what: str) -> None:
    follow = playing.get_by_role("checkbox", name="Follow playback")
    ELSEWHERE[what](playing)
    expect(follow).not_to_be_checked()
    playing.wait_for_timeout(300)
    where = playing.evaluate("scrollY")
    playing.wait_for_timeout(1_200)  # some turns later
    assert abs(playing.evaluate("scrollY") - where) < 300
    follow.check()
    expect(current(playing)).to_be_in_viewport()
    ELSEWHERE[what](playing)
    expect(follow).not_to_be_checked()
    playing.get_by_role("button", name="Play from 0:30").first.click()
    expect(follow).to_be_checked()
    expect(current(playing)).to_be_in_viewport()


@pytest.mark.parametrize(
    ("role", "name", "key"),
    [("checkbox", "Follow playback", "ArrowDown"), ("link", "Open recording", "ArrowDown")],
)
def test_it_stops_for_a_key_that_scrolls_from_within_the_player(
    playing: Page, role: Literal["checkbox", "link"], name: str, key: str
) -> None:
    playing.get_by_role(role, name=name).press(key)
    expect(playing.get_by_role("checkbox", name="Follow playback")).not_to_be_checked()


def test_it_goes_on_while_the_player_is_operated(playing: Page) -> None:
    follow = playing.get_by_role("checkbox", name="Follow playback")
    playing.get_by_role("slider", name="Timeline").press("PageUp")
    for key in ("]", "]", "ArrowRight", "Space", "Space"):
        playing.keyboard.press(key)
    speed = playing.get_by_role("combobox", name="Playback speed")
    speed.press("ArrowUp")
    expect(speed).to_have_value("0.75")
    playing.wait_for_timeout(1_000)
    expect(follow).to_be_checked()
    expect(current(playing)).to_be_in_viewport()


@pytest.mark.parametrize("way", ["Close", "Escape"])
def test_it_goes_on_after_a_look_at_the_list_of_keys(playing: Page, way: str) -> None:
    playing.keyboard.press("?")  # while the button of a turn has the focus
    shortcuts = playing.get_by_role("dialog")
    expect(shortcuts).to_be_visible()
    if way == "Close":
        shortcuts.get_by_role("button", name="Close").click()
    else:
        playing.keyboard.press(way)
    expect(shortcuts).to_be_hidden()
    expect(playing.get_by_role("button", name="Play from 0:20").first).to_be_focused()
    expect(playing.get_by_role("checkbox", name="Follow playback")).to_be_checked()


def test_a_focus_in_the_player_leaves_the_page_where_it_is(tab: Tab, put_call: PutCall) -> None:
    page = tab.shown(put_call(QUICK))
    loaded(page)
    page.get_by_role("link", name="Open recording").focus()
    page.evaluate("scrollTo(0, 2000)")
    for _ in range(5):
        page.keyboard.press("Shift+Tab")
        page.wait_for_timeout(100)
        assert page.evaluate("scrollY") == 2000
    expect(page.get_by_role("button", name="Play", exact=True)).to_be_focused()


def test_playback_is_not_followed_where_that_is_not_wanted(tab: Tab, put_call: PutCall) -> None:
    page = tab.shown(put_call(QUICK))
    loaded(page)
    follow = page.get_by_role("checkbox", name="Follow playback")
    follow.uncheck()
    for _ in range(61):
        page.keyboard.press("]")
    expect(current(page)).to_contain_text("Turn 61")
    expect(current(page)).not_to_be_in_viewport()
    follow.check()
    expect(current(page)).to_be_in_viewport()
