"""What the policy forbids is forbidden in a real browser."""

import time

import pytest
from playwright.sync_api import expect

from tests.support.browser import PATIENCE_MS, Tab

FORBIDDEN = {
    "an inline script": (
        'const s = document.createElement("script"); s.append("window.pwned = 1"); document.body.append(s)',
        "require-trusted-types-for",
    ),
    "a script from elsewhere": (
        'import("https://example.com/x.js").catch(() => {})',
        "script-src-elem",
    ),
    "code from a string": (
        'try { setTimeout("window.pwned = 1") } catch {}',
        "require-trusted-types-for",
    ),
    "an inline style": (
        'document.head.append(Object.assign(document.createElement("style"), { textContent: "p {}" }))',
        "style-src-elem",
    ),
    "an attribute of style": (
        'document.body.setAttribute("style", "color: red")',
        "style-src-attr",
    ),
    "markup from a string": (
        'try { document.body.innerHTML = "<p>" } catch {}',
        "require-trusted-types-for",
    ),
    "a policy for such markup": (
        'try { trustedTypes.createPolicy("default", {}) } catch {}',
        "trusted-types",
    ),
    "an answer from elsewhere": ('fetch("https://example.com/").catch(() => {})', "connect-src"),
    "a picture from elsewhere": ('new Image().src = "https://example.com/x.png"', "img-src"),
    "a recording from elsewhere": ('new Audio("https://example.com/x.wav").load()', "media-src"),
    "a frame": (
        'document.body.append(Object.assign(document.createElement("iframe"), { src: "https://example.com/" }))',
        "frame-src",
    ),
    "a form sent elsewhere": (
        'const f = document.createElement("form"); f.action = "https://example.com/"; document.body.append(f); f.submit()',
        "form-action",
    ),
    "another base": (
        'document.head.append(Object.assign(document.createElement("base"), { href: "https://example.com/" }))',
        "base-uri",
    ),
}


@pytest.mark.parametrize("what", FORBIDDEN)
def test_it_is_blocked(tab: Tab, what: str) -> None:
    script, directive = FORBIDDEN[what]
    page = tab.shown(77)
    assert page.evaluate("violations") == []
    page.evaluate(f"() => {{ {script} }}")
    deadline = time.monotonic() + PATIENCE_MS / 1000
    while not page.evaluate("violations.length") and time.monotonic() < deadline:
        page.wait_for_timeout(20)
    blocked = page.evaluate("violations.splice(0)")
    assert [each.split()[0] for each in blocked] == [directive]
    assert page.evaluate("window.pwned") is None
    tab.faults.clear()  # the browser reports each as an error
    tab.requests.clear()  # it was blocked before it left


def test_the_page_cannot_be_framed(tab: Tab) -> None:
    page = tab.page
    page.set_content(f'<iframe src="{tab.stack.url}/?call=77"></iframe>')
    page.wait_for_timeout(1_000)
    expect(page.frame_locator("iframe").get_by_label("API key")).to_have_count(0)
    page.goto(tab.stack.url)
    tab.faults.clear()
