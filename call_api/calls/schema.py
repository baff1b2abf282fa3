"""The published schema: what a stored call must be, and how it reads in the answer."""

import hashlib
import json
import math
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import (
    Annotated,
    Any,
    Literal,
    TypeAlias,
    get_args,
    get_origin,
    get_type_hints,
)

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
)
from pydantic_core import to_json
from typing_extensions import TypedDict  # the one that pydantic asks for below Python 3.12

# The most items of a list. A call with more turns than this, five hours of one a second, is
# refused before the time to decode it is spent.
MAX_ITEMS = 20_000

# Part of every ETag: clients that hold a call as an older version of this module rendered it get it anew.
RENDERING_VERSION = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:8]

# Which parts of a stored value are read: the named ones of a map, the items of a list, or the
# scalar itself.
Shape: TypeAlias = "dict[str, Shape] | list[Shape] | None"

_RFC_3339 = re.compile(r"(?ai)\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:[0-5]\d)")
_URL = re.compile(r"(?ai)[a-z][a-z0-9+.-]*://")


def _number(value: object) -> int | float:
    """Return an amount as it is stored: an integer stays one, so nothing is rounded."""
    if type(value) is int or (type(value) is float and math.isfinite(value)):
        return value
    raise ValueError("not a finite number")


def _offset(value: object) -> str:
    """Write a stored number of seconds with one decimal; text stays as it is."""
    return value if isinstance(value, str) else f"{_number(value):z.1f}"


def _utc(value: object) -> str:
    """Write a Firestore timestamp or RFC 3339 text in UTC, cut to whole seconds."""
    if isinstance(value, str) and _RFC_3339.fullmatch(value):
        value = datetime.fromisoformat(value.upper())
    if not isinstance(value, datetime):
        raise ValueError("not a timestamp")
    try:
        return value.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    except OverflowError:  # 9999-12-31T23:59:59-01:00, say; left alone it would be a 500 `internal`
        raise ValueError("not a timestamp in UTC") from None


def _object_name(value: object) -> str:
    """Accept the name of an object in our own bucket, and nothing that points elsewhere."""
    if isinstance(value, str) and 0 < len(value.encode()) <= 1024 and not _URL.match(value):
        return value
    raise ValueError("not an object's name")


def _if_null(default: object) -> BeforeValidator:
    return BeforeValidator(lambda value: default if value is None else value)


Number = Annotated[int | float, PlainValidator(_number)]
Seconds = Annotated[str, BeforeValidator(_offset)]
Timestamp = Annotated[str, PlainValidator(_utc)]
ObjectName = Annotated[str, PlainValidator(_object_name)]
Texts = Annotated[list[str], Field(fail_fast=True, max_length=MAX_ITEMS)]


class _StrictModel(BaseModel):
    # No other fields ever leave. And strict: a number stored as text is a writer's fault to find.
    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)


class _Turn(TypedDict):  # not a model: a call has up to thousands, and a dict takes a third as long
    role: Literal["assistant", "user"]
    content: str
    timestamp: Seconds


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
    provider: str | None = None
    model_id: str | None = None


class _Transcriber(_StrictModel):
    provider: str | None = None
    model: str | None = None


class _Voice(_StrictModel):
    provider: str | None = None
    model: str | None = None
    voice_id: str | None = None


class _Summary(_StrictModel):
    overview: str | None = None
    key_topics: Texts | None = None
    action_items: Texts | None = None
    outcome: str | None = None


class _Score(_StrictModel):
    score: Annotated[Number, Field(ge=0, le=100)] | None = None
    reasoning: str | None = None


class _Analysis(_StrictModel):
    summary: _Summary | None = None
    sentiment: Literal["positive", "neutral", "negative"] | None = None
    score: _Score | None = None
    tags: Annotated[Texts, _if_null([])] = []
    knowledge_gaps: Annotated[Texts, _if_null([])] = []


class Call(_StrictModel):
    """A call, validated as it is stored and rendered as it is published, in this order."""

    id: int
    type: Literal["web", "inbound", "outbound"]
    status: Literal["active", "ended", "error", "pending", "deleted"]
    agent_id: str
    agent_name: str | None = None
    started_at: Timestamp | None = None
    ended_at: Timestamp | None = None
    duration_seconds: Number | None = None
    ended_reason: str | None = None
    transcript: Annotated[
        list[_Turn], Field(fail_fast=True, max_length=MAX_ITEMS), _if_null([])
    ] = []
    recording_object: Annotated[
        ObjectName | None,
        Field(serialization_alias="recording_url"),  # the link, which `with_link` puts in its place
        PlainSerializer(lambda _: None),
    ] = None
    recording_duration: int | None = None
    cost: _Cost | None = None
    model: _Model | None = None
    transcriber: _Transcriber | None = None
    voice: _Voice | None = None
    latency_ms: int | None = None
    interruptions: int | None = None
    analysis: _Analysis | None = None
    phone_number: str | None = None
    caller_phone: str | None = None
    call_direction: str | None = None
    created_at: Timestamp
    updated_at: Timestamp | None = None

    def render(self) -> bytes:
        """Return the published JSON, in which the link is null."""
        return to_json(self, by_alias=True)


def with_link(rendered: bytes, recording_url: str) -> bytes:
    """Put the link into a call's JSON. Its key stands there once: in a text, the quotes are escaped."""
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
