"""The examples in the pages are made from the sample calls, and nothing else there is changed."""

from pathlib import Path

import pytest

from local.seed import sample_calls
from local.stack import BUCKET
from ops.examples import README, README_CALL, README_LINK, with_examples, with_reply
from ops.openapi import OPENAPI

PAGES = {OPENAPI: with_examples, README: with_reply}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_examples_are_those_that_the_samples_make(page: Path) -> None:
    kept = page.read_text("utf-8")

    assert kept == PAGES[page](kept), "run `make examples`"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_an_example_is_replaced_and_the_rest_stays(page: Path) -> None:
    kept = page.read_text("utf-8")
    spoiled = kept.replace("Priya Support Agent", "Somebody Else").replace("resolved", "lost")

    assert spoiled != kept
    assert PAGES[page](spoiled) == PAGES[page](kept)


def test_the_link_in_the_readme_names_the_sample_s_recording() -> None:
    assert f"/{BUCKET}/{sample_calls()[README_CALL]['recording_object']}?" in README_LINK
