"""Firestore's values: every type, decoded by shape, from the bytes on the wire."""

from datetime import UTC, datetime
from typing import Any

import pytest
from google.cloud.firestore_v1 import _helpers
from google.cloud.firestore_v1.types import BatchGetDocumentsResponse, Document, Value

from call_api.calls.schema import MAX_ITEMS, Shape
from call_api.firestore.documents import FirestoreDocument, read_response

SCALARS: dict[str, Any] = {
    "text": "मदद",
    "empty": "",
    "integer": -(2**63),
    "double": 0.1,
    "boolean": True,
    "null": None,
    "time": datetime(2026, 1, 1, tzinfo=UTC),
}


def document(fields: dict[str, Any], **raw: Value) -> FirestoreDocument:
    """Send a document over the wire."""
    stored = Document(
        name="calls/77",
        fields=_helpers.encode_dict(fields) | raw,
        update_time=datetime(2026, 3, 25, tzinfo=UTC),
    )
    wire = BatchGetDocumentsResponse.serialize(BatchGetDocumentsResponse(found=stored))
    response = read_response(wire)
    assert response is not None
    name, found = response
    assert name == "calls/77"
    assert found is not None
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
    assert stored.updated_ns == int(datetime(2026, 3, 25, tzinfo=UTC).timestamp()) * 10**9
