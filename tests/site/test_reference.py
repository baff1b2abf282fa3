"""The API reference: openapi.yaml, with "Try it out" against the running function."""

from playwright.sync_api import expect

from tests.support.browser import Tab


def test_try_it_out_asks_the_running_function(tab: Tab) -> None:
    page = tab.page
    page.goto(f"{tab.stack.url}/reference/")
    expect(page.get_by_role("heading", name="Calls API")).to_be_visible()
    page.get_by_role("button", name="Authorize", exact=True).first.click()
    page.locator(".auth-container input").fill(tab.stack.key)
    page.locator(".auth-btn-wrapper button[type=submit]").click()
    page.locator(".btn-done").click()
    page.locator("#operations-calls-getCall .opblock-summary-control").click()
    page.get_by_role("button", name="Try it out").click()
    page.get_by_role("button", name="Execute").click()
    answer = page.locator(".live-responses-table .response-col_status").nth(1)
    expect(answer).to_contain_text("200")
    assert f"{tab.stack.url}/v2/calls/77" in tab.requests
    tab.screenshot("reference")
    page.reload()
    assert tab.stack.key not in page.evaluate(
        "Object.values({...localStorage, ...sessionStorage}).join()"
    )
