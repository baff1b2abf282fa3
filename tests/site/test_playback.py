"""Playing a recording: the transcript follows it, and it goes where the transcript says."""

import re
import time
from datetime import UTC, datetime
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from local.seed import sample_calls
from tests.support.browser import LINK_LIFE, PATIENCE_MS, OpenTab, Tab
from tests.support.project import PutCall

LATE = 2_800  # seconds, of an hour
HOUR = {
    "recording_object": sample_calls()[86]["recording_object"],
    "recording_duration": sample_calls()[86]["recording_duration"],
    "transcript": [
        {"role": "assistant", "content": "Early.", "timestamp": "0.0"},
        {"role": "user", "content": "Late.", "timestamp": str(LATE)},
    ],
}
STARTS = [float(turn["timestamp"]) for turn in sample_calls()[88]["transcript"]]


@pytest.fixture
def quick_call(put_call: PutCall) -> int:
    """Store a call whose speakers change every half second."""
    speakers = ("assistant", "user")
    said = [
        {"role": speakers[i % 2], "content": f"Turn {i}", "timestamp": str(i / 2)}
        for i in range(150)
    ]
    return put_call({"transcript": said})


def recording(page: Page, what: str) -> Any:
    return page.get_by_label("Recording").evaluate(f"audio => audio.{what}")


def current(page: Page) -> Locator:
    """Return the turns that are marked as played: one."""
    return page.get_by_role("list", name="Transcript").locator("[aria-current=true]")


def until(page: Page, condition: str) -> None:
    """Wait until something holds of the recording.

    Not by `wait_for_function`, which evaluates a string on the page: the page's policy forbids that.
    """
    deadline = time.monotonic() + PATIENCE_MS / 1000
    while not recording(page, condition):
        assert time.monotonic() < deadline, (condition, recording(page, "currentTime"))
        page.wait_for_timeout(20)


def loaded(page: Page) -> None:
    until(page, "readyState >= 1")


def at(page: Page, seconds: float) -> None:
    """Wait until the recording is there, give or take its playing on meanwhile."""
    until(page, f"currentTime > {seconds} - 0.01 && audio.currentTime < {seconds} + 2.5")


def test_the_turn_that_is_played_is_marked_and_stays_in_sight(tab: Tab, quick_call: int) -> None:
    page = tab.shown(quick_call)
    loaded(page)
    page.evaluate(
        """() => {
          window.marked = [];
          new MutationObserver(() => {
            const turns = document.querySelectorAll("#turns [aria-current=true]");
            marked.push([...turns].map((turn) => turn.querySelector("p").textContent).join());
          }).observe(document.querySelector("#turns"), { subtree: true, attributeFilter: ["aria-current"] });
        }"""
    )
    page.get_by_role("button", name="Play from 0:20").first.click()
    expect(current(page)).to_have_text(re.compile("Turn 4[5-9]"))
    marked = page.evaluate("marked")
    numbers = [int(text.removeprefix("Turn ")) for text in marked if text]
    assert numbers[0] == 40
    assert numbers == sorted(set(numbers))
    expect(current(page)).to_be_in_viewport()
    tab.screenshot("playing")


def test_playback_is_not_followed_where_that_is_not_wanted(tab: Tab, quick_call: int) -> None:
    page = tab.shown(quick_call)
    loaded(page)
    follow = page.get_by_role("checkbox", name="Follow playback")
    follow.uncheck()
    page.get_by_role("slider", name="Timeline").press("]")
    for _ in range(60):
        page.keyboard.press("]")
    expect(current(page)).to_contain_text("Turn 61")
    expect(current(page)).not_to_be_in_viewport()
    follow.check()
    expect(current(page)).to_be_in_viewport()


def test_scrolling_by_hand_ends_following(tab: Tab, quick_call: int) -> None:
    page = tab.shown(quick_call)
    follow = page.get_by_role("checkbox", name="Follow playback")
    expect(follow).to_be_checked()
    page.mouse.move(400, 500)
    page.mouse.wheel(0, 400)
    expect(follow).not_to_be_checked()


