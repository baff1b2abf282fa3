"""The local stack, run as `make run` does, on a copy of the sources."""

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import Self

import httpx2
import psutil
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from local.emulator import QUICK_START, answers, firestore_emulator
from local.install import LocalStackError
from local.seed import SAMPLES, sample_calls
from local.stack import app_served, check_free
from tests.support.serving import ROOT, free_port
from tests.support.storage import Storage

PYTHON = sys.executable
RUNTIMES = ("java", "node", "embedded", "swagger-ui")
PATIENCE_SECONDS = 120  # until something hangs for good
NOWHERE = {"version": "1.22.0", "url": "http://127.0.0.1:1/e.jar", "size": 9, "sha256": "0"}


class Stack:
    """`python -m local` in a folder, and what it prints."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port, self.site_port = free_port(), free_port()
        environment = os.environ | {"PORT": str(self.port), "SITE_PORT": str(self.site_port)}
        environment.pop("FIRESTORE_EMULATOR_HOST", None)
        self.process = subprocess.Popen(
            [PYTHON, "-m", "local"],
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.watchdog = threading.Timer(PATIENCE_SECONDS, self.process.kill)

    def __enter__(self) -> Self:
        self.watchdog.start()
        self.greeting = self.until("Ctrl-C stops everything")
        return self

    def __exit__(self, *_: object) -> None:
        self.stop(signal.SIGINT)
        self.watchdog.cancel()

    def until(self, text: str) -> str:
        """Return what is printed up to a line with this text."""
        assert self.process.stdout
        printed = ""
        for line in self.process.stdout:
            printed += line
            if text in line:
                return printed
        pytest.fail(f"ended without {text!r}: {printed}")

    def stop(self, number: signal.Signals) -> int:
        """Send a signal and return the exit status; every process that inherited stdout has ended."""
        self.process.send_signal(number)
        self.process.communicate(timeout=PATIENCE_SECONDS)
        return self.process.returncode

    def key(self, org_id: str) -> str:
        found = re.search(rf"{org_id} +(\S+)", self.greeting)
        assert found
        return found[1]

    def get_call(self, call_id: int, org_id: str = "org_acme") -> httpx2.Response:
        """Return the function's answer, once it listens."""
        url = f"http://127.0.0.1:{self.port}/v2/calls/{call_id}"
        headers = {"Authorization": f"Bearer {self.key(org_id)}"}
        for _ in range(10 * PATIENCE_SECONDS):
            try:
                return httpx2.get(url, headers=headers, trust_env=False)
            except httpx2.TransportError:
                time.sleep(0.1)
        pytest.fail("the function does not answer")


