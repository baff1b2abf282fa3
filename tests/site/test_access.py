"""The page for everybody: axe, contrast, keyboard, small windows, print."""

import re
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]  # it has no types
from playwright.sync_api import Page, expect

from tests.support.browser import NARROW, WIDE, OpenTab, Tab
from tests.support.figures import FIGURES
from tests.support.player import current, loaded

SCHEMES = ("light", "dark")
LOOKS: dict[str, dict[str, str]] = {
    "light": {"color_scheme": "light"},
    "dark": {"color_scheme": "dark"},
    "forced": {"forced_colors": "active"},
    "forced-dark": {"forced_colors": "active", "color_scheme": "dark"},
}
# 320 by 256 is what a window of 1280 by 1024 has at 400 %.
ZOOMED = {"width": 320, "height": 256}
SIZES = {"zoomed": ZOOMED, "phone": {"width": 390, "height": 844}, "wide": WIDE}
STATES = ("welcome", "refused", "77", "80", "83", "88")
# What a small window lays out in another way: the form, a message, a call.
SMALL_STATES = STATES[:3]
FOCUSED = """() => {
  const { activeElement: e } = document;
  const { outlineStyle, outlineWidth } = getComputedStyle(e);
  return [e.ariaLabel ?? e.id ?? "", e.textContent.trim(), outlineStyle, outlineWidth];
}"""

# Of Hindi text, in the page's own font face and in the one that it is made from.
WIDTH = """() => {
  const canvas = document.createElement("canvas").getContext("2d");
  return Object.fromEntries(["Devanagari", "sans-serif"].map((family) => {
    canvas.font = `40px ${family}`;
    return [family, canvas.measureText("नमस्ते").width];
  }));
}"""


def entered(tab: Tab, state: str) -> Page:
    if state == "welcome":
        tab.page.goto(tab.stack.url)
        return tab.page
    if state == "refused":
        page = tab.open(87)
        expect(page.get_by_role("alert")).to_be_visible()
        return page
    return tab.shown(state)


@pytest.mark.parametrize("look", ["light", "dark", "forced"])
@pytest.mark.parametrize("size", SIZES)
def test_axe_finds_nothing(open_tab: OpenTab, look: str, size: str) -> None:
    found = {}
    states = STATES if size == "wide" else SMALL_STATES
    for state in states:
        tab = open_tab(**LOOKS[look], viewport=SIZES[size], refusals=(403,))
        page = entered(tab, state)
        results = Axe().run(page)
        tab.screenshot(f"{look}-{size}-{state}")
        if results.violations_count:
            found[state] = results.generate_report()
    FIGURES.append(
        f"call page, {look}, {size}: axe finds {len(found)} of {len(states)} states at fault"
    )
    assert found == {}


# Each graphic, and what it lies on.
GRAPHICS = {
    "the agent on the timeline": ("#timeline .assistant", "fill", "#timeline"),
    "the customer on the timeline": ("#timeline .user", "fill", "#timeline"),
    "the playhead": ("#timeline .playhead", "borderInlineStartColor", "#timeline"),
    "the playhead's halo, on the agent": (
        "#timeline .playhead",
        "boxShadow",
        "#timeline .assistant",
    ),
    "the playhead's halo, on the customer": ("#timeline .playhead", "boxShadow", "#timeline .user"),
    "a bar": (".bar-track i", "backgroundColor", "#cost"),
    "the edge of the agent's turns": ("#turns .assistant", "borderInlineStartColor", "body"),
    "the edge of the customer's turns": ("#turns .user", "borderInlineStartColor", "body"),
    "the mark of the turn that is played": ("#turns [aria-current]", "outlineColor", "body"),
    "the edge of a field": ("#wanted", "borderTopColor", "body"),
}
COLOURS = """([graphic, property, ground]) => {
  const style = (selector) => getComputedStyle(document.querySelector(selector));
  const { fill, backgroundColor } = style(ground);
  return [style(graphic)[property], ground.includes("timeline .") ? fill : backgroundColor];
}"""


