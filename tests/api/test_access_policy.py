"""Who may see a call: the names of these tests are the policy."""

import asyncio
import hashlib
import itertools
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from call_api.calls import schema
from call_api.calls.publish import recording_to_sign
from call_api.errors import (
    CallNotFound,
    Forbidden,
    KeyRecordInvalid,
    OwnerMissing,
    Unauthenticated,
)
from call_api.web.admission import Place
from local.seed import sample_calls
from tests.support.fakes import FakeCalls, FakeRecordingUrls, read_call
from tests.support.in_process import KEY, Function, asked
from tests.support.project import PutCall, PutKey
from tests.support.serving import Service

SECOND = timedelta(seconds=1)
KEY_ID = hashlib.sha256(KEY.encode()).hexdigest()[:12]
PAST = datetime(2026, 3, 25, tzinfo=UTC)


def stored(record: dict[str, Any] | None = None, call: dict[str, Any] | None = None) -> FakeCalls:
    return FakeCalls(
        keys={KEY: {"org_id": "org_acme"} | (record or {})},
        calls={77: sample_calls()[77] | (call or {})},
    )


def read(
    noon: datetime,
    *,
    record: dict[str, Any] | None = None,
    call: dict[str, Any] | None = None,
    call_id: int | None = 77,
    key: str = KEY,
) -> schema.Call:
    document = asyncio.run(read_call(stored(record, call), key, call_id, noon))
    return schema.parse_call(document.decoded(schema.STORED_CALL_SHAPE), 77)[0]


def test_the_owner_sees_its_call(noon: datetime) -> None:
    assert read(noon).id == 77


def test_the_owner_sees_its_deleted_call_without_the_recording(noon: datetime) -> None:
    owned = read(noon, call={"status": "deleted"})

    assert owned.recording_object is not None
    assert recording_to_sign(owned) is None


def test_an_unknown_key_sees_nothing(noon: datetime) -> None:
    with pytest.raises(Unauthenticated, match="unknown key"):
        read(noon, key="another key")


def test_an_unknown_key_learns_nothing_of_ids(noon: datetime) -> None:
    with pytest.raises(Unauthenticated):
        read(noon, key="another key", call_id=None)


@pytest.mark.parametrize(
    ("end", "reason"), [("expires_at", "expired key"), ("revoked_at", "revoked key")]
)
def test_a_key_ends_at_its_end_and_not_before(end: str, reason: str, noon: datetime) -> None:
    elsewhere = noon.astimezone(timezone(timedelta(hours=5, minutes=30)))

    assert read(noon, record={end: noon + timedelta(microseconds=1)}).id == 77
    assert read(noon, record={end: None}).id == 77
    for past in (noon, noon - SECOND, elsewhere):
        with pytest.raises(Unauthenticated, match=f": {reason}$"):
            read(noon, record={end: past})


