"""A call that goes on while its page is open, and an API that is away for a while."""

import json
import re
from datetime import UTC, datetime
from typing import Any

import pytest
from playwright.sync_api import expect

from local.seed import sample_calls
from ops.openapi import published_call
from tests.support.browser import CALLS, REQUEST_ID, OpenTab, Stack, Tab
from tests.support.project import PutCall

SAID = [
    {"role": "assistant", "content": "Hello, how can I help?", "timestamp": "0.0"},
    {"role": "user", "content": "One moment, please.", "timestamp": "2.0"},
    {"role": "assistant", "content": "Take your time.", "timestamp": "4.0"},
]
ACTIVE: dict[str, Any] = {
    "status": "active",
    "ended_at": None,
    "duration_seconds": None,
    "ended_reason": None,
    "recording_object": None,
    "recording_duration": None,
    "cost": None,
    "analysis": None,
    "transcript": SAID[:2],
}
LIVE = "Live: updates every 5 seconds"
TOO_MANY = "<!doctype html><title>429</title>429 Too Many Requests"  # as Cloud Armor says it
NO_TIME = json.dumps(published_call(sample_calls()[78], None) | {"updated_at": 5})


def test_an_active_call_is_followed_until_it_ends(tab: Tab, put_call: PutCall) -> None:
    call_id = put_call(ACTIVE)
    page = tab.shown(call_id)
    turns = page.get_by_role("list", name="Transcript").get_by_role("listitem")
    expect(page.get_by_text(LIVE)).to_be_visible()
    expect(turns).to_have_count(2)
    first = turns.first.element_handle()
    tab.screenshot("live")
    page.wait_for_event("response", lambda response: response.status == 304)
    put_call({"transcript": SAID}, at=call_id)
    expect(turns).to_have_count(3)
    expect(page.get_by_text("Ended", exact=True).first).to_be_visible()
    expect(page.get_by_text(LIVE)).to_be_hidden()
    expect(page.get_by_role("slider", name="Timeline")).to_be_visible()
    assert first.evaluate("turn => turn.isConnected")  # a selection in it survives
    asked = tab.asked()
    page.wait_for_timeout(6_000)
    assert tab.asked() == asked


def test_an_answer_that_is_no_call_leaves_the_one_before_and_is_asked_for_again(
    tab: Tab, put_call: PutCall
) -> None:
    call_id = put_call(ACTIVE)
    page = tab.shown(call_id)
    turns = page.get_by_role("list", name="Transcript").get_by_role("listitem")
    alert = page.get_by_role("alert")
    tab.answer(NO_TIME)
    expect(alert).to_contain_text("This call cannot be shown")
    expect(alert).to_contain_text(f"Request ID {REQUEST_ID}")
    expect(page.get_by_role("heading", level=1)).to_contain_text(f"Call {call_id} Priya")
    expect(page.get_by_text("Active", exact=True)).to_be_visible()
    expect(turns).to_have_count(2)
    tab.screenshot("no-call")
    put_call({**ACTIVE, "transcript": SAID}, at=call_id)
    tab.heal()
    expect(turns).to_have_count(3)
    expect(alert).to_have_count(0)
    assert tab.faults  # each is logged
    tab.faults.clear()


def test_a_fault_of_the_page_is_not_said_in_its_own_words(tab: Tab, put_call: PutCall) -> None:
    page = tab.shown(put_call(ACTIVE))
    page.evaluate("() => { CSS.highlights.set = () => { throw new Error('a fault') }; }")
    put_call({"transcript": SAID}, at=int(page.title().split()[1]))
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("This call cannot be shown")
    expect(alert).to_contain_text("Report it")
    assert "a fault" in tab.faults[0]  # the console has the exception
    tab.faults.clear()


