"""Generated tables in the pages under docs/, each between two comments that name their command."""

from collections.abc import Iterable
from pathlib import Path

PAGES = Path(__file__).parent.parent / "docs"


def table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """Return a table in Markdown."""
    lines = ["| " + " | ".join(map(str, row)) + " |\n" for row in (head, *rows)]
    return lines[0] + "|---" * (lines[0].count("|") - 1) + "|\n" + "".join(lines[1:])


def with_tables(page: str, command: str, tables: str) -> str:
    """Return a page whose tables of a command are replaced."""
    begin, end = f"<!-- begin: {command} -->\n", f"<!-- end: {command} -->\n"
    before, _, rest = page.partition(begin)
    _, found, after = rest.partition(end)
    if not found:
        raise ValueError(f"the page has no place for the tables of {command}")
    return f"{before}{begin}\n{tables.strip()}\n\n{end}{after}"


def write_tables(page: Path, command: str, tables: str) -> None:
    """Replace the tables of a command in a page."""
    page.write_text(with_tables(page.read_text("utf-8"), command, tables), "utf-8")
