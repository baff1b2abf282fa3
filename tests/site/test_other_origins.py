"""A page of another origin calls the API in a real browser."""

from playwright.sync_api import Browser
from starlette.applications import Starlette
from starlette.responses import HTMLResponse
from starlette.routing import Route

from local.stack import app_served
from tests.support.serving import served

PAGE = Starlette(routes=[Route("/", lambda _: HTMLResponse("<title>A page</title>"))])
OF_AN_AGENT = {
    "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    "tracestate": "vendor=1",
    "baggage": "session=1",
    "Content-Type": "application/json",
    "Cache-Control": "no-cache",
    "X-Requested-With": "XMLHttpRequest",
    "X-Datadog-Origin": "rum",  # not listed by its name
}
ASK = """([url, headers]) => fetch(url, { headers }).then(
  async (answer) => [answer.status, (await answer.json()).id, answer.headers.has("ETag")],
  (error) => error.message,
)"""


def test_a_listed_page_reads_the_answer_whatever_headers_an_agent_adds(
    browser: Browser, settings: dict[str, str], acme_key: str
) -> None:
    with (
        app_served(PAGE) as listed,
        served(settings | {"ALLOWED_ORIGINS": listed}) as function,
        browser.new_context() as context,
    ):
        page = context.new_page()
        url = f"http://127.0.0.1:{function.port}/v2/calls/77"
        request = [url, OF_AN_AGENT | {"Authorization": f"Bearer {acme_key}"}]
        page.goto(listed)
        assert page.evaluate(ASK, request) == [200, 77, True]
        page.goto(listed.replace("127.0.0.1", "localhost"))
        assert page.evaluate(ASK, request) == "Failed to fetch"
