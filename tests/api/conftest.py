"""What several modules of this layer share."""

from collections.abc import Iterator

import pytest

from tests.support.in_process import Wire, wire_to_firestore


@pytest.fixture(scope="module")
def wire() -> Iterator[Wire]:
    with wire_to_firestore() as opened:
        yield opened