def test_an_outage_is_said_waited_for_and_over(open_tab: OpenTab, stack: Stack) -> None:
    tab = open_tab(refusals=(503, 504))
    stack.firestore.refuse()
    try:
        with tab.page.expect_response(CALLS) as first:
            page = tab.open(88)
        with page.expect_response(CALLS) as second:
            alert = page.get_by_role("alert")
            expect(alert).to_contain_text("Calls cannot be read right now")
            expect(alert).to_contain_text("calls_unavailable")
            expect(alert).to_contain_text(re.compile(r"Request ID [0-9a-f]{32}"))
            expect(alert).to_contain_text(re.compile(r"The page tries again in \d+ s\."))
            tab.screenshot("outage")
        one, other = (each.value.request.timing["startTime"] for each in (first, second))
        wait_ms = 1_000 * int(first.value.headers["retry-after"])
        assert other - one >= wait_ms >= 1_000  # by the browser's clock
    finally:
        stack.firestore.heal()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Call 88")
    expect(page.get_by_role("alert")).to_have_count(0)


def test_a_limit_before_the_api_is_said_and_waited_for(open_tab: OpenTab) -> None:
    """Its answer is not the API's: neither a problem, nor a request ID, nor a time to wait."""
    tab = open_tab(refusals=(429,))
    tab.page.goto(tab.stack.url)
    tab.refuse(429, TOO_MANY)
    page = tab.open(88)
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("Too many requests at once")
    expect(alert).to_contain_text("The page tries again in 5 s.")
    expect(alert).not_to_contain_text("Request ID")
    expect(alert).to_contain_text("The page tries again in 10 s.")  # refused again
    tab.heal()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Call 88")
    expect(alert).to_have_count(0)


def test_a_live_call_goes_on_after_a_connection_that_broke(tab: Tab, put_call: PutCall) -> None:
    call_id = put_call(ACTIVE)
    page = tab.shown(call_id)
    alert = page.get_by_role("alert")
    page.route(CALLS, lambda route: route.abort("connectionreset"))
    expect(alert).to_contain_text("The API cannot be reached")
    expect(alert).to_contain_text("The page tries again in 5 s.")
    expect(page.get_by_role("heading", level=1)).to_contain_text(f"Call {call_id}")
    put_call({**ACTIVE, "transcript": SAID}, at=call_id)
    tab.heal()
    turns = page.get_by_role("list", name="Transcript").get_by_role("listitem")
    expect(turns).to_have_count(len(SAID))
    expect(alert).to_have_count(0)
    tab.forgive("ERR_CONNECTION_RESET")


def test_a_live_call_goes_on_after_an_error_of_the_api(
    open_tab: OpenTab, put_call: PutCall
) -> None:
    tab = open_tab(refusals=(500,))
    call_id = put_call(ACTIVE)
    page = tab.shown(call_id)
    alert = page.get_by_role("alert")
    tab.refuse(500, json.dumps({"detail": "Internal error", "code": "internal"}))
    expect(alert).to_contain_text("Internal error")
    expect(page.get_by_text(LIVE)).to_be_visible()
    put_call({**ACTIVE, "transcript": SAID}, at=call_id)
    tab.heal()
    turns = page.get_by_role("list", name="Transcript").get_by_role("listitem")
    expect(turns).to_have_count(len(SAID))
    expect(alert).to_have_count(0)


def test_a_live_call_that_is_refused_is_live_no_more(open_tab: OpenTab, put_call: PutCall) -> None:
    tab = open_tab(refusals=(401,))
    tab.page.clock.install()
    page = tab.shown(put_call(ACTIVE))
    expect(page.get_by_text(LIVE)).to_be_visible()
    tab.refuse(401, "{}")
    page.clock.fast_forward(5_000)
    expect(page.get_by_role("alert")).to_contain_text("The API answered 401")
    expect(page.get_by_text(LIVE)).to_be_hidden()
    expect(page.get_by_role("heading", level=2)).not_to_have_count(0)  # the call stays
    asked = tab.asked()
    page.clock.fast_forward(60_000)
    page.wait_for_timeout(300)
    assert tab.asked() == asked