def copy_sources(folder: Path) -> Path:
    for name in ("main.py", "firebase.json", "openapi.yaml"):
        shutil.copy(ROOT / name, folder)
    for package in ("call_api", "local", "site"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / package, folder / package, ignore=ignored)
    return folder


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = copy_sources(tmp_path_factory.mktemp("stack"))
    (folder / ".local").mkdir()
    for installed in (ROOT / ".local").iterdir():  # for the tests' own emulator
        if installed.name in RUNTIMES or installed.suffix == ".jar":
            (folder / ".local" / installed.name).symlink_to(installed)
    with Stack(folder) as stack:
        yield stack


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy the sources to where nothing has been downloaded, and nothing can be."""
    folder = copy_sources(tmp_path_factory.mktemp("sources"))
    (folder / "local" / "emulator.json").write_text(json.dumps(NOWHERE))
    return folder


def refusal(folder: Path, **environment: str) -> str:
    """Return what the stack says where it cannot start."""
    ports = {"PORT": str(free_port()), "SITE_PORT": str(free_port())}
    inherited = {"HOME": str(folder), "PATH": "", "PIP_NO_INDEX": "1"} | ports
    done = subprocess.run(
        [PYTHON, "-m", "local"],
        cwd=folder,
        env=inherited | environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert done.stdout == ""
    return done.stderr.strip()


def fake_java(folder: Path) -> str:
    """Return the `JAVA_HOME` of a Java 21 that repeats its arguments, and fails."""
    java = folder / "bin" / "java"
    java.parent.mkdir(parents=True, exist_ok=True)
    java.write_text('#!/bin/sh\necho "openjdk version \\"21.0.2\\"" >&2\necho "$@"\nexit 1\n')
    java.chmod(0o755)
    return str(folder)


def test_the_printed_curl_line_works_as_pasted(stack: Stack) -> None:
    """Its parts do: a machine that has what the tests need may lack curl."""
    line = next(line for line in stack.greeting.splitlines() if "curl" in line)
    command, silent, option, header, url = shlex.split(line)
    assert (command, silent, option) == ("curl", "-s", "-H")
    name, value = header.split(": ")
    answer = httpx2.get(url, headers={name: value}, trust_env=False)
    assert answer.text.startswith('{"id":77,"type":"web","status":"ended",')


def test_a_newcomer_opens_the_printed_page_with_the_printed_key(stack: Stack) -> None:
    """The link carries no key; the page asks its own origin for the call."""
    page = f"http://127.0.0.1:{stack.site_port}/?call=77"
    key = stack.key("org_acme")
    assert f"The call page is {page}\n  It asks for an API key: {key}\n" in stack.greeting
    assert f"The API reference is http://127.0.0.1:{stack.site_port}/reference/\n" in stack.greeting
    assert "localhost" not in stack.greeting
    assert "API key" in httpx2.get(page, trust_env=False).text
    answer = httpx2.get(
        f"http://127.0.0.1:{stack.site_port}/v2/calls/77",
        headers={"Authorization": f"Bearer {key}"},
        trust_env=False,
    )
    assert answer.json()["id"] == 77


def test_the_other_org_s_key_opens_its_own_calls_only(stack: Stack) -> None:
    assert [stack.get_call(call_id, "org_globex").status_code for call_id in (77, 87)] == [403, 200]


def test_the_printed_list_of_calls_is_complete() -> None:
    lines = (SAMPLES / "contents.txt").read_text().splitlines()
    assert [int(line.split()[0]) for line in lines] == sorted(sample_calls())


def test_a_link_opens_the_recording(stack: Stack) -> None:
    recording = httpx2.get(stack.get_call(79).json()["recording_url"], trust_env=False)
    heard = 44 + 8_000 * sample_calls()[79]["recording_duration"]  # a header, and the samples
    assert recording.status_code == 200
    assert (recording.content[:4], len(recording.content)) == (b"RIFF", heard)


def test_a_change_restarts_the_function_and_a_defect_does_not_end_the_stack(stack: Stack) -> None:
    source = stack.folder / "main.py"
    text = source.read_text()
    source.write_text(text + "def (\n")
    stack.until("The function stopped; it starts again after the next change.")
    source.write_text(text)
    stack.until("main.py changed: the function starts again.")
    assert stack.get_call(77).status_code == 200


def test_nobody_else_in_the_network_reaches_anything(stack: Stack) -> None:
    own = psutil.Process(stack.process.pid)
    listening = {
        connection.laddr
        for process in (own, *own.children(recursive=True))
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert {stack.port, stack.site_port} < {address.port for address in listening}
    assert [a for a in listening if not ip_address(a.ip.removeprefix("::ffff:")).is_loopback] == []


def test_an_interrupt_leaves_nothing_behind(stack: Stack) -> None:
    """After the tests that share the stack, and so the last of them."""
    [log] = (stack.folder / ".local").glob("emulator-*.log")
    found = re.search(r"FIRESTORE_EMULATOR_HOST=127.0.0.1:(\d+)", log.read_text())
    assert found
    assert stack.stop(signal.SIGINT) == 0
    for port in (stack.port, stack.site_port, int(found[1])):
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))
    left = {file.name for file in (stack.folder / ".local").iterdir() if not file.is_symlink()}
    assert left <= {"install.lock", "swagger-ui"}


def test_children_end_even_with_a_parent_that_is_killed() -> None:
    script = "from local.process import child\nwith child(['sleep', '600']): print(1); input()"
    parent = subprocess.Popen(
        [PYTHON, "-u", "-c", script], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert parent.stdout
    assert parent.stdout.readline()
    parent.kill()
    parent.communicate(timeout=PATIENCE_SECONDS)  # returns when nobody holds the output any more


def test_a_taken_port_is_reported_in_one_sentence(sources: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert refusal(sources, PORT=str(port)) == (
            f"Port {port} is taken: stop what listens there, or run PORT={port + 1} make run"
        )


@contextmanager
def listener(host: str, port: int = 0) -> Iterator[int]:
    """Listen where another application may, in IPv6 also for IPv4; yield the port."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    if family == socket.AF_INET6 and not socket.has_dualstack_ipv6():
        pytest.skip("this machine has no IPv6")
    both = host == "::"
    with socket.create_server((host, port), family=family, dualstack_ipv6=both) as taken:
        yield taken.getsockname()[1]


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "::"])
def test_a_port_is_taken_by_what_listens_on_this_machine_or_everywhere(host: str) -> None:
    with (
        listener(host) as port,
        pytest.raises(LocalStackError, match=f"Port {port} is taken: stop what listens there, or"),
    ):
        check_free(port, "take another")


