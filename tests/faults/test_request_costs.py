"""Bytes that weigh more than they measure: the worker's CPU for each, and another org's calls beside.

A request costs at most a few ordinary ones, which are measured in the same run. `make soak` also
holds the time of another org's calls while the clients of the table send again and again.
"""

import asyncio
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

import psutil
import pytest

from tests.support.figures import FIGURES
from tests.support.overload import Client, Outcome, crowd
from tests.support.serving import Service, started, wait_until_it_listens

REQUESTS = 40
ORDINARY_REQUESTS = 4.0  # that a hostile one may cost
SLOWED_SECONDS = 0.2

GET = b"GET /v2/calls/89 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {acme}\r\n"
LAST = b"Connection: close\r\n\r\n"
CHUNKED = GET + b"Transfer-Encoding: chunked\r\n\r\n"


class Hostile(NamedTuple):
    """What so many clients send at a time, and the status of the answer."""

    clients: int
    pieces: list[bytes]
    status: int


def in_bytes(sent: bytes) -> list[bytes]:
    return [bytes([byte]) for byte in sent]


HOSTILE = {
    "15,000 fields": Hostile(10, [GET + b"a:\n" * 15_000 + LAST], 400),
    "8,000 folded lines": Hostile(10, [GET + b"a: b\n" + b" \n" * 8_000 + LAST], 400),
    "40,000 empty lines": Hostile(10, [b"\r\n" * 40_000], 400),
    "a head in single bytes": Hostile(10, in_bytes(GET + b"a: " + b"a" * 16_384), 400),
    "43,000 chunks": Hostile(4, [CHUNKED + b"1\r\na\r\n" * 43_000], 200),
    "80,000 fields of a trailer": Hostile(4, [CHUNKED + b"0\r\n" + b"a:\n" * 80_000], 200),
    "a body in single bytes": Hostile(
        10, [GET + b"Content-Length: 9999\r\n\r\n", *in_bytes(b"a" * 9_999)], 200
    ),
    "a field of blanks": Hostile(10, [GET + b"a:" + b" " * 16_000 + b"\0\r\n" + LAST], 400),
    "a trailer of blanks": Hostile(4, [CHUNKED + b"0\r\na:" + b" \t" * 4_000 + b"\0\r\n"], 200),
    "a list of 60,000 codings": Hostile(
        40, [GET + b"Accept-Encoding: " + b"," * 60_000 + b"\r\n" + LAST], 400
    ),
    "a list of 15,000 codings": Hostile(
        10, [GET + b"Accept-Encoding: " + b"," * 15_000 + b"\r\n" + LAST], 200
    ),
    "a list of 7,500 options": Hostile(
        10, [GET + b"Connection: " + b"a," * 7_500 + b"\r\n" + LAST], 200
    ),
}
ORDINARY = Hostile(1, [GET + LAST], 200)


class Running(NamedTuple):
    """The function, whose worker's CPU time is measured."""

    service: Service
    process: subprocess.Popen[bytes]
    key: str

    def with_key(self, hostile: Hostile) -> list[bytes]:
        return [piece.replace(b"{acme}", self.key.encode()) for piece in hostile.pieces]

    def send(self, hostile: Hostile) -> None:
        (reply,) = self.service.exchange(*self.with_key(hostile))
        assert (reply.status, reply.ours) == (hostile.status, hostile.status == 200)

    def cpu_seconds(self, hostile: Hostile) -> float:
        """Return what a request costs the worker."""
        (worker,) = psutil.Process(self.process.pid).children()
        before = worker.cpu_times()
        for _ in range(REQUESTS):
            self.send(hostile)
        after = worker.cpu_times()
        return (after.user + after.system - before.user - before.system) / REQUESTS


@pytest.fixture(scope="module")
def running(settings: dict[str, str], acme_key: str) -> Iterator[Running]:
    with started(settings) as (process, service):
        wait_until_it_listens(process, service)
        running = Running(service, process, acme_key)
        running.send(ORDINARY)  # answered by a worker that has started
        yield running
        assert "Traceback" not in service.output()


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_request_costs_no_more_than_a_few_ordinary_ones(
    what: str, running: Running
) -> None:
    ordinary = running.cpu_seconds(ORDINARY)
    hostile = running.cpu_seconds(HOSTILE[what])
    FIGURES.append(
        f"costs: {what}: {hostile * 1000:.1f} ms of CPU, an ordinary request {ordinary * 1000:.1f} ms"
    )

    assert hostile < ORDINARY_REQUESTS * ordinary


async def status_of(port: int, pieces: list[bytes]) -> int:
    """Send the pieces; return the status of what comes back. Reading it costs next to nothing."""
    loop = asyncio.get_running_loop()
    received = b""
    with socket.socket() as connection:
        connection.setblocking(False)
        await loop.sock_connect(connection, ("127.0.0.1", port))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with suppress(ConnectionError):  # closed before all was sent: what it said counts
            for piece in pieces:
                await loop.sock_sendall(connection, piece)
                await asyncio.sleep(0)  # else the pieces would arrive as one
        with suppress(ConnectionError):
            while piece := await loop.sock_recv(connection, 65536):
                received += piece
    return int(received.split()[1])


@pytest.mark.parametrize("what", HOSTILE)
def test_another_org_is_answered_beside_hostile_requests(
    what: str, running: Running, globex_key: str, soak: bool
) -> None:
    hostile, port, seconds = HOSTILE[what], running.service.port, 20.0 if soak else 0.3
    pieces = running.with_key(hostile)

    async def send_until(end: float) -> set[int]:
        statuses = {await status_of(port, pieces)}
        while time.monotonic() < end:
            statuses.add(await status_of(port, pieces))
        return statuses

    async def other_org(seconds: float) -> Outcome:
        return await crowd([Client(port, 87, globex_key)], seconds, 0.02)

    async def both() -> tuple[Outcome, list[set[int]]]:
        end = time.monotonic() + seconds
        sending = [send_until(end) for _ in range(hostile.clients)]
        return await asyncio.gather(other_org(seconds), asyncio.gather(*sending))

    alone = asyncio.run(other_org(seconds / 5))
    other, hostile_statuses = asyncio.run(both())
    FIGURES.append(
        f"costs: beside {hostile.clients} clients with {what}, another org: {dict(other.statuses)},"
        f" p99 {other.percentile(99) * 1000:.0f} ms; alone {alone.percentile(99) * 1000:.0f} ms"
    )

    assert other.statuses.keys() == {200}
    assert hostile_statuses == [{hostile.status}] * hostile.clients
    if soak:
        assert other.percentile(99) - alone.percentile(99) < SLOWED_SECONDS
