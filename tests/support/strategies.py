"""What an attacker or a broken writer may come up with, as Hypothesis makes it."""

import copy
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from google.cloud.firestore_v1.types import document as wire
from hypothesis import strategies as st

from local.seed import sample_calls
from ops.openapi import schema, without_null
from tests.support.contract import kind_of

SECRET = "s3cret"  # begins texts of documents; no log may show it
INT64 = st.integers(-(2**63), 2**63 - 1) | st.sampled_from(
    [2**53 - 1, 2**53, 2**53 + 1, -(2**53) - 1, 2**63 - 1, -(2**63)]
)
DOUBLE = st.floats() | st.sampled_from([5e-324, 2.2250738585072014e-308, 1.7976931348623157e308])
# Whatever UTF-8 can say, which is all but lone surrogates, and its odd places more often.
TEXT = st.text(max_size=30) | st.text(
    '\x00\x1b\n"\\\x7f\ud7ff\ue000\ufffe\uffff\U0010ffff', max_size=9
)
TEXTS = TEXT | TEXT.map(lambda text: SECRET + text)
MOMENTS = st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001
FIELD_NAMES = st.sampled_from(
    [
        *("id", "org_id", "type", "status", "transcript", "cost", "total_usd", "analysis"),
        "recording_url",
    ]
) | st.text(min_size=1, max_size=9)

# What platforms store, and cannot, or can just, be read.
FORMS = st.sampled_from(
    [
        *("", " ", "Positive", "ENDED", "bot", "system", "5.2", "1000000", "00:01:05", "3.2s"),
        *("60.123", -1, 60.5, 1_000_000, 101, "2026-01-28T13:17:50.116924"),
        *("2026-01-28 13:17:60+0530", "2026-01-28T24:00:00Z", "gs://bucket/object"),
    ]
)
# Values as the decoder gives them; the object stands for a type that no published field has.
SCALARS = st.none() | st.booleans() | INT64 | DOUBLE | TEXTS | MOMENTS | FORMS | st.builds(object)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(FIELD_NAMES, inner, max_size=4),
    max_leaves=9,
)

# Values as Firestore sends them: of every type, also ones that it would not store itself.
Value = wire.Value.pb()
_LEAVES = st.one_of(
    st.builds(Value),  # of a type that the library does not know
    st.builds(Value, null_value=st.just(0)),
    st.builds(Value, boolean_value=st.booleans()),
    st.builds(Value, integer_value=INT64),
    st.builds(Value, double_value=DOUBLE),
    st.builds(Value, string_value=TEXTS),
    st.builds(Value, bytes_value=st.binary(max_size=9)),
    st.builds(Value, reference_value=TEXT),
    st.builds(
        Value,
        geo_point_value=st.fixed_dictionaries({"latitude": DOUBLE, "longitude": DOUBLE}),
    ),
    st.builds(
        Value,
        timestamp_value=st.fixed_dictionaries(
            {
                "seconds": st.integers(-62_135_596_800, 253_402_300_799),
                "nanos": st.integers(0, 999_999_999),
            }
        ),
    ),
)


