"""Documents that want to be more than text, or that are as large as a document can be."""

from collections.abc import Mapping
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from local.seed import sample_calls
from ops.openapi import schema, without_null
from tests.support.browser import Tab
from tests.support.contract import kind_of, stored_fields
from tests.support.project import PutCall

MARKUP = [
    '<img src="x" onerror="window.pwned = 1">',
    "<script>window.pwned = 1</script>",
    '<a href="javascript:window.pwned = 1">click</a>',
    "javascript:window.pwned=1",
    "https://example.com/ [link](https://example.com/)",
    "</li></ol><h1>Call 1</h1>",
    '"><svg onload=window.pwned=1>',
    "{{constructor.constructor('window.pwned = 1')()}}",
    "&lt;b&gt;",
]
OVERRIDE = "\u202egpj.exe \u2067right\u2066left"
INVISIBLE = "\u200b\u200d\u2060\ufeff\u00ad\u2800"
MIB = 2**20


def said(*texts: str) -> dict[str, Any]:
    turns = [{"role": "user", "content": text, "timestamp": str(i)} for i, text in enumerate(texts)]
    return {"transcript": turns}


def texts(page: Page) -> list[str]:
    shown: list[str] = page.locator("#turns p").evaluate_all("all => all.map(p => p.textContent)")
    return shown


def test_markup_in_a_transcript_is_text(tab: Tab, put_call: PutCall) -> None:
    page = tab.shown(put_call(said(*MARKUP)))
    assert texts(page) == MARKUP
    assert page.locator("#turns *:not(li, button, span, p)").count() == 0
    expect(page.get_by_role("heading", level=1)).to_have_count(1)
    assert page.evaluate("window.pwned") is None
    tab.screenshot("markup")


def with_texts(stored: Any, node: Mapping[str, Any], text: str) -> Any:
    """Return a stored value with this text in place of each text, also where there is none yet."""
    known, _ = without_null(node)
    if kind_of(known) == "object":
        parts = known["properties"].items()
        return {name: with_texts((stored or {}).get(name), part, text) for name, part in parts}
    if kind_of(known) == "array":
        return [with_texts(None, known["items"], text)]
    return text if kind_of(known) == "string" else stored


@pytest.mark.parametrize("text", MARKUP)
def test_markup_in_any_other_field_is_text(tab: Tab, put_call: PutCall, text: str) -> None:
    properties = schema("Call")["properties"]
    changes = {
        name: with_texts(sample_calls()[77].get(name), properties[name], text)
        for name, field in stored_fields().items()
        if field.kind in {"string", "object"}
    }
    page = tab.shown(put_call(changes | {"type": "inbound"}))
    assert page.locator("#call").evaluate("call => call.textContent").count(text[1:]) >= 22
    assert page.locator("#call").locator("img, script, svg:not(.player svg)").count() == 0
    links = page.locator("#call a:not(#open-recording)").evaluate_all(
        "all => all.map(a => a.getAttribute('href'))"
    )
    assert links == []
    assert page.evaluate("window.pwned") is None


def test_overrides_of_direction_end_with_their_turn(tab: Tab, put_call: PutCall) -> None:
    """A turn is isolated: what surrounds it, and what follows it, keeps its own direction."""
    page = tab.shown(put_call(said(OVERRIDE, "After it.", "שלום")))
    assert texts(page) == [OVERRIDE, "After it.", "שלום"]
    turns = page.locator("#turns p")
    for i, direction in enumerate(("ltr", "ltr", "rtl")):
        expect(turns.nth(i)).to_have_css("unicode-bidi", "isolate")
        expect(turns.nth(i)).to_have_css("direction", direction)
    buttons = [page.locator("#turns button").nth(i).bounding_box() for i in range(3)]
    assert len({box and box["x"] for box in buttons}) == 1
    tab.screenshot("directions")


def test_text_that_cannot_be_seen_is_said(tab: Tab, put_call: PutCall) -> None:
    page = tab.shown(put_call(said(INVISIBLE, "", "a\u200bb") | {"agent_name": INVISIBLE}))
    expect(page.get_by_role("heading", level=1)).to_contain_text("(no visible text)")
    assert texts(page) == ["(no visible text)", "(no visible text)", "a\u200bb"]


def test_9000_turns_are_shown_and_found(tab: Tab, put_call: PutCall) -> None:
    turns = [
        {"role": ("user", "assistant")[i % 2], "content": f"Turn {i}.", "timestamp": f"{i / 100}"}
        for i in range(9_000)
    ]
    page = tab.shown(put_call({"transcript": turns}))
    expect(page.locator("#turns li")).to_have_count(9_000)
    assert page.evaluate("find('Turn 8999.')")
    page.get_by_role("button", name="Play from 1:29").last.click()
    expect(page.locator("#turns [aria-current=true]")).to_be_in_viewport()


def test_a_document_of_one_mebibyte_is_shown(tab: Tab, put_call: PutCall) -> None:
    text = "a" * (MIB - 5_000)
    page = tab.shown(put_call(said(text)))
    assert texts(page) == [text]
    scrolled = page.evaluate("document.documentElement.scrollWidth")
    assert scrolled <= 1440
