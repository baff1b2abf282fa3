"""Messages that are made at import keep the rules of the published ones."""

import pytest
from google.protobuf.message import DecodeError

from call_api.protobuf_messages import BYTES_BY_NAME, message_classes

Outer, Inner = message_classes(
    "sample",
    {
        "Outer": {"text": (1, "string"), "inner": (2, "Inner"), "entries": (3, BYTES_BY_NAME)},
        "Inner": {"number": (1, "int64")},
    },
)


def test_a_message_is_what_was_written() -> None:
    written = Outer(text="a", inner={"number": 5}, entries={"b": b"\xff"})
    read = Outer.FromString(written.SerializeToString())

    assert (read.text, read.inner.number, dict(read.entries)) == ("a", 5, {"b": b"\xff"})


def test_a_message_inside_another_is_bytes_on_the_wire() -> None:
    (raw_outer,) = message_classes("raw_sample", {"Outer": {"inner": (2, "bytes")}})
    raw = raw_outer.FromString(Outer(inner={"number": 5}).SerializeToString())

    assert Inner.FromString(raw.inner).number == 5


def test_fields_that_it_does_not_name_are_skipped() -> None:
    assert Inner.FromString(b"\x08\x05\x12\x03abc").number == 5


def test_text_that_is_not_utf_8_is_refused() -> None:
    (message,) = message_classes("text", {"Message": {"text": (1, "string")}})
    with pytest.raises(DecodeError):
        message.FromString(b"\x0a\x01\xff")
