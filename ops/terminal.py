"""Stored text as a terminal may show it: on one line, in its own order, acting on nothing."""

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
