"""Clients that leave or never end, ten thousand of them, and the word to stop."""

import itertools
import socket
import time
from concurrent.futures import ThreadPoolExecutor

from tests.support.figures import FIGURES
from tests.support.link import LINGER_NOT
from tests.support.linked import PATIENCE_SECONDS, Linked
from tests.support.project import PutCall
from tests.support.serving import STOP_SECONDS

MIB = 2**20


def check_at_rest(linked: Linked, before: tuple[int, int, int]) -> None:
    """Wait until no more descriptors and threads are held than before.

    Requests go on meanwhile: a channel that was replaced ends with the next garbage collection.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    while any(now > then for now, then in zip(linked.held()[:2], before[:2], strict=True)):
        assert time.monotonic() < deadline, (linked.held(), before)
        for _ in range(20):
            linked.ask()
        time.sleep(0.1)


def warmed_up(linked: Linked, clients: int = 64) -> tuple[int, int, int]:
    """Let the function start as many threads and open as many connections as it will keep."""
    linked.healed().cloud.iam.seconds = 0.5
    with ThreadPoolExecutor(clients) as pool:
        [one.result() for one in linked.ask_together(pool, clients)]
    linked.cloud.iam.seconds = 0.0
    time.sleep(0.5)
    return linked.held()


def test_clients_that_leave_cost_nothing_that_lasts(linked: Linked) -> None:
    """Before, in and after their request, with a farewell or without."""
    before = warmed_up(linked)
    whole = f"GET /v2/calls/77 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {linked.key}\r\n\r\n"
    lengths = [*range(0, len(whole) + 1, 3), *[len(whole)] * 20]
    linked.cloud.iam.seconds = 0.2
    for length, reset in itertools.product(lengths, (False, True)):
        with socket.create_connection(("127.0.0.1", linked.service.port)) as client:
            client.sendall(whole[:length].encode())
            if reset:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NOT)
    linked.cloud.iam.seconds = 0.0

    assert linked.ask().status == 200
    check_at_rest(linked, before)


def test_many_requests_leave_nothing_behind(
    linked: Linked, acme_key: str, globex_key: str, put_call: PutCall, soak: bool
) -> None:
    """Of every kind: what one of them kept would show after so many."""
    corrupt = put_call({"transcript": [None] * 1000})
    etag = linked.ask("/v2/calls/84").headers["ETag"]
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
        reply = linked.service.request(method, target, headers, key=key, published=False)
        assert reply.status == status

    def ask_all(times: int) -> tuple[int, int, int]:
        with ThreadPoolExecutor(8) as clients:
            list(clients.map(ask, range(times)))
        time.sleep(0.5)
        return linked.held()

    warmed_up(linked, clients=8)
    before = ask_all(250)
    requests = 10_000 if soak else 500
    after = ask_all(requests)
    grown = (after[2] - before[2]) / MIB
    FIGURES.append(
        f"after {requests:,} requests: {after[0] - before[0]:+} descriptors,"
        f" {after[1] - before[1]:+} threads, {grown:+.1f} MiB of {before[2] / MIB:.0f}"
    )

    check_at_rest(linked, before)
    assert grown < 8


def test_requests_in_flight_are_answered_when_the_platform_says_stop(linked: Linked) -> None:
    """After the tests that share the function, and so the last of them."""
    iam = linked.cloud.iam
    iam.seconds = 1.0
    with ThreadPoolExecutor(16) as pool:
        before = iam.requests
        waiting = linked.ask_together(pool, 16)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while iam.requests < before + 16:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        linked.process.terminate()  # the platform sends no requests to who is to stop
        statuses = [one.result().status for one in waiting]

    assert statuses == [200] * 16
    assert linked.process.wait(STOP_SECONDS) is not None
    assert linked.service.entries()[-1]["status"] == 200
