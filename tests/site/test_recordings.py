"""Links to a recording: renewed when they may have expired, and never for a recording that is broken."""

import re
import time
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from playwright.sync_api import Page, Route, expect

from tests.support.browser import LINK_LIFE, NARROW, WIDE, OpenTab, Tab
from tests.support.player import LATE, at, current, hour, loaded, recording, until
from tests.support.project import PutCall

RECORDINGS = "**/thinnestai-recordings/**"
BROKEN = "The recording cannot be played."
HALF_A_MINUTE = 44 + 30 * 8_000  # a header, and the samples


def breaks_off(route: Route) -> None:
    """Answer with the first half minute of an hour, of which the rest is gone."""
    if not route.request.headers.get("range", "bytes=0-").startswith("bytes=0-"):
        time.sleep(1)  # the browser can play meanwhile
        route.fulfill(status=404)
        return
    whole = route.fetch()
    route.fulfill(response=whole, body=whole.body()[:HALF_A_MINUTE])


BREAKS: dict[str, Callable[[Route], None]] = {
    "it plays and breaks": breaks_off,
    "it is gone": lambda route: route.fulfill(status=404),
    "it is no recording": lambda route: route.fulfill(body="<!doctype html>"),
}


@pytest.mark.parametrize("what", BREAKS)
def test_a_recording_that_is_broken_is_said_and_costs_no_request(
    open_tab: OpenTab, what: str
) -> None:
    tab = open_tab(refusals=(404,))
    tab.page.route(RECORDINGS, BREAKS[what])
    page = tab.shown(86, moment="#t=1800")
    expect(page.get_by_role("status")).to_have_text(BROKEN)
    expect(page.get_by_role("alert")).to_have_count(0)
    page.wait_for_timeout(3_000)
    assert tab.asked() == 1
    tab.screenshot("broken")
    page.unroute(RECORDINGS)
    page.get_by_role("button", name="Try again").click()
    loaded(page)
    expect(page.get_by_role("status")).to_have_count(0)
    expect(page.get_by_role("slider", name="Timeline")).to_be_visible()
    assert tab.asked() == 1


def an_hour_later(tab: Tab) -> None:
    """Let the link expire, for the page and for the recordings server until a new link comes."""
    clock = tab.stack.clock
    tab.page.clock.set_fixed_time(datetime.now(UTC) + LINK_LIFE)
    clock.late = True
    tab.page.on(
        "request", lambda request: setattr(clock, "late", clock.late and "/v2/" not in request.url)
    )


def test_an_expired_link_is_replaced_without_losing_the_position(
    open_tab: OpenTab, put_call: PutCall
) -> None:
    tab = open_tab(refusals=(403,))
    page = tab.shown(put_call(hour()))
    loaded(page)
    page.get_by_role("combobox", name="Playback speed").select_option("1.5")
    an_hour_later(tab)
    page.get_by_role("list", name="Transcript").get_by_role("button").nth(1).click()
    at(page, LATE + 1)
    assert tab.asked() == 2
    assert not tab.stack.clock.late
    expect(current(page)).to_be_in_viewport()
    assert not recording(page, "paused")
    assert recording(page, "playbackRate") == 1.5
    assert recording(page, "error") is None


def test_a_renewed_link_that_does_not_play_is_not_renewed_again(
    open_tab: OpenTab, put_call: PutCall
) -> None:
    tab = open_tab(refusals=(404,))
    page = tab.shown(put_call(hour()))
    loaded(page)
    an_hour_later(tab)
    tab.stack.clock.late = False
    page.route(RECORDINGS, BREAKS["it is gone"])
    page.get_by_role("button", name="Play", exact=True).click()
    expect(page.get_by_role("status")).to_have_text(BROKEN)
    page.wait_for_timeout(2_000)
    assert tab.asked() == 2


@pytest.mark.parametrize("status", [401, 503])
def test_an_expired_link_that_cannot_be_renewed_is_said(
    open_tab: OpenTab, put_call: PutCall, status: int
) -> None:
    """Beside the player; what does not pass is said as everywhere, too."""
    tab = open_tab(refusals=(403, status))
    page = tab.shown(put_call(hour()))
    loaded(page)
    an_hour_later(tab)
    tab.stack.clock.late = False
    tab.refuse(status, "{}", {"Retry-After": "1"})
    page.get_by_role("button", name="Play", exact=True).click()
    expect(page.get_by_role("status")).to_have_text(re.compile("link has expired"))
    alert, passing = page.get_by_role("alert"), f"The API answered {status}."
    if status == 401:
        expect(alert).to_be_in_viewport()
    else:
        expect(alert).to_have_count(0)
        expect(page.get_by_role("status")).to_contain_text(passing)
    page.wait_for_timeout(2_000)
    assert tab.asked() == 2
    tab.heal()
    page.get_by_role("button", name="Try again").click()
    until(page, "readyState >= 1")
    expect(page.get_by_role("status")).to_have_count(0)


def test_a_recording_is_opened_in_a_tab_of_its_own(tab: Tab) -> None:
    page = tab.shown(88)
    link = page.get_by_role("link", name="Open recording")
    expect(link).to_have_attribute("target", "_blank")
    expect(link).to_have_attribute("href", re.compile("X-Goog-Signature="))


def test_the_player_is_one_row(tab: Tab) -> None:
    assert tab.page.viewport_size == WIDE
    page = tab.shown(88)
    box = page.locator("#player").bounding_box()
    assert box
    assert box["height"] <= 72


def test_the_player_is_two_rows_on_a_narrow_screen(open_tab: OpenTab, put_call: PutCall) -> None:
    """Also of an hour's call, whose times are wide, and where a scroll bar takes some room."""
    page = open_tab(viewport={**NARROW, "width": NARROW["width"] - 15}).shown(put_call(hour()))
    loaded(page)
    box = page.locator("#player").bounding_box()
    assert box
    assert box["height"] <= 112
    expect(page.get_by_role("checkbox", name="Follow playback")).to_be_visible()
    expect(page.get_by_role("link", name="Open recording")).to_be_visible()


SHIFT = """() => {
  window.shift = 0;
  new PerformanceObserver((list) => {
    for (const { value } of list.getEntries()) window.shift += value;
  }).observe({ type: "layout-shift", buffered: true });
}"""


@pytest.mark.parametrize("stored", [88, 86])
def test_the_page_does_not_move_when_the_recording_loads(tab: Tab, stored: int) -> None:
    page: Page = tab.shown(stored)
    page.reload()
    page.evaluate(SHIFT)
    loaded(page)
    page.wait_for_timeout(300)
    assert page.evaluate("window.shift") == 0
