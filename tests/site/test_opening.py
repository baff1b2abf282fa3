"""Opening calls: each sample call, what it lacks, and each refusal."""

import json
import re

import pytest
from playwright.sync_api import Browser, expect

from local.seed import sample_calls
from tests.support.browser import OpenTab, Stack, Tab, opening
from tests.support.project import PutCall

CALLS = {i: call for i, call in sample_calls().items() if call["org_id"] == "org_acme"}
SECTIONS = ["Summary", "Cost", "Quality", "Models", "Details", "Transcript"]
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
    expect(page.get_by_role("slider", name="Timeline")).to_be_visible(visible=recorded)
    assert page.get_by_label("Recording").evaluate("audio => audio.controls") is False
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
    fee, stt, tts, llm, telephony, _score = widths
    assert fee > tts > stt > llm > telephony == 0


def test_what_is_not_known_is_not_listed(tab: Tab) -> None:
    page = tab.shown(79)
    expect(page.get_by_role("row", name="Total")).to_be_visible()
    expect(page.get_by_role("row", name="In rupees")).to_have_count(0)
    page = tab.shown(85)
    expect(page.get_by_role("heading", level=1)).to_contain_text("Unnamed agent")
    assert "not known" not in page.inner_text("main")


def test_the_strip_has_the_outcome_as_its_largest_fact(tab: Tab) -> None:
    page = tab.shown(77)
    strip = page.locator("#strip")
    assert strip.locator("dt").all_inner_texts() == [
        *("Outcome", "Sentiment", "Score", "Duration", "Cost")
    ]
    assert strip.locator("dd").all_inner_texts() == [
        *("Resolved", "Positive", "85 of 100", "1 min 39 s", "$0.08")
    ]
    sizes = strip.locator("dd, strong").evaluate_all(
        "all => all.map(each => [each.textContent, parseFloat(getComputedStyle(each).fontSize)])"
    )
    assert max(sizes, key=lambda each: each[1])[0] == "Resolved"
    page = tab.shown(82)
    expect(strip).to_be_hidden()


def test_a_score_is_rounded_and_what_is_not_stored_was_not_silent(
    tab: Tab, put_call: PutCall
) -> None:
    analysis = {"score": {"score": 33.333333333333336, "reasoning": None}}
    page = tab.shown(put_call({"analysis": analysis, "transcript": []}))
    expect(page.locator("#strip")).to_contain_text("33.3 of 100")
    expect(page.get_by_text("There is no transcript of this call.")).to_be_visible()
    assert "Nothing was said" not in page.inner_text("main")


def test_the_number_of_whoever_was_called_is_no_caller_s(tab: Tab, put_call: PutCall) -> None:
    page = tab.shown(put_call({"type": "outbound", "caller_phone": "+15550100123"}))
    expect(page.locator("#details")).to_contain_text(
        "Customer\N{RIGHT SINGLE QUOTATION MARK}s number"
    )


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
    tab = open_tab(refusals=(403,))
    tab.shown(77)
    page = tab.another(87)
    expect(page.get_by_role("alert")).to_be_visible()
    expect(page.get_by_text("Priya")).to_have_count(0)
    assert not page.evaluate("document.body.innerText.includes('नमस्ते')")
    assert page.title() == "Call 87"


@pytest.mark.parametrize("what", ["the key", "the key of somebody else"])
def test_a_key_in_the_field_of_the_id_goes_nowhere(tab: Tab, what: str) -> None:
    key = tab.stack.key if what == "the key" else tab.stack.other_key
    page = tab.page
    page.goto(tab.stack.url)
    before = page.evaluate("history.length")
    tab.another(key)
    page.get_by_label("API key").fill(tab.stack.key)
    page.get_by_role("button", name="Open call").click()
    expect(page.get_by_role("alert")).to_contain_text("This is not the ID of a call")
    assert [text for text in [page.url, page.title(), *tab.requests] if key in text] == []
    assert page.evaluate("history.length") == before


@pytest.mark.parametrize("call_id", ["077", ""])
def test_an_address_without_an_id_says_so_and_asks_nothing(tab: Tab, call_id: str) -> None:
    tab.shown(77)  # so there is a key
    asked = tab.asked()
    tab.page.goto(f"{tab.stack.url}/?call={call_id}")
    expect(tab.page.get_by_role("alert")).to_contain_text("This is not the ID of a call")
    expect(tab.page.get_by_label("Call ID")).to_be_focused()
    assert tab.asked() == asked


def test_a_call_is_taken_as_people_paste_it(tab: Tab) -> None:
    page = tab.page
    page.goto(tab.stack.url)
    link = f"{tab.stack.url}/?call=78#t=1.5"
    page.get_by_label("API key").fill(f" bearer {tab.stack.key}\n")
    page.get_by_label("Call ID").fill(f" {link} ")
    page.get_by_role("button", name="Open call").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Call 78")
    assert page.url == link
    assert page.evaluate("Object.values(sessionStorage)") == [tab.stack.key]


