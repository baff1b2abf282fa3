"""Calls at the limits of what Firestore holds: right to the last character, in time and memory."""

import subprocess
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, NamedTuple

import pytest
from google.api_core.exceptions import InvalidArgument
from google.cloud import firestore

from local.seed import sample_calls
from tests.support.in_process import KEY, KEYS, Wire, over
from tests.support.project import PutCall
from tests.support.serving import Service, held, started, wait_until_it_listens
from tests.support.strategies import Value, wire_list, wire_map

MIB = 2**20
ANSWER_MS = 2000  # by the function's own clock; measured: 200 for a document of 1 MiB
GROWTH_MIB = 100  # measured: 20 MiB, beyond the 175 MiB of a server and its worker
TURN = {"role": "user", "content": "", "timestamp": 0}


def stored_bytes(value: object) -> int:
    """Return what a value counts in Firestore; text is its UTF-8 and one byte more."""
    if isinstance(value, str):
        return len(value.encode()) + 1
    if isinstance(value, dict):
        return sum(stored_bytes(name) + stored_bytes(part) for name, part in value.items())
    if isinstance(value, list):
        return sum(map(stored_bytes, value))
    return 1 if value is None or isinstance(value, bool) else 8


def document_bytes(call_id: int, fields: dict[str, Any]) -> int:
    """Return what a document counts: its name is its collection's, its own and 16 bytes."""
    return stored_bytes("calls") + stored_bytes(str(call_id)) + 16 + stored_bytes(fields) + 32


