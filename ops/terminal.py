"""Stored text as a terminal may show it: on one line, in its own order, acting on nothing."""

import io
import sys

# What joins and separates the letters of Devanagari, Persian and others is not printable, and harmless.
_JOINERS = "\u200c\u200d"


def printable(value: object) -> str:
    """Return a value's text, with an escape for each character that is not printable.

    Those are control characters, also of bidirectional text, line breaks, spaces other than the usual
    one, invisible and unassigned characters. A backslash is doubled, so an escape is told from text.
    """
    return "".join(
        char
        if (char.isprintable() and char != "\\") or char in _JOINERS
        else char.encode("unicode_escape").decode()
        for char in str(value)
    )


def write(text: str) -> None:
    """Write to standard output at once, with an escape for each character that its encoding lacks.

    Raises:
        OSError: it cannot be written. The interpreter does not try it again at its end.
    """
    try:
        if sys.stdout is None:
            raise OSError("it is closed")  # noqa: TRY301  (as any other failure)
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")
        sys.stdout.write(text)
        sys.stdout.flush()
    except (OSError, ValueError, KeyboardInterrupt):
        sys.stdout = None  # else it is flushed again at exit, with a traceback
        raise
