"""One function for the tests of a module, behind links to Firestore and to IAM."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.google_cloud import GoogleCloud
from tests.support.linked import Linked, linked_function
from tests.support.project import Emulator


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave what judges the clock to `make soak`: beside other work it would fail for the work."""
    judges_the_clock = collection_path.name == "test_promised_times.py"
    return True if judges_the_clock and not config.getoption("--soak") else None


@pytest.fixture(scope="module")
def linked(emulator: Emulator, shared_cloud: GoogleCloud) -> Iterator[Linked]:
    with linked_function(emulator, shared_cloud) as linked:
        yield linked