def long_call(call_id: int, turns: int, last_bytes: int) -> dict[str, Any]:
    """Return a call of so many turns, the last of so many bytes."""
    said = [{"role": "assistant", "content": f"मदद {n}", "timestamp": n} for n in range(turns)]
    said[-1]["content"] = "म" * (last_bytes // 3) + "x" * (last_bytes % 3)
    return sample_calls()[77] | {"id": call_id, "transcript": said}


def check_long(call: dict[str, Any], answered: dict[str, Any]) -> None:
    turns = call["transcript"]
    assert [turn["content"] for turn in answered["transcript"]] == [t["content"] for t in turns]
    assert [turn["timestamp"] for turn in answered["transcript"]] == [
        f"{n}.0" for n in range(len(turns))
    ]


@pytest.mark.parametrize("turns", [1, 5_000])
def test_a_call_of_exactly_1_mib_is_answered_whole_and_soon(turns: int, wire: Wire) -> None:
    room = MIB - document_bytes(77, long_call(77, turns, 0))
    call = long_call(77, turns, room)
    assert document_bytes(77, call) == MIB
    answered = over(wire, call, KEYS[KEY])

    check_long(call, answered.reply.json())
    assert answered.entry["total_ms"] < ANSWER_MS


class Largest(NamedTuple):
    """The largest calls that the emulator takes, by their turns."""

    one: dict[str, Any]
    many: dict[str, Any]


@pytest.fixture(scope="module")
def largest(database: firestore.Client) -> Largest:
    def put(call_id: int, turns: int) -> dict[str, Any]:
        """Store a call as large as Firestore's rules allow, or a little less: emulators differ."""
        room = MIB - document_bytes(call_id, long_call(call_id, turns, 0))
        for last_bytes in range(room, room * 9 // 10, -2_000):
            call = long_call(call_id, turns, last_bytes)
            with suppress(InvalidArgument):
                database.document("calls", str(call_id)).set(call)
                return call
        pytest.fail("the emulator takes no large call")

    return Largest(put(2_000_001, 1), put(2_000_002, 5_000))


@pytest.mark.parametrize("which", Largest._fields)
def test_the_largest_stored_call_is_answered_whole_and_soon(
    which: str, largest: Largest, service: Service, acme_key: str
) -> None:
    call = getattr(largest, which)
    reply = service.request(target=f"/v2/calls/{call['id']}", key=acme_key, published=False)

    check_long(call, reply.json())
    assert service.entries()[-1]["total_ms"] < ANSWER_MS


def test_the_largest_call_is_refused_as_soon_as_any(
    largest: Largest, service: Service, globex_key: str
) -> None:
    for key, status in (("unknown", 401), (globex_key, 403)):
        assert service.request(target=f"/v2/calls/{largest.one['id']}", key=key).status == status
        assert service.entries()[-1]["total_ms"] < ANSWER_MS


@pytest.mark.parametrize(
    ("first", "last"),
    [
        (0x0, 0xD7FF),
        (0xE000, 0xFFFF),
        *((plane << 16, (plane + 2 << 16) | 0xFFFF) for plane in range(1, 16, 3)),
        (0x100000, 0x10FFFF),
    ],
)
def test_every_character_of_unicode_is_answered_as_it_is(
    first: int, last: int, service: Service, acme_key: str, put_call: PutCall
) -> None:
    """Also NUL, the other controls, the neighbours of the surrogates, and noncharacters."""
    text = "".join(map(chr, range(first, last + 1)))
    call_id = put_call({"transcript": [TURN | {"content": text}], "agent_name": text[-9:]})
    call = service.request(target=f"/v2/calls/{call_id}", key=acme_key).json()

    assert call["transcript"][0]["content"] == text
    assert call["agent_name"] == text[-9:]


BEYOND_DOUBLES = (2**53, 2**53 + 1, -(2**53) - 1, 2**63 - 1, -(2**63))


@pytest.mark.parametrize(
    "number",
    [
        *(0, 1, -1, 2**31, 2**32, 2**53 - 1),
        *(pytest.param(number, marks=pytest.mark.google_emulator) for number in BEYOND_DOUBLES),
        *(0.0, -0.0, 0.1, 1e16, 1e22, 1e23, 2.0**53, 2.0**63, -(2.0**63), 5e-324, -5e-324),
        *(2.225073858507201e-308, 2.2250738585072014e-308, 1.7976931348623157e308),
    ],
)
def test_a_number_is_answered_to_the_last_digit(
    number: float, service: Service, acme_key: str, put_call: PutCall
) -> None:
    whole = number if isinstance(number, int) else 0
    breakdown = {"stt": number, "tts": -number if number else number}
    stored = {
        "duration_seconds": number,
        "cost": {"total_usd": number, "total_inr": number, "breakdown": breakdown},
        "latency_ms": max(whole, 0),
    }
    if abs(number) == 2**63 and isinstance(number, int):
        breakdown["tts"] = number  # it has no opposite in 64 bits
    call = service.request(target=f"/v2/calls/{put_call(stored)}", key=acme_key).json()

    cost = call["cost"]
    answered = [call["duration_seconds"], cost["total_usd"], cost["total_inr"]]
    assert list(map(repr, answered)) == [repr(number)] * 3
    assert repr(cost["breakdown"]["tts"]) == repr(breakdown["tts"])
    assert repr(call["latency_ms"]) == repr(max(whole, 0))


def nested(levels: int, kind: str) -> Any:
    """Return a value inside so many maps or lists, as Firestore sends it."""
    value = Value(integer_value=1)
    for _ in range(levels):
        value = wire_map({"in": value}) if kind == "map" else wire_list([value])
    return value


def test_deep_nesting_in_an_unpublished_field_is_dropped(
    service: Service, acme_key: str, put_call: PutCall
) -> None:
    """20 levels, the document's own among them."""
    deep: Any = 1
    for _ in range(18):
        deep = {"in": deep}
    call_id = put_call({"model": {"provider": "groq", "model_id": "m", "deep": deep}})
    reply = service.request(target=f"/v2/calls/{call_id}", key=acme_key)

    assert reply.json()["model"] == {"provider": "groq", "model_id": "m"}


@pytest.mark.parametrize(("levels", "kind"), [(25, "map"), (31, "map"), (40, "list"), (47, "list")])
def test_what_protobuf_can_nest_is_dropped_too(levels: int, kind: str, wire: Wire) -> None:
    deep = wire_map({"provider": Value(string_value="groq"), "deep": nested(levels, kind)})
    answered = over(wire, sample_calls()[77] | {"model": deep}, KEYS[KEY])

    assert answered.reply.json()["model"] == {"provider": "groq", "model_id": None}


@pytest.mark.parametrize(("levels", "kind"), [(31, "map"), (47, "list")])
def test_nesting_in_a_published_place_is_a_fault_of_the_field(
    levels: int, kind: str, wire: Wire
) -> None:  # fmt: skip
    answered = over(wire, sample_calls()[77] | {"agent_name": nested(levels, kind)}, KEYS[KEY])

    assert (answered.what, answered.entry["faults"]) == ("200", ["agent_name"])


@pytest.mark.parametrize(("levels", "kind"), [(35, "map"), (51, "list")])
def test_nesting_beyond_protobuf_s_own_limit_is_a_fault_of_the_field(
    levels: int, kind: str, wire: Wire
) -> None:  # fmt: skip
    """A hundred messages, more than Firestore stores; the field is named as for any other fault."""
    answered = over(wire, sample_calls()[77] | {"model": nested(levels, kind)}, KEYS[KEY])

    assert (answered.what, answered.entry["faults"]) == ("200", ["model"])
    assert "stack_trace" not in answered.entry


@pytest.mark.parametrize(
    ("seconds", "nanos"),
    [(253_402_300_800, 0), (-62_135_596_801, 0), (2**62, 0), (0, -1), (0, 2_000_000_000)],
)
def test_a_timestamp_out_of_range_is_no_timestamp(seconds: int, nanos: int, wire: Wire) -> None:
    """Firestore stores none outside the years 1 to 9999; one in an unpublished field is nothing."""
    moment = Value(timestamp_value={"seconds": seconds, "nanos": nanos})
    published = over(wire, sample_calls()[77] | {"started_at": moment}, KEYS[KEY])
    hidden = {"model": wire_map({"when": moment})}
    unpublished = over(wire, sample_calls()[77] | hidden, KEYS[KEY])
    record = over(wire, sample_calls()[77], KEYS[KEY] | {"expires_at": moment})

    assert (published.what, unpublished.what) == ("500 stored_call_invalid", "200")
    assert record.what == "401 unauthenticated"


@pytest.fixture
def process_and_service(
    settings: dict[str, str], keys: dict[str, str]
) -> Iterator[tuple[subprocess.Popen[bytes], Service]]:
    """A function of its own, whose memory nobody else's requests fill."""
    assert keys
    with started(settings) as (process, service):
        wait_until_it_listens(process, service)
        yield process, service


def test_twenty_calls_of_1_mib_leave_little_behind(
    process_and_service: tuple[subprocess.Popen[bytes], Service], largest: Largest, acme_key: str
) -> None:
    process, service = process_and_service
    assert service.request(key=acme_key).status == 200
    *_, before = held(process)
    for _ in range(20):
        target = f"/v2/calls/{largest.many['id']}"
        reply = service.request(target=target, key=acme_key, published=False)
        assert (reply.status, len(reply.json()["transcript"])) == (200, 5_000)

    *_, after = held(process)

    assert (after - before) / MIB < GROWTH_MIB
