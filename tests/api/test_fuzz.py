"""Cases made up by Hypothesis: whatever comes, the answer is a published one and nothing leaks.

Bounded and the same each time in `make test`; `make fuzz` runs many more, new ones each time.
"""

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from local.seed import sample_calls
from tests.support import strategies as made
from tests.support.fakes import FakeCalls
from tests.support.figures import FUZZED
from tests.support.in_process import (
    KEY,
    KEY_OF_THE_OTHERS,
    KEYS,
    MINE,
    Answered,
    Wire,
    asked,
    over,
)
from tests.support.reading import reading
from tests.support.serving import Service

FEW = settings(max_examples=max(10, settings().max_examples // 5))  # where a case takes longer


def expected(method: str, path: str, headers: list[tuple[str, str]]) -> str:
    """Return the contract's answer, found by another way than the code's."""
    segment = path.removeprefix("/v2/calls/")
    if segment in {path, ""} or "/" in segment:
        return "404 route_not_found"
    if method not in {"GET", "HEAD"}:
        return "204" if method == "OPTIONS" else "405 method_not_allowed"
    credentials = [value for name, value in headers if name == "authorization"]
    scheme, space, key = credentials[0].partition(" ") if credentials else ("", "", "")
    good = scheme.lower() == "bearer" and space and key.lstrip(" ") == KEY
    if len(credentials) != 1 or not good:
        return "401 unauthenticated"
    if segment != "77":
        return "403 forbidden" if segment == "87" else "404 call_not_found"
    held = ",".join(value for name, value in headers if name == "if-none-match")
    return "304" if held.strip() == "*" else "200"


@given(made.METHODS, made.PATHS, made.headers(KEY))
def test_any_request_is_answered_by_the_contract(
    method: str, path: str, headers: list[tuple[str, str]]
) -> None:
    FUZZED["requests in process"] += 1
    store = FakeCalls(keys=KEYS, calls={n: sample_calls()[n] for n in (77, 87)})
    answered = asked(store, path, headers, method)

    what = expected(method, path, headers)
    assert answered.what == (what.partition(" ")[0] if method == "HEAD" else what)
    assert answered.entry["org_id"] in {None, "org_acme"}
    if answered.what == "200" and method == "GET":
        assert answered.reply.json()["id"] == 77


@given(made.SEGMENTS)
def test_an_id_is_plain_digits_from_1_to_2_63_less_1_and_nothing_else(segment: str) -> None:
    FUZZED["IDs in process"] += 1
    assume(segment and "/" not in segment)

    class Any77:
        """Calls of every ID."""

        def get(self, call_id: int) -> Mapping[str, object]:
            return sample_calls()[77] | {"id": call_id}

    store = FakeCalls(keys=KEYS)
    store.calls = Any77()  # type: ignore[assignment]
    answered = asked(store, f"/v2/calls/{segment}", MINE)

    canonical = len(segment) < 20 and segment.isascii() and segment.isdecimal()
    if canonical and str(int(segment)) == segment and 1 <= int(segment) < 2**63:
        assert (answered.what, answered.reply.json()["id"]) == ("200", int(segment))
    else:
        assert answered.what == "404 call_not_found"


@given(st.text(max_size=20), made.near("org_acme") | st.text(max_size=20))
def test_a_call_is_seen_by_the_org_of_exactly_that_name(one: str, other: str) -> None:
    FUZZED["pairs of orgs in process"] += 1
    for asking, owner in ((one, other), (other, one), (one, one), ("org_acme", other)):
        store = FakeCalls(
            keys={KEY: {"org_id": asking}}, calls={77: sample_calls()[77] | {"org_id": owner}}
        )
        what = asked(store, "/v2/calls/77", MINE).what
        if not asking:
            assert what == "401 unauthenticated"
        else:
            assert what == ("200" if asking == owner else "403 forbidden")


@given(
    st.dictionaries(st.sampled_from(["org_id", "expires_at", "revoked_at", "name"]), made.VALUES)
)
def test_any_record_of_a_key_opens_its_org_s_calls_or_none(record: dict[str, object]) -> None:
    FUZZED["key records in process"] += 1
    org_id = record.get("org_id")
    store = FakeCalls(keys={KEY: record}, calls={77: sample_calls()[77]})
    for path in ("/v2/calls/77", "/v2/calls/077"):
        answered = asked(store, path, MINE)
        usable = isinstance(org_id, str) and org_id != ""
        assert answered.what in {"401 unauthenticated", "403 forbidden", "404 call_not_found"}
        assert usable or answered.what == "401 unauthenticated"


@given(made.DOCUMENTS)
def test_any_stored_call_is_answered_or_refused(document: dict[str, object]) -> None:
    FUZZED["stored calls in process"] += 1
    store = FakeCalls(keys=KEYS, calls={77: document})
    mine, theirs, nobody_s = (
        asked(store, "/v2/calls/77", [("authorization", f"Bearer {key}")])
        for key in (KEY, KEY_OF_THE_OTHERS, "unknown")
    )

    assert nobody_s.what == "401 unauthenticated"
    seen = {"200", "500 stored_call_invalid"}
    owner = document.get("org_id")
    assert (mine.what in seen) == (owner == "org_acme")
    assert (theirs.what in seen) == (owner == "org_globex")
    assert {mine.what, theirs.what} <= seen | {"403 forbidden"}
    assert "stack_trace" not in mine.entry
    if mine.what in seen:
        assert_read_by_the_table(mine, document)


def assert_read_by_the_table(answered: Answered, document: dict[str, Any]) -> None:
    call, faults = reading(document, 77)
    if call is None:
        assert answered.what == "500 stored_call_invalid"
        _, _, named = answered.entry["message"].partition("call document: ")
        assert answered.entry["severity"] == "ERROR"
        # Of turns the first one that is at fault is named.
        assert set(named.split(", ")) <= faults
        always = {fault for fault in faults if "transcript[]" not in fault}
        assert always <= set(named.split(", "))
        return
    assert answered.what == "200"
    assert answered.entry["severity"] == ("WARNING" if faults else "INFO")
    assert sorted(answered.entry.get("faults", [])) == sorted(faults)
    # As text: `==` takes 1 for 1.0 and -0.0 for 0.0, and the order of keys for nothing.
    assert repr(answered.reply.json() | {"recording_url": None}) == repr(call)


@given(st.data())
def test_any_document_that_firestore_could_send_is_answered_or_refused(
    wire: Wire, data: st.DataObject
) -> None:
    FUZZED["documents by gRPC"] += 1
    document = data.draw(
        made.mutants(made.WIRE_VALUES)
        | st.dictionaries(made.FIELD_NAMES, made.WIRE_VALUES, max_size=6)
    )
    answered = over(wire, document, KEYS[KEY])

    owned = document.get("org_id") in ("org_acme", made.Value(string_value="org_acme"))
    assert (answered.what in {"200", "500 stored_call_invalid"}) == owned
    assert owned or answered.what == "403 forbidden"
    assert "stack_trace" not in answered.entry


@given(made.READABLE_CALLS)
def test_every_form_that_the_table_lists_is_read_and_no_digit_is_lost(
    wire: Wire, stored: dict[str, Any]
) -> None:
    FUZZED["documents by gRPC"] += 1
    answered = over(wire, stored | {"org_id": "org_acme"}, KEYS[KEY])

    assert "faults" not in answered.entry
    assert_read_by_the_table(answered, stored)


@given(st.dictionaries(st.sampled_from(["org_id", "expires_at", "name"]), made.WIRE_VALUES))
def test_any_record_that_firestore_could_send_opens_its_org_s_calls_or_none(
    wire: Wire, record: dict[str, Any]
) -> None:
    FUZZED["documents by gRPC"] += 1
    what = over(wire, sample_calls()[77], record).what

    assert what in {"401 unauthenticated", "403 forbidden"}


RAW_HEADERS = st.lists(st.binary(max_size=60), max_size=4).map(b"\r\n".join)
RAW_TARGETS = (
    made.PATHS.map(str.encode) | made.PATHS.map(quote).map(str.encode) | st.binary(max_size=40)
)


@FEW
@given(
    st.sampled_from([b"GET", b"HEAD", b"OPTIONS", b"POST", b"TRACE"]) | st.binary(max_size=9),
    RAW_TARGETS,
    RAW_HEADERS,
)
def test_any_bytes_get_a_published_answer_or_the_framework_s_refusal(
    service: Service, acme_key: str, method: bytes, target: bytes, headers: bytes
) -> None:
    """What is sent may be no request or several; then each is answered, or the connection ends."""
    FUZZED["connections of raw bytes"] += 1
    size = len(service.log())
    key = b"Authorization: Bearer " + acme_key.encode()
    sent = b"\r\n".join([method + b" " + target + b" HTTP/1.1", b"Host: x", key, headers])
    last = b"\r\nConnection: close\r\n\r\n"
    replies = service.exchange(sent + last + b"\r\n\r\n", method=method.decode("latin-1"))

    assert replies
    assert {reply.status for reply in replies} <= {200, 204, 307, 400, 401, 404, 405}
    log = service.log(size)
    assert acme_key not in log
    assert [
        json.loads(line)["status"] for line in log.splitlines() if '"severity": "ERROR"' in line
    ] == []