def test_the_button_of_a_turn_plays_from_there(tab: Tab) -> None:
    page = tab.shown(88)
    page.get_by_role("list", name="Transcript").get_by_role("button").nth(8).click()
    at(page, STARTS[8])
    assert not recording(page, "paused")
    expect(current(page)).to_contain_text("That points at the line")


def test_a_click_on_the_timeline_seeks(tab: Tab) -> None:
    page = tab.shown(88)
    loaded(page)
    timeline = page.get_by_role("slider", name="Timeline")
    box = timeline.bounding_box()
    assert box
    timeline.click(position={"x": box["width"] / 2, "y": box["height"] / 2})
    at(page, 70.5)
    expect(timeline).to_have_attribute("aria-valuetext", re.compile("1:1. of 2:21"))
    expect(current(page)).to_contain_text("Not at all.")


def test_the_timeline_tells_who_speaks_when(tab: Tab) -> None:
    page = tab.shown(88)
    for role in ("assistant", "user"):
        drawn = page.locator(f"#timeline path.{role}").get_attribute("d")
        assert drawn
        starts = [float(x) * 141 for x in re.findall(r"M([\d.]+) ", drawn)]
        said = sample_calls()[88]["transcript"]
        expected = [float(turn["timestamp"]) for turn in said if turn["role"] == role]
        assert starts == pytest.approx(expected, abs=0.01)


def test_keys_play_seek_and_move_by_turns(tab: Tab) -> None:
    page = tab.shown(88)
    loaded(page)
    page.get_by_role("heading", level=1).click()
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


def said(*timestamps: str | None) -> dict[str, Any]:
    turns = [
        {"role": ("assistant", "user")[i % 2], "content": f"Turn {i}", "timestamp": timestamp}
        for i, timestamp in enumerate(timestamps)
    ]
    return {"transcript": turns}


def test_turns_are_followed_in_the_order_of_their_times(tab: Tab, put_call: PutCall) -> None:
    """Turns whose times are not known are read, and take no part."""
    page = tab.shown(put_call(said("0.0", None, "20.0", "10.0", "10.0", None)))
    loaded(page)
    turns = page.get_by_role("list", name="Transcript").get_by_role("listitem")
    times = [turn.get_by_role("button").all_inner_texts() for turn in turns.all()]
    assert times == [["0:00"], [], ["0:20"], ["0:10"], ["0:10"], []]
    expect(current(page)).to_contain_text("Turn 0")
    for key, seconds, turn in [("]", 10, 4), ("]", 20, 2), ("[", 10, 4), ("[", 0, 0), ("[", 0, 0)]:
        page.keyboard.press(key)
        at(page, seconds)
        expect(current(page)).to_contain_text(f"Turn {turn}")
    drawn = page.locator("#timeline path.user").get_attribute("d") or ""
    assert re.findall(r"M([\d.]+) ", drawn) == ["0.10101"]  # of 99 s
    assert "h0.00000" not in drawn  # also a turn that starts with another one is seen
    tab.screenshot("times")


def test_a_call_without_any_time_is_played_to_its_end(tab: Tab, put_call: PutCall) -> None:
    """Nor is its length known: only the recording has it."""
    lengths = {"duration_seconds": None, "recording_duration": None}
    page = tab.shown(put_call(said(None, None) | lengths))
    loaded(page)
    expect(page.get_by_role("slider", name="Timeline")).to_be_hidden()
    for seconds in (5, 10, 15):
        page.keyboard.press("ArrowRight")
        at(page, seconds)
    page.keyboard.press("]")
    page.keyboard.press("[")
    assert recording(page, "currentTime") == 15
    expect(current(page)).to_have_count(0)
    page.get_by_role("button", name="Copy transcript").click()
    expect(page.get_by_role("status")).to_have_text("The transcript is copied.")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied.endswith("\n\n**Agent**: Turn 0\n\n**Caller**: Turn 1\n")


