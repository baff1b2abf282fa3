"""The embedded emulator, which serves where Google's is not and cannot be downloaded."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from google.cloud import firestore

from local.emulator import (
    Emulator,
    answers,
    embedded_emulator,
    firestore_emulator,
    google_emulator,
    is_googles,
)
from local.seed import sample_calls, seed
from tests.support.project import PROJECT
from tests.support.serving import ROOT, served

NOWHERE = {"version": "1.22.0", "url": "http://127.0.0.1:1/e.jar", "size": 9, "sha256": "0"}


@pytest.fixture(autouse=True)
def _no_running_emulator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FIRESTORE_EMULATOR_HOST", raising=False)


@pytest.fixture
def embedded(_no_running_emulator: None) -> Iterator[str]:
    with firestore_emulator(embedded_emulator) as host:
        yield host


def replies(
    emulator: Callable[[], Emulator], settings: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> dict[tuple[int, str], tuple[int, dict[str, Any]]]:
    """Return what each org gets for each sample call, without what is new in every reply."""
    with firestore_emulator(emulator) as host:
        with monkeypatch.context() as patch:
            patch.setenv("FIRESTORE_EMULATOR_HOST", host)
            keys = seed(firestore.Client(PROJECT))
        found = {}
        with served(settings | {"FIRESTORE_EMULATOR_HOST": host}) as service:
            for call_id in (*sample_calls(), 1):
                for org_id, key in keys.items():
                    reply = service.request(target=f"/v2/calls/{call_id}", key=key)
                    body = {k: v for k, v in reply.json().items() if k != "request_id"}
                    if body.get("recording_url"):
                        body["recording_url"] = body["recording_url"].partition("?")[0]
                    found[call_id, org_id] = (reply.status, body)
        return found


def test_the_sample_calls_are_answered_as_on_googles_emulator(
    key_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {
        "RECORDINGS_BUCKET": "recordings",
        "GOOGLE_CLOUD_PROJECT": PROJECT,
        "RECORDING_SIGNER_KEY_FILE": str(key_file),
    }
    embedded = replies(embedded_emulator, settings, monkeypatch)
    assert embedded == replies(google_emulator, settings, monkeypatch)
    assert {status for status, _ in embedded.values()} == {200, 403, 404}


def test_it_is_reached_from_this_machine_alone(embedded: str) -> None:
    port = int(embedded.rpartition(":")[2])
    listening = [s.laddr for s in psutil.net_connections("inet") if s.status == "LISTEN"]
    assert [address for address in listening if address[1:] == (port,)] == [("127.0.0.1", port)]


def test_it_is_told_from_googles_emulator(embedded: str) -> None:
    assert answers(embedded)
    assert not is_googles(embedded)


def test_it_is_announced_as_not_googles(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "local", tmp_path / "local")
    (tmp_path / "local" / "emulator.json").write_text(json.dumps(NOWHERE))
    (tmp_path / ".local").mkdir()
    embedded_emulator()  # installed here, for the copy too
    for name in ("embedded", "node"):
        if (ROOT / ".local" / name).exists():
            (tmp_path / ".local" / name).symlink_to(ROOT / ".local" / name)
    (tmp_path / "bin").mkdir()  # a machine's programs, without gcloud
    if node := shutil.which("node"):
        (tmp_path / "bin" / "node").symlink_to(node)
    environment = {"PATH": str(tmp_path / "bin"), "FIREBASE_EMULATORS_PATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "local.emulator"],
        cwd=tmp_path,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.strip() == (
        "Firestore is @firestore-emulator/server here, not Google's emulator: 127.0.0.1:1 does not"
        " deliver it (Connection refused)."
    )
