"""Firestore documents as they arrive: split into fields first, decoded later, by a shape.

A small document is parsed whole, by protobuf. A large one is only split into its fields, whose values
stay bytes: to parse it whole would hold up the event loop, and only the owner has a right to that work.
So the owner is read first. Decoding follows a shape: it reads the fields that the shape names, and no
others.

Most published values are texts, and `string_value` is "" for every other type. So decoding takes it
where it is not empty, and asks for a value's type only where it is.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC
from typing import Any, Protocol

from google.cloud.firestore_v1 import types
from google.protobuf.message import DecodeError
from google.protobuf.timestamp_pb2 import Timestamp

from call_api.calls.publish import LARGE_BYTES
from call_api.calls.schema import MAX_ITEMS, Shape
from call_api.errors import StoredCallInvalid

# One document's most bytes on the wire. Firestore's own limit of 1 MiB counts differently: a call full of
# short turns has more bytes here than there, and a document full of nulls, which is no call, more than these.
MAX_DOCUMENT_BYTES = 2 * 2**20
_PLAIN = frozenset({"boolean_value", "double_value", "integer_value", "string_value"})
_Value, _Response = types.Value.pb(), types.BatchGetDocumentsResponse.pb()

# Numbers of fields in https://github.com/googleapis/googleapis/tree/master/google/firestore/v1
# (firestore.proto, document.proto) and of a map's entries.
_RESPONSE_FOUND, _RESPONSE_MISSING = 1, 2
_DOCUMENT_NAME, _DOCUMENT_FIELDS, _DOCUMENT_UPDATE_TIME = 1, 2, 4
_ENTRY_KEY, _ENTRY_VALUE = 1, 2
_VARINT, _64_BITS, _LENGTH_DELIMITED, _32_BITS = 0, 1, 2, 5  # wire types


class Fields(Protocol):
    """Fields by name: protobuf's map of values, or RawFields.

    Ask `name in fields` before `fields[name]`: of a name that is not there protobuf's map makes an
    empty value, and RawFields raises KeyError. The map has a `get`, which takes longer than both.
    """

    def __contains__(self, name: str) -> bool:
        """Tell whether there is such a field."""

    def __getitem__(self, name: str) -> Any:
        """Return the `Value` of a field that is there."""


class RawFields:
    """Fields whose values stay bytes until they are asked for."""

    def __init__(self, raw: Mapping[str, memoryview]) -> None:
        self._raw = raw

    def __contains__(self, name: str) -> bool:
        """Tell whether there is such a field."""
        return name in self._raw

    def __getitem__(self, name: str) -> Any:
        """Return the `Value` of a field that is there."""
        try:
            return _Value.FromString(bytes(self._raw[name]))
        except DecodeError:  # nested deeper than protobuf goes, which is 100 messages
            return _Value()  # of no type, so no field takes it


@dataclass(frozen=True)
class FirestoreDocument:
    """A document whose fields are decoded on demand; it is a `calls.access.StoredDocument`.

    One that is too large to be fetched has MAX_DOCUMENT_BYTES + 1 for its size, and only the fields
    of a key's record.
    """

    size: int
    updated_ns: int
    fields: Fields

    def value(self, name: str) -> object:
        """Return a field that holds a scalar, or None if there is no such field."""
        return _scalar(self.fields[name]) if name in self.fields else None

    def decoded(self, shape: dict[str, Shape]) -> dict[str, object]:
        """Return the fields that `shape` names.

        Raises:
            StoredCallInvalid: the document is larger than a call may be.
        """
        if self.size > MAX_DOCUMENT_BYTES:
            raise StoredCallInvalid("call document: larger than 2 MiB")
        return _decoded_map(self.fields, shape)


def read_response(raw: bytes) -> tuple[str, FirestoreDocument | None] | None:
    """Return the name of the document that a BatchGetDocumentsResponse is about, and the document.

    The document is None where there is none, and the result where the response is about no document.

    Raises:
        DecodeError: it is no such message.
    """
    if len(raw) >= LARGE_BYTES:
        return _split(raw)
    try:
        response = _Response.FromString(raw)
    except DecodeError:  # perhaps one field is nested too deep: the others can still be read
        return _split(raw)
    if response.missing:
        return response.missing, None
    if not response.HasField("found"):
        return None
    found = response.found
    updated_ns = found.update_time.ToNanoseconds()
    return found.name, FirestoreDocument(len(raw), updated_ns, found.fields)


def _split(raw: bytes) -> tuple[str, FirestoreDocument | None] | None:
    """Do the same without a look at the fields' values."""
    parts = dict(_wire_fields(memoryview(raw)))
    if _RESPONSE_MISSING in parts:
        return _text(parts[_RESPONSE_MISSING]), None
    if _RESPONSE_FOUND not in parts:
        return None
    name, updated_ns, fields = "", 0, dict[str, memoryview]()
    for number, part in _wire_fields(parts[_RESPONSE_FOUND]):
        if number == _DOCUMENT_FIELDS:
            entry = dict(_wire_fields(part))
            fields[_text(entry.get(_ENTRY_KEY, b""))] = entry.get(_ENTRY_VALUE, memoryview(b""))
        elif number == _DOCUMENT_NAME:
            name = _text(part)
        elif number == _DOCUMENT_UPDATE_TIME:
            updated_ns = Timestamp.FromString(bytes(part)).ToNanoseconds()
    return name, FirestoreDocument(len(raw), updated_ns, RawFields(fields))


