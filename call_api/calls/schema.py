"""The schema: how a stored call is read, and how it is published.

Platforms write what their models and vendors hand them, so a reader that refuses every odd value would
hide whole calls. Each field is one of two kinds:

    essential     A wrong value would mislead: one that cannot be read is a fault of the whole call.
    descriptive   A value that cannot be read is null. It is a fault that the log names, no more.

A call that needs no repair is read in one pass. Otherwise what the first pass could not read is
replaced by null where that is allowed, and a second pass finds what is left: the essential faults.
docs/stored-calls.md is the table of what can be read, for those who write calls.
"""

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import (
    Annotated,
    Any,
    Literal,
    TypeAlias,
    TypeVar,
    get_args,
    get_origin,
    get_type_hints,
)

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
)
from pydantic_core import ErrorDetails, to_json
from typing_extensions import TypedDict  # the one that pydantic asks for below Python 3.12

# The most items of a list. A call with more turns than this, five hours of one a second, is
# refused before the time to decode it is spent.
MAX_ITEMS = 20_000

# Part of every ETag: clients that hold a call as an older version of this module rendered it get it anew.
RENDERING_VERSION = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:8]

# Which parts of a stored value are read: the named ones of a map, the items of a list, or the
# scalar itself.
Shape: TypeAlias = "dict[str, Shape] | list[Shape] | None"

# A text may have a million characters, and Python holds the GIL while it matches one: so a pattern with a
# `+` or `*` gives nothing back, by `++` or `(?>…)`, where that would be tried for each character.

# RFC 3339, also as platforms write it: a space for the T, an offset without its colon, or none.
_TIME = re.compile(
    r"(?ai)\d{4}-\d\d-\d\d[T ]([01]\d|2[0-3]):\d\d:\d\d(\.\d++)?(Z|[+-]\d\d:?[0-5]\d)?"
)
_LEAP_SECOND = re.compile(r"(:\d\d):60")
_URL = re.compile(r"(?ai)[a-z][a-z0-9+.-]*://")  # of a name of at most 1,024 bytes
# Below _MAX_SECONDS. It is pydantic's pattern, too, whose engine has no `++` and needs none.
_DECIMAL = r"0*[0-9]{1,6}(\.[0-9]+)?"
_MAX_SECONDS = 1_000_000  # of a turn; a time since 1970 is larger

# Turns that were not spoken, and may hold instructions, arguments or results.
_UNSPOKEN = frozenset(
    {
        "system",
        "developer",
        "tool",
        "function",
        "tool_call",
        "tool_calls",
        "tool_call_result",
        "tool_result",
        "function_call",
    }
)

T = TypeVar("T")
_ESSENTIAL = object()
Essential = Annotated[T, _ESSENTIAL]


def _number(value: object) -> int | float:
    """Return an amount as it is stored: an integer stays one, so nothing is rounded."""
    if type(value) is int or (type(value) is float and math.isfinite(value)):
        return value
    raise ValueError("not a finite number")


def _measured(value: object) -> int:
    """Return a measurement to the nearest integer: platforms store means, and lengths of audio."""
    if (number := _number(value)) < 0:
        raise ValueError("a negative number")
    return round(number)


def _offset(value: object) -> str:
    """Write a turn's number of seconds with one to three decimals; decimal text stays as it is."""
    if (type(value) is float or type(value) is int) and 0 <= value < _MAX_SECONDS:
        text = f"{value:z.3f}".rstrip("0")
        return text + "0" if text.endswith(".") else text
    if isinstance(value, str) and re.fullmatch(f"(?>{_DECIMAL})", value):
        return value
    raise ValueError("not seconds from the start of a call")


def _utc(value: object) -> str:
    """Write a Firestore timestamp, or a time as text, in UTC and cut to whole seconds."""
    if isinstance(value, str) and _TIME.fullmatch(value):
        try:
            value = datetime.fromisoformat(_LEAP_SECOND.sub(r"\1:59", value.upper()))
        except ValueError:  # whose words may hold parts of the text
            raise ValueError("no such time") from None
    if not isinstance(value, datetime):
        raise ValueError("not a timestamp")
    if value.tzinfo is None:
        value = value.replace(tzinfo=UTC)
    try:
        return value.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    except OverflowError:  # 9999-12-31T23:59:59-01:00, say; left alone it would be a 500 `internal`
        raise ValueError("not a timestamp in UTC") from None


def _object_name(value: object) -> str:
    """Accept the name of an object in our own bucket, and nothing that points elsewhere."""
    if _is_blank(value) or not isinstance(value, str):
        raise ValueError("not an object's name")
    try:
        is_too_long = len(value.encode()) > 1024
    except UnicodeEncodeError:  # whose words hold a part of the text
        raise ValueError("not UTF-8") from None
    if is_too_long:
        raise ValueError("too long for an object's name")
    if _URL.match(value):
        raise ValueError("a URL")
    return value


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


