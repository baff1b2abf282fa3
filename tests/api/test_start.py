"""What a start leaves behind: its imports, the collector's state, and the server's parser."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.raw_http import exchange
from tests.support.serving import ROOT, measuring, served

REPORT = """
import gc, json, sys, main
found = {"collects": gc.isenabled(), "frozen": gc.get_freeze_count(), "modules": [*sys.modules]}
print(json.dumps(found))
"""


def imported(settings: dict[str, str]) -> dict[str, object]:
    """Import the function as the framework does, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", REPORT],
        cwd=ROOT,
        env=settings | measuring(),
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, object] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def start(settings: dict[str, str]) -> dict[str, object]:
    return imported(settings)


def test_collections_are_on_again_and_skip_what_was_imported(start: dict[str, object]) -> None:
    assert start["collects"] is True
    assert isinstance(start["frozen"], int)
    assert start["frozen"] > 100_000


def test_requests_are_parsed_by_h11_even_where_httptools_is_installed(
    settings: dict[str, str], keys: dict[str, str], tmp_path: Path
) -> None:
    """By default uvicorn takes httptools where it can import it, and that accepts two hosts."""
    (tmp_path / "httptools.py").write_text("raise RuntimeError('httptools is imported')\n")
    path = [str(tmp_path), *measuring().get("PYTHONPATH", "").split(os.pathsep)]
    with served(settings | {"PYTHONPATH": os.pathsep.join(filter(None, path))}) as service:
        answered = service.request(key=keys["org_acme"])
        (refused,) = exchange(
            service.port,
            b"GET /v2/calls/77 HTTP/1.1\r\nHost: x\r\nHost: y\r\nConnection: close\r\n\r\n",
        )

    assert answered.status == 200
    assert (refused.status, refused.ours) == (400, False)
