"""Opening calls: each sample call, what it lacks, and each refusal."""

import json
import re

import pytest
from playwright.sync_api import expect

from local.seed import sample_calls
from tests.support.browser import OpenTab, Stack, Tab
from tests.support.project import PutCall

CALLS = {i: call for i, call in sample_calls().items() if call["org_id"] == "org_acme"}
SECTIONS = ["Summary", "Transcript", "Cost", "Quality", "Models", "Details"]
ABSENT = {
    80: ["The recording follows when", "The analysis follows when", "The cost is settled when"],
    81: ["This call was not recorded.", "This call was not analysed."],
    82: ["The recording follows when", "Nothing has been said yet."],
    83: ["This call is deleted: its recording is no longer available."],
    84: ["This call was not recorded."],
    85: ["This call was not analysed."],
}
REFUSED = {
    "a wrong key": ("wrong", 77, 401, "Invalid or expired authentication token", "unauthenticated"),
    "a foreign call": (None, 87, 403, "Not authorized to access this call", "forbidden"),
    "a missing call": (None, 4711, 404, "Call not found", "call_not_found"),
}


@pytest.mark.parametrize("call_id", CALLS)
def test_every_sample_call_is_shown(tab: Tab, call_id: int) -> None:
    call = CALLS[call_id]
    page = tab.shown(call_id)
    assert page.get_by_role("heading", level=2).all_inner_texts() == SECTIONS
    turns = page.get_by_role("list", name="Transcript").get_by_role("listitem")
    expect(turns).to_have_count(len(call.get("transcript", [])))
    for sentence in ABSENT.get(call_id, []):
        expect(page.get_by_text(sentence)).to_be_visible()
    recorded = bool(call.get("recording_object")) and call["status"] != "deleted"
    expect(page.get_by_label("Recording")).to_be_visible(visible=recorded)
    tab.screenshot(f"call-{call_id}")


def test_a_turn_has_its_speaker_its_text_and_its_time(tab: Tab) -> None:
    page = tab.shown(77)
    turn = page.get_by_role("list", name="Transcript").get_by_role("listitem").nth(1)
    expect(turn).to_contain_text("Caller")
    expect(turn.locator("[dir=auto]")).to_have_text("मुझे मदद चाहिए")
    expect(turn.get_by_role("button")).to_have_accessible_name("Play from 0:05")


def test_the_cost_is_shown_as_stored_in_both_currencies(tab: Tab) -> None:
    page = tab.shown(77)
    rows = page.get_by_role("table", name="Cost").get_by_role("row")
    assert [re.split(r"\s*\t\s*", text.strip()) for text in rows.all_inner_texts()] == [
        ["Platform fee", "$0.05"],
        ["Speech to text", "$0.01"],
        ["Text to speech", "$0.015"],
        ["Language model", "$0.005"],
        ["Telephony", "$0.00"],
        ["Total", "$0.08"],
        ["In rupees", "₹6.80"],
    ]
    widths = page.eval_on_selector_all(".bar-track i", "bars => bars.map(b => b.offsetWidth)")
    fee, stt, tts, llm, telephony, _ = widths
    assert fee > tts > stt > llm > telephony == 0


def test_what_is_not_known_is_said(tab: Tab) -> None:
    page = tab.shown(79)
    expect(page.get_by_role("row", name="In rupees")).to_contain_text("not known")
    page = tab.shown(85)
    expect(page.get_by_role("row", name="Language model")).to_contain_text("not known")
    expect(page.get_by_role("heading", level=1)).to_contain_text("Unnamed agent")


@pytest.mark.parametrize("case", REFUSED)
def test_a_refusal_is_an_alert_with_what_to_do(open_tab: OpenTab, case: str) -> None:
    key, call_id, status, detail, code = REFUSED[case]
    tab = open_tab(refusals=(status,))
    page = tab.open(call_id, key=key)
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text(detail)
    expect(alert).to_contain_text(code)
    expect(alert).to_contain_text(re.compile(r"Request ID [0-9a-f]{32}"))
    expect(alert.locator(".next")).to_have_text(re.compile(r"^[A-Z].+\.$"))
    expect(page.get_by_role("heading", level=2)).to_have_count(0)
    tab.screenshot(f"refused-{code}")


