"""The function as a real server process, and a client that sends exactly what it is told."""

import gzip
import http.client
import json
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email.message import Message
from pathlib import Path
from typing import Any

import psutil

from tests.support.judge import judge
from tests.support.raw_http import RawReply, exchange

ROOT = Path(__file__).parent.parent.parent
# Until something hangs for good, on a machine that is busy otherwise.
START_SECONDS = STOP_SECONDS = LOG_SECONDS = 60
COVERAGE: dict[str, str] = {}  # what has a Python that starts measure its coverage
CLOSED = -1  # no descriptor: the function starts with descriptor 1 closed


@dataclass(frozen=True)
class Reply:
    """An answer: its status, its headers, its body."""

    status: int
    headers: Message
    body: bytes

    def json(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.content())
        return document

    def content(self) -> bytes:
        """Return the body as it was before it was compressed."""
        is_gzipped = self.body and self.headers["Content-Encoding"] == "gzip"
        return gzip.decompress(self.body) if is_gzipped else self.body


@dataclass
class Log:
    """What a function has logged in whole lines, read on from where it was read before."""

    text: str = ""
    request_ids: Counter[str] = field(default_factory=Counter)

    def read_on(self, file: Path) -> bool:
        """Read what is new; tell whether the file ends with a line."""
        with file.open("rb") as stdout:
            stdout.seek(len(self.text))
            lines, newline, rest = stdout.read().decode("ascii").rpartition("\n")
        self.text += lines + newline
        self.request_ids.update(re.findall(r'"request_id": "([^"]*)"', lines))
        return not rest


@dataclass(frozen=True)
class Service:
    """A running function.

    The log lags behind the answers, since a thread writes it. `answered` has the request ID of every
    answer received here, so that reading the log can wait for their lines.
    """

    port: int
    stdout: Path
    stderr: Path
    answered: list[str] = field(default_factory=list)
    logged: Log = field(default_factory=Log)

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
        self._note(reply.headers)
        if published:
            judge(method, reply.status, reply.headers, reply.content())
        return reply

    def exchange(self, *sent: bytes, method: str = "GET") -> list[RawReply]:
        """Send bytes, as `raw_http.exchange` does."""
        replies = exchange(self.port, *sent, method=method)
        for reply in replies:
            self._note(reply.headers)
        return replies

    def _note(self, headers: Message) -> None:
        if request_id := headers["X-Request-Id"]:
            self.answered.append(request_id)

    def log(self, start: int = 0) -> str:
        """Return the log from an offset on, once it has a line for every answer received."""
        deadline = time.monotonic() + LOG_SECONDS
        while True:
            is_whole = self.logged.read_on(self.stdout)
            missing = Counter(self.answered) - self.logged.request_ids
            if not missing and is_whole:
                return self.logged.text[start:]
            assert time.monotonic() < deadline, f"not in the log: {missing}"
            time.sleep(0.001)

    def entries(self, start: int = 0) -> list[dict[str, Any]]:
        """Return the log, which has nothing but one JSON object a line."""
        return [json.loads(line) for line in self.log(start).splitlines()]

    def output(self) -> str:
        """Return all that the process wrote."""
        return self.log() + self.stderr.read_text()


def bearer(key: str | None) -> list[tuple[str, str]]:
    return [] if key is None else [("Authorization", f"Bearer {key}")]


def measure_served_functions_alone() -> None:
    """Take from the environment what measures coverage: every other Python starts faster without."""
    for name in [name for name in os.environ if name.startswith("COVERAGE_")]:
        COVERAGE[name] = os.environ.pop(name)


def measuring() -> dict[str, str]:
    """Return what measures the tests, for a function that is served."""
    found = COVERAGE | {name: os.environ[name] for name in os.environ if name.startswith("MUTANT_")}
    return found | {"PYTHONPATH": str(ROOT / "tests" / "support" / "measured")} if found else {}


def environment(settings: Mapping[str, str], port: int, home: Path) -> dict[str, str]:
    """Return the platform's environment: nothing of this one but what measures the tests."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),  # where no developer's credentials are found
        "FUNCTION_TARGET": "get_call",
        "HOST": "127.0.0.1",  # the framework's default is every interface
        "PORT": str(port),
        **measuring(),
        **settings,
    }


# Below Linux's ephemeral ports. One of those could be assigned to another test's server between the choice and the
# start of the function.
PORTS = range(20_000, 32_000)


def free_port() -> int:
    """Return a port that nobody listens at."""
    while True:
        port = secrets.choice(PORTS)  # not `random`, which Hypothesis seeds alike in every worker
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


@contextmanager
def started(
    settings: Mapping[str, str], stdout: int | None = None
) -> Iterator[tuple[subprocess.Popen[bytes], Service]]:
    """Start `functions-framework` with these settings alone; stop it as the platform does.

    Its log goes to a descriptor, or to `Service.stdout` where none is given.
    """
    port = free_port()
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        service = Service(port, home / "stdout", home / "stderr")
        command = [str(Path(sys.executable).with_name("functions-framework"))]
        if stdout == CLOSED:
            command = ["sh", "-c", 'exec "$0" >&-', *command]
        with service.stdout.open("wb") as file, service.stderr.open("wb") as stderr:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=environment(settings, port, home),
                stdout=file if stdout in {None, CLOSED} else stdout,
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
                process.wait()


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