def test_keys_in_a_text_field_are_text(tab: Tab) -> None:
    page = tab.shown(88)
    loaded(page)
    field = page.get_by_label("Call ID")
    field.fill("88")
    for key in ("]", "ArrowLeft", "Space"):
        field.press(key)
    expect(field).to_have_value("88 ]")
    assert recording(page, "currentTime") == 0
    assert recording(page, "paused")


def test_the_keys_work_as_well_on_the_recording_itself(tab: Tab) -> None:
    page = tab.shown(88)
    loaded(page)
    page.get_by_label("Recording").focus()
    page.keyboard.press("ArrowRight")
    until(page, "currentTime === 5")
    page.keyboard.press("Space")
    until(page, "paused === false")


def test_the_speed_is_chosen_and_kept(tab: Tab) -> None:
    page = tab.shown(88)
    speed = page.get_by_role("combobox", name="Playback speed")
    rates = speed.locator("option").evaluate_all("options => options.map(o => Number(o.value))")
    assert (rates[0], rates[-1]) == (0.75, 2)
    speed.select_option("2")
    assert recording(page, "playbackRate") == 2
    page.get_by_label("Call ID").fill("78")
    page.get_by_role("button", name="Open call").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Call 78")
    loaded(page)
    assert recording(page, "playbackRate") == 2


def test_an_address_with_a_moment_opens_there(tab: Tab) -> None:
    page = tab.shown(86, moment="#t=1800")
    loaded(page)
    at(page, 1800)
    expect(current(page)).to_be_in_viewport()
    expect(page.get_by_role("slider", name="Timeline")).to_have_attribute("aria-valuenow", "1800")
    tab.screenshot("moment")


def test_a_moment_beyond_the_end_is_the_end(tab: Tab) -> None:
    page = tab.shown(77, moment="#t=99999")
    loaded(page)
    at(page, 99)


def test_an_expired_link_is_replaced_without_losing_the_position(
    open_tab: OpenTab, put_call: PutCall
) -> None:
    tab = open_tab(refusals=(403,))
    page = tab.shown(put_call(HOUR))
    loaded(page)
    page.get_by_role("combobox", name="Playback speed").select_option("1.5")
    turn = page.get_by_role("list", name="Transcript").get_by_role("listitem").nth(1)
    clock = tab.stack.clock
    page.clock.set_fixed_time(datetime.now(UTC) + LINK_LIFE)
    clock.late = True  # until the page asks for the call again
    page.on(
        "request", lambda request: setattr(clock, "late", clock.late and "/v2/" not in request.url)
    )
    turn.get_by_role("button").click()
    at(page, LATE + 1)
    assert len([url for url in tab.requests if "/v2/" in url]) == 2
    assert not clock.late
    expect(current(page)).to_be_in_viewport()
    assert not recording(page, "paused")
    assert recording(page, "playbackRate") == 1.5
    assert recording(page, "error") is None


def test_a_recording_that_is_gone_is_said_and_not_asked_for_again_and_again(
    open_tab: OpenTab, put_call: PutCall
) -> None:
    tab = open_tab(refusals=(404,))
    page = tab.shown(put_call({"recording_object": "gone.wav"}))
    expect(page.get_by_role("status")).to_have_text("The recording cannot be played.")
    assert len([url for url in tab.requests if "/v2/" in url]) == 2


def test_the_page_does_not_move_when_the_recording_loads(tab: Tab) -> None:
    page = tab.shown(88)
    page.evaluate("window.shift = 0")
    page.reload()
    page.evaluate(
        """() => new PerformanceObserver((list) => {
          for (const { value } of list.getEntries()) window.shift = (window.shift ?? 0) + value;
        }).observe({ type: "layout-shift", buffered: true })"""
    )
    loaded(page)
    heights = page.get_by_label("Recording").bounding_box()
    assert heights
    assert page.evaluate("window.shift ?? 0") < 0.01
