"""Clients that leave, dawdle or never end, ten thousand of them, and the word to stop."""

import itertools
import random
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from typing import NamedTuple

import pytest
import trustme

from tests.support.figures import FIGURES
from tests.support.google_cloud import GoogleCloud
from tests.support.link import LINGER_NOT
from tests.support.project import PutCall
from tests.support.serving import STOP_SECONDS, Service, held, started, wait_until_it_listens

MIB = 2**20
REST_SECONDS = 10.0  # for a server to see that its clients have left


class Running(NamedTuple):
    """A function, and the Google Cloud that signs for it."""

    service: Service
    process: subprocess.Popen[bytes]
    cloud: GoogleCloud

    def held(self) -> tuple[int, int, int]:
        return held(self.process)


@pytest.fixture
def running(
    keyless_settings: dict[str, str],
    keys: dict[str, str],
    authority: trustme.CA,
    authority_file: Path,
) -> Iterator[Running]:
    assert keys  # the sample calls are there
    with ExitStack() as stack:
        cloud = stack.enter_context(closing(GoogleCloud(authority, str(authority_file))))
        process, service = stack.enter_context(started(keyless_settings | cloud.environment))
        wait_until_it_listens(process, service)
        yield Running(service, process, cloud)
        assert "Traceback" not in service.output()


def check_at_rest(running: Running, before: tuple[int, int, int]) -> None:
    """Wait until no more descriptors and threads are held than before."""
    deadline = time.monotonic() + REST_SECONDS
    while any(now > then for now, then in zip(running.held()[:2], before[:2], strict=True)):
        assert time.monotonic() < deadline, (running.held(), before)
        time.sleep(0.1)


def warmed_up(running: Running, key: str, clients: int = 64) -> tuple[int, int, int]:
    """Let the function open as many connections to IAM as it will need, and keep."""
    running.cloud.iam.seconds = 0.5
    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(lambda _: running.service.request(key=key), range(clients)))
    running.cloud.iam.seconds = 0.0
    time.sleep(0.5)
    return running.held()


def test_clients_that_leave_cost_nothing_that_lasts(running: Running, acme_key: str) -> None:
    """Before, in and after their request, with a farewell or without."""
    before = warmed_up(running, acme_key)
    whole = f"GET /v2/calls/77 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {acme_key}\r\n\r\n"
    running.cloud.iam.seconds = 0.2
    for length, reset in itertools.product(range(0, len(whole) + 1, 3), (False, True)):
        with socket.create_connection(("127.0.0.1", running.service.port)) as client:
            client.sendall(whole[:length].encode())
            if reset:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NOT)
    for reset in (False, True) * 20:
        with socket.create_connection(("127.0.0.1", running.service.port)) as client:
            client.sendall(whole.encode())
            if reset:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NOT)
    running.cloud.iam.seconds = 0.0

    assert running.service.request(key=acme_key).status == 200
    check_at_rest(running, before)


def test_clients_that_dawdle_hold_up_nobody_else(running: Running, acme_key: str) -> None:
    before = warmed_up(running, acme_key)
    with ExitStack() as stack:
        slow = [
            stack.enter_context(socket.create_connection(("127.0.0.1", running.service.port)))
            for _ in range(200)
        ]
        for client in slow:
            client.sendall(b"GET /v2/calls/77 HTTP/1.1\r\nX-Slow: ")
        for _ in range(20):
            for client in slow:
                client.sendall(b"s")
            begun = time.monotonic()
            assert running.service.request(key=acme_key).status == 200
            assert time.monotonic() - begun < 1

    check_at_rest(running, before)


def test_many_requests_leave_nothing_behind(
    running: Running, acme_key: str, globex_key: str, put_call: PutCall, soak: bool
) -> None:
    """Of every kind: what one of them kept would show after so many."""
    corrupt = put_call({"transcript": [None] * 1000})
    etag = running.service.request(target="/v2/calls/84", key=acme_key).headers["ETag"]
    kinds = [
        ("GET", "/v2/calls/77", acme_key, (), 200),
        ("GET", "/v2/calls/84", acme_key, (), 200),
        ("GET", "/v2/calls/84", acme_key, (("If-None-Match", etag),), 304),
        ("HEAD", "/v2/calls/77", acme_key, (), 200),
        ("GET", "/v2/calls/77", globex_key, (), 403),
        ("GET", "/v2/calls/77", "unknown", (), 401),
        ("GET", "/v2/calls/99999999", acme_key, (), 404),
        ("GET", "/v2/calls/x", acme_key, (), 404),
        ("GET", f"/v2/calls/{corrupt}", acme_key, (), 500),
        ("POST", "/v2/calls/77", acme_key, (), 405),
        ("GET", "/elsewhere", None, (), 404),
    ]

    def ask(number: int) -> None:
        method, target, key, headers, status = kinds[number % len(kinds)]
        reply = running.service.request(method, target, headers, key=key, published=False)
        assert reply.status == status

    def ask_all(times: int) -> tuple[int, int, int]:
        with ThreadPoolExecutor(8) as clients:
            list(clients.map(ask, range(times)))
        time.sleep(0.5)
        return running.held()

    warmed_up(running, acme_key, clients=8)
    before = ask_all(500)
    requests = 10_000 if soak else 1_000
    after = ask_all(requests)
    grown = (after[2] - before[2]) / MIB
    FIGURES.append(
        f"after {requests:,} requests: {after[0] - before[0]:+} descriptors,"
        f" {after[1] - before[1]:+} threads, {grown:+.1f} MiB of {before[2] / MIB:.0f}"
    )

    check_at_rest(running, before)
    assert grown < 8


def test_requests_in_flight_are_answered_when_the_platform_says_stop(
    running: Running, acme_key: str
) -> None:
    running.cloud.iam.seconds = 0.8
    stopping = threading.Event()
    answers: Counter[int] = Counter()

    def client(number: int) -> None:
        time.sleep(random.Random(number).uniform(0, 0.8))
        while not stopping.is_set():
            answers[running.service.request(key=acme_key).status] += 1

    with ThreadPoolExecutor(16) as pool:
        clients = [pool.submit(client, number) for number in range(16)]
        time.sleep(1.6)
        asked_before = sum(answers.values())
        stopping.set()  # no further requests: the platform sends none to who is to stop
        time.sleep(0.3)  # for what is being sent to arrive
        running.process.terminate()
        for one in clients:
            one.result()

    assert answers.keys() == {200}
    assert answers.total() == asked_before + 16, "sixteen were in flight"
    assert running.process.wait(STOP_SECONDS) is not None
    assert running.service.entries()[-1]["status"] == 200
