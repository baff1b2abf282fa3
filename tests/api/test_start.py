"""What stops a start, and what it leaves behind: imports, the collector's state, the server's parser."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.raw_http import exchange
from tests.support.serving import ROOT, measuring, served, started

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


@pytest.mark.parametrize("length", [1, 120])
def test_the_server_opens_no_control_socket(
    length: int, settings: dict[str, str], tmp_path: Path
) -> None:
    """Not where it could, and with no complaint where its path would be too long for a socket."""
    home = tmp_path / ("x" * length)
    home.mkdir()
    with served(settings | {"HOME": str(home)}) as service:
        assert service.request(target="/elsewhere").status == 404
        assert service.stderr.read_text() == ""
        assert list(home.iterdir()) == []


@pytest.mark.parametrize(
    ("contents", "named"),
    [
        (None, "RECORDINGS_BUCKET is missing"),
        ("s3cret", "RECORDING_SIGNER_KEY_FILE is no service-account key"),
    ],
    ids=["a setting", "the key file"],
)
def test_what_is_wrong_stops_the_start_by_its_name(
    contents: str | None, named: str, tmp_path: Path, settings: dict[str, str]
) -> None:
    """In one sentence. tests/unit has what is wrong with a setting or a key file, and how it is named."""
    changes = {"RECORDINGS_BUCKET": ""}
    if contents is not None:
        file = tmp_path / "key.json"
        file.write_text(contents)
        changes = {"RECORDING_SIGNER_KEY_FILE": str(file)}
    with started(settings | changes) as (process, service):
        assert process.wait(30) != 0
        output = service.output()

    assert f"The function cannot start: {named}" in output
    assert "Traceback" not in output
    assert "s3cret" not in output


def test_the_warning_is_one_entry_of_the_log(settings: dict[str, str]) -> None:
    with served(settings | {"K_SERVICE": "get-call"}) as service:
        assert service.request(target="/elsewhere").status == 404
        warning, _ = service.entries()

    assert warning == {
        "severity": "WARNING",
        "message": "An emulator is used on Cloud Run: unset FIRESTORE_EMULATOR_HOST",
    }


def test_the_firebase_emulator_suite_s_function_starts_without_a_warning(
    settings: dict[str, str],
) -> None:
    suite = {"K_SERVICE": "us-central1-get-call", "K_REVISION": "1", "FUNCTIONS_EMULATOR": "true"}
    with served(settings | suite) as service:
        assert service.request(target="/elsewhere").status == 404
        assert service.stderr.read_text() == ""
