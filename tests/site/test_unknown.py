"""What the page makes of a call of which something is not known, and of an answer that is no call."""

import json
import re

from playwright.sync_api import expect

from local.seed import sample_calls
from ops.openapi import published_call, schema
from tests.support.browser import CALLS, REQUEST_ID, Tab
from tests.support.contract import every_field, with_value
from tests.support.serving import ROOT

KNOWN = 88
FIELDS = dict(every_field(schema("Call")))
LISTS = [name for name, field in FIELDS.items() if field.kind == "array"]
# No list stops the page, not even one that must not be null.
NULLS = [name for name, field in FIELDS.items() if field.may_be_null or name in LISTS]
CHANGES: list[tuple[str, list[str] | None]] = [
    *((name, None) for name in NULLS),
    *((name, []) for name in LISTS),
]
NOT_FOR_PEOPLE = re.compile(r"NaN|undefined|\bnull\b|Infinity|Invalid Date")
CASES = json.loads((ROOT / "tests" / "cases" / "expected.json").read_text("utf-8"))


def check_shown(tab: Tab, what: str) -> None:
    heading = tab.page.get_by_role("heading", level=1)
    expect(heading, what).to_contain_text(f"Call {KNOWN}")
    expect(tab.page.get_by_role("status"), what).to_have_count(0)
    expect(tab.page.get_by_role("alert"), what).to_have_count(0)
    assert NOT_FOR_PEOPLE.findall(tab.page.content()) == [], what
    assert tab.faults == [], what


def test_a_call_is_shown_whatever_is_not_known_of_it(tab: Tab) -> None:
    page = tab.page
    with page.expect_response(CALLS) as answered:
        tab.shown(KNOWN)
    stored = {name: value for name, value in answered.value.json().items() if value is not None}
    # What this call lacks, such as a new field, is that of the example.
    known = published_call(sample_calls()[77], None) | stored
    for name, value in CHANGES:
        what = f"{name}: {json.dumps(value)}"
        changed = with_value(known, name, value)
        assert changed != known, what
        tab.answer(json.dumps(changed))
        tab.another(KNOWN)
        check_shown(tab, what)


def test_the_cases_are_shown(tab: Tab) -> None:
    tab.page.goto(tab.stack.url)
    for name, kinds in CASES.items():
        call = kinds["honest"]["call"] | {"id": KNOWN}
        tab.answer(json.dumps(call))
        page = tab.open(KNOWN)
        check_shown(tab, name)
        turns = page.get_by_role("list", name="Transcript").get_by_role("listitem")
        expect(turns).to_have_count(len(call["transcript"]))
        tab.screenshot(f"case-{name}")


def test_an_answer_that_is_no_call_is_said(tab: Tab) -> None:
    tab.answer("<!doctype html>")
    page = tab.open(KNOWN)
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("This call cannot be shown")
    expect(alert).to_contain_text(f"Request ID {REQUEST_ID}")
    expect(page.get_by_role("status")).to_have_count(0)  # nothing is being opened
    expect(page.get_by_role("heading", level=2)).to_have_count(0)
    assert len(tab.faults) == 1  # the console has the exception
    tab.faults.clear()