def _settled(value: object) -> object:
    """Return null for a cost without a total."""
    return None if isinstance(value, dict) and value.get("total_usd") is None else value


def _without_blanks(texts: list[str]) -> list[str]:
    return list(filter(str.strip, texts))


def _if_null(default: object) -> BeforeValidator:
    return BeforeValidator(lambda value: default if value is None else value)


Text = Annotated[str, Field(pattern=r"[^\s\x1c-\x1f]")]  # not blank, as `str.strip` knows it
Texts = Annotated[
    list[str], Field(fail_fast=True, max_length=MAX_ITEMS), AfterValidator(_without_blanks)
]
Number = Annotated[int | float, BeforeValidator(_number)]
Measured = Annotated[int, BeforeValidator(_measured)]
# Text, of which most calls have thousands, is read without a Python function.
Seconds = Annotated[
    Annotated[str, Field(pattern=f"^({_DECIMAL})$")] | Annotated[str, BeforeValidator(_offset)],
    Field(union_mode="left_to_right"),
]
Timestamp = Annotated[str, BeforeValidator(_utc)]
ObjectName = Annotated[str, BeforeValidator(_object_name)]
CallType = Annotated[Literal["web", "inbound", "outbound"], BeforeValidator(_lower)]
Status = Annotated[
    Literal["active", "ended", "error", "pending", "deleted"], BeforeValidator(_lower)
]
Sentiment = Annotated[Literal["positive", "neutral", "negative"], BeforeValidator(_lower)]


class _StrictModel(BaseModel):
    # No other fields ever leave. And strict: nothing is guessed, so text is no number.
    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)


# Not a model: a call has up to thousands, and dicts are made and rendered faster. `_spoken` does the rest:
# turns that are left out, other cases of letters, times that are missing.
class _Turn(TypedDict):
    role: Literal["assistant", "user"]
    content: str
    timestamp: Seconds | None


class _CostBreakdown(_StrictModel):
    platform_fee: Number | None = None
    stt: Number | None = None
    tts: Number | None = None
    llm: Number | None = None
    telephony: Number | None = None


class _Cost(_StrictModel):
    total_usd: Number
    total_inr: Number | None = None
    breakdown: Annotated[_CostBreakdown, _if_null({})] = _CostBreakdown()


class _Model(_StrictModel):
    provider: Text | None = None
    model_id: Text | None = None


class _Transcriber(_StrictModel):
    provider: Text | None = None
    model: Text | None = None


class _Voice(_StrictModel):
    provider: Text | None = None
    model: Text | None = None
    voice_id: Text | None = None


class _Summary(_StrictModel):
    overview: Text | None = None
    key_topics: Texts | None = None
    action_items: Texts | None = None
    outcome: Text | None = None


class _Score(_StrictModel):
    score: Annotated[Number, Field(ge=0, le=100)] | None = None
    reasoning: Text | None = None


class _Analysis(_StrictModel):
    summary: _Summary | None = None
    sentiment: Sentiment | None = None
    score: _Score | None = None
    tags: Annotated[Texts, _if_null([])] = []
    knowledge_gaps: Annotated[Texts, _if_null([])] = []


class Call(_StrictModel):
    """A call, read as it is stored and rendered as it is published, in this order."""

    id: Essential[int]
    type: Essential[CallType]
    status: Essential[Status]
    agent_id: Essential[str]
    agent_name: Text | None = None
    started_at: Essential[Timestamp | None] = None
    ended_at: Essential[Timestamp | None] = None
    duration_seconds: Essential[Number | None] = None
    ended_reason: Text | None = None
    transcript: Essential[
        Annotated[list[_Turn], Field(fail_fast=True, max_length=MAX_ITEMS), _if_null([])]
    ] = []
    recording_object: Essential[
        Annotated[
            ObjectName | None,
            # The link, which `with_link` puts in its place.
            Field(serialization_alias="recording_url"),
            PlainSerializer(lambda _: None),
        ]
    ] = None
    recording_duration: Measured | None = None
    cost: Essential[Annotated[_Cost | None, BeforeValidator(_settled)]] = None
    model: _Model | None = None
    transcriber: _Transcriber | None = None
    voice: _Voice | None = None
    latency_ms: Measured | None = None
    interruptions: Measured | None = None
    analysis: _Analysis | None = None
    phone_number: Text | None = None
    caller_phone: Text | None = None
    call_direction: Text | None = None
    created_at: Essential[Timestamp]
    updated_at: Timestamp | None = None

    def render(self) -> bytes:
        """Return the published JSON, in which the link is null."""
        return to_json(self, by_alias=True)


