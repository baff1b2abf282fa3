"""The list of equivalent mutants quotes functions and lines that are there."""

from pathlib import Path

from tests.mutants.__main__ import Change, equivalent
from tests.support.serving import ROOT


def is_there(change: Change) -> bool:
    """Tell whether the function, as mutmut names it, and the line are in their module."""
    module, _, function = change.function.rpartition(".")
    name = function.rpartition("ǁ")[2].removeprefix("x_")  # of a method, or of a function
    source = Path(ROOT, f"{module.replace('.', '/')}.py").read_text("utf-8")
    return f"def {name}(" in source and " ".join(change.was.split()) in " ".join(source.split())


def test_every_quoted_line_is_there() -> None:
    assert [change for change in equivalent() if not is_there(change)] == []