def test_a_refusal_takes_the_call_before_off_the_page(open_tab: OpenTab) -> None:
    page = open_tab(refusals=(403,)).shown(77)
    page.get_by_label("Call ID").fill("87")
    page.get_by_role("button", name="Open call").click()
    expect(page.get_by_role("alert")).to_be_visible()
    expect(page.get_by_text("Priya")).to_have_count(0)
    assert not page.evaluate("document.body.innerText.includes('नमस्ते')")
    assert page.title() == "Call 87"


@pytest.mark.parametrize("call_id", ["0", "077", "7/7", "../77", "77?x=1", "९९"])
def test_what_is_not_an_id_is_not_asked_for(tab: Tab, call_id: str) -> None:
    page = tab.open("77")
    page.get_by_label("Call ID").fill(call_id)
    page.get_by_role("button", name="Open call").click()
    expect(page.get_by_role("alert")).to_contain_text("This is not the ID of a call")
    assert [url for url in tab.requests if "/v2/" in url and not url.endswith("/77")] == []


def test_an_id_beyond_what_javascript_counts_is_that_id(tab: Tab, put_call: PutCall) -> None:
    call_id = 2**63 - 1
    put_call(at=call_id)
    page = tab.shown(call_id)
    expect(page.locator("#details dd").first).to_have_text(str(call_id))


def test_a_call_is_opened_by_address_once_the_key_is_known(tab: Tab) -> None:
    page = tab.shown(77)
    page.goto(f"{tab.stack.url}/?call=78")
    expect(page.get_by_role("heading", level=1)).to_contain_text("Call 78")
    page.get_by_label("Call ID").fill("79")
    page.get_by_label("Call ID").press("Enter")
    expect(page.get_by_role("heading", level=1)).to_contain_text("Call 79")
    assert page.url == f"{tab.stack.url}/?call=79"
    page.go_back()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Call 78")


def test_the_key_is_kept_in_the_session_alone_until_it_is_forgotten(tab: Tab, stack: Stack) -> None:
    page = tab.shown(77)
    stored = "Object.values({...%s}).join()"
    assert stack.key in page.evaluate(stored % "sessionStorage")
    assert page.evaluate(stored % "localStorage") == ""
    assert page.context.cookies() == []
    assert [url for url in [page.url, *tab.requests] if stack.key in url] == []
    page.get_by_role("button", name="Forget key").click()
    expect(page.get_by_label("API key")).to_have_value("")
    assert page.evaluate(stored % "sessionStorage") == ""
    expect(page.get_by_role("heading", level=2)).to_have_count(0)
    assert not page.evaluate("document.body.innerText.includes('Priya')")
    page.reload()
    expect(page.get_by_role("heading", level=1)).to_have_text("Open a call")
    tab.screenshot("welcome")


def test_a_link_to_a_moment_a_transcript_and_the_json_can_be_taken_away(
    tab: Tab, put_call: PutCall
) -> None:
    said = [{"role": "user", "content": "*One* [two](x)\n# <b>", "timestamp": "3.5"}]
    call_id = put_call({"transcript": said})
    page = tab.shown(call_id, moment="#t=42.5")
    clipboard = "navigator.clipboard.readText()"
    page.get_by_role("button", name="Copy link to this moment").click()
    expect(page.get_by_role("status")).to_have_text("The link is copied.")
    assert page.evaluate(clipboard) == f"{tab.stack.url}/?call={call_id}#t=42"
    page.get_by_role("button", name="Copy transcript").click()
    expect(page.get_by_role("status")).to_have_text("The transcript is copied.")
    assert page.evaluate(clipboard) == (
        f"# Call {call_id}\n\n**Caller** (0:03): \\*One\\* \\[two\\]\\(x\\) \\# \\<b\\>\n"
    )
    with page.expect_download() as download:
        page.get_by_role("button", name="Download JSON").click()
    assert download.value.suggested_filename == f"call-{call_id}.json"
    assert json.loads(download.value.path().read_text())["transcript"] == said