def test_what_has_the_port_on_the_other_loopback_gets_no_visitor() -> None:
    """Neither is in the way of the other: the printed address tells them apart."""

    async def page(_: Request) -> Response:
        return PlainTextResponse("the call page")

    with listener("::1") as port:
        check_free(port, "take another")
        with app_served(Starlette(routes=[Route("/", page)]), port) as url:
            assert httpx2.get(url, trust_env=False).text == "the call page"


def test_one_port_for_two_servers_is_said_in_a_sentence(sources: Path) -> None:
    port = str(free_port())
    assert refusal(sources, PORT=port, SITE_PORT=port) == (
        f"PORT and SITE_PORT are both {port}: give one of them another"
    )


@pytest.mark.parametrize("port", ["http", "0", "65536", "-1", "٨٠٨٠"])
def test_a_malformed_port_is_reported_in_one_sentence(sources: Path, port: str) -> None:
    assert refusal(sources, PORT=port).startswith("PORT is a number from 1 to 65535, not ")


def test_no_emulator_and_no_way_to_one_is_reported_in_one_sentence(sources: Path) -> None:
    said = refusal(sources)
    assert said.startswith(
        "There is no Firestore emulator: 127.0.0.1:1 does not deliver it (Connection refused). The"
        " Node.js runtime cannot be installed: is the package registry within reach? pip said: ERROR: "
    )
    assert len(said.splitlines()) == 1


def test_no_java_and_no_way_to_one_is_reported_in_one_sentence(
    sources: Path, tmp_path: Path
) -> None:
    (tmp_path / "cloud-firestore-emulator-v1.0.0.jar").touch()
    said = refusal(sources, FIREBASE_EMULATORS_PATH=str(tmp_path))
    assert said.startswith("The Java runtime cannot be installed: ")
    assert "pip said: ERROR: " in said


def test_googles_emulator_is_downloaded_where_it_is_nowhere(
    storage: Storage, tmp_path: Path
) -> None:
    folder = copy_sources(tmp_path)
    remote = storage.remote()
    pinned = {"version": "9.9.9", "url": remote.url, "size": remote.size, "sha256": remote.sha256}
    (folder / "local" / "emulator.json").write_text(json.dumps(pinned))
    for _ in range(2):
        said = refusal(folder, JAVA_HOME=fake_java(tmp_path / "java"))
        assert said.splitlines()[-1].startswith("The Firestore emulator did not start. It said: ")
        assert f"{folder}/.local/cloud-firestore-emulator-v9.9.9.jar" in said
    assert storage.ranges == ["bytes=0-"]


def test_an_emulator_that_does_not_start_is_quoted(sources: Path, tmp_path: Path) -> None:
    for version in ("1.9.3", "1.10.0", "1.2.0"):
        (tmp_path / f"cloud-firestore-emulator-v{version}.jar").touch()
    found = {"FIREBASE_EMULATORS_PATH": str(tmp_path), "JAVA_HOME": fake_java(tmp_path)}
    said = refusal(sources, **found)
    assert said.startswith("The Firestore emulator did not start. It said: -Duser.language=en")
    assert "v1.10.0.jar" in said  # the newest
    assert " ".join(QUICK_START) in said


def test_an_emulator_that_runs_already_is_used(
    emulator_host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", emulator_host)
    with firestore_emulator(lambda: pytest.fail("another one is to be started")) as host:
        assert host == emulator_host


def test_a_running_emulator_that_does_not_answer_is_reported_in_one_sentence(sources: Path) -> None:
    host = f"127.0.0.1:{free_port()}"
    assert refusal(sources, FIRESTORE_EMULATOR_HOST=host) == (
        f"FIRESTORE_EMULATOR_HOST is {host}, where no emulator answers: unset it to have one started."
    )


def test_an_emulator_is_told_from_what_else_listens(emulator_host: str) -> None:
    assert answers(emulator_host)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert not answers(f"127.0.0.1:{silent.getsockname()[1]}")
