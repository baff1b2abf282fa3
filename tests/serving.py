"""The function as a real server process, and a client that sends exactly what it is told."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import Any

import psutil

from ops.published import check_reply

ROOT = Path(__file__).parent.parent
START_SECONDS = 30
STOP_SECONDS = 20


@dataclass(frozen=True)
class Reply:
    """An answer: its status, its headers, its body."""

    status: int
    headers: Message
    body: bytes

    def json(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.body)
        return document


@dataclass(frozen=True)
class Service:
    """A running function."""

    port: int
    stdout: Path
    stderr: Path

    def request(
        self,
        method: str = "GET",
        target: str = "/v2/calls/77",
        headers: Iterable[tuple[str, str]] = (),
        *,
        key: str | None = None,
        published: bool = True,
    ) -> Reply:
        """Send a request and check the answer against openapi.yaml, unless it is not ours."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.putrequest(method, target, skip_accept_encoding=True)
            for name, value in [*headers, *bearer(key)]:
                connection.putheader(name, value.encode("latin-1"))
            connection.endheaders()
            response = connection.getresponse()
            reply = Reply(response.status, response.headers, response.read())
        finally:
            connection.close()
        if published:
            check_reply(method, reply.status, reply.headers, reply.body)
        return reply

    def entries(self) -> list[dict[str, Any]]:
        """Return the log, which has nothing but one JSON object a line."""
        return [json.loads(line) for line in self.stdout.read_text().splitlines()]

    def output(self) -> str:
        """Return all that the process wrote."""
        return self.stdout.read_text() + self.stderr.read_text()


def bearer(key: str | None) -> list[tuple[str, str]]:
    return [] if key is None else [("Authorization", f"Bearer {key}")]


def measuring() -> dict[str, str]:
    """Return what in this environment measures the tests, for the processes that they start."""
    names = [name for name in os.environ if name.startswith(("COVERAGE_", "MUTANT_"))]
    found = {name: os.environ[name] for name in names}
    return found | {"PYTHONPATH": str(ROOT / "tests" / "measured")} if found else {}


def environment(settings: Mapping[str, str], port: int, home: Path) -> dict[str, str]:
    """Return the platform's environment: nothing of this one but what measures the tests."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),  # where no developer's credentials are found
        "FUNCTION_TARGET": "get_call",
        "PORT": str(port),
        **measuring(),
        **settings,
    }


@contextmanager
def started(settings: Mapping[str, str]) -> Iterator[tuple[subprocess.Popen[bytes], Service]]:
    """Start `functions-framework` with these settings alone; stop it as the platform does."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        service = Service(port, home / "stdout", home / "stderr")
        with service.stdout.open("wb") as stdout, service.stderr.open("wb") as stderr:
            process = subprocess.Popen(
                [Path(sys.executable).with_name("functions-framework")],
                cwd=ROOT,
                env=environment(settings, port, home),
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
            )
        try:
            yield process, service
        finally:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            finally:
                with_group(process, signal.SIGKILL)


@contextmanager
def served(settings: Mapping[str, str]) -> Iterator[Service]:
    """Start the function and wait until it listens."""
    with started(settings) as (process, service):
        wait_until_it_listens(process, service)
        yield service


def wait_until_it_listens(process: subprocess.Popen[bytes], service: Service) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", service.port), timeout=1).close()
        except OSError:
            assert process.poll() is None, service.output()
            assert time.monotonic() < deadline, service.output()
            time.sleep(0.02)
        else:
            return


def held(process: subprocess.Popen[bytes]) -> tuple[int, int, int]:
    """Count the descriptors, threads and bytes of the server and its workers."""
    server = psutil.Process(process.pid)
    processes = [server, *server.children(recursive=True)]
    return (
        sum(process.num_fds() for process in processes),
        sum(process.num_threads() for process in processes),
        sum(process.memory_info().rss for process in processes),
    )


def with_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)
