"""The page for everybody: axe, keyboard, narrow screens, print."""

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]  # it has no types
from playwright.sync_api import Page, expect

from tests.support.browser import NARROW, OpenTab, Tab
from tests.support.figures import FIGURES

SCHEMES = ("light", "dark")
STATES = ("welcome", "refused", "77", "80", "83", "88")
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


@pytest.mark.parametrize("scheme", SCHEMES)
def test_axe_finds_nothing(open_tab: OpenTab, scheme: str) -> None:
    found = {}
    for state in STATES:
        tab = open_tab(color_scheme=scheme, refusals=(403,))
        page = entered(tab, state)
        results = Axe().run(page)
        tab.screenshot(f"{scheme}-{state}")
        if results.violations_count:
            found[state] = results.generate_report()
    FIGURES.append(f"call page, {scheme}: axe finds {len(found)} of {len(STATES)} states at fault")
    assert found == {}


def test_everything_is_reached_by_tab_with_a_visible_focus(tab: Tab) -> None:
    page = tab.shown(77)
    page.reload()  # what has the focus is nothing, and Tab starts at the top
    expect(page.get_by_role("heading", level=1)).to_contain_text("Call 77")
    reached = []
    for _ in range(30):
        page.keyboard.press("Tab")
        name, text, style, width = page.evaluate(FOCUSED)
        reached.append(name or text)
        if name != "Recording":  # its ring is drawn inside by the browser
            assert (style, width) != ("none", "0px"), name or text
        if text == "0:06":
            break
    wanted = ["Calls", "key", "call-id", "Open call", "forget", "API reference", "copy-link"]
    wanted += ["copy-transcript", "download", "Recording", "Timeline", "Playback speed", "follow"]
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
    expect(page.get_by_label("Recording")).to_be_hidden()
    expect(page.get_by_role("button", name="Download JSON")).to_be_hidden()
    expect(page.get_by_text("Have a calm evening online.")).to_be_visible()
    expect(page.get_by_role("table", name="Cost")).to_be_visible()
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(21, 32, 30)"
    tab.screenshot(f"print-{scheme}")
