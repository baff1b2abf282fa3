"""The servers: how each is started, what it answers first, and what it takes from the machine."""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from http import HTTPStatus
from pathlib import Path
from typing import NamedTuple

import psutil

from bench import node
from local.install import LocalStackError
from local.stack import ROOT
from ops.openapi import fields

FRAMEWORK = Path(sys.executable).with_name("functions-framework")
START_SECONDS = 30
POLL_SECONDS = 0.002
# What the tutorials in Python and in Node.js publish, so that they give the same reply as the function:
# the fields of each object of openapi.yaml, in order.
REPLY_FIELDS = json.dumps(fields())

# The source of each server, and the command that serves it.
SERVERS = {
    "function": (ROOT, FRAMEWORK),
    "tutorial": (ROOT / "bench/peers/tutorial", FRAMEWORK),
    "node": (node.INSTALLED, node.INSTALLED / "node_modules/.bin/functions-framework"),
    "limit": (ROOT / "bench/peers/limit", FRAMEWORK),
    "floor": (ROOT / "bench/peers/floor", FRAMEWORK),
}


class Request(NamedTuple):
    """A request, and the status that answers it."""

    path: str
    headers: Mapping[str, str]
    status: HTTPStatus = HTTPStatus.OK


class Running:
    """A server that was just started."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
        self._started = time.perf_counter()
        self.port = port
        self._name = name
        self._process = process
        self._log = log

    def wait_until_it_listens(self) -> None:
        """Return as soon as it accepts connections.

        Raises:
            LocalStackError: it has ended, or takes too long.
        """
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
            except OSError:
                if self._process.poll() is not None or self.age() > START_SECONDS:
                    raise self.failure("did not start.") from None
                time.sleep(POLL_SECONDS)
            else:
                return

    def age(self) -> float:
        """Return the seconds since its start."""
        return time.perf_counter() - self._started

    def ask(self, request: Request) -> bytes:
        """Return the body of the answer.

        Raises:
            LocalStackError: the answer has another status, or there is none.
        """
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=START_SECONDS)
        with closing(connection):
            try:
                connection.request("GET", request.path, headers=dict(request.headers))
                answer = connection.getresponse()
                body = answer.read()
            except (OSError, http.client.HTTPException) as error:
                raise self.failure(f"did not answer: {error!r}.") from error
        if answer.status != request.status:
            raise self.failure(f"answered {answer.status}: {body[:500]!r}.")
        return body

    def failure(self, what: str) -> LocalStackError:
        """Return the error that says what it did, with the last lines of its output."""
        output = "\n".join(self._log.read_text(errors="replace").splitlines()[-20:])
        return LocalStackError(f"{self._name} {what} It printed:\n{output}")

    def cpu_seconds(self) -> float:
        """Return the CPU time of all its processes so far."""
        return sum(sum(process.cpu_times()[:2]) for process in self._processes())

    def memory_mib(self) -> float:
        """Return the memory of all its processes; pages that they share count once.

        This is not their proportional set size: that would share the pages of libraries with the
        other servers, which run beside it here and nowhere else.
        """
        kib = [_memory_kib(process) for process in self._processes()]
        return (sum(own for own, _ in kib) + max(of_files for _, of_files in kib)) / 1024

    def _processes(self) -> list[psutil.Process]:
        server = psutil.Process(self._process.pid)
        return [server, *server.children(recursive=True)]


@contextmanager
def running(name: str, settings: Mapping[str, str], folder: Path) -> Iterator[Running]:
    """Run a server until the block ends, with these settings and none of this environment."""
    source, command = SERVERS[name]
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),  # where no developer's credentials are found
        "FUNCTION_TARGET": "get_call",
        "NODE_ENV": "production",
        "HOST": "127.0.0.1",  # Google's default is every interface; the framework of Node.js knows no other
        "PORT": str(port),
        "REPLY_FIELDS": REPLY_FIELDS,
        **settings,
    }
    log = folder / f"{name}-{port}.log"
    with log.open("wb") as output:
        # Not by local.process.child: the start of its supervisor would count as the server's.
        process = subprocess.Popen(
            [command],
            cwd=source,
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
            os.killpg(process.pid, signal.SIGKILL)  # there is nothing to save
        process.wait()


def _memory_kib(process: psutil.Process) -> tuple[int, int]:
    """Return a process's share of anonymous memory, and what it has of files."""
    rollup = Path(f"/proc/{process.pid}/smaps_rollup").read_text("utf-8")
    kib = {name: int(size) for name, size in re.findall(r"(?m)^(\w+): +(\d+) kB$", rollup)}
    return kib["Pss_Anon"], kib["Rss"] - kib["Anonymous"]
