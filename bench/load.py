"""The load: wrk, whose clients ask again as soon as they are answered; and clients that do not read."""

import json
import resource
import shutil
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from bench.servers import Request, Running
from local.install import LocalStackError

ANSWER_SECONDS = 30
SAMPLE_SECONDS = 0.02

Figures = dict[str, float]


class Wrk:
    """A run of wrk, from its start on; it ends at the latest with its `with` block."""

    def __init__(self, server: Running, request: Request, *, clients: int, seconds: int) -> None:
        self._server = server
        headers = (f"--header={name}: {value}" for name, value in request.headers.items())
        self._process = subprocess.Popen(
            [
                "wrk",
                "--threads=1",
                f"--connections={clients}",
                f"--duration={seconds}s",
                f"--timeout={ANSWER_SECONDS}s",
                f"--script={Path(__file__).with_name('wrk.lua')}",
                *headers,
                f"http://127.0.0.1:{server.port}{request.path}",
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def __enter__(self) -> Self:
        """Return it."""
        return self

    def __exit__(self, *_: object) -> None:
        """End it, where nobody has waited for its end."""
        with self._process:
            self._process.kill()

    def counted(self) -> Figures:
        """Return what it has counted, when it has ended.

        Raises:
            LocalStackError: a connection failed, or nothing was answered.
        """
        output, _ = self._process.communicate()
        lines = output.splitlines()
        if self._process.returncode or not lines:
            raise self._server.failure(f"could not be loaded: {output}")
        counted: Figures = json.loads(lines[-1])
        if counted["broken"] or not counted["requests"]:
            raise self._server.failure(f"broke off: {lines[-1]}")
        return counted


def check_installed() -> None:
    """Refuse to start without what a run needs.

    Raises:
        LocalStackError: it is not there.
    """
    if sys.platform != "linux" or shutil.which("wrk") is None:
        raise LocalStackError(
            "make bench needs Linux and the load generator wrk: apt-get install wrk"
        )


def load(server: Running, request: Request, *, clients: int, seconds: int) -> Figures:
    """Load a server and return what it did.

    Raises:
        LocalStackError: an answer has the wrong status, or a connection failed.
    """
    server.ask(request)  # wrk tells errors from other answers, but not a 200 from a 304
    used, used_by_wrk = server.cpu_seconds(), _children_cpu_seconds()
    with Wrk(server, request, clients=clients, seconds=seconds) as run:
        counted = run.counted()
    used, used_by_wrk = server.cpu_seconds() - used, _children_cpu_seconds() - used_by_wrk
    if counted["refused"]:
        raise server.failure(f"refused {counted['refused']} of {counted['requests']} requests.")
    return {
        "requests_per_second": counted["requests"] / counted["seconds"],
        "p50_ms": counted["p50_ms"],
        "p99_ms": counted["p99_ms"],
        "cpu_ms": used / counted["requests"] * 1000,
        "kib": counted["bytes"] / counted["requests"] / 1024,
        "server_cores": used / counted["seconds"],
        "wrk_cores": used_by_wrk / counted["seconds"],
    }


def memory_under_slow_readers(
    server: Running, request: Request, *, clients: int, seconds: float
) -> float:
    """Return the most MiB that a server has while clients ask and do not read the answer."""
    lines = [f"GET {request.path} HTTP/1.1", "Host: localhost"]
    lines += [f"{name}: {value}" for name, value in request.headers.items()]
    with ExitStack() as stack:
        for _ in range(clients):
            client = stack.enter_context(socket.socket())
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect(("127.0.0.1", server.port))
            client.sendall("\r\n".join([*lines, "", ""]).encode())
        most, end = 0.0, time.monotonic() + seconds
        while time.monotonic() < end:
            most = max(most, server.memory_mib())
            time.sleep(SAMPLE_SECONDS)  # memory has no event to wait for
    return most


def _children_cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
