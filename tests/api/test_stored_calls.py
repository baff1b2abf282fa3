"""Stored calls through the served function: what leaves it, and what the log says of faults."""

import json
import time
from datetime import UTC, datetime
from math import inf
from typing import Any

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import firestore
from google.cloud.firestore_v1.vector import Vector

from call_api.calls.schema import parse_call
from local.seed import sample_calls
from ops.openapi import published, schema
from tests.support.contract import every_field, stored_fields, with_value
from tests.support.project import PROJECT, PutCall
from tests.support.reading import ESSENTIAL
from tests.support.serving import Service


def answer(service: Service, call_id: int, key: str) -> Any:
    reply = service.request(target=f"/v2/calls/{call_id}", key=key)
    assert reply.status == 200, reply.body
    return reply.json()


SECRET = b"s3cret"
FIELDS = stored_fields()
OPTIONAL = [name for name, field in FIELDS.items() if field.may_be_null]
LISTS = [name for name, field in FIELDS.items() if field.kind == "array"]


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


def test_times_are_answered_in_utc_wherever_the_server_is(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Asia/Kolkata")
        time.tzset()
        call, _ = parse_call(sample_calls()[77] | {"started_at": "2026-03-25T10:20:57"}, 77)
    time.tzset()

    assert call.started_at == "2026-03-25T10:20:57Z"


def test_what_cannot_be_read_is_null_and_a_warning(
    service: Service, acme_key: str, put_call: PutCall
) -> None:
    """The log names the fields and none of their values, also of types that no published field has."""
    stored = {
        "agent_name": SECRET,
        "latency_ms": firestore.GeoPoint(1, 2),
        "voice": SECRET.decode(),
        "transcript": [{"role": "user", "content": "x", "timestamp": SECRET.decode()}] * 9,
        "analysis": {"tags": ["a", SECRET]},
    }
    call_id = put_call(stored)
    call = answer(service, call_id, acme_key)

    assert (call["agent_name"], call["latency_ms"], call["voice"]) == (None, None, None)
    assert call["analysis"]["tags"] == ["a"]
    entry = service.entries()[-1]
    assert (entry["severity"], entry["status"], entry["code"]) == ("WARNING", 200, None)
    assert entry["faults"] == [
        "transcript[].timestamp",
        "agent_name",
        "voice",
        "latency_ms",
        "analysis.tags[]",
    ]
    assert entry["message"] == f"GET 200 cannot be read: {', '.join(entry['faults'])}"
    assert SECRET.decode() not in json.dumps(entry)

    etag = service.request(target=f"/v2/calls/{call_id}", key=acme_key).headers["ETag"]
    for request in ({"method": "HEAD"}, {"headers": [("If-None-Match", etag)]}):
        service.request(target=f"/v2/calls/{call_id}", key=acme_key, **request)
        assert service.entries()[-1]["faults"] == entry["faults"]


def test_at_most_20_fields_are_named(service: Service, acme_key: str, put_call: PutCall) -> None:
    stored = {name: value for name, value in sample_calls()[77].items() if name not in ESSENTIAL}
    for name, field in every_field(schema("Call")):
        if name.partition(".")[0] in stored and field.kind != "object":
            stored = with_value(stored, name, -1)
    answer(service, put_call(stored), acme_key)

    entry = service.entries()[-1]
    assert len(entry["faults"]) == 20
    assert entry["message"].endswith(", ".join(entry["faults"]))


def test_an_essential_value_that_cannot_be_read_is_500_and_named(
    service: Service, acme_key: str, put_call: PutCall
) -> None:
    stored = {"status": SECRET.decode(), "cost": {"total_usd": SECRET}, "latency_ms": -1}
    reply = service.request(target=f"/v2/calls/{put_call(stored)}", key=acme_key)

    assert (reply.status, reply.json()["code"]) == (500, "stored_call_invalid")
    assert reply.json()["detail"] == "The stored call does not match the published schema"
    entry = service.entries()[-1]
    assert entry["severity"] == "ERROR"
    message = "GET 500 stored_call_invalid: call document: status, cost.total_usd"
    assert entry["message"] == message
    assert SECRET.decode() not in json.dumps(entry)
    assert "stack_trace" not in entry
