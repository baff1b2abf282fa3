"""What a stored call must be, and how it reads: the schema, through the served function."""

import time
from collections.abc import Iterable
from datetime import UTC, datetime
from math import inf, nan
from typing import Any

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import firestore
from google.cloud.firestore_v1.vector import Vector

from call_api.calls.publish import validated
from call_api.calls.schema import Call
from call_api.errors import StoredCallInvalid
from local.seed import sample_calls
from ops.openapi import published, schema
from tests.support.contract import stored_fields
from tests.support.project import PROJECT, PutCall
from tests.support.serving import Service


def answer(service: Service, call_id: int, key: str) -> Any:
    reply = service.request(target=f"/v2/calls/{call_id}", key=key)
    assert reply.status == 200, reply.body
    return reply.json()


FIELDS = stored_fields()
OPTIONAL = [name for name, field in FIELDS.items() if field.may_be_null]
LISTS = [name for name, field in FIELDS.items() if field.kind == "array"]
REQUIRED = [name for name in FIELDS if name not in OPTIONAL + LISTS]


def test_what_is_not_stored_is_null_and_every_key_is_there(
    service: Service, acme_key: str, put_call: PutCall
) -> None:
    missing = answer(service, put_call(without=(*OPTIONAL, *LISTS)), acme_key)
    null = answer(service, put_call(dict.fromkeys(OPTIONAL + LISTS)), acme_key)

    assert list(missing) == list(answer(service, 77, acme_key))
    names = {"recording_url" if name == "recording_object" else name for name in OPTIONAL}
    for call in (missing, null):
        assert {name for name, value in call.items() if value is None} == names
        assert {name for name, value in call.items() if value == []} == set(LISTS)


def test_nested_keys_are_always_there_too(
    service: Service, acme_key: str, put_call: PutCall
) -> None:
    stored = {
        "cost": {"total_usd": 0},
        "model": {},
        "transcriber": {},
        "voice": {},
        "analysis": {"summary": {}, "score": {}, "tags": None},
    }
    call = answer(service, put_call(stored), acme_key)

    properties = schema("Call")["properties"]
    for name, value in stored.items():
        assert call[name] == published(value, properties[name])
    assert call["analysis"]["tags"] == call["analysis"]["knowledge_gaps"] == []
    assert set(call["cost"]["breakdown"].values()) == {None}


def test_unpublished_fields_never_leave(
    service: Service, acme_key: str, put_call: PutCall, database: firestore.Client
) -> None:
    """Of any type, also of one that this code has never heard of, and inside published objects."""
    other_database = firestore.Client(PROJECT, AnonymousCredentials(), "other")
    unpublished = {
        "room_token": "s3cret",
        "metadata": {"deep": [{"er": b"\x00\xff"}]},
        "where": firestore.GeoPoint(1, 2),
        "who": database.document("users/1"),
        "elsewhere": other_database.document("users/1"),
        "vector": Vector([1.0, 2.0]),
        "not_finite": inf,
        "when": datetime(1, 1, 1, tzinfo=UTC),
        "recording_url": "https://example.com/",
        "not a `name`.": "odd",
    }
    stored = sample_calls()[77]
    nested = {"model": stored["model"] | {"secret": b"x", "ref": unpublished["who"]}}
    call = answer(service, put_call(unpublished | nested), acme_key)

    expected = answer(service, 77, acme_key)
    differs = {name for name in expected if expected[name] != call[name]}
    assert list(call) == list(expected)
    assert differs == {"id", "recording_url"}
    assert call["model"] == stored["model"]


@pytest.mark.google_emulator
def test_amounts_are_answered_as_stored(service: Service, acme_key: str, put_call: PutCall) -> None:
    breakdown = {
        "platform_fee": 0.1 + 0.2,
        "stt": 1,
        "tts": 1e-9,
        "llm": -0.0,
        "telephony": 2**53 + 1,
    }
    stored = {"duration_seconds": 99, "cost": {"total_usd": 1e22, "breakdown": breakdown}}
    reply = service.request(target=f"/v2/calls/{put_call(stored)}", key=acme_key)

    for text in (
        '"platform_fee":0.30000000000000004',
        '"stt":1,',
        '"tts":1e-9',
        '"llm":-0.0',
        '"telephony":9007199254740993',
        '"total_usd":1e+22',
        '"duration_seconds":99,',
    ):
        assert text in reply.body.decode()


