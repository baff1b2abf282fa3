"""A second reading of docs/stored-calls.md, which shares nothing with the function's but openapi.yaml.

It walks the published schema and reads each value by the rules, one field after another. Which fields
are essential, and which roles are not spoken, it takes from the page.
"""

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal, localcontext
from typing import Any, NamedTuple

from ops.openapi import resolved, schema, without_null
from tests.support.contract import kind_of
from tests.support.serving import ROOT

PAGE = (ROOT / "docs" / "stored-calls.md").read_text("utf-8")


def words_of(cell: str) -> set[str]:
    """Return the words that the page's cell which begins so has as code."""
    (rest,) = re.findall(rf"\| {re.escape(cell)}([^|]*) \|", PAGE)
    return set(re.findall(r"`(\w+)`", rest))


ESSENTIAL = words_of("essential | ")
NOT_SPOKEN = words_of("a turn of the role ")
MAX_ITEMS = schema("Call")["properties"]["transcript"]["maxItems"]
TIME = re.compile(
    r"(\d{4}-\d\d-\d\d)[ Tt](\d\d:\d\d):(\d\d)(?:\.\d+)?(?:([Zz])|([+-])(\d\d):?(\d\d))?", re.ASCII
)


class Reading(NamedTuple):
    """How a call reads: None where essential fields are at fault; the fields at fault."""

    call: dict[str, Any] | None
    faults: set[str]


class Fault(Exception):
    """A value that cannot be read."""


def reading(stored: Mapping[str, Any], call_id: int) -> Reading:
    """Read a stored call."""
    reader = _Reader(call_id)
    call: dict[str, Any] = {}
    for name, node in schema("Call")["properties"].items():
        if name == "recording_url":
            reader.recording_object(stored.get("recording_object"))
            call[name] = None  # the link is no part of what is stored
        else:
            call[name] = reader.field(name, stored.get(name), node)
    essential = {
        fault
        for fault in reader.faults - {"transcript[].timestamp"}
        if re.split(r"[.\[]", fault)[0] in ESSENTIAL
    }
    return Reading(None, essential) if essential else Reading(call, reader.faults)


def is_blank(value: object) -> bool:
    return value is None or (isinstance(value, str) and value.strip() == "")


class _Reader:
    def __init__(self, call_id: int) -> None:
        self.call_id = call_id
        self.faults: set[str] = set()

    def field(self, path: str, value: Any, node: Mapping[str, Any]) -> Any:
        known, may_be_null = without_null(node)
        kind = "measured" if known["type"] == "integer" and may_be_null else kind_of(known)
        unknown: Any = None
        if not may_be_null and kind == "array":
            unknown = []
        elif not may_be_null and kind == "object":
            unknown = self.object(path, {}, known)
        if is_blank(value) and (may_be_null or unknown is not None):
            return unknown
        if path == "cost" and isinstance(value, dict) and is_blank(value.get("total_usd")):
            return None
        try:
            return getattr(self, kind)(path, value, known)
        except Fault:
            self.faults.add(path)
            return unknown

    def object(self, path: str, value: Any, known: Mapping[str, Any]) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise Fault
        parts = known["properties"].items()
        return {name: self.field(f"{path}.{name}", value.get(name), part) for name, part in parts}

    def array(self, path: str, value: Any, known: Mapping[str, Any]) -> list[Any]:
        if not isinstance(value, list) or len(value) > MAX_ITEMS:
            raise Fault
        if path == "transcript":
            return [turn for item in value if (turn := self.turn(item)) is not None]
        assert resolved(known["items"]) == {"type": "string"}
        if any(not isinstance(item, str) and item is not None for item in value):
            self.faults.add(f"{path}[]")
        return [item for item in value if isinstance(item, str) and not is_blank(item)]

    def turn(self, value: Any) -> dict[str, Any] | None:
        if not isinstance(value, dict):
            self.faults.add("transcript[]")
            return None
        role, content, at = (value.get(name) for name in ("role", "content", "timestamp"))
        role = role.lower() if isinstance(role, str) else None
        if role in NOT_SPOKEN or content is None:
            return None
        if role not in {"assistant", "user"}:
            self.faults.add("transcript[].role")
        if not isinstance(content, str):
            self.faults.add("transcript[].content")
        try:
            timestamp = None if is_blank(at) else seconds(at)
        except Fault:
            self.faults.add("transcript[].timestamp")
            timestamp = None
        return {"role": role, "content": content, "timestamp": timestamp}

    def recording_object(self, value: Any) -> None:
        if is_blank(value):
            return
        fits = isinstance(value, str) and len(value.encode(errors="replace")) <= 1024
        if not fits or re.match("[a-z][a-z0-9+.-]*://", value, re.IGNORECASE | re.ASCII):
            self.faults.add("recording_object")

    def string(self, _path: str, value: Any, _known: Mapping[str, Any]) -> str:
        if not isinstance(value, str):
            raise Fault
        return value

    def enum(self, _path: str, value: Any, known: Mapping[str, Any]) -> str:
        if not isinstance(value, str) or value.lower() not in known["enum"]:
            raise Fault
        return value.lower()

    def integer(self, _path: str, value: Any, _known: Mapping[str, Any]) -> int:
        if type(value) is not int or value != self.call_id:
            raise Fault
        return value

    def number(self, _path: str, value: Any, known: Mapping[str, Any]) -> float:
        number = finite(value)
        if "maximum" in known and not known["minimum"] <= number <= known["maximum"]:
            raise Fault
        return number

    def measured(self, _path: str, value: Any, _known: Mapping[str, Any]) -> int:
        if finite(value) < 0:
            raise Fault
        with localcontext(prec=400):
            return int(Decimal(value).to_integral_value())

    def time(self, _path: str, value: Any, _known: Mapping[str, Any]) -> str:
        try:
            moment = value if isinstance(value, datetime) else written(value)
            moment = moment.astimezone(UTC)
        except (ValueError, OverflowError):
            raise Fault from None
        return f"{moment:%Y-%m-%dT%H:%M:%SZ}".zfill(20)


def finite(value: Any) -> float:
    if type(value) not in {int, float} or not math.isfinite(value):
        raise Fault
    number: float = value
    return number


def written(value: Any) -> datetime:
    match = TIME.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise Fault
    day, hour_and_minute, second, _, sign, hours, minutes = match.groups()
    if second == "60":
        second = "59"
    if hours and (int(hours) > 23 or int(minutes) > 59):
        raise Fault
    offset = timedelta(hours=int(hours or 0), minutes=int(minutes or 0))
    local = datetime.strptime(f"{day} {hour_and_minute}:{second} +0000", "%Y-%m-%d %H:%M:%S %z")
    return local + offset if sign == "-" else local - offset


def seconds(value: Any) -> str:
    if isinstance(value, str):
        if not re.fullmatch(r"[0-9]+(\.[0-9]+)?", value) or Decimal(value) >= 1_000_000:
            raise Fault
        return value
    if not 0 <= finite(value) < 1_000_000:
        raise Fault
    whole, decimals = str(abs(Decimal(value).quantize(Decimal("0.001")))).split(".")
    return f"{whole}.{decimals.rstrip('0') or '0'}"