_OTHER_ID = "not the document's ID"
_ESSENTIAL_FIELDS = {
    name for name, field in Call.model_fields.items() if _ESSENTIAL in field.metadata
}


class UnreadableCallError(Exception):
    """Essential values of a stored call cannot be read; the text names their fields.

    `essential` and `descriptive` say why, by field, in words that hold no value.
    """

    def __init__(self, essential: Mapping[str, str], descriptive: Mapping[str, str]) -> None:
        super().__init__(", ".join(essential))
        self.essential = essential
        self.descriptive = descriptive


def parse_call(values: dict[str, Any], call_id: int) -> tuple[Call, dict[str, str]]:
    """Return a stored call, and by name the descriptive fields that cannot be read, with the reason.

    `values` is changed: what cannot be read is replaced in it.

    Raises:
        UnreadableCallError: essential values cannot be read, or the document is another call's.
    """
    descriptive = dict[str, str]()
    try:
        call = Call.model_validate(values)
    except ValidationError as error:
        descriptive = _replace_unreadable(values, error.errors())
        try:
            call = Call.model_validate(values)
        except ValidationError as second_error:
            essential = {field_name(fault["loc"]): fault["msg"] for fault in second_error.errors()}
            if values.get("id") != call_id:
                essential.setdefault("id", _OTHER_ID)
            raise UnreadableCallError(essential, descriptive) from None
    if call.id != call_id:
        raise UnreadableCallError({"id": _OTHER_ID}, descriptive)
    return call, descriptive


def _replace_unreadable(values: dict[str, Any], faults: Sequence[ErrorDetails]) -> dict[str, str]:
    """Put null, or a shorter list, where that is allowed; return the fields at fault, with the reason."""
    at_fault = {}
    turns = values.get("transcript")
    if isinstance(turns, list) and len(turns) <= MAX_ITEMS:
        values["transcript"], reason = _spoken(turns)
        if reason:
            at_fault["transcript[].timestamp"] = reason
    for fault in faults:
        path, reason = fault["loc"], fault["msg"]
        if path[0] == "transcript" and len(path) > 1:
            continue  # the first faulty turn; all have been read above
        *parents, name = (part for part in path if isinstance(part, str))
        holder: Any = values
        for parent in parents:
            holder = holder[parent]
        value = holder.get(name)
        if isinstance(path[-1], int) and len(value) <= MAX_ITEMS:  # the first item that is no text
            holder[name] = [item for item in value if isinstance(item, str)]
            if any(not isinstance(item, str | None) for item in value):
                at_fault[field_name(path)] = "an item that is no text"
        elif _is_blank(value):
            holder[name] = None
        elif path[0] not in _ESSENTIAL_FIELDS:
            holder[name] = None
            at_fault[field_name([*parents, name])] = reason
    return at_fault


def _spoken(turns: Sequence[Any]) -> tuple[list[Any], str]:
    """Return the turns that were spoken, and why the time of one cannot be read, if there is such a one."""
    spoken, why = [], ""
    for turn in turns:
        if not isinstance(turn, dict):
            spoken.append(turn)
            continue
        role, timestamp = _lower(turn.get("role")), turn.get("timestamp")
        if turn.get("content") is None or (isinstance(role, str) and role in _UNSPOKEN):
            continue
        try:
            _offset(timestamp)
        except ValueError as error:
            why = why if _is_blank(timestamp) else str(error)
            timestamp = None
        spoken.append({**turn, "role": role, "timestamp": timestamp})
    return spoken, why


def _is_blank(value: object) -> bool:
    """Tell what says nothing: null, and text that is empty or white space."""
    return value is None or (isinstance(value, str) and not value.strip())


def field_name(path: Sequence[int | str]) -> str:
    """Return the name of a field, such as `transcript[].role`: the same for each item of a list."""
    return "".join("[]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")


def with_link(rendered: bytes, recording_url: str) -> bytes:
    """Put the link into a call's JSON, which is made in its thread before the link is signed.

    The link's key stands there once: in a text, the quotes are escaped.
    """
    link = b'"recording_url":' + json.dumps(recording_url).encode()
    return rendered.replace(b'"recording_url":null', link, 1)


def _fields_read(model: type) -> dict[str, Shape]:
    return {name: _shape(hint) for name, hint in get_type_hints(model).items()}


def _shape(annotation: Any) -> Shape:
    """Return what a field of this type reads of a stored value."""
    if isinstance(annotation, type) and get_type_hints(annotation):
        return _fields_read(annotation)
    if get_origin(annotation) is list:
        return [_shape(get_args(annotation)[0])]
    for alternative in get_args(annotation):
        if (shape := _shape(alternative)) is not None:
            return shape
    return None


STORED_CALL_SHAPE = _fields_read(Call)
