"""The worst documents: however a call is made, other requests are answered while it is decoded."""

import asyncio
import gc
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest
from google.cloud.firestore_v1.types import BatchGetDocumentsResponse

from call_api.calls.publish import LARGE_BYTES, LargeCallThread, publish
from call_api.calls.schema import MAX_ITEMS
from call_api.errors import StoredCallInvalid
from call_api.firestore.documents import MAX_DOCUMENT_BYTES, read_response
from local.seed import sample_calls
from tests.support.large_firestore import answer, nulls, turns
from tests.support.strategies import Value, wire_list, wire_map


def nested(levels: int) -> Any:
    value = Value(integer_value=1)
    for _ in range(levels):
        value = wire_map({"in": value})
    return value


def call(transcript: Any = None, **changes: Any) -> bytes:
    return answer("calls/77", sample_calls()[77] | changes, transcript)


TEXTS = ["a short text"] * MAX_ITEMS
LARGEST: dict[str, Callable[[], bytes]] = {
    "the most turns": lambda: call(turns(MAX_ITEMS, "hello there, this is it")),
    "too many turns": lambda: call(turns(27_000, "")),
    "nulls": lambda: call(nulls(500_000)),
    "nested maps": lambda: call(wire_list([nested(16)] * 12_000)),
    "nulls inside a turn": lambda: call(wire_list([wire_map({"role": nulls(500_000)})])),
    "the most texts": lambda: call(
        analysis={
            "tags": TEXTS,
            "knowledge_gaps": TEXTS,
            "summary": {"key_topics": TEXTS, "action_items": TEXTS},
        }
    ),
}
ROUNDS = 3


@pytest.mark.parametrize("what", LARGEST)
def test_no_document_holds_up_the_event_loop_for_50_ms(what: str, soak: bool) -> None:
    """By the process's CPU time between two passes of the event loop, the least of a few rounds.

    The thread for large calls holds the GIL for as long as protobuf, pydantic or the JSON takes in one
    go. `make soak` holds the 50 ms. `make test` compares with one such step, to parse a document, and
    finds what is of another order: on a busy machine the event loop asks late for its turn.
    """
    wire, parsed = LARGEST[what](), LARGEST["nested maps"]()
    assert MAX_DOCUMENT_BYTES / 2 < len(wire) < MAX_DOCUMENT_BYTES + 100_000
    longest = parsing = float("inf")
    gc.collect()
    gc.freeze()  # as main.py does: a collection must not walk through all that pytest has loaded
    traced_by = sys.gettrace()
    sys.settrace(None)  # coverage takes more time than what it measures
    try:
        for _ in range(ROUNDS):
            parsing = min(parsing, asyncio.run(longest_step(partial(parse, parsed))))
            longest = min(longest, asyncio.run(longest_step(partial(read_and_publish, wire))))
    finally:
        sys.settrace(traced_by)
        gc.unfreeze()

    assert longest < (0.05 if soak else 10 * parsing)


def parse(wire: bytes) -> None:
    BatchGetDocumentsResponse.pb().FromString(wire)


def read_and_publish(wire: bytes) -> None:
    response = read_response(wire)
    assert response is not None
    _, document = response
    assert document is not None
    with suppress(StoredCallInvalid):
        publish(document, 77, lambda: datetime.now(UTC), lambda _: False)


async def longest_step(work: Callable[[], None]) -> float:
    """Do work in the thread for large calls; return the seconds of the longest step."""
    longest = 0.0

    async def watch() -> None:
        nonlocal longest
        while True:
            before = time.process_time()
            await asyncio.sleep(0)
            longest = max(longest, time.process_time() - before)

    watcher = asyncio.create_task(watch())
    await asyncio.sleep(0)
    await LargeCallThread().run(LARGE_BYTES, work)
    await asyncio.sleep(0)
    watcher.cancel()
    return longest
