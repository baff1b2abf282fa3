"""Search in the transcript: how often, where, and on to the next one."""

from playwright.sync_api import expect

from tests.support.browser import Tab
from tests.support.project import PutCall


def test_hits_are_counted_shown_and_walked_through(tab: Tab, put_call: PutCall) -> None:
    turns = [
        {
            "role": "user",
            "content": f"Turn {i}" + ": Needle, needle." * (i % 40 == 0),
            "timestamp": f"{i}",
        }
        for i in range(100)
    ]
    page = tab.shown(put_call({"transcript": turns}))
    field = page.get_by_role("searchbox", name="Search transcript")
    hits = page.locator("#hits")
    expect(page.get_by_role("button", name="Next hit")).to_be_disabled()
    field.fill("needle")
    expect(hits).to_have_text("1 of 6")
    assert page.evaluate("[...CSS.highlights.get('hits')].length") == 6
    tab.screenshot("search")
    page.get_by_role("button", name="Previous hit").click()
    expect(hits).to_have_text("6 of 6")
    expect(page.get_by_text("Turn 80:")).to_be_in_viewport()
    field.press("Enter")
    expect(hits).to_have_text("1 of 6")
    expect(page.get_by_text("Turn 0:")).to_be_in_viewport()
    page.get_by_role("button", name="Next hit").click()
    expect(hits).to_have_text("2 of 6")
    field.fill("haystack")
    expect(hits).to_have_text("No hits")
    field.fill("")
    expect(hits).to_have_text("")
