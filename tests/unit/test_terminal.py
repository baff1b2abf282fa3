"""What operators' commands show of stored text: readable, and without effect on the terminal."""

import io
import sys

import pytest

from ops.terminal import printable, write


@pytest.mark.parametrize(
    "text",
    [
        *("CI", "प्रिया की कुंजी", "क्\u200dष", "عربي\u200cعربي", "日本語", "مفتاح", "Zoë"),
        "👩\u200d💻 a  b",
    ],
)
def test_what_people_write_is_shown_as_it_is(text: str) -> None:
    assert printable(text) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\x1b[2J", r"\x1b[2J"),  # clears the screen
        ("\x9b31m", r"\x9b31m"),  # the same introducer in one byte
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("a\r\nb\tc\vd\fe\x00", r"a\r\nb\tc\x0bd\x0ce\x00"),
        ("a\x85b\u2028c\u2029d", r"a\x85b\u2028c\u2029d"),  # Unicode's line breaks
        ("\u202egnp\u202c\u2066x\u2069\u200f\u061c", r"\u202egnp\u202c\u2066x\u2069\u200f\u061c"),
        ("a\u200bb\ufeffc\u00add\u00a0e", r"a\u200bb\ufeffc\xadd\xa0e"),  # looks like another text
        ("\U000e0041", r"\U000e0041"),  # a tag: invisible
        ("\ud800", r"\ud800"),  # cannot be written
        (r"\x1b", r"\\x1b"),
        (["\n"], r"['\\n']"),
        (b"\x1b", r"b'\\x1b'"),
        (0, "0"),
    ],
)
def test_what_acts_or_hides_is_escaped(text: object, expected: str) -> None:
    assert printable(text) == expected


def test_what_the_encoding_of_the_output_lacks_is_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", io.TextIOWrapper(written, "ascii"))
        write("Zoë\n")

        assert written.getvalue() == rb"Zo\xeb" + b"\n"