@pytest.mark.parametrize(
    ("where", "step", "times", "reads"),
    [
        (FakeCalls, "read", 1, [None]),
        (Place, "before_fetch", 1, [None, 77]),
        (FakeCalls, "read", 2, [None, 77]),
        (Place, "before_publishing", 1, [None, 77]),
        (FakeRecordingUrls, "signed_url", 1, [None, 77]),
    ],
    ids=["key", "place", "call", "turn", "signature"],
)
def test_a_key_that_ends_while_its_request_waits_is_refused(
    where: type,
    step: str,
    times: int,
    reads: list[int | None],
    noon: datetime,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    end = noon + SECOND
    store = stored({"expires_at": end})
    function = Function(store)
    waits = itertools.count(1)
    original = getattr(where, step)

    async def wait(*args: Any) -> Any:
        result = await original(*args)
        if next(waits) == times:
            function.clock.time = end
        return result

    monkeypatch.setattr(where, step, wait)
    assert function.ask().status_code == 401
    (entry,) = function.entries()
    assert entry["message"] == "GET 401 unauthenticated: expired key"
    assert store.reads == reads


def test_people_s_notes_on_a_key_do_not_matter(noon: datetime) -> None:
    assert read(noon, record={"name": "CI", "created_at": noon, "team": ["a"]}).id == 77


@pytest.mark.parametrize(
    "record",
    [
        {"org_id": None},
        {"org_id": ""},
        {"org_id": 7},
        {"org_id": ["org_acme"]},
        {"expires_at": "2999-01-01T00:00:00Z"},
        {"revoked_at": 0},
        {"revoked_at": False},
        {"expires_at": datetime(2999, 1, 1)},  # noqa: DTZ001  (a time without a zone)
        {"created_at": "yesterday"},
        {"name": 1},
        {"org_id": 7, "name": 1},
    ],
)
def test_a_key_record_that_cannot_be_understood_opens_nothing(
    record: dict[str, Any], noon: datetime
) -> None:
    with pytest.raises(KeyRecordInvalid, match=f": key record: {', '.join(record)}$") as refused:
        read(noon, record=record)
    assert refused.value.status == 401
    assert refused.value.severity == "ERROR"


def test_another_org_does_not_see_the_call(noon: datetime) -> None:
    with pytest.raises(Forbidden):
        read(noon, record={"org_id": "org_globex"})


def test_another_org_does_not_learn_that_the_call_is_corrupt(noon: datetime) -> None:
    with pytest.raises(Forbidden):
        read(noon, record={"org_id": "org_globex"}, call={"status": "lost"})


@pytest.mark.parametrize("owner", [None, "", 7, ["org_acme"], {"org_acme": True}])
def test_a_call_without_an_owner_is_forbidden_to_everyone(owner: object, noon: datetime) -> None:
    with pytest.raises(OwnerMissing, match=r": call document: org_id$") as refused:
        read(noon, call={"org_id": owner})
    assert (refused.value.status, refused.value.severity) == (403, "ERROR")


@pytest.mark.parametrize("owner", ["org_acm", "org_acme ", "ORG_ACME", "org_acme\x00"])
def test_owners_are_compared_exactly(owner: str, noon: datetime) -> None:
    with pytest.raises(Forbidden):
        read(noon, call={"org_id": owner})


@pytest.mark.parametrize("call_id", [None, 78])
def test_a_call_that_does_not_exist_is_not_found(call_id: int | None, noon: datetime) -> None:
    with pytest.raises(CallNotFound):
        read(noon, call_id=call_id)


@pytest.mark.parametrize(
    ("record", "call", "key", "names"),
    [
        ({}, {"org_id": "other"}, KEY, ("org_acme", KEY_ID)),
        ({}, {"org_id": None}, KEY, ("org_acme", KEY_ID)),
        ({}, {"type": None}, KEY, ("org_acme", KEY_ID)),
        ({}, {"id": 1}, KEY, ("org_acme", KEY_ID)),
        ({"revoked_at": PAST}, {}, KEY, ("org_acme", KEY_ID)),
        ({"expires_at": PAST}, {}, KEY, ("org_acme", KEY_ID)),
        ({"org_id": 7}, {}, KEY, (None, KEY_ID)),
        ({}, {}, "another-key", (None, None)),
    ],
)
def test_a_refusal_s_log_line_names_org_and_key_once_the_record_is_found(
    record: dict[str, Any], call: dict[str, Any], key: str, names: tuple[str | None, ...]
) -> None:
    answered = asked(stored(record, call), "/v2/calls/77", [("authorization", f"Bearer {key}")])

    entry = answered.entry
    assert answered.reply.status >= 400
    assert (entry["org_id"], entry["key_id"]) == names
    assert (entry["call_id"], entry["sign_ms"]) == ("77", None)
    assert isinstance(entry["read_ms"], float)


def test_a_call_without_an_owner_is_an_error_in_the_log() -> None:
    with_owner, without = (
        asked(stored({}, call), "/v2/calls/77", [("authorization", f"Bearer {KEY}")]).entry
        for call in ({"org_id": "other"}, {"org_id": None})
    )

    assert (with_owner["severity"], without["severity"]) == ("INFO", "ERROR")
    assert without["message"] == "GET 403 forbidden: call document: org_id"


def test_a_key_is_longest_at_512_characters(service: Service, put_key: PutKey) -> None:
    longest = put_key({"org_id": "org_acme"}, key="".join(map(chr, range(0x21, 0x7F))) + "k" * 418)

    assert len(longest) == 512
    assert service.request(key=longest).status == 200


def test_a_call_that_changes_hands_is_refused_to_its_old_owner(
    service: Service, put_call: PutCall, acme_key: str, globex_key: str
) -> None:
    call_id = put_call()
    assert service.request(target=f"/v2/calls/{call_id}", key=acme_key).status == 200
    put_call({"org_id": "org_globex"}, at=call_id)

    assert service.request(target=f"/v2/calls/{call_id}", key=acme_key).status == 403
    assert service.request(target=f"/v2/calls/{call_id}", key=globex_key).status == 200
