"""The published schema: what a stored call must be, and how it reads in the answer."""

import math
import re
from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator
from typing_extensions import TypedDict  # the one that pydantic asks for below Python 3.12

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
Texts = Annotated[list[str], Field(fail_fast=True)]


class _Published(BaseModel):
    # No other fields ever leave. And strict: a number stored as text is a writer's fault to find.
    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)


class _Turn(TypedDict):  # not a model: a call has up to thousands, and a dict takes a third as long
    role: Literal["assistant", "user"]
    content: str
    timestamp: Seconds


class _CostBreakdown(_Published):
    platform_fee: Number | None = None
    stt: Number | None = None
    tts: Number | None = None
    llm: Number | None = None
    telephony: Number | None = None


class _Cost(_Published):
    total_usd: Number
    total_inr: Number | None = None
    breakdown: Annotated[_CostBreakdown, _if_null({})] = _CostBreakdown()


class _Model(_Published):
    provider: str | None = None
    model_id: str | None = None


class _Transcriber(_Published):
    provider: str | None = None
    model: str | None = None


class _Voice(_Published):
    provider: str | None = None
    model: str | None = None
    voice_id: str | None = None


class _Summary(_Published):
    overview: str | None = None
    key_topics: Texts | None = None
    action_items: Texts | None = None
    outcome: str | None = None


class _Score(_Published):
    score: Annotated[Number, Field(ge=0, le=100)] | None = None
    reasoning: str | None = None


class _Analysis(_Published):
    summary: _Summary | None = None
    sentiment: Literal["positive", "neutral", "negative"] | None = None
    score: _Score | None = None
    tags: Annotated[Texts, _if_null([])] = []
    knowledge_gaps: Annotated[Texts, _if_null([])] = []


class Call(_Published):
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
    transcript: Annotated[list[_Turn], Field(fail_fast=True), _if_null([])] = []
    # Stored as the name of the object, published in its place as the signed URL.
    recording_object: ObjectName | None = Field(None, serialization_alias="recording_url")
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

    def render(self, recording_url: str | None) -> bytes:
        """Return the published JSON, with the signed URL where the object's name is stored."""
        answer = self.model_copy(update={"recording_object": recording_url})
        return self.__pydantic_serializer__.to_json(answer, by_alias=True)  # as bytes, not text