def test_the_form_folds_into_one_line_and_a_shared_link_greets(tab: Tab) -> None:
    page = tab.page
    page.goto(f"{tab.stack.url}/?call=89")
    expect(page.get_by_role("heading", level=1)).to_have_text("Call 89 needs your API key")
    expect(page.get_by_label("API key")).to_be_focused()
    tab.screenshot("greeting")
    tab.shown(89)
    for name in ("Open call", "Forget key"):
        expect(page.get_by_role("button", name=name)).to_be_hidden()
    expect(page.get_by_label("Call ID")).to_be_hidden()
    expect(page.get_by_label("API key")).to_have_value("")
    bar = page.locator("header.bar").bounding_box()
    assert bar
    assert bar["height"] < 64
    page.get_by_role("button", name="Change call or key").click()
    expect(page.get_by_label("Call ID")).to_have_value("89")
    expect(page.get_by_label("API key")).to_have_value(tab.stack.key)
    tab.screenshot("unfolded")
    page.get_by_role("button", name="Change call or key").click()
    expect(page.get_by_label("API key")).to_be_hidden()


def test_an_id_beyond_what_javascript_counts_is_that_id(tab: Tab, put_call: PutCall) -> None:
    call_id = 2**63 - 1
    put_call(at=call_id)
    page = tab.shown(call_id)
    expect(page.locator("#details dd").first).to_have_text(str(call_id))


def test_a_call_is_opened_by_address_once_the_key_is_known(tab: Tab) -> None:
    page = tab.shown(77)
    page.goto(f"{tab.stack.url}/?call=78")
    expect(page.get_by_role("heading", level=1)).to_contain_text("Call 78")
    tab.unfold()
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
    tab.unfold()
    page.get_by_role("button", name="Forget key").click()
    expect(page.get_by_label("API key")).to_have_value("")
    assert page.evaluate(stored % "sessionStorage") == ""
    expect(page.get_by_role("heading", level=2)).to_have_count(0)
    assert not page.evaluate("document.body.innerText.includes('Priya')")
    page.reload()
    expect(page.get_by_role("heading", level=1)).to_have_text("Call 77 needs your API key")
    page.goto(stack.url)
    expect(page.get_by_role("heading", level=1)).to_have_text("Open a call")
    tab.screenshot("welcome")


def test_a_forgotten_key_leaves_nothing_of_a_call_in_the_page(open_tab: OpenTab) -> None:
    """Not even where it is hidden, and the recording has never loaded."""
    tab = open_tab(refusals=(404,))
    tab.page.route("**/thinnestai-recordings/**", lambda route: route.fulfill(status=404))
    page = tab.shown(88)
    expect(page.get_by_text("The recording cannot be played.")).to_be_visible()
    tab.unfold()
    page.get_by_role("button", name="Forget key").click()
    assert "X-Goog-Signature" not in page.content()
    drawn = page.locator("#timeline path").evaluate_all("all => all.map(p => p.getAttribute('d'))")
    assert drawn == ["", ""]
    assert page.locator("#status").text_content() == ""


@pytest.mark.parametrize("kept", ["a call", "the form"])
def test_a_page_kept_for_back_has_neither_the_call_nor_the_key(
    browser_that_keeps_pages: Browser, stack: Stack, kept: str
) -> None:
    with opening(browser_that_keeps_pages, stack) as open_tab:
        tab = open_tab()
        page = tab.shown(77)
        if kept == "the form":
            tab.unfold()
        page.evaluate("window.kept = true")
        page.goto(f"{stack.url}/?call=78")
        expect(page.get_by_role("heading", level=1)).to_contain_text("Call 78")
        tab.unfold()
        page.get_by_role("button", name="Forget key").click()
        page.go_back(wait_until="commit")  # what is kept is not loaded
        assert page.evaluate("window.kept") is True
        expect(page.get_by_role("heading", level=1)).to_have_text("Call 77 needs your API key")
        expect(page.get_by_label("API key")).to_have_value("")
        assert not page.evaluate("document.body.textContent.includes('Priya')")


def test_a_transcript_and_the_json_can_be_taken_away(tab: Tab, put_call: PutCall) -> None:
    said = [
        {"role": "user", "content": "*QK-20418.* [two](x)\n# <b>", "timestamp": "3.5"},
        {"role": "assistant", "content": "IBAN SA03 8000_0000, 50%.", "timestamp": None},
    ]
    call_id = put_call({"transcript": said})
    page = tab.shown(call_id)
    assert tab.copied("Copy transcript") == (
        f"Call {call_id} · Priya Support Agent\n\n"
        "Caller (0:03): *QK-20418.* [two](x) # <b>\nAgent: IBAN SA03 8000_0000, 50%.\n"
    )
    with page.expect_download() as download:
        page.get_by_role("button", name="Download JSON").click()
    assert download.value.suggested_filename == f"call-{call_id}.json"
    assert json.loads(download.value.path().read_text())["transcript"] == said


def test_notices_leave(tab: Tab) -> None:
    tab.page.clock.install()
    page = tab.shown(77)
    tab.copied("Copy transcript")
    page.clock.fast_forward(7_000)
    expect(page.get_by_role("status")).to_have_count(0)