@pytest.mark.parametrize(
    ("stored", "published"),
    [
        (datetime(2026, 3, 25, 10, 20, 57, tzinfo=UTC), "2026-03-25T10:20:57Z"),
        (datetime(2026, 3, 25, 10, 20, 57, 999_999, tzinfo=UTC), "2026-03-25T10:20:57Z"),
        ("2026-03-25T10:20:57Z", "2026-03-25T10:20:57Z"),
        ("2026-03-25t10:20:57.999999999z", "2026-03-25T10:20:57Z"),
        ("2026-03-25T15:50:57+05:30", "2026-03-25T10:20:57Z"),
        ("2026-03-24T23:20:57-11:00", "2026-03-25T10:20:57Z"),
    ],
)
def test_times_are_answered_in_utc_and_whole_seconds(
    stored: object, published: str, service: Service, acme_key: str, put_call: PutCall
) -> None:
    call_id = put_call({"started_at": stored})

    assert answer(service, call_id, acme_key)["started_at"] == published


def test_times_are_answered_in_utc_wherever_the_server_is(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Asia/Kolkata")
        time.tzset()
        call = validated(sample_calls()[77] | {"started_at": "2026-03-25T12:20:57+02:00"}, 77)
    time.tzset()

    assert call.started_at == "2026-03-25T10:20:57Z"


@pytest.mark.parametrize(
    ("stored", "published"),
    [
        ("5.2", "5.2"),
        (5.2, "5.2"),
        (5, "5.0"),
        (0, "0.0"),
        (-0.04, "0.0"),
        (61.25, "61.2"),
        (3600.0, "3600.0"),
    ],
)
def test_a_stored_offset_is_written_with_one_decimal(
    stored: object, published: str, service: Service, acme_key: str, put_call: PutCall
) -> None:
    turn = {"role": "user", "content": "", "timestamp": stored}
    call = answer(service, put_call({"transcript": [turn]}), acme_key)

    assert call["transcript"] == [{"role": "user", "content": "", "timestamp": published}]


WRONG = {
    "string": (1, False, b"x", ["x"], {"x": "x"}),
    "enum": ("", "lost", "Web", 1, ["web"]),
    "time": (
        0,
        True,
        "",
        "yesterday",
        "2026-03-25",
        "2026-03-25T10:20:57",
        "2026-13-25T10:20:57Z",
        "2026-03-25 10:20:57Z",
        "9999-12-31T23:59:59-01:00",
        "2026-03-25T24:00:01Z",
        "2026-03-25T10:20:57+05:60",
        "٢٠٢٦-03-25T10:20:57Z",
    ),
    "number": ("99.1", True, nan, inf, -inf, []),
    "integer": ("1", 1.0, True, nan),
    "link": (
        "",
        "https://storage.googleapis.com/b/o",
        "gs://bucket/object",
        "HTTP://x",
        "x" * 1025,
        "म" * 342,
        7,
    ),
    "array": ("text", {"role": "user"}, 1),
    "object": ("", 1, []),
}


def corrupt() -> Iterable[tuple[str, object]]:
    """Name each field, and what is wrong there: values of other types, and null where it is required."""
    for name, field in FIELDS.items():
        yield from ((name, value) for value in WRONG[field.kind])
    yield from ((name, None) for name in REQUIRED)
    yield from (("id", value) for value in ("77", 77.0, 78))


def test_every_field_is_among_those_that_can_be_wrong() -> None:
    assert {field for field, _ in corrupt()} == set(Call.model_fields)


@pytest.mark.parametrize(("field", "value"), list(corrupt()), ids=repr)
def test_a_wrong_value_is_named_and_never_shown(
    field: str, value: object, service: Service, acme_key: str, put_call: PutCall
) -> None:
    check_corrupt(service, acme_key, put_call({field: value}), field)


TURN = {"role": "user", "content": "x", "timestamp": "0.0"}


@pytest.mark.parametrize(
    ("fields", "at_fault"),
    [
        ({"transcript": [TURN, TURN | {"role": "system"}]}, "transcript.1.role"),
        ({"transcript": [TURN | {"content": None}]}, "transcript.0.content"),
        ({"transcript": [TURN | {"timestamp": None}]}, "transcript.0.timestamp"),
        ({"transcript": [TURN | {"timestamp": nan}]}, "transcript.0.timestamp"),
        ({"transcript": [{}]}, "transcript.0.role, transcript.0.content, transcript.0.timestamp"),
        ({"transcript": [None]}, "transcript.0"),
        ({"cost": {}}, "cost.total_usd"),
        ({"cost": {"total_usd": nan}}, "cost.total_usd"),
        ({"cost": {"total_usd": "0.08"}}, "cost.total_usd"),
        ({"cost": {"total_usd": 1, "total_inr": inf}}, "cost.total_inr"),
        ({"cost": {"total_usd": 1, "breakdown": {"stt": nan}}}, "cost.breakdown.stt"),
        ({"cost": {"total_usd": 1, "breakdown": {"llm": True}}}, "cost.breakdown.llm"),
        ({"cost": {"total_usd": 1, "breakdown": []}}, "cost.breakdown"),
        ({"model": {"provider": 1, "model_id": b""}}, "model.provider, model.model_id"),
        ({"analysis": {"sentiment": "mixed"}}, "analysis.sentiment"),
        ({"analysis": {"score": {"score": 101}}}, "analysis.score.score"),
        ({"analysis": {"score": {"score": -0.1}}}, "analysis.score.score"),
        ({"analysis": {"score": {"score": nan}}}, "analysis.score.score"),
        ({"analysis": {"tags": ["a", 1]}}, "analysis.tags.1"),
        ({"analysis": {"tags": "a"}}, "analysis.tags"),
        ({"analysis": {"summary": "text"}}, "analysis.summary"),
        ({"analysis": {"summary": {"key_topics": [None]}}}, "analysis.summary.key_topics.0"),
        (
            {"transcript": [TURN, TURN | {"role": "x", "content": 1}, *[None] * 1000]},
            "transcript.1.role, transcript.1.content",
        ),
    ],
)
def test_a_wrong_value_deep_inside_is_named_with_its_path(
    fields: dict[str, Any], at_fault: str, service: Service, acme_key: str, put_call: PutCall
) -> None:
    check_corrupt(service, acme_key, put_call(fields), at_fault)


@pytest.mark.parametrize("field", REQUIRED)
def test_a_missing_field_is_named(
    field: str, service: Service, acme_key: str, put_call: PutCall
) -> None:
    check_corrupt(service, acme_key, put_call(without=(field,)), field)


def check_corrupt(service: Service, key: str, call_id: int, at_fault: str) -> None:
    reply = service.request(target=f"/v2/calls/{call_id}", key=key)

    assert (reply.status, reply.json()["code"]) == (500, "stored_call_invalid")
    assert reply.json()["detail"] == "The stored call does not match the published schema"
    entry = service.entries()[-1]
    assert entry["severity"] == "ERROR"
    assert entry["message"] == f"GET 500 stored_call_invalid: call document: {at_fault}"
    assert "stack_trace" not in entry


@pytest.mark.parametrize("owner", [None, "", 7])
def test_a_call_without_an_owner_is_refused_and_reported(
    owner: object, service: Service, acme_key: str, put_call: PutCall
) -> None:
    reply = service.request(target=f"/v2/calls/{put_call({'org_id': owner})}", key=acme_key)

    assert reply.status == 403
    entry = service.entries()[-1]
    assert (entry["severity"], entry["message"]) == (
        "ERROR",
        "GET 403 forbidden: call document: org_id",
    )


@pytest.mark.parametrize(
    "name", ["a", "x" * 1024, "म" * 341, "a/b c#?&+%/मदद 👋'\".wav", "../x", "C:/x"]
)
def test_any_other_name_is_an_object_in_our_bucket(
    name: str, service: Service, acme_key: str, put_call: PutCall
) -> None:
    url = answer(service, put_call({"recording_object": name}), acme_key)["recording_url"]

    assert url.startswith("https://storage.googleapis.com/thinnestai-recordings/")


def test_a_call_of_nothing_but_faults_does_not_hold_up_the_others() -> None:
    """As many as a document can hold: to name each would take seconds of the one event loop."""
    call = sample_calls()[77] | {"transcript": [None] * 500_000}
    started = time.thread_time()
    with pytest.raises(StoredCallInvalid, match=r": transcript\.0$"):
        validated(call, 77)

    assert time.thread_time() - started < 0.5


def test_a_call_at_firestore_s_limit_is_answered(
    service: Service, acme_key: str, put_call: PutCall
) -> None:
    turns = [{"role": "user", "content": "मदद" * 30, "timestamp": n} for n in range(2_900)]
    call = answer(service, put_call({"transcript": turns}), acme_key)

    assert len(call["transcript"]) == len(turns)