def wire_maps(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.dictionaries(FIELD_NAMES, inner, max_size=4).map(wire_map)


def wire_map(fields: dict[str, Any]) -> Any:
    value = Value()
    value.map_value.SetInParent()
    for name, field in fields.items():
        value.map_value.fields[name].CopyFrom(field)
    return value


def wire_list(parts: list[Any]) -> Any:
    value = Value()
    value.array_value.SetInParent()
    value.array_value.values.extend(parts)
    return value


WIRE_VALUES = st.recursive(
    _LEAVES,
    lambda inner: wire_maps(inner) | st.lists(inner, max_size=4).map(wire_list),
    max_leaves=9,
)

_SHORT_SAMPLES = [call for call_id, call in sample_calls().items() if call_id != 86]


@st.composite
def mutants(draw: st.DrawFn, values: st.SearchStrategy[Any] = VALUES) -> dict[str, Any]:
    """A sample call, wrong in up to four places: a value replaced, added or taken away."""
    call: dict[str, Any] = copy.deepcopy(draw(st.sampled_from(_SHORT_SAMPLES)))
    for _ in range(draw(st.integers(1, 4))):
        node: Any = call
        while True:
            places = list(node) if isinstance(node, dict) else list(range(len(node)))
            place = draw(st.sampled_from(places)) if places else None
            inside = place is not None and isinstance(node[place], dict | list)
            if not inside or draw(st.booleans()):
                break
            node = node[place]
        if place is None or (isinstance(node, dict) and draw(st.integers(0, 3)) == 0):
            if isinstance(node, dict):
                node[draw(FIELD_NAMES)] = draw(values)
            else:
                node.append(draw(values))
        elif draw(st.integers(0, 3)) == 0:
            del node[place]
        else:
            node[place] = draw(values)
    return call


DOCUMENTS = mutants() | st.dictionaries(FIELD_NAMES, VALUES, max_size=6)

# Calls that can be read: each field in every form that docs/stored-calls.md lists.
MISSING = object()
BLANK = st.sampled_from([None, "", " \t"])
NOTHING = BLANK | st.just(MISSING)
INT = INT64.filter(lambda number: number >= 0)
FINITE = st.floats(allow_nan=False, allow_infinity=False)


def in_any_case(words: list[str]) -> st.SearchStrategy[str]:
    return st.sampled_from(words).flatmap(
        lambda word: st.sampled_from([word, word.upper(), word.title()])
    )


@st.composite
def _written_moments(draw: st.DrawFn) -> str:
    """RFC 3339 text in any zone, in the spellings of platforms, also without one."""
    zone = timezone(timedelta(minutes=draw(st.integers(-1439, 1439))))
    local = draw(st.datetimes(datetime(2, 1, 1), datetime(9998, 12, 31)))  # noqa: DTZ001  (the zone follows)
    if draw(st.booleans()):
        local = local.replace(tzinfo=zone)
    text = local.isoformat(
        sep=draw(st.sampled_from("T t")),
        timespec=draw(st.sampled_from(["seconds", "milliseconds", "microseconds"])),
    )
    return (
        text if draw(st.booleans()) else re.sub(r":(\d\d)$", r"\1", text) if "+" in text else text
    )


KINDS: dict[str, st.SearchStrategy[Any]] = {
    "string": TEXTS,
    "number": INT64 | FINITE,
    "measured": INT | FINITE.filter(lambda number: number >= 0),
    "time": MOMENTS | _written_moments(),
    "link": TEXTS.filter(lambda text: text.strip() and "://" not in text),
    "score": st.integers(0, 100) | st.floats(0, 100),
}
TIMES_OF_TURNS = (
    BLANK
    | st.integers(0, 999_999)
    | st.floats(0, 1_000_000, exclude_max=True)
    | st.from_regex(r"\A0{0,3}[0-9]{1,6}(\.[0-9]{1,20})?\Z")
)
TURNS = st.fixed_dictionaries(
    {"role": in_any_case(["assistant", "user"]), "content": TEXTS},
    optional={"timestamp": TIMES_OF_TURNS},
) | st.fixed_dictionaries(
    {"role": in_any_case(["system", "tool_calls"]) | TEXTS, "content": st.none()},
)


def readable(name: str, node: Mapping[str, Any]) -> st.SearchStrategy[Any]:
    """A field, as openapi.yaml describes it; where it may be unknown, also without it."""
    if name == "id":
        return st.just(77)
    if name == "transcript":
        return NOTHING | st.lists(TURNS, max_size=4)
    known, may_be_null = without_null(node)
    kind = kind_of(known)
    if kind == "object":
        of_kind: st.SearchStrategy[Any] = readable_object(known)
    elif kind == "array":
        of_kind = st.lists(TEXTS | st.none(), max_size=4)
    elif kind == "enum":
        of_kind = in_any_case(known["enum"])
    else:
        of_kind = KINDS[
            "measured" if kind == "integer" else "score" if "maximum" in known else kind
        ]
    may_be_unknown = may_be_null or kind in {"array", "object"} or name == "total_usd"
    return NOTHING | of_kind if may_be_unknown else of_kind


def readable_object(known: Mapping[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    fields = {
        "recording_object" if name == "recording_url" else name: readable(name, part)
        for name, part in known["properties"].items()
    }
    return st.fixed_dictionaries(fields).map(
        lambda drawn: {name: value for name, value in drawn.items() if value is not MISSING}
    )


READABLE_CALLS = readable_object(schema("Call"))

# Requests, as the server hands them on: text of Latin-1, names in small letters.
LATIN = st.text(st.characters(max_codepoint=255), max_size=40)


@st.composite
def near(draw: st.DrawFn, right: str) -> str:
    """A text with a letter more, less, or another one, or in capitals; sometimes as it is."""
    start = draw(st.integers(0, len(right)))
    end = draw(st.integers(start, min(len(right), start + 2)))
    change = draw(st.sampled_from(["as it is", "replace", "capitals", "twice"]))
    if change == "replace":
        return right[:start] + draw(LATIN.map(lambda text: text[:2])) + right[end:]
    return {"as it is": right, "capitals": right.swapcase(), "twice": right * 2}[change]


SEGMENTS = (
    near("77")
    | st.integers(-(10**20), 10**20).map(str)
    | st.text(st.characters(categories=["Nd"]), max_size=22)
    | st.text(min_size=1, max_size=30)
)
PATHS = (
    SEGMENTS.map("/v2/calls/".__add__)
    | near("/v2/calls/77")
    | st.text(max_size=30).map("/".__add__)
)
METHODS = st.sampled_from(
    ["GET", "GET", "GET", "HEAD", "OPTIONS", "POST", "PUT", "DELETE", "PATCH"]
)


def headers(key: str) -> st.SearchStrategy[list[tuple[str, str]]]:
    """Headers around a good key: right, nearly right, of any name and any text."""
    credentials = near(f"Bearer {key}") | st.just(f"bearer  {key}") | LATIN
    trace = st.from_regex(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", fullmatch=True)
    cloud = st.from_regex(r"[0-9a-f]{32}/[0-9]{1,20};o=[0-9]", fullmatch=True)
    read = st.one_of(
        st.tuples(st.just("authorization"), credentials),
        st.tuples(st.just("x-forwarded-authorization"), credentials),
        st.tuples(st.just("if-none-match"), LATIN | st.just("*")),
        st.tuples(st.just("x-request-id"), LATIN | st.just("r-1")),
        st.tuples(st.just("traceparent"), LATIN | trace),
        st.tuples(st.just("x-cloud-trace-context"), LATIN | cloud),
        st.tuples(LATIN.map(str.lower), LATIN),
    )
    good = st.just([("authorization", f"Bearer {key}")])
    return st.tuples(st.lists(read, max_size=4), good | st.just([])).map(
        lambda both: both[0] + both[1]
    )
