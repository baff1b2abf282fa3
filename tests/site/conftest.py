"""A browser, and the site served as `make run` does: the API is mocked for `Tab.answer` alone."""

import functools
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from local.site import SITE, site_files, site_server, swagger_ui
from local.stack import app_served, recordings
from tests.support.browser import SCREENSHOTS, Clock, OpenTab, Stack, Tab, opening
from tests.support.link import link_to
from tests.support.project import PROJECT, Emulator
from tests.support.serving import served

NOTE = """
const note = (fault) => (sessionStorage.faults = `${sessionStorage.faults ?? ""}${fault}\n`);
addEventListener("error", ({ message }) => note(message));
addEventListener("unhandledrejection", ({ reason }) => note(reason));
addEventListener("securitypolicyviolation", ({ violatedDirective, blockedURI }) =>
  note(`${violatedDirective} ${blockedURI}`));
"""
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="session")
def stack(emulator: Emulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    clock = Clock()
    with (
        link_to(emulator.port) as firestore,
        recordings(tmp_path_factory.mktemp("recordings"), clock) as settings,
        served(
            settings
            | {
                "GOOGLE_CLOUD_PROJECT": PROJECT,
                "FIRESTORE_EMULATOR_HOST": f"127.0.0.1:{firestore.port}",
            }
        ) as function,
    ):
        origin = settings["STORAGE_EMULATOR_HOST"]
        site = site_server(f"http://127.0.0.1:{function.port}", origin, site_files(swagger_ui()))
        with app_served(site) as url:
            keys = emulator.keys
            yield Stack(url, origin, clock, firestore, keys["org_acme"], keys["org_globex"])


@pytest.fixture(scope="session")
def chromium() -> Iterator[Callable[..., Browser]]:
    """Start Chromium, with options of Playwright's."""
    named = os.environ.get("CHROMIUM")
    program = named or next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        pytest.exit("There is no Chromium: install it, or name one in CHROMIUM", returncode=1)
    with sync_playwright() as playwright:
        yield functools.partial(playwright.chromium.launch, executable_path=program)


@pytest.fixture(scope="session")
def browser(chromium: Callable[..., Browser]) -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def browser_that_keeps_pages(chromium: Callable[..., Browser]) -> Iterator[Browser]:
    """Start one that keeps pages for "Back", as people's browsers do; Playwright's does not."""
    with chromium(ignore_default_args=["--disable-back-forward-cache"]) as browser:
        yield browser


@pytest.fixture
def open_tab(browser: Browser, stack: Stack) -> Iterator[OpenTab]:
    with opening(browser, stack) as open_tab:
        yield open_tab


@pytest.fixture
def tab(browser: Browser, stack: Stack) -> Iterator[Tab]:
    with opening(browser, stack) as open_tab:
        yield open_tab()


@pytest.fixture(scope="session")
def watched_site(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve the page with a script before its own, which a driven browser cannot add."""
    folder = tmp_path_factory.mktemp("watched")
    (folder / "watch.js").write_text(NOTE)
    page = (SITE / "index.html").read_text("utf-8")
    own = '<script type="module"'
    assert own in page
    (folder / "index.html").write_text(page.replace(own, f'<script src="/watch.js"></script>{own}'))
    files = site_files(None) | {f"/{file.name}": file for file in folder.iterdir()}
    with app_served(site_server(stack.url, stack.recordings, files)) as url:
        yield url


@pytest.fixture(scope="session", autouse=True)
def screenshots() -> Path:
    """Start each run without the screenshots of the last one."""
    shutil.rmtree(SCREENSHOTS, ignore_errors=True)
    return SCREENSHOTS
