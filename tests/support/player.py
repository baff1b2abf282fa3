"""What the tests of the page ask of its player, and a call of an hour for it."""

import time
from typing import Any

from playwright.sync_api import Locator, Page

from local.seed import sample_calls
from tests.support.browser import PATIENCE_MS

LATE = 2_800  # seconds, of an hour


def hour() -> dict[str, Any]:
    """Return what makes a call one of an hour, with two turns."""
    return {
        "recording_object": sample_calls()[86]["recording_object"],
        "recording_duration": sample_calls()[86]["recording_duration"],
        "transcript": [
            {"role": "assistant", "content": "Early.", "timestamp": "0.0"},
            {"role": "user", "content": "Late.", "timestamp": str(LATE)},
        ],
    }


def said(*timestamps: str | None) -> dict[str, Any]:
    """Return a transcript with these times."""
    turns = [
        {"role": ("assistant", "user")[i % 2], "content": f"Turn {i}", "timestamp": timestamp}
        for i, timestamp in enumerate(timestamps)
    ]
    return {"transcript": turns}


def recording(page: Page, what: str) -> Any:
    """Return something of the audio element."""
    return page.get_by_label("Recording").evaluate(f"audio => audio.{what}")


def current(page: Page) -> Locator:
    """Return the turns that are marked as played: one."""
    return page.get_by_role("list", name="Transcript").locator("[aria-current=true]")


def until(page: Page, condition: str) -> None:
    """Wait until something holds of the recording.

    Not by `wait_for_function`, which evaluates a string on the page: the page's policy forbids that.
    """
    deadline = time.monotonic() + PATIENCE_MS / 1000
    while not recording(page, condition):
        assert time.monotonic() < deadline, (condition, recording(page, "currentTime"))
        page.wait_for_timeout(20)


def loaded(page: Page) -> None:
    """Wait until the recording's length is known."""
    until(page, "readyState >= 1")


def at(page: Page, seconds: float) -> None:
    """Wait until the recording is there, give or take its playing on meanwhile."""
    until(page, f"currentTime > {seconds} - 0.01 && audio.currentTime < {seconds} + 2.5")