def luminance(colour: str) -> float:
    parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted(map(luminance, (one, other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("look", LOOKS)
def test_graphics_have_contrast(open_tab: OpenTab, look: str) -> None:
    page = open_tab(**LOOKS[look]).shown(88)
    loaded(page)
    expect(current(page)).to_have_css("outline-style", "solid")
    measured = {what: contrast(*page.evaluate(COLOURS, [*of])) for what, of in GRAPHICS.items()}
    FIGURES.append(f"call page, {look}: contrast of graphics at least {min(measured.values()):.2f}")
    assert {what: ratio for what, ratio in measured.items() if ratio < 3} == {}


@pytest.mark.parametrize("look", LOOKS)
def test_speakers_differ_in_place_and_colour(open_tab: OpenTab, look: str) -> None:
    tab = open_tab(**LOOKS[look])
    page = tab.shown(88)
    edge: Any = """turn => [turn.getBoundingClientRect().left,
      getComputedStyle(turn).borderInlineStartColor]"""
    agent, customer = (page.locator(f"#turns .{role}").first for role in ("assistant", "user"))
    (left, colour), (left_of_other, other_colour) = agent.evaluate(edge), customer.evaluate(edge)
    assert left_of_other > left + 40
    assert colour != other_colour


def test_the_player_leaves_a_low_window_to_the_text(open_tab: OpenTab) -> None:
    tab = open_tab(viewport=ZOOMED)
    page = tab.shown(88)
    loaded(page)
    player = page.locator("#player")
    expect(player).to_be_visible()
    for button in page.locator("#turns button").all()[5:8]:
        button.focus()
        expect(button).to_be_in_viewport()
    expect(player).not_to_be_in_viewport()


@pytest.mark.parametrize("size", ["phone", "wide"])
def test_nothing_covers_what_has_the_focus(open_tab: OpenTab, size: str) -> None:
    tab = open_tab(viewport=SIZES[size])
    page = tab.shown(88)
    loaded(page)
    page.locator("#turns button").last.focus()
    for _ in range(24):
        page.keyboard.press("Shift+Tab")
        covered = page.evaluate(
            """() => {
              const { left, top, width, height } = document.activeElement.getBoundingClientRect();
              const found = document.elementFromPoint(left + width / 2, top + height / 2);
              return !document.activeElement.contains(found) && document.activeElement.textContent;
            }"""
        )
        assert covered is False


def test_everything_is_reached_by_tab_with_a_visible_focus(tab: Tab) -> None:
    page = tab.shown(77)
    page.reload()  # what has the focus is nothing, and Tab starts at the top
    expect(page.get_by_role("heading", level=1)).to_contain_text("Call 77")
    loaded(page)
    reached = []
    for _ in range(30):
        page.keyboard.press("Tab")
        name, text, style, width = page.evaluate(FOCUSED)
        reached.append(name or text)
        assert (style, width) != ("none", "0px"), name or text
        if text == "0:06":
            break
    wanted = ["Calls", "change", "API reference", "copy-link", "copy-transcript", "download"]
    wanted += ["Play", "Timeline", "Playback speed", "follow", "Keyboard shortcuts ?"]
    wanted += ["open-recording", "Facts", "Search transcript"]
    wanted += ["Play from 0:00", "Play from 0:05", "Play from 0:06"]
    assert [name for name in wanted if name not in reached] == []


def test_a_call_is_opened_and_played_by_keyboard_alone(tab: Tab) -> None:
    page = tab.page
    page.goto(f"{tab.stack.url}/?call=88")
    expect(page.get_by_label("API key")).to_be_focused()
    page.keyboard.type(tab.stack.key)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_contain_text("Call 88")
    page.get_by_role("button", name="Play from 0:06").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#turns [aria-current=true]")).to_contain_text("Hi Maya.")


@pytest.mark.parametrize("state", ["welcome", "refused", "77", "79", "82", "90"])
def test_nothing_is_wider_than_a_narrow_screen(open_tab: OpenTab, state: str) -> None:
    tab = open_tab(viewport=NARROW, refusals=(403,))
    page = entered(tab, state)
    assert page.evaluate("document.documentElement.scrollWidth") <= NARROW["width"]
    tab.screenshot(f"narrow-{state}")


def test_devanagari_is_set_larger_than_its_font(tab: Tab) -> None:
    page = tab.shown(89)
    size = page.locator("#turns p").first.evaluate("p => parseFloat(getComputedStyle(p).fontSize)")
    assert size >= 17
    width = page.evaluate(WIDTH)
    assert width["Devanagari"] == pytest.approx(1.12 * width["sans-serif"], rel=0.02)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_print_has_the_call_and_no_controls(open_tab: OpenTab, scheme: str) -> None:
    tab = open_tab(color_scheme=scheme)
    page = tab.shown(88)
    page.emulate_media(media="print")
    expect(page.get_by_label("API key")).to_be_hidden()
    expect(page.get_by_role("slider", name="Timeline")).to_be_hidden()
    expect(page.get_by_role("button", name="Download JSON")).to_be_hidden()
    expect(page.get_by_text("Have a calm evening online.")).to_be_visible()
    expect(page.get_by_role("table", name="Cost")).to_be_visible()
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(22, 27, 34)"
    tab.screenshot(f"print-{scheme}")
