"""A browser, and the site served as `make run` does: the API is mocked for `Tab.answer` alone."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, sync_playwright

from local.site import site_files, site_server, swagger_ui
from local.stack import app_served, recordings
from tests.support.browser import SCREENSHOTS, WIDE, Clock, OpenTab, Stack, Tab
from tests.support.link import link_to
from tests.support.project import PROJECT, Emulator
from tests.support.serving import served

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
def browser() -> Iterator[Browser]:
    named = os.environ.get("CHROMIUM")
    program = named or next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        pytest.exit("There is no Chromium: install it, or name one in CHROMIUM", returncode=1)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program)
        yield browser
        browser.close()


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


@pytest.fixture
def open_tab(browser: Browser, stack: Stack) -> Iterator[OpenTab]:
    with opening(browser, stack) as open_tab:
        yield open_tab


@pytest.fixture
def tab(browser: Browser, stack: Stack) -> Iterator[Tab]:
    with opening(browser, stack) as open_tab:
        yield open_tab()


@pytest.fixture(scope="session", autouse=True)
def screenshots() -> Path:
    """Start each run without the screenshots of the last one."""
    shutil.rmtree(SCREENSHOTS, ignore_errors=True)
    return SCREENSHOTS
