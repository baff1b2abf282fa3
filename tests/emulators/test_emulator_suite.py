"""The Firebase Emulator Suite, run as `make emulators` does, on a copy of the sources."""

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from ipaddress import ip_address
from pathlib import Path
from typing import Self

import httpx2
import psutil
import pytest

from local.emulator import OLDEST_JAVA, firebase_cli
from local.emulators import EMULATORS
from local.runtimes import java
from local.seed import sample_calls
from local.site import headers_for, swagger_ui
from ops.openapi import published_call
from tests.support.serving import ROOT

SOURCES = ("call_api", "local", "main.py", "openapi.yaml", "requirements.txt", "site")
CONFIGURATION = ("firebase.json", "functions.yaml", "firestore.rules")
LOCKED = ROOT / "local" / "firebase"
INSTALLED = ("firebase", "java", "swagger-ui")
SITE = ["/", "/page.js", "/page.css", "/reference/", "/reference/swagger-ui-bundle.js"]
WAYS_IN = ("hosting", "functions")
PATIENCE_SECONDS = 150


class Suite:
    """`python -m local.emulators` in a folder, and what it prints."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports = ports(folder)
        self.printed = folder.with_suffix(".txt")
        with self.printed.open("wb") as printed:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "local.emulators"],
                cwd=folder,
                env=os.environ | {"GOOGLE_APPLICATION_CREDENTIALS": "/nobody/shall/read/this.json"},
                stdout=printed,
                stderr=subprocess.STDOUT,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def until(self, text: str) -> str:
        """Return what is printed up to and with this text."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while text not in (printed := self.printed.read_text()):
            assert self.process.poll() is None, printed
            assert time.monotonic() < deadline, printed
            time.sleep(0.05)
        return printed[: printed.index(text) + len(text)]

    def ready(self) -> Self:
        self.greeting = self.until("Ctrl-C stops everything")
        return self

    def stop(self) -> int:
        """Interrupt it, and return the exit status."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(timeout=PATIENCE_SECONDS)

    def processes(self) -> set[int]:
        """Return the IDs of all processes that this one has started, however far down."""
        parents = running()
        found = {self.process.pid}
        while more := {pid for pid, parent in parents.items() if parent in found} - found:
            found |= more
        return found

    def get_call(self, way_in: str, org_id: str) -> httpx2.Response:
        path = {"hosting": "", "functions": "/demo-call-api/us-central1/get-call"}[way_in]
        url = f"http://127.0.0.1:{self.ports[way_in]}{path}/v2/calls/77"
        headers = {"Authorization": f"Bearer {self.key(org_id)}"}
        return httpx2.get(url, headers=headers, trust_env=False)

    def key(self, org_id: str) -> str:
        found = re.search(rf"{org_id} +(\S+)", self.greeting)
        assert found
        return found[1]


def ports(folder: Path) -> dict[str, int]:
    configured = json.loads((folder / "firebase.json").read_text())["emulators"]
    return {name: configured[name]["port"] for name in EMULATORS}


def running() -> dict[int, int]:
    """Return the parent of every process that has not ended."""
    table = subprocess.run(
        ["ps", "-A", "-o", "pid=,ppid=,stat="], capture_output=True, text=True, check=True
    )
    rows = (line.split() for line in table.stdout.splitlines())
    return {int(pid): int(parent) for pid, parent, state in rows if state[0] != "Z"}


def left_of(processes: set[int]) -> set[int]:
    """Return which of them still run, once they have had time to end."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (left := processes & running().keys()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return left