def test_a_refusal_outlasts_a_lost_network(open_tab: OpenTab) -> None:
    tab = open_tab(refusals=(403,))
    page = tab.open(87)
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("forbidden")
    page.context.set_offline(True)
    page.context.set_offline(False)
    page.wait_for_timeout(300)
    expect(alert).to_contain_text("forbidden")


def test_what_is_wrong_in_the_form_is_said_whatever_a_live_call_gets(
    tab: Tab, put_call: PutCall
) -> None:
    page = tab.shown(put_call(ACTIVE))
    alert = page.get_by_role("alert")
    tab.another("077")
    expect(alert).to_contain_text("This is not the ID of a call")
    page.wait_for_event("response", lambda response: response.status == 304)
    page.wait_for_timeout(300)
    expect(alert).to_contain_text("This is not the ID of a call")
    page.get_by_role("button", name="Change call or key").click()
    expect(alert).to_have_count(0)


def test_a_lost_network_is_said_though_nothing_is_asked_for(tab: Tab) -> None:
    page = tab.shown(77)
    page.context.set_offline(True)
    expect(page.get_by_role("alert")).to_contain_text("this device is offline")
    expect(page.get_by_role("heading", level=1)).to_contain_text("Call 77")
    page.context.set_offline(False)
    expect(page.get_by_role("alert")).to_have_count(0)
    assert tab.asked() == 1
    # The browser reports what was on its way when the network went.
    tab.forgive("ERR_INTERNET_DISCONNECTED")


NOTE = """() => {
  window.alerts = 0;
  new MutationObserver((all) => (alerts += all.length)).observe(
    document.querySelector("[role=alert]"), { childList: true, subtree: true });
}"""


@pytest.mark.parametrize("size", [{"width": 1440, "height": 900}, {"width": 390, "height": 844}])
def test_a_problem_is_said_once_where_the_person_reads(
    open_tab: OpenTab, put_call: PutCall, size: dict[str, int]
) -> None:
    turns = [{"role": "user", "content": f"Turn {i}", "timestamp": f"{i}"} for i in range(100)]
    tab = open_tab(viewport=size, refusals=(503,))
    page = tab.shown(put_call({**ACTIVE, "transcript": turns}))
    page.get_by_text("Turn 60").scroll_into_view_if_needed()
    page.evaluate(NOTE)
    tab.refuse(503, "{}", {"Retry-After": "1"})
    alert = page.get_by_role("alert")
    expect(alert).to_be_visible()
    expect(alert).to_be_in_viewport(ratio=1)
    page.screenshot(path=tab.screenshots / f"alert-{size['width']}.png")
    page.wait_for_timeout(3_000)
    assert tab.asked() >= 3
    assert page.evaluate("alerts") == 1


def ended_now() -> dict[str, Any]:
    now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    return {"ended_at": now, "analysis": None, "cost": None}


def test_a_call_that_has_just_ended_is_asked_for_again_each_half_minute(
    tab: Tab, put_call: PutCall
) -> None:
    tab.page.clock.install()
    call_id = put_call(ended_now())
    page = tab.shown(call_id)
    expect(page.get_by_text("The analysis follows within minutes.")).to_be_visible()
    put_call(ended_now() | {"analysis": sample_calls()[77]["analysis"]}, at=call_id)
    page.clock.fast_forward(29_000)
    page.wait_for_timeout(300)
    assert tab.asked() == 1
    page.clock.fast_forward(2_000)
    expect(page.locator("#strip")).to_contain_text("Resolved")
    assert tab.asked() == 2
    for _ in range(30):
        page.clock.fast_forward(30_000)
        page.wait_for_timeout(50)
    asked = tab.asked()
    page.clock.fast_forward(60_000)
    page.wait_for_timeout(300)
    assert tab.asked() == asked
