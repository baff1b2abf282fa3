"""Firestore documents as they arrive: split into raw fields first, decoded field by field later.

An answer is parsed only as deep as its documents, which stay bytes, and a document only as deep as
its fields, whose values stay bytes. That takes 0.2 ms for the largest document, so its owner can
be read before, and whether or not, the rest is decoded. Decoding follows a shape: protobuf parses
the fields that are published, with all that is inside, and what the shape names becomes Python's.

Most published values are texts, and `string_value` is "" for every other type. So decoding takes it
where it is not empty, and asks for a value's type only where it is.
"""

from collections.abc import Generator
from contextlib import suppress
from datetime import UTC
from typing import Any

from google.cloud.firestore_v1 import types
from google.protobuf.message import DecodeError

from call_api.calls.access import StoredDocument
from call_api.calls.schema import MAX_ITEMS, Shape
from call_api.errors import StoredCallInvalid
from call_api.protobuf_messages import BYTES_BY_NAME, message_classes

ITEMS_PER_STEP = 100  # some 0.2 ms for turns
# One document's most bytes on the wire. Firestore's own limit of 1 MiB counts differently: a call
# of as many short turns as fit takes 1.6 MiB here, and one of a million nulls takes 3.8.
MAX_DOCUMENT_BYTES = 2 * 2**20
PARSED_WHOLE_BYTES = 64 * 2**10  # at most 1 ms, whatever is inside, and faster than field by field
_PLAIN = frozenset({"boolean_value", "double_value", "integer_value", "string_value"})
_Value, _Document = types.Value.pb(), types.Document.pb()


# BatchGetDocumentsResponse and Document as far as they are used, with bytes inside:
# https://github.com/googleapis/googleapis/tree/master/google/firestore/v1 (firestore.proto, document.proto)
RawResponse, _RawDocument, _ = message_classes(
    "raw",
    {
        "Response": {"found": (1, "bytes"), "missing": (2, "string")},
        "Document": {
            "name": (1, "string"),
            "fields": (2, BYTES_BY_NAME),
            "update_time": (4, "Timestamp"),
        },
        "Timestamp": {"seconds": (1, "int64"), "nanos": (2, "int32")},
    },
)


class FirestoreDocument:
    """A document whose fields are decoded on demand; it is a `calls.StoredDocument`."""

    def __init__(self, raw: bytes) -> None:
        document = _RawDocument.FromString(raw)
        self.name: str = document.name
        self.size = len(raw)
        self.updated_ns: int = document.update_time.seconds * 10**9 + document.update_time.nanos
        self._fields = document.fields
        self._small = raw if self.size < PARSED_WHOLE_BYTES else None

    def value(self, name: str) -> object:
        """Return a field that holds a scalar, or None if there is no such field."""
        raw = self._fields.get(name)
        return None if raw is None else _scalar(_parsed(raw))

    def decoded(self, shape: dict[str, Shape]) -> Generator[None, None, dict[str, object]]:
        """Return the fields that `shape` names; yields where the work may be interrupted."""
        fields = self._fields
        if self._small is not None:
            with suppress(DecodeError):  # one field is nested too deep: then each by itself
                fields = _Document.FromString(self._small).fields
        values: dict[str, object] = {}
        for name, inner in shape.items():
            field = fields.get(name)
            if field is None:
                continue
            value = _parsed(field) if isinstance(field, bytes) else field
            if isinstance(inner, list) and _is_list_within_limit(value):
                values[name] = yield from _items_in_steps(value.array_value.values, inner[0])
            else:
                values[name] = value.string_value or _decoded(value, inner)
        return values


class OversizedDocument:
    """A document too large to be fetched whole; only what tells its owner was."""

    def __init__(self, document: StoredDocument) -> None:
        self.size = MAX_DOCUMENT_BYTES
        self.updated_ns = document.updated_ns
        self.value = document.value

    def decoded(self, _shape: dict[str, Shape]) -> Generator[None, None, dict[str, object]]:
        """Refuse to: it is no valid call."""
        raise StoredCallInvalid("call document: larger than 2 MiB")


def _parsed(raw: bytes) -> Any:
    try:
        return _Value.FromString(raw)
    except DecodeError:  # nested deeper than protobuf goes, which is 100 messages
        return _Value()  # of no type, so no field takes it


def _items_in_steps(items: Any, shape: Shape) -> Generator[None, None, list[object]]:
    values: list[object] = []
    for start in range(0, len(items), ITEMS_PER_STEP):
        values += [_decoded(item, shape) for item in items[start : start + ITEMS_PER_STEP]]
        yield
    return values


def _decoded(value: Any, shape: Shape) -> object:
    if isinstance(shape, dict):
        fields = value.map_value.fields  # of a value that is no map, there are none
        if fields or value.WhichOneof("value_type") == "map_value":
            return _decoded_map(fields, shape)
    elif shape is not None and _is_list_within_limit(value):
        inner = shape[0]
        return [item.string_value or _decoded(item, inner) for item in value.array_value.values]
    return _scalar(value)


def _decoded_map(fields: Any, shape: dict[str, Shape]) -> dict[str, object]:
    """Decode a map. A call is mostly this, so it calls as few functions as it can."""
    values: dict[str, object] = {}
    for name, inner in shape.items():
        if (field := fields.get(name)) is not None:
            values[name] = field.string_value or (
                _scalar(field) if inner is None else _decoded(field, inner)
            )
    return values


def _is_list_within_limit(value: Any) -> bool:
    """Tell a list from other values; one too long for a call is none, and is not decoded."""
    is_array = value.WhichOneof("value_type") == "array_value"
    return is_array and len(value.array_value.values) <= MAX_ITEMS


def _scalar(value: Any) -> object:
    """Return a value as Python has it; one of another type stays, an object that no field takes."""
    kind = value.WhichOneof("value_type")
    return getattr(value, kind) if kind in _PLAIN else _special(value, kind)


def _special(value: Any, kind: str | None) -> object:
    if kind == "timestamp_value":
        try:
            return value.timestamp_value.ToDatetime(tzinfo=UTC)
        except ValueError:  # a time that Python does not have
            return value
    return None if kind == "null_value" else value
