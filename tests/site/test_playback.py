"""Playing a recording: the transcript follows it, and it goes where the transcript says."""

import re

import pytest
from playwright.sync_api import expect

from local.seed import sample_calls
from tests.support.browser import Tab
from tests.support.player import at, current, loaded, recording, said, until
from tests.support.project import PutCall

STARTS = [float(turn["timestamp"]) for turn in sample_calls()[88]["transcript"]]


def test_the_turn_that_is_played_is_marked_and_stays_in_sight(tab: Tab, put_call: PutCall) -> None:
    page = tab.shown(put_call(said(*(str(i / 2) for i in range(150)))))
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


def test_turns_are_followed_in_the_order_of_their_times(tab: Tab, put_call: PutCall) -> None:
    """Turns whose times are not known are read, and take no part."""
    page = tab.shown(put_call(said("0.0", None, "20.0", "10.0", "10.0", None)))
    loaded(page)
    turns = page.get_by_role("list", name="Transcript").get_by_role("listitem")
    times = [turn.get_by_role("button").all_inner_texts() for turn in turns.all()]
    assert times == [["0:00"], [], ["0:20"], ["0:10"], ["0:10"], []]
    expect(current(page)).to_contain_text("Turn 0")
    walk = [("]", 10, 3), ("]", 10, 4), ("]", 20, 2), ("]", 20, 2), ("[", 10, 4), ("[", 10, 3)]
    for key, seconds, turn in [*walk, ("[", 0, 0), ("[", 0, 0)]:
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
    expect(page.get_by_text("When each turn was said is not known.")).to_be_visible()
    for seconds in (5, 10, 15):
        page.keyboard.press("ArrowRight")
        at(page, seconds)
    page.keyboard.press("]")
    page.keyboard.press("[")
    assert recording(page, "currentTime") == 15
    expect(current(page)).to_have_count(0)


def test_the_speed_is_chosen_and_kept(tab: Tab) -> None:
    page = tab.shown(88)
    speed = page.get_by_role("combobox", name="Playback speed")
    rates = speed.locator("option").evaluate_all("options => options.map(o => Number(o.value))")
    assert (rates[0], rates[-1]) == (0.75, 2)
    speed.select_option("2")
    assert recording(page, "playbackRate") == 2
    tab.another(78)
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


@pytest.mark.parametrize("stored", [0, 5])
def test_a_stored_length_is_only_a_hint(tab: Tab, put_call: PutCall, stored: int) -> None:
    page = tab.shown(put_call({"recording_duration": stored}), moment="#t=60")
    loaded(page)
    at(page, 60)
    page.get_by_role("slider", name="Timeline").press("End")
    at(page, 99)
    expect(page.locator("#length")).to_have_text("1:39")


def test_every_turn_is_where_its_link_says(tab: Tab) -> None:
    page = tab.shown(88)
    loaded(page)
    links = [tab.copied("Copy link to this moment")]
    for _ in STARTS[1:]:
        page.keyboard.press("]")
        links.append(tab.copied("Copy link to this moment"))
    address = f"{tab.stack.url}/?call=88"
    assert links == [address, *(f"{address}#t={start:g}" for start in STARTS[1:])]
    for i in (5, 6, len(STARTS) - 1):
        page.goto("about:blank")
        page.goto(links[i])
        expect(current(page)).to_contain_text(sample_calls()[88]["transcript"][i]["content"])


def test_the_turn_that_is_chosen_is_the_turn_that_is_marked(tab: Tab, put_call: PutCall) -> None:
    page = tab.shown(put_call(said("20.0", "5.0", "5.0", "5.005", "500.0", "600.0")))
    loaded(page)
    buttons = page.get_by_role("list", name="Transcript").get_by_role("button")
    for i in (2, 1, 3, 0):
        buttons.nth(i).click()
        page.get_by_role("button", name="Pause").click()
        expect(current(page)).to_contain_text(f"Turn {i}")
    for i in (4, 5):  # of these, the recording has nothing
        buttons.nth(i).click()
        page.wait_for_timeout(300)
        assert recording(page, "currentTime") == 99
        assert recording(page, "paused")
        expect(current(page)).to_contain_text(f"Turn {i}")
    page.get_by_role("button", name="Play", exact=True).click()  # from the beginning
    expect(current(page)).to_have_count(0)
    recording(page, "currentTime = 98.5")
    until(page, "ended")
    expect(current(page)).to_contain_text("Turn 0")


def test_the_slider_knows_its_keys_and_says_where_it_is_once_a_second(tab: Tab) -> None:
    page = tab.shown(88)
    loaded(page)
    slider = page.get_by_role("slider", name="Timeline")
    seeks = {"End": 141, "Home": 0, "PageUp": 30, "ArrowUp": 35, "ArrowRight": 40, "ArrowLeft": 35}
    for key, seconds in seeks.items():
        slider.press(key)
        until(page, f"currentTime === {seconds}")
        expect(slider).to_have_attribute("aria-valuenow", str(seconds))
    page.get_by_role("combobox", name="Playback speed").select_option("2")
    slider.evaluate(
        """slider => {
          window.written = 0;
          new MutationObserver((all) => (written += all.length)).observe(slider, {
            attributeFilter: ["aria-valuenow"],
          });
        }"""
    )
    page.get_by_role("button", name="Play", exact=True).click()
    page.wait_for_timeout(3_000)
    assert 2 <= page.evaluate("written") <= 4
