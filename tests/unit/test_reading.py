"""docs/stored-calls.md, row by row: how a stored value reads, and which ones are faults."""

import json
import math
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from call_api.calls.schema import MAX_ITEMS, UnreadableCallError, parse_call
from local.seed import sample_calls
from ops.openapi import fields, published, published_call, schema
from tests.support.contract import stored_fields
from tests.support.reading import NOT_SPOKEN

CASES = Path(__file__).parent.parent / "cases"
PARTS = dict.fromkeys(fields()["CostBreakdown"])
SUMMARY = dict.fromkeys(fields()["Summary"])
ANALYSIS: dict[str, Any] = published({}, schema("Analysis"))
REQUIRED = [
    name
    for name, field in stored_fields().items()
    if not field.may_be_null and field.kind != "array"
]


def read(changes: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return how a call with these fields reads, and the fields at fault."""
    call, faults = parse_call(sample_calls()[77] | changes, 77)
    return json.loads(call.render()), list(faults)


# Read as: each of these, without a fault.
READ: list[tuple[str, object, object]] = [
    ("agent_name", "  Priya ", "  Priya "),
    ("agent_name", "", None),
    ("agent_name", " \t\n\u2003", None),
    ("agent_id", "", ""),
    ("started_at", "", None),
    ("duration_seconds", " ", None),
    ("recording_duration", "", None),
    ("latency_ms", "", None),
    ("transcript", "", []),
    ("transcript", None, []),
    ("voice", "", None),
    ("cost", "", None),
    ("analysis", {"tags": "", "knowledge_gaps": None}, ANALYSIS),
    ("analysis", {"tags": ["a", "", None, " "]}, ANALYSIS | {"tags": ["a"]}),
    ("analysis", {"summary": {"key_topics": None}}, ANALYSIS | {"summary": SUMMARY}),
    ("analysis", {"summary": {"key_topics": ""}}, ANALYSIS | {"summary": SUMMARY}),
    ("duration_seconds", 99, 99),
    ("duration_seconds", -0.5, -0.5),
    ("recording_duration", 60.123, 60),
    ("recording_duration", 60.5, 60),
    ("recording_duration", 61.5, 62),
    ("latency_ms", 475.0, 475),
    ("latency_ms", -0.0, 0),
    ("interruptions", 0.49, 0),
    ("interruptions", 2**63 - 1, 2**63 - 1),
    ("started_at", datetime(2026, 3, 25, 10, 20, 57, 999_999, tzinfo=UTC), "2026-03-25T10:20:57Z"),
    ("started_at", "2026-03-25T10:20:57Z", "2026-03-25T10:20:57Z"),
    ("started_at", "2026-03-25t10:20:57.999999999z", "2026-03-25T10:20:57Z"),
    ("started_at", "2026-03-25 10:20:57", "2026-03-25T10:20:57Z"),
    ("started_at", "2026-03-25T15:50:57.1+05:30", "2026-03-25T10:20:57Z"),
    ("started_at", "2026-03-25 15:50:57+0530", "2026-03-25T10:20:57Z"),
    ("started_at", "2026-03-24T23:20:57-11:00", "2026-03-25T10:20:57Z"),
    ("started_at", "2016-12-31T23:59:60Z", "2016-12-31T23:59:59Z"),
    ("type", "Inbound", "inbound"),
    ("status", "ENDED", "ended"),
    ("analysis", {"sentiment": "Positive"}, ANALYSIS | {"sentiment": "positive"}),
    ("cost", {}, None),
    ("cost", {"total_usd": None, "total_inr": "x"}, None),
    ("cost", {"total_inr": 1}, None),
    ("cost", {"total_usd": 0}, {"total_usd": 0, "total_inr": None, "breakdown": PARTS}),
    (
        "cost",
        {"total_usd": -1, "breakdown": {"stt": "", "tts": 1e-12}},
        {"total_usd": -1, "total_inr": None, "breakdown": PARTS | {"tts": 1e-12}},
    ),
    ("analysis", {"score": {"score": 0}}, ANALYSIS | {"score": {"score": 0, "reasoning": None}}),
    (
        "analysis",
        {"score": {"score": 100.0, "reasoning": ""}},
        ANALYSIS | {"score": {"score": 100.0, "reasoning": None}},
    ),
]

# A fault of this field, which reads as null or without the item; the answer is a call.
DESCRIPTIVE: list[tuple[dict[str, Any], str, object]] = [
    ({"agent_name": 7}, "agent_name", None),
    ({"agent_name": {"first": "Priya"}}, "agent_name", None),
    ({"ended_reason": ["a"]}, "ended_reason", None),
    ({"recording_duration": "69"}, "recording_duration", None),
    ({"recording_duration": math.nan}, "recording_duration", None),
    ({"latency_ms": -1}, "latency_ms", None),
    ({"latency_ms": -0.4}, "latency_ms", None),
    ({"latency_ms": math.inf}, "latency_ms", None),
    ({"interruptions": True}, "interruptions", None),
    ({"voice": "alloy"}, "voice", None),
    ({"voice": []}, "voice", None),
    ({"model": {"provider": 1}}, "model.provider", None),
    ({"transcriber": {"model": b"x"}}, "transcriber.model", None),
    ({"analysis": "good"}, "analysis", None),
    ({"analysis": {"sentiment": "mixed"}}, "analysis.sentiment", None),
    ({"analysis": {"sentiment": 1}}, "analysis.sentiment", None),
    ({"analysis": {"summary": "text"}}, "analysis.summary", None),
    ({"analysis": {"summary": {"outcome": 1}}}, "analysis.summary.outcome", None),
    ({"analysis": {"summary": {"key_topics": "a, b"}}}, "analysis.summary.key_topics", None),
    ({"analysis": {"score": 85}}, "analysis.score", None),
    ({"analysis": {"score": {"score": 101}}}, "analysis.score.score", None),
    ({"analysis": {"score": {"score": -0.1}}}, "analysis.score.score", None),
    ({"analysis": {"score": {"score": "85"}}}, "analysis.score.score", None),
    ({"analysis": {"tags": "vip"}}, "analysis.tags", []),
    ({"analysis": {"tags": ["a", 1, "", {}]}}, "analysis.tags[]", ["a"]),
    ({"analysis": {"tags": ["t"] * 20_001}}, "analysis.tags", []),
    ({"analysis": {"tags": [1, *["t"] * 20_001]}}, "analysis.tags", []),
    ({"analysis": {"tags": [""] * 20_001}}, "analysis.tags", []),
    ({"analysis": {"summary": {"action_items": [{}]}}}, "analysis.summary.action_items[]", []),
    ({"phone_number": 14155550100}, "phone_number", None),
    ({"call_direction": False}, "call_direction", None),
    ({"updated_at": "yesterday"}, "updated_at", None),
    ({"updated_at": 1_774_434_057}, "updated_at", None),
]

# A fault of this essential field: there is no answer but 500.
ESSENTIAL: list[tuple[dict[str, Any], str]] = [
    ({"id": "77"}, "id"),
    ({"id": 77.0}, "id"),
    ({"id": True}, "id"),
    ({"id": 78}, "id"),
    ({"id": 78, "status": "x"}, "status, id"),
    ({"id": None}, "id"),
    ({"type": "phone"}, "type"),
    ({"type": ""}, "type"),
    ({"status": "busy"}, "status"),
    ({"status": None}, "status"),
    ({"agent_id": 7}, "agent_id"),
    ({"agent_id": None}, "agent_id"),
    ({"created_at": ""}, "created_at"),
    ({"created_at": 1}, "created_at"),
    ({"started_at": "2026-03-25"}, "started_at"),
    ({"started_at": "2026-13-25T10:20:57Z"}, "started_at"),
    ({"started_at": "2026-03-25T24:00:00Z"}, "started_at"),
    ({"started_at": "2026-03-25T10:20:57+05:60"}, "started_at"),
    ({"started_at": "2026-03-25T10:20:57+5"}, "started_at"),
    ({"started_at": "2026-03-25T10:20:61Z"}, "started_at"),
    ({"ended_at": "9999-12-31T23:59:59-01:00"}, "ended_at"),
    ({"ended_at": "٢٠٢٦-03-25T10:20:57Z"}, "ended_at"),
    ({"ended_at": True}, "ended_at"),
    ({"duration_seconds": "99.1"}, "duration_seconds"),
    ({"duration_seconds": math.nan}, "duration_seconds"),
    ({"duration_seconds": -math.inf}, "duration_seconds"),
    ({"duration_seconds": True}, "duration_seconds"),
    ({"recording_object": "gs://bucket/object"}, "recording_object"),
    ({"recording_object": "HTTP://x"}, "recording_object"),
    ({"recording_object": "x" * 1025}, "recording_object"),
    ({"recording_object": "म" * 342}, "recording_object"),
    ({"recording_object": 7}, "recording_object"),
    ({"recording_object": "\ud800"}, "recording_object"),
    ({"cost": 0.08}, "cost"),
    ({"cost": {"total_usd": "0.08"}}, "cost.total_usd"),
    ({"cost": {"total_usd": 1, "total_inr": math.inf}}, "cost.total_inr"),
    ({"cost": {"total_usd": 1, "breakdown": 1}}, "cost.breakdown"),
    ({"cost": {"total_usd": 1, "breakdown": {"llm": True}}}, "cost.breakdown.llm"),
    ({"transcript": "hello"}, "transcript"),
    ({"transcript": {"role": "user"}}, "transcript"),
    ({"transcript": [{"role": "user", "content": "x", "timestamp": 1}] * 20_001}, "transcript"),
    (
        {"transcript": [{"role": "system"}] * 20_001},
        "transcript[].role, transcript[].content, transcript[].timestamp",
    ),
    ({"transcript": [None]}, "transcript[]"),
    ({"transcript": ["hello"]}, "transcript[]"),
    ({"transcript": [{"role": "bot", "content": "x"}]}, "transcript[].role"),
    ({"transcript": [{"role": "", "content": "x"}]}, "transcript[].role"),
    ({"transcript": [{"role": ["user"], "content": "x"}]}, "transcript[].role"),
    ({"transcript": [{"content": "x"}]}, "transcript[].role"),
    ({"transcript": [{"role": "user", "content": 1}]}, "transcript[].content"),
    ({"type": "x", "status": "y", "voice": 1}, "type, status"),
]

TIMES: list[tuple[object, str | None]] = [
    (None, None),
    ("", None),
    (" ", None),
    (0, "0.0"),
    (5, "5.0"),
    (5.2, "5.2"),
    (61.25, "61.25"),
    (1.09, "1.09"),
    (6.809999, "6.81"),
    (2.3334, "2.333"),
    (0.07999999821186066, "0.08"),
    (-0.0, "0.0"),
    (999_999, "999999.0"),
    (999_999.9999, "1000000.0"),
    ("5.2", "5.2"),
    ("05", "05"),
    ("0", "0"),
    ("999999.9999", "999999.9999"),
    ("0000001.50", "0000001.50"),
]
NOT_TIMES: list[object] = [
    -1,
    -0.04,
    1_000_000,
    "1000000",
    1_774_434_057,
    "1774434057",
    math.nan,
    math.inf,
    True,
    {},
    "banana",
    "3.2s",
    "00:01:05",
    "2026-03-03T10:00:01.100+00:00",
    "-1",
    "1e3",
    "5.",
    "\u0665",
    " 5.2",
]


@pytest.mark.parametrize(("field", "stored", "published"), READ, ids=repr)
def test_what_can_be_read(field: str, stored: object, published: object) -> None:
    call, faults = read({field: stored})

    assert (repr(call[field]), faults) == (repr(published), [])


@pytest.mark.parametrize(("fields", "at_fault", "published"), DESCRIPTIVE, ids=repr)
def test_a_descriptive_value_that_cannot_be_read_is_null_and_a_fault(
    fields: dict[str, Any], at_fault: str, published: object
) -> None:
    call, faults = read(fields)

    assert faults == [at_fault]
    value: Any = call
    for name in at_fault.removesuffix("[]").split("."):
        value = value[name]
    assert value == published
    first = at_fault.split(".", maxsplit=1)[0]
    untouched = {name: value for name, value in read({})[0].items() if name != first}
    assert untouched.items() <= call.items()


@pytest.mark.parametrize(("fields", "at_fault"), ESSENTIAL, ids=lambda value: repr(value)[:60])
def test_an_essential_value_that_cannot_be_read_is_a_fault_of_the_call(
    fields: dict[str, Any], at_fault: str
) -> None:
    with pytest.raises(UnreadableCallError) as refused:
        read(fields)

    assert str(refused.value) == at_fault


@pytest.mark.parametrize("field", REQUIRED)
def test_a_missing_field_is_named(field: str) -> None:
    stored = {name: value for name, value in sample_calls()[77].items() if name != field}
    with pytest.raises(UnreadableCallError, match=f"^{field}$"):
        parse_call(stored, 77)


def test_a_fault_of_the_call_hides_none_of_its_descriptive_ones() -> None:
    with pytest.raises(UnreadableCallError) as refused:
        read({"latency_ms": "fast", "transcript": [None, turn(timestamp="soon")]})

    assert list(refused.value.essential) == ["transcript[]"]
    assert sorted(refused.value.descriptive) == ["latency_ms", "transcript[].timestamp"]


def test_another_call_s_id_is_named_beside_other_faults() -> None:
    with pytest.raises(UnreadableCallError) as refused:
        read({"id": 78, "status": "lost"})

    assert list(refused.value.essential) == ["status", "id"]
    assert refused.value.essential["id"] == "not the document's ID"


def test_the_longest_lists_are_repaired() -> None:
    call, faults = read(
        {
            "transcript": [turn()] * MAX_ITEMS,
            "analysis": {"tags": ["a"] * (MAX_ITEMS - 1) + [None]},
        }
    )

    assert faults == []
    assert [len(call["transcript"]), len(call["analysis"]["tags"])] == [MAX_ITEMS, MAX_ITEMS - 1]


def test_a_call_of_nothing_but_faults_does_not_hold_up_the_others() -> None:
    """As many as a document can hold: to name each would take seconds of the one event loop."""
    call = sample_calls()[77] | {"transcript": [None] * MAX_ITEMS}
    started = time.thread_time()
    with pytest.raises(UnreadableCallError, match=r"^transcript\[\]$"):
        parse_call(call, 77)

    assert time.thread_time() - started < 0.5


def turn(**fields: object) -> dict[str, object]:
    return {"role": "user", "content": "x", **fields}


ZEROS = "0" * 1_000_000


@pytest.mark.parametrize(
    ("field", "readable", "unreadable"),
    [
        ("transcript", [turn(timestamp=ZEROS)], [turn(timestamp=f"{ZEROS}x")]),
        ("updated_at", f"2026-06-01T12:00:00.{ZEROS}Z", f"2026-06-01T12:00:00.{ZEROS}x"),
    ],
    ids=["a turn's time", "a time"],
)
def test_a_long_text_that_cannot_be_read_takes_no_longer_than_another(
    field: str, readable: object, unreadable: object
) -> None:
    """While Python matches a pattern, no other request is answered."""

    def seconds(value: object) -> float:
        started = time.thread_time()
        read({field: value})
        return time.thread_time() - started

    times = [(seconds(readable), seconds(unreadable)) for _ in range(3)]
    least, least_unreadable = map(min, zip(*times, strict=True))

    assert least_unreadable < 5 * least


@pytest.mark.parametrize(("stored", "published"), TIMES, ids=repr)
def test_a_turn_s_time_is_seconds_from_the_start_or_missing(
    stored: object, published: str | None
) -> None:
    call, faults = read({"transcript": [turn(timestamp=stored), turn(), turn(role="system")]})

    assert (call["transcript"], faults) == ([turn(timestamp=published), turn(timestamp=None)], [])


@pytest.mark.parametrize("stored", NOT_TIMES, ids=repr)
def test_what_is_no_time_of_a_turn_is_null_and_a_fault(stored: object) -> None:
    call, faults = read({"transcript": [turn(timestamp="1"), turn(timestamp=stored)] * 2})

    assert [each["timestamp"] for each in call["transcript"]] == ["1", None] * 2
    assert faults == ["transcript[].timestamp"]


def test_turns_that_were_not_spoken_are_left_out() -> None:
    """What else they hold does not matter: arguments of tools are no text, and have no time."""
    left_out = [
        *({"role": role, "content": {"a": 1}, "timestamp": "x"} for role in sorted(NOT_SPOKEN)),
        {"role": "System", "content": "You are Asha."},
        {"role": "assistant", "content": None},
        {"role": "assistant", "timestamp": "x"},
        {"role": "bot"},
        {},
    ]
    spoken = [turn(role="ASSISTANT", content=""), turn(timestamp=1, confidence=0.5)]
    call, faults = read({"transcript": [*left_out, spoken[0], *left_out, spoken[1]]})

    assert faults == []
    assert call["transcript"] == [
        {"role": "assistant", "content": "", "timestamp": None},
        {"role": "user", "content": "x", "timestamp": "1.0"},
    ]


@pytest.mark.parametrize("name", ["a", "x" * 1024, "म" * 341, "a/b c#?&+%/मदद 👋'\".wav", "../x"])
def test_any_other_name_is_an_object_in_our_bucket(name: str) -> None:
    call, faults = parse_call(sample_calls()[77] | {"recording_object": name}, 77)

    assert (call.recording_object, faults) == (name, {})


def test_the_sample_calls_have_no_faults_and_read_as_published() -> None:
    for call_id, stored in sample_calls().items():
        call, faults = parse_call(stored, call_id)
        assert faults == {}
        # As text: it tells the order of keys, and 1 from 1.0.
        read = json.dumps(json.loads(call.render()))
        assert read == json.dumps(published_call(stored, recording_url=None))


def cases() -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Name each record of the field, in each mapping that it has, with what it is answered."""
    records, expected = (
        json.loads((CASES / name).read_text("utf-8")) for name in ("records.json", "expected.json")
    )
    for platform, mappings in records.items():
        for mapping, stored in mappings.items():
            yield f"{platform} {mapping}", stored, expected[platform][mapping]


@pytest.mark.parametrize(
    ("stored", "expected"), [case[1:] for case in cases()], ids=[case[0] for case in cases()]
)
def test_a_record_of_the_field_is_answered(
    stored: dict[str, Any], expected: dict[str, Any]
) -> None:
    if expected["call"] is None:
        with pytest.raises(UnreadableCallError) as refused:
            parse_call(stored | {"id": 7}, 7)
        assert str(refused.value) == ", ".join(expected["faults"])
        return
    call, faults = parse_call(stored | {"id": 7}, 7)

    assert list(faults) == expected["faults"]
    assert repr(json.loads(call.render())) == repr(published_call(expected["call"], None))
