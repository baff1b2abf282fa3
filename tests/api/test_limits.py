"""Calls at the limits of what Firestore holds: right to the last character, in time and memory."""

from typing import Any

import pytest

from local.seed import sample_calls
from tests.support.in_process import KEY, KEYS, Wire, over
from tests.support.project import PutCall
from tests.support.serving import held, started, wait_until_it_listens
from tests.support.strategies import Value, wire_list, wire_map

MIB = 2**20
ANSWER_MS = 2000  # by the function's own clock; measured: 200 for a document of 1 MiB
GROWTH_MIB = 100  # measured: 20 MiB, beyond the 175 MiB of a server and its worker
TURN = {"role": "user", "content": "", "timestamp": 0}


def said(turns: int, size: int) -> list[dict[str, Any]]:
    """Return so many turns, whose texts have so many bytes together."""
    text = "म" * (size // turns // 3)
    return [{"role": "user", "content": f"{n}{text}", "timestamp": n} for n in range(turns)]


@pytest.mark.parametrize("turns", [1, 5_000])
def test_the_largest_call_is_answered_whole_and_soon(turns: int, wire: Wire) -> None:
    """With 1 MiB of text, so that it is larger than any that Firestore stores."""
    transcript = said(turns, MIB)
    answered = over(wire, sample_calls()[77] | {"transcript": transcript}, KEYS[KEY])

    assert answered.reply.json()["transcript"] == [
        turn | {"timestamp": f"{n}.0"} for n, turn in enumerate(transcript)
    ]
    assert answered.entry["total_ms"] < ANSWER_MS


@pytest.mark.parametrize(
    ("first", "last"),
    [
        (0x0, 0xD7FF),
        (0xE000, 0xFFFF),
        *((plane << 16, (plane + 2 << 16) | 0xFFFF) for plane in range(1, 16, 3)),
        (0x100000, 0x10FFFF),
    ],
)
def test_every_character_of_unicode_is_answered_as_it_is(first: int, last: int, wire: Wire) -> None:
    """Also NUL, the other controls, the neighbours of the surrogates, and noncharacters."""
    text = "".join(map(chr, range(first, last + 1)))
    stored = {"transcript": [TURN | {"content": text}], "agent_name": text[-9:]}
    call = over(wire, sample_calls()[77] | stored, KEYS[KEY]).reply.json()

    assert call["transcript"][0]["content"] == text
    assert call["agent_name"] == text[-9:]


@pytest.mark.parametrize(
    "number",
    [
        *(0, 1, -1, 2**31, 2**32, 2**53 - 1),
        *(2**53, 2**53 + 1, -(2**53) - 1, 2**63 - 1, -(2**63)),  # most of these are no double
        *(0.0, -0.0, 0.1, 0.1 + 0.2, 1e-9, 1e16, 1e22, 1e23, 2.0**53, 2.0**63, -(2.0**63)),
        *(5e-324, -5e-324, 2.225073858507201e-308, 2.2250738585072014e-308, 1.7976931348623157e308),
    ],
)
def test_a_number_is_answered_to_the_last_digit(number: float, wire: Wire) -> None:
    latency = max(number, 0) if isinstance(number, int) else 0
    stored = {
        "duration_seconds": number,
        "cost": {"total_usd": number, "total_inr": number, "breakdown": {"stt": number}},
        "latency_ms": latency,
    }
    call = over(wire, sample_calls()[77] | stored, KEYS[KEY]).reply.json()

    cost = call["cost"]
    answered = [call["duration_seconds"], cost["total_usd"], cost["total_inr"]]
    assert list(map(repr, answered)) == [repr(number)] * 3
    assert repr(cost["breakdown"]["stt"]) == repr(number)
    assert repr(call["latency_ms"]) == repr(latency)


def nested(levels: int, kind: str) -> Any:
    """Return a value inside so many maps or lists, as Firestore sends it."""
    value = Value(integer_value=1)
    for _ in range(levels):
        value = wire_map({"in": value}) if kind == "map" else wire_list([value])
    return value


@pytest.mark.parametrize(("levels", "kind"), [(18, "map"), (31, "map"), (47, "list")])
def test_deep_nesting_in_an_unpublished_field_is_dropped(
    levels: int, kind: str, wire: Wire
) -> None:
    """As deep as Firestore stores it, and as protobuf can nest it."""
    deep = wire_map({"provider": Value(string_value="groq"), "deep": nested(levels, kind)})
    answered = over(wire, sample_calls()[77] | {"model": deep}, KEYS[KEY])

    assert answered.reply.json()["model"] == {"provider": "groq", "model_id": None}


@pytest.mark.parametrize(
    ("field", "levels", "kind"),
    [
        ("agent_name", 31, "map"),
        ("agent_name", 47, "list"),
        ("model", 35, "map"),  # beyond protobuf's own limit, a hundred messages
        ("model", 51, "list"),
    ],
)
def test_deep_nesting_in_a_published_place_is_a_fault_of_the_field(
    field: str, levels: int, kind: str, wire: Wire
) -> None:
    answered = over(wire, sample_calls()[77] | {field: nested(levels, kind)}, KEYS[KEY])

    assert (answered.what, answered.entry["faults"]) == ("200", [field])
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


def test_twenty_large_calls_leave_little_behind(
    settings: dict[str, str], put_call: PutCall, acme_key: str
) -> None:
    """In a function of its own, whose memory nobody else's requests fill."""
    target = f"/v2/calls/{put_call({'transcript': said(5_000, MIB * 2 // 3)})}"
    with started(settings) as (process, service):
        wait_until_it_listens(process, service)
        assert service.request(key=acme_key).status == 200
        *_, before = held(process)
        for _ in range(20):
            reply = service.request(target=target, key=acme_key, published=False)
            assert (reply.status, len(reply.json()["transcript"])) == (200, 5_000)
        *_, after = held(process)

    assert (after - before) / MIB < GROWTH_MIB
