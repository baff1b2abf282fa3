"""A tab of a browser on the served site, which fails for anything that it must not do."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, ConsoleMessage, Page, expect

from local.stack import utc_now
from tests.support.link import Link
from tests.support.serving import ROOT

SCREENSHOTS = ROOT / ".local" / "site-screenshots"
WIDE = {"width": 1440, "height": 900}
NARROW = {"width": 320, "height": 640}
LINK_LIFE = timedelta(hours=1)
CALLS = "**/v2/calls/*"
REQUEST_ID = "made-up-7f3a"
PATIENCE_MS = 15_000  # for what takes an instant on an idle machine
WATCH = """
window.violations = [];
addEventListener("securitypolicyviolation", ({ violatedDirective, blockedURI }) =>
  violations.push(`${violatedDirective} ${blockedURI}`));
"""

expect.set_options(timeout=PATIENCE_MS)


@dataclass
class Clock:
    """The clock of the recordings server, to which every link is expired where `late`."""

    late: bool = False

    def __call__(self) -> datetime:
        return utc_now() + (LINK_LIFE if self.late else timedelta(0))


@dataclass(frozen=True)
class Stack:
    """The served site, with the origin of its recordings, their clock, and the way to Firestore."""

    url: str
    recordings: str
    clock: Clock
    firestore: Link
    key: str
    other_key: str


@dataclass
class Tab:
    """A page, all that it has asked for, and all that it must not do."""

    page: Page
    stack: Stack
    refusals: tuple[int, ...]
    requests: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.set_default_timeout(PATIENCE_MS)
        self.page.add_init_script(WATCH)
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("console", self._note)

    def open(self, call_id: object, *, moment: str = "", key: str | None = None) -> Page:
        """Open a call by its address and the form, as somebody with a link does."""
        page = self.page
        page.goto(f"{self.stack.url}/?call={call_id}{moment}")
        self.unfold()
        page.get_by_label("API key").fill(self.stack.key if key is None else key)
        page.get_by_role("button", name="Open call").click()
        return page

    def another(self, call_id: object) -> Page:
        """Ask for another call by the form, which is folded beside an open one."""
        self.unfold()
        self.page.get_by_label("Call ID").fill(str(call_id))
        self.page.get_by_role("button", name="Open call").click()
        return self.page

    def unfold(self) -> None:
        """Show the form, if a call is open or on its way."""
        if not self.page.get_by_label("API key").is_visible():
            self.page.get_by_role("button", name="Change call or key").click()

    def shown(self, call_id: object, *, moment: str = "") -> Page:
        """Open a call, and wait until it is shown."""
        page = self.open(call_id, moment=moment)
        expect(page.get_by_role("heading", level=1)).to_contain_text(f"Call {call_id}")
        return page

    def answer(self, body: str) -> None:
        """Answer the next requests for calls with this, in place of the API, which would not."""
        self.heal()
        headers = {"X-Request-Id": REQUEST_ID}
        self.page.route(CALLS, lambda route: route.fulfill(body=body, headers=headers))

    def refuse(self, status: int, page: str, headers: dict[str, str] | None = None) -> None:
        """Refuse the next requests for calls with a page, as what stands before the API does."""
        self.heal()
        answer = {"Content-Type": "text/html"} | (headers or {})
        self.page.route(
            CALLS, lambda route: route.fulfill(status=status, body=page, headers=answer)
        )

    def asked(self) -> int:
        """Return how often the API was asked for a call."""
        return len([url for url in self.requests if "/v2/calls/" in url])

    def copied(self, button: str) -> str:
        """Press a button that copies, and return what it has copied."""
        self.page.get_by_role("button", name=button).click()
        expect(self.page.get_by_role("status")).to_contain_text("is copied.")
        text: str = self.page.evaluate("navigator.clipboard.readText()")
        return text

    def heal(self) -> None:
        """Let the API answer again."""
        self.page.unroute(CALLS)

    def forgive(self, fault: str) -> None:
        """Forget what the browser has reported of this kind, which the test has brought about."""
        self.faults = [each for each in self.faults if fault not in each]

    def screenshot(self, name: str) -> None:
        """Keep what the page looks like, for people, in a window as high as it is."""
        width, height = self.page.evaluate(
            "[innerWidth, Math.min(document.documentElement.scrollHeight, 4000)]"
        )
        self.page.set_viewport_size({"width": width, "height": height})
        self.page.screenshot(path=self.screenshots / f"{name}.png")

    @property
    def screenshots(self) -> Path:
        """Return the folder for what is not as high as the page."""
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        return SCREENSHOTS

    def check(self) -> None:
        """Fail for an error, a violation of the policy, or a request to anybody else."""
        assert self.page.evaluate("violations") == []
        assert self.faults == []
        hosts = {f"{u.scheme}://{u.netloc}" for u in map(urlsplit, self.requests)}
        assert hosts <= {self.stack.url, self.stack.recordings}

    def _note(self, message: ConsoleMessage) -> None:
        expected = [f"the server responded with a status of {status}" for status in self.refusals]
        if message.type in {"error", "warning"} and not any(
            text in message.text for text in expected
        ):
            self.faults.append(message.text)


OpenTab = Callable[..., Tab]


@contextmanager
def opening(browser: Browser, stack: Stack) -> Iterator[OpenTab]:
    """Open tabs of their own storage; at the end, none of them must have misbehaved.

    `refusals` are the statuses that a test expects: the browser reports each as an error.
    """
    tabs: list[Tab] = []

    def open_tab(*, refusals: tuple[int, ...] = (), **options: Any) -> Tab:
        context = browser.new_context(**{"viewport": WIDE, **options})
        context.grant_permissions(["clipboard-read", "clipboard-write"], origin=stack.url)
        tabs.append(Tab(context.new_page(), stack, refusals))
        return tabs[-1]

    yield open_tab
    for tab in tabs:
        tab.check()
        tab.page.context.close()
