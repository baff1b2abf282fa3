"""Firestore's documents: every type of value, decoded by shape, from the bytes on the wire."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from google.cloud.firestore_v1 import _helpers
from google.cloud.firestore_v1.types import BatchGetDocumentsResponse, Document, Value
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from call_api.calls.publish import LARGE_BYTES
from call_api.calls.schema import MAX_ITEMS, STORED_CALL_SHAPE, Shape
from call_api.errors import StoredCallInvalid
from call_api.firestore.documents import MAX_DOCUMENT_BYTES, FirestoreDocument, read_response
from tests.support.strategies import WIRE_VALUES

RESPONSE = BatchGetDocumentsResponse.pb()
SCALARS: dict[str, Any] = {
    "text": "मदद",
    "empty": "",
    "integer": -(2**63),
    "double": 0.1,
    "boolean": True,
    "null": None,
    "time": datetime(2026, 1, 1, tzinfo=UTC),
}


def read(response: bytes) -> tuple[str, FirestoreDocument]:
    """Read a response that is about a document which there is."""
    name, document = read_response(response) or ("", None)
    assert document is not None
    return name, document


def document(fields: dict[str, Any], **raw: Value) -> FirestoreDocument:
    """Send a document over the wire."""
    stored = Document(
        name="calls/77",
        fields=_helpers.encode_dict(fields) | raw,
        update_time=datetime(2026, 3, 25, 10, 22, 38, 123_456, tzinfo=UTC),
    )
    name, found = read(BatchGetDocumentsResponse.serialize(BatchGetDocumentsResponse(found=stored)))
    assert name == "calls/77"
    return found


def is_no_value_of_ours(value: object) -> bool:
    return value is not None and not isinstance(
        value, str | int | float | bool | list | dict | datetime | bytes
    )


def test_scalars_are_decoded() -> None:
    stored = document(SCALARS)

    assert stored.decoded(dict.fromkeys(SCALARS)) == SCALARS
    assert {name: stored.value(name) for name in SCALARS} == SCALARS
    assert stored.value("absent") is None


def test_only_what_the_shape_names_is_decoded() -> None:
    stored = document(
        {
            "map": {"in": {"text": "a", "hidden": 1}, "hidden": [1]},
            "list": [{"text": "a", "hidden": 1}, {}, {"text": ""}],
            "texts": ["a", "", "b"],
            "nested": {"texts": ["a"], "maps": [{"text": "a", "hidden": 1}]},
            "hidden": 1,
        }
    )
    shape: dict[str, Shape] = {
        "map": {"in": {"text": None}, "absent": None},
        "list": [{"text": None}],
        "texts": [None],
        "nested": {"texts": [None], "maps": [{"text": None}]},
        "absent": {"text": None},
    }

    assert stored.decoded(shape) == {
        "map": {"in": {"text": "a"}},
        "list": [{"text": "a"}, {}, {"text": ""}],
        "texts": ["a", "", "b"],
        "nested": {"texts": ["a"], "maps": [{"text": "a"}]},
    }


@pytest.mark.parametrize("shape", [None, {"text": None}, [None]])
def test_a_value_of_another_shape_is_one_that_no_field_takes(shape: Shape) -> None:
    values: dict[str, Any] = {"map": {"text": "a"}, "list": ["a"], "scalar": "a"}
    kinds = {dict: "map", list: "list", type(None): "scalar"}
    right = kinds[type(shape)]
    found = document(values).decoded(dict.fromkeys(values, shape))

    assert found[right] == values[right]
    for name in values.keys() - {right, "scalar"}:
        assert is_no_value_of_ours(found[name])
    assert found["scalar"] == "a"


def test_an_unknown_type_is_one_that_no_field_takes() -> None:
    year_10000 = Value()
    Value.pb(year_10000).timestamp_value.seconds = 253_402_300_800
    stored = document({"bytes": b"\xff"}, to_come=Value(), year_10000=year_10000)

    for name, value in stored.decoded(dict.fromkeys(["bytes", "to_come", "year_10000"])).items():
        assert is_no_value_of_ours(value), name


def test_a_list_longer_than_a_call_s_may_be_is_not_decoded() -> None:
    longest, longer = [1] * MAX_ITEMS, [1] * (MAX_ITEMS + 1)
    stored = document({"longest": longest, "longer": longer, "in": {"longer": longer}})
    found = stored.decoded({"longest": [None], "longer": [None], "in": {"longer": [None]}})

    assert found["longest"] == longest
    assert is_no_value_of_ours(found["longer"])
    assert isinstance(found["in"], dict)
    assert is_no_value_of_ours(found["in"]["longer"])


def test_size_and_update_time_are_known_before_anything_is_decoded() -> None:
    stored = document({"text": "x" * 1_000})

    assert 1_000 < stored.size < 1_060
    assert stored.updated_ns == 1_774_434_158_123_456_000


def test_a_call_may_have_two_mebibytes() -> None:
    fields = document({"text": "said"}).fields

    largest = FirestoreDocument(MAX_DOCUMENT_BYTES, 0, fields)
    assert largest.decoded({"text": None}) == {"text": "said"}
    with pytest.raises(StoredCallInvalid, match="larger than 2 MiB"):
        replace(largest, size=MAX_DOCUMENT_BYTES + 1).decoded({"text": None})


def padded(message: Any) -> bytes:
    """Make a document a large one, by a field that nothing asks for."""
    message.found.fields["padding"].string_value = "x" * LARGE_BYTES
    raw: bytes = message.SerializeToString()
    return raw


@given(fields=st.dictionaries(st.sampled_from([*STORED_CALL_SHAPE, "org_id"]), WIRE_VALUES))
def test_a_large_document_reads_as_a_small_one(fields: dict[str, Any]) -> None:
    message = RESPONSE(read_time={"seconds": 1})
    message.found.name = "calls/77"
    message.found.create_time.seconds, message.found.update_time.nanos = 1, 2
    for name, value in fields.items():
        message.found.fields[name].CopyFrom(value)
    name, small = read(message.SerializeToString())
    large_name, large = read(padded(message))

    assert large.size >= LARGE_BYTES > small.size
    assert (large_name, large.updated_ns) == (name, small.updated_ns) == ("calls/77", 2)
    # By their text: NaN is unlike itself.
    assert str(large.decoded(STORED_CALL_SHAPE)) == str(small.decoded(STORED_CALL_SHAPE))
    assert str(large.value("org_id")) == str(small.value("org_id"))


def test_a_missing_document_is_none_however_long_its_name() -> None:
    for name in ("calls/77", "calls/" + "7" * LARGE_BYTES):
        assert read_response(RESPONSE(missing=name).SerializeToString()) == (name, None)


@pytest.mark.parametrize("padding", [0, LARGE_BYTES])
def test_a_response_about_no_document_is_none(padding: int) -> None:
    assert read_response(RESPONSE(transaction=bytes(padding)).SerializeToString()) is None


def test_fields_of_types_that_are_not_known_are_skipped() -> None:
    """As protobuf has it: Google may add fields. These are a number, 64 bits and 32 bits."""
    later = b"\xf8\x07\x96\x01" + b"\xf9\x07" + b"\x0b" * 8 + b"\xfd\x07" + b"\x0b" * 4
    message = RESPONSE()
    message.found.name = "calls/77"
    message.found.fields["org_id"].string_value = "org_acme"

    _, document = read(later + padded(message))

    assert document.value("org_id") == "org_acme"


def test_a_field_without_a_value_is_one_that_no_field_takes() -> None:
    message = RESPONSE()
    message.found.name = "calls/77"
    message.found.fields["org_id"].SetInParent()
    message.found.fields[""].string_value = "of no name"

    _, document = read(padded(message))

    assert is_no_value_of_ours(document.value("org_id"))
    assert document.value("") == "of no name"


def framed(number: int, part: bytes) -> bytes:
    """Return a field of a message: a text, or another message."""
    return bytes([number << 3 | 2, len(part)]) + part


def read_large(found: bytes) -> tuple[str, FirestoreDocument]:
    """Read a document of these bytes, in a response that is a large one."""
    large = RESPONSE(transaction=bytes(LARGE_BYTES)).SerializeToString()
    return read(large + framed(1, found))


def test_an_entry_that_is_a_name_alone_has_a_value_of_no_type() -> None:
    _, document = read_large(framed(1, b"calls/77") + framed(2, framed(1, b"org_id")))

    assert is_no_value_of_ours(document.value("org_id"))


def test_names_and_times_that_are_not_sent_are_protobuf_s_defaults() -> None:
    entry = framed(2, Value.serialize(Value(string_value="of no name")))  # without its name
    name, document = read_large(framed(2, entry))  # without the document's name and update time

    assert name == ""
    assert document.updated_ns == 0
    assert document.value("") == "of no name"


# A tag of eleven bytes, one more than a number may have: else it would be field 0's, before an empty text.
OVERLONG_TAG = b"\x82" + b"\x80" * 9 + b"\x00"
WHOLE = padded(RESPONSE(found={"name": "calls/77"}))


@pytest.mark.parametrize(
    "malformed",
    [
        *(WHOLE[:length] for length in (1, 2, 3, 5, len(WHOLE) - 1)),
        *(WHOLE + end for end in (b"\x80", b"\xff" * 11, b"\x0b", b"\x0a\x05abcd", b"\x09abc")),
        WHOLE + OVERLONG_TAG + b"\x00",
        WHOLE.replace(b"calls/77", b"calls/\xff\xff"),
        WHOLE.replace(b"padding", b"pad\xffing"),
    ],
    ids=lambda raw: f"{raw[:1].hex()}-{raw[-12:].hex()}",
)
def test_what_is_no_response_is_an_error(malformed: bytes) -> None:
    with pytest.raises(DecodeError):
        read_response(malformed)