def free_ports(number: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [
            stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(number)
        ]
        return [each.getsockname()[1] for each in sockets]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy the sources, with ports of their own, beside the CLI and the Java that make installs."""
    firebase_cli()
    java(OLDEST_JAVA)
    swagger_ui()
    folder = tmp_path_factory.mktemp("suite")
    for name in SOURCES + CONFIGURATION:
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, folder / name, ignore=ignored)
        else:
            shutil.copy(ROOT / name, folder)
    (folder / ".local").mkdir()
    for name in INSTALLED:
        if (ROOT / ".local" / name).exists():
            (folder / ".local" / name).symlink_to(ROOT / ".local" / name)
    configuration = json.loads((folder / "firebase.json").read_text())
    for name, port in zip(EMULATORS, free_ports(len(EMULATORS)), strict=True):
        configuration["emulators"][name]["port"] = port
    (folder / "firebase.json").write_text(json.dumps(configuration))
    return folder


@pytest.fixture(scope="module")
def suite(folder: Path) -> Iterator[Suite]:
    with Suite(folder) as suite:
        yield suite.ready()


def test_the_cli_is_the_one_that_the_lock_names() -> None:
    declared = json.loads((LOCKED / "package.json").read_text())["dependencies"]["firebase-tools"]
    said = subprocess.run([firebase_cli(), "--version"], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == declared


def test_googles_emulator_is_pinned_as_the_cli_pins_it() -> None:
    """To take a newer one, take a newer CLI: it says the version, the size and the hash."""
    tools = Path(firebase_cli()).parent.parent / "firebase-tools" / "lib" / "emulator"
    theirs = json.loads((tools / "downloadableEmulatorInfo.json").read_text())["firestore"]
    assert json.loads((ROOT / "local" / "emulator.json").read_text()) == {
        "version": theirs["version"],
        "url": theirs["remoteUrl"],
        "size": theirs["expectedSize"],
        "sha256": theirs["expectedChecksumSHA256"],
    }


@pytest.mark.parametrize("way_in", WAYS_IN)
def test_the_published_example_is_answered_to_its_org_alone(suite: Suite, way_in: str) -> None:
    answer = suite.get_call(way_in, "org_acme")
    assert answer.status_code == 200
    reply = answer.json()
    recording = httpx2.get(reply.pop("recording_url"), trust_env=False)
    sample = sample_calls()[77]
    heard = 44 + 8_000 * sample["recording_duration"]  # a header, and the samples
    assert (recording.status_code, len(recording.content)) == (200, heard)
    assert reply | {"recording_url": None} == published_call(sample, recording_url=None)
    assert suite.get_call(way_in, "org_globex").status_code == 403


@pytest.mark.parametrize("path", SITE)
def test_hosting_serves_the_site_with_the_headers_of_firebase_json(suite: Suite, path: str) -> None:
    """`make run` reads the same file. The policy names where the recordings come from, too."""
    answer = httpx2.get(f"http://127.0.0.1:{suite.ports['hosting']}{path}", trust_env=False)
    expected = headers_for(path, json.loads((ROOT / "firebase.json").read_text()))
    assert answer.status_code == 200
    assert len(expected) == 7
    served = {name: answer.headers[name] for name in expected}
    policy = "Content-Security-Policy"
    served[policy] = re.sub(r"(media-src \S+) http://127.0.0.1:\d+;", r"\1;", served[policy])
    assert served == expected


def test_the_printed_curl_line_works_as_pasted(suite: Suite) -> None:
    line = next(line for line in suite.greeting.splitlines() if "curl" in line)
    *_, header, url = shlex.split(line)
    name, value = header.split(": ")
    # Java's HttpClient offers HTTP/2 by default.
    for offer in ({}, {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c"}):
        answer = httpx2.get(url, headers={name: value, **offer}, trust_env=False)
        assert answer.text.startswith('{"id":77,"type":"web","status":"ended",')


def test_the_page_and_the_way_through_hosting_are_printed_too(suite: Suite) -> None:
    hosting = f"http://127.0.0.1:{suite.ports['hosting']}"
    assert f"The call page is {hosting}/?call=77\n" in suite.greeting
    assert f"Through hosting the function answers at {hosting}/v2/calls/{{id}}\n" in suite.greeting


def test_nobody_else_in_the_network_reaches_anything(suite: Suite) -> None:
    listening = {
        connection.laddr
        for pid in suite.processes()
        for connection in psutil.Process(pid).net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert {*suite.ports.values()} < {address.port for address in listening}
    assert [a for a in listening if not ip_address(a.ip.removeprefix("::ffff:")).is_loopback] == []


@pytest.mark.parametrize("collection", ["calls/77", "api_keys", "anything/else"])
def test_the_rules_deny_every_client(suite: Suite, collection: str) -> None:
    database = f"127.0.0.1:{suite.ports['firestore']}/v1/projects/demo-call-api/databases/(default)"
    answer = httpx2.get(f"http://{database}/documents/{collection}", trust_env=False)
    assert answer.status_code == 403


def test_a_taken_port_is_reported_in_one_sentence(suite: Suite) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "local.emulators"],
        cwd=suite.folder,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.strip() == (
        f"Port {suite.ports['functions']} is taken: stop what listens there, or give the functions"
        " emulator another port in firebase.json"
    )


def test_an_interrupt_leaves_nothing_behind(suite: Suite) -> None:
    """After the tests that share the suite, and so the last of them."""
    processes = suite.processes()
    assert len(processes) >= 5  # this one, its keeper, the CLI, Java, the function
    assert suite.stop() == 0
    assert left_of(processes) == set()
    for port in suite.ports.values():
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))
    left = {file.name for file in (suite.folder / ".local").iterdir()}
    assert left <= {*INSTALLED, "site"}
    assert not (suite.folder / ".firebase-emulators.json").exists()


def test_an_interrupt_while_it_starts_leaves_nothing_behind(folder: Path) -> None:
    with Suite(folder) as suite:
        suite.until("Firestore Emulator logging to")  # Java has been started, and is not yet up
        processes = suite.processes()
        assert suite.stop() == 0
        assert left_of(processes) == set()


def test_the_emulators_end_even_with_a_parent_that_is_killed(folder: Path) -> None:
    with Suite(folder) as suite:
        suite.ready()
        processes = suite.processes()
        suite.process.kill()
        assert left_of(processes) == set()
