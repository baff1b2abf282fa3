"""The load: clients that each ask again as soon as they are answered, and what that took.

Not a library: this shares two cores with what it measures, and answers come in 0.3 ms. Locust takes
more CPU for a request than the function does, and autocannon's latencies are whole milliseconds.
"""

import asyncio
import math
import re
from collections.abc import Callable, Sequence
from http import HTTPStatus
from time import perf_counter
from typing import NamedTuple, cast

ANSWER_SECONDS = 30.0
_CONTENT_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)

Figures = dict[str, float]


class LoadError(Exception):
    """A server did not answer as it should; the message says what it did."""


class Request(NamedTuple):
    """What each client sends, byte for byte, and the status that is right."""

    content: bytes
    status: HTTPStatus


class _Client(asyncio.Protocol):
    """One connection, kept alive."""

    def __init__(self, request: Request, failed: asyncio.Future[None]) -> None:
        self.seconds: list[float] = []
        self._request = request.content
        self._status_line = b"HTTP/1.1 %d " % request.status
        self._has_body = request.status != HTTPStatus.NOT_MODIFIED
        self._failed = failed

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self._ask()

    def _ask(self) -> None:
        self._received = b""
        self._missing: int | None = None  # bytes of the body, once its length is known
        self._asked = perf_counter()
        self.transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        if self._missing is None:
            self._received += data
            head, separator, body = self._received.partition(b"\r\n\r\n")
            if not separator:
                return
            length = _CONTENT_LENGTH.search(head) if self._has_body else None
            if not head.startswith(self._status_line) or (self._has_body and length is None):
                self._fail(f"answered {self._received[:500]!r}.")
                return
            self._missing = int(length[1] if length else 0) - len(body)
        else:
            self._missing -= len(data)
        if self._missing == 0:
            self.seconds.append(perf_counter() - self._asked)
            self._ask()

    def connection_lost(self, _: Exception | None) -> None:
        self._fail("closed the connection.")

    def _fail(self, what: str) -> None:
        if not self._failed.done():
            self._failed.set_exception(LoadError(what))


async def load(
    port: int, request: Request, *, clients: int, seconds: float, used: Callable[[], float]
) -> Figures:
    """Load a server and return what it did, once it runs evenly; `used` tells its CPU seconds.

    Raises:
        LoadError: an answer has another status, is cut or does not come.
    """
    loop = asyncio.get_running_loop()
    failed: asyncio.Future[None] = loop.create_future()
    connected = [
        await loop.create_connection(lambda: _Client(request, failed), "127.0.0.1", port)
        for _ in range(clients)
    ]
    protocols = [protocol for _, protocol in connected]
    try:
        await _answered(protocols, seconds / 4, failed)
        for protocol in protocols:
            protocol.seconds.clear()
        started, used_before = perf_counter(), used()
        await _answered(protocols, seconds, failed)
        elapsed, used_after = perf_counter() - started, used()
    finally:
        failed.cancel()
        for protocol in protocols:
            protocol.transport.abort()
    latencies = sorted(each for protocol in protocols for each in protocol.seconds)
    return {
        "p50_ms": percentile(latencies, 50) * 1000,
        "p99_ms": percentile(latencies, 99) * 1000,
        "requests_per_second": len(latencies) / elapsed,
        "cpu_ms": (used_after - used_before) / len(latencies) * 1000,
    }


async def _answered(
    protocols: Sequence[_Client], seconds: float, failed: asyncio.Future[None]
) -> None:
    """Wait for so long, and longer until each client has an answer: the slow ones count, too."""
    deadline = perf_counter() + ANSWER_SECONDS
    await asyncio.wait([failed], timeout=seconds)
    while not failed.done() and not all(protocol.seconds for protocol in protocols):
        if perf_counter() > deadline:
            raise LoadError(f"left a client waiting for {ANSWER_SECONDS:g} s.")
        await asyncio.wait([failed], timeout=seconds)
    if failed.done():
        failed.result()


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Return the value that so many percent of the ordered ones do not exceed."""
    return ordered[math.ceil(len(ordered) * percent / 100) - 1]
