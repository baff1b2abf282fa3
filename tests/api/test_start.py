"""What stops a start, and what it leaves behind: imports, the collector's state, the server's parser."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.serving import ROOT, measuring, served, started

REPORT = "import gc, json, main; print(json.dumps([gc.isenabled(), gc.get_freeze_count()]))"


def test_collections_are_on_again_and_skip_what_was_imported(settings: dict[str, str]) -> None:
    """Where the function is imported as the framework does it, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", REPORT],
        cwd=ROOT,
        env=settings | measuring(),
        capture_output=True,
        text=True,
        check=True,
    )
    collects, frozen = json.loads(done.stdout)

    assert collects is True
    assert frozen > 100_000


def test_requests_are_parsed_by_h11_even_where_httptools_is_installed(
    settings: dict[str, str], acme_key: str, tmp_path: Path
) -> None:
    """By default uvicorn takes httptools where it can import it; here that fails the start."""
    (tmp_path / "httptools.py").write_text("raise RuntimeError('httptools is imported')\n")
    path = [str(tmp_path), *measuring().get("PYTHONPATH", "").split(os.pathsep)]
    with served(settings | {"PYTHONPATH": os.pathsep.join(filter(None, path))}) as service:
        assert service.request(key=acme_key).status == 200


@pytest.mark.parametrize("length", [1, 120])
def test_the_server_opens_no_control_socket(
    length: int, settings: dict[str, str], tmp_path: Path
) -> None:
    """Not where it could, and with no complaint where its path would be too long for a socket."""
    home = tmp_path / ("x" * length)
    home.mkdir()
    with served(settings | {"HOME": str(home)}) as service:
        assert service.request(target="/elsewhere").status == 404
        time.sleep(1)  # gunicorn's arbiter would open it from a thread, some 0.1 s later
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