def _wire_fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Yield number and bytes of each text, message or map entry at the top level of a message.

    https://protobuf.dev/programming-guides/encoding/
    """
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        number, wire_type = tag >> 3, tag & 7
        if wire_type == _VARINT:
            _, at = _varint(message, at)
        elif wire_type == _64_BITS:
            at += 8
        elif wire_type == _32_BITS:
            at += 4
        elif wire_type == _LENGTH_DELIMITED:
            length, at = _varint(message, at)
            yield number, message[at : at + length]
            at += length
        else:
            raise DecodeError("a wire type that proto3 does not have")
    if at > len(message):
        raise DecodeError("truncated")


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """Return the number that begins at `at`, and where it ends."""
    value = 0
    for shift, byte in enumerate(message[at : at + 10]):
        value |= (byte & 0x7F) << 7 * shift
        if not byte & 0x80:
            return value, at + shift + 1
    raise DecodeError("a number that does not end")


def _text(raw: memoryview | bytes) -> str:
    try:
        return bytes(raw).decode()
    except UnicodeDecodeError:
        raise DecodeError("a text that is not UTF-8") from None


def _decoded(value: Any, shape: Shape) -> object:
    if isinstance(shape, dict):
        fields = value.map_value.fields  # of a value that is no map, there are none
        if fields or value.WhichOneof("value_type") == "map_value":
            return _decoded_map(fields, shape)
    elif shape is not None and _is_list_within_limit(value):
        inner = shape[0]
        return [item.string_value or _decoded(item, inner) for item in value.array_value.values]
    return _scalar(value)


def _decoded_map(fields: Fields, shape: dict[str, Shape]) -> dict[str, object]:
    """Decode a map. A call is mostly this, so it calls as few functions as it can."""
    values: dict[str, object] = {}
    for name, inner in shape.items():
        if name in fields:  # rather than `get`: see Fields
            field = fields[name]
            values[name] = field.string_value or (
                _scalar(field) if inner is None else _decoded(field, inner)
            )
    return values


def _is_list_within_limit(value: Any) -> bool:
    """Tell a list from other values. One of more than MAX_ITEMS counts as another, so it is not decoded."""
    is_array = value.WhichOneof("value_type") == "array_value"
    return is_array and len(value.array_value.values) <= MAX_ITEMS


def _scalar(value: Any) -> object:
    """Return a scalar as Python has it. Any other value stays protobuf's message, which no field accepts."""
    kind = value.WhichOneof("value_type")
    return getattr(value, kind) if kind in _PLAIN else _special(value, kind)


def _special(value: Any, kind: str | None) -> object:
    if kind == "timestamp_value":
        try:
            return value.timestamp_value.ToDatetime(tzinfo=UTC)
        except ValueError:  # a time that Python does not have
            return value
    return None if kind == "null_value" else value
