"""The worst documents: the CPU time that the function spends on calls as large as can be stored.

Firestore stores at most 1 MiB, by its own way of counting, and maps at most 20 deep. The field mask
keeps away the fields beside the published ones, but not those inside the published ones.
"""

import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, cast

from google.cloud.firestore_v1 import _helpers, types

from call_api.calls.schema import (
    MAX_ITEMS,
    STORED_CALL_SHAPE,
    UnreadableCallError,
    parse_call,
)
from call_api.firestore.documents import FirestoreDocument, read_response
from local.seed import sample_calls

TIMES = 7


class Cost(NamedTuple):
    """A document's size on the wire, and the CPU time of what is done with it, in milliseconds."""

    kib: float
    owner_ms: float  # to learn who owns the call; of the rest, another org's request does nothing
    decode_ms: float
    validate_ms: float | None  # None where the call is refused, as this one or before
    render_ms: float | None


def worst_documents() -> Iterator[tuple[str, Cost]]:
    """Measure the documents."""
    for what, changes in _documents().items():
        raw = _stored(sample_calls()[77] | changes)
        costs = [_cost(raw) for _ in range(TIMES)]
        yield what, Cost(*map(_median, zip(*costs, strict=True)))


def _documents() -> dict[str, dict[str, Any]]:
    turn = {"role": "user", "content": "hello there", "timestamp": "0.5"}
    deep: object = "the end"
    for _ in range(18):  # and two maps around
        deep = {"deeper": deep}
    texts = ["a short text"] * MAX_ITEMS
    return {
        "1,800 turns of 150 characters": {
            "transcript": [turn | {"content": "hello " * 25}] * 1_800
        },
        "20,000 turns, the most": {"transcript": [turn] * MAX_ITEMS},
        "20,000 tags": {
            "analysis": {"tags": ["a tag of a call that has many of them"] * MAX_ITEMS}
        },
        "four lists of 20,000 texts each": {
            "analysis": {
                "tags": texts,
                "knowledge_gaps": texts,
                "summary": {"key_topics": texts, "action_items": texts},
            }
        },
        "500,000 nulls in place of turns": {"transcript": [None] * 500_000},
        "500,000 nulls inside of one turn": {"transcript": [turn | {"role": [None] * 500_000}]},
        "60,000 fields beside those of the summary": _beside_summary(60_000, None),
        "5,000 fields, nested 20 deep, beside them": _beside_summary(5_000, deep),
    }


def _beside_summary(number: int, value: object) -> dict[str, Any]:
    """Return fields that are not published, where the field mask does not keep them away."""
    return {"analysis": {"summary": {f"field-{n}": value for n in range(number)}}}


def _stored(call: dict[str, Any]) -> bytes:
    document = types.Document(name="calls/77", fields=_helpers.encode_dict(call))
    response = types.BatchGetDocumentsResponse(found=document)
    raw: bytes = types.BatchGetDocumentsResponse.serialize(response)
    return raw


def _cost(raw: bytes) -> Cost:
    started = time.process_time()

    def ms() -> float:
        nonlocal started
        since, started = started, time.process_time()
        return (started - since) * 1000

    _, document = cast("tuple[str, FirestoreDocument]", read_response(raw))
    document.value("org_id")
    owner_ms = ms()
    values = document.decoded(STORED_CALL_SHAPE)
    decode_ms = ms()
    validate_ms = render_ms = None
    with suppress(UnreadableCallError):
        call, _ = parse_call(values, 77)
        validate_ms = ms()
        call.render()
        render_ms = ms()
    return Cost(len(raw) / 1024, owner_ms, decode_ms, validate_ms, render_ms)


def _median(values: Sequence[Any]) -> Any:
    return None if values[0] is None else statistics.median(values)
