"""The servers: how each is started, what it answers first, and what it takes from the machine."""

import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import NamedTuple

import psutil

from bench import node
from local.install import LocalStackError
from local.stack import ROOT

PEERS = Path(__file__).parent / "peers"
FRAMEWORK = Path(sys.executable).with_name("functions-framework")
START_SECONDS = 30
POLL_SECONDS = 0.002


@dataclass(frozen=True)
class Server:
    """One that is measured: its source, and in which cases."""

    folder: Path
    cases: tuple[str, ...]
    framework: Path = FRAMEWORK


SERVERS = {
    "function": Server(ROOT, ("small", "hour", "unchanged", "delayed")),
    "tutorial": Server(PEERS / "tutorial", ("small", "hour", "delayed")),
    "node": Server(
        node.INSTALLED,
        ("small", "hour", "delayed"),
        node.INSTALLED / "node_modules" / ".bin" / "functions-framework",
    ),
    "limit": Server(PEERS / "limit", ("small", "hour")),
    "floor": Server(PEERS / "floor", ("small",)),
}


class Answer(NamedTuple):
    """What is of interest in an answer."""

    body: bytes
    etag: str


class Running:
    """A server that was just started."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
        self._started = time.perf_counter()
        self.port = port
        self._name = name
        self._process = process
        self._log = log

    def age(self) -> float:
        """Return the seconds since its start."""
        return time.perf_counter() - self._started

    def wait_until_it_listens(self) -> None:
        """Wait, and look so often that this adds nothing to a start.

        Raises:
            LocalStackError: it ended, or takes too long.
        """
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
            except OSError:
                if self._process.poll() is not None or self.age() > START_SECONDS:
                    raise self.failure("did not start.") from None
                time.sleep(POLL_SECONDS)  # nothing else tells that another process listens
            else:
                return

    def ask(self, path: str, headers: Mapping[str, str], status: HTTPStatus) -> Answer:
        """Send one request.

        Raises:
            LocalStackError: the answer has another status, or there is none.
        """
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=START_SECONDS)
        with closing(connection):
            try:
                connection.request("GET", path, headers=dict(headers))
                answer = connection.getresponse()
                body = answer.read()
            except (OSError, http.client.HTTPException) as error:
                raise self.failure(f"did not answer: {error!r}.") from error
        if answer.status != status:
            raise self.failure(f"answered {answer.status}: {body[:500]!r}.")
        return Answer(body, answer.headers.get("ETag", ""))

    def failure(self, what: str) -> LocalStackError:
        """Return the error that says what it did, with the last that it printed."""
        said = "\n".join(self._log.read_text(errors="replace").splitlines()[-20:])
        return LocalStackError(f"{self._name} {what} It printed:\n{said}")

    def cpu_seconds(self) -> float:
        """Return what the whole tree of processes has used so far, as the system accounts it."""
        return sum(sum(each.cpu_times()[:2]) for each in self._tree())

    def memory_mib(self) -> float:
        """Return what the tree holds; the pages of a forked worker and of its parent count once.

        Not the proportional size (PSS) of all pages: those of libraries would be shared with the
        other servers, which run beside it here and nowhere else.
        """
        kept = [_memory_kib(each.pid) for each in self._tree()]
        return (sum(own for own, _ in kept) + max(files for _, files in kept)) / 1024

    def _tree(self) -> list[psutil.Process]:
        server = psutil.Process(self._process.pid)
        return [server, *server.children(recursive=True)]


@contextmanager
def running(name: str, settings: Mapping[str, str], folder: Path) -> Iterator[Running]:
    """Run a server with these settings alone, and none of this environment, until the block ends."""
    server = SERVERS[name]
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),  # where no developer's credentials are found
        "FUNCTION_TARGET": "get_call",
        "NODE_ENV": "production",
        "PORT": str(port),
        **settings,
    }
    log = folder / f"{name}-{port}.log"
    with log.open("wb") as output:
        # Without a keeper (local.process): its own start would be part of the server's.
        process = subprocess.Popen(
            [server.framework],
            cwd=server.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield Running(name, process, port, log)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # it holds nothing that is worth an orderly end
        process.wait()


def _memory_kib(pid: int) -> tuple[int, int]:
    """Return a process's share of memory without a file behind it, and what it has of files."""
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except FileNotFoundError:  # not Linux, which alone tells them apart
        return psutil.Process(pid).memory_info().rss // 1024, 0
    found = {
        name: int(kib) for name, kib in re.findall(r"^(\w+): +(\d+) kB$", rollup, re.MULTILINE)
    }
    return found["Pss_Anon"], found["Rss"] - found["Anonymous"]
