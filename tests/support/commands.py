"""An operator's command, run in the process of its test."""

import json
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest


class Outcome(NamedTuple):
    """What a command did: its exit status, or the sentence that it left with, and what it wrote."""

    status: object
    stdout: str
    stderr: str

    def json(self) -> Any:
        return json.loads(self.stdout)


Tool = Callable[..., Outcome]


def outcome_of(main: Callable[[], object], capsys: pytest.CaptureFixture[str]) -> Outcome:
    capsys.readouterr()
    status: object = 0
    try:
        main()
    except SystemExit as left:
        status = left.code
    return Outcome(status, *capsys.readouterr())
