"""An instance that the platform freezes between requests, and wakes with the next one."""

import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from http.client import HTTPConnection
from typing import NamedTuple

import psutil
import pytest

from tests.support.asking import HONEST
from tests.support.figures import FIGURES
from tests.support.google_cloud import GoogleCloud
from tests.support.linked import PATIENCE_SECONDS, Linked, linked_function
from tests.support.project import Emulator
from tests.support.serving import bearer

STAGE_SECONDS = 0.6  # for a read or a signature while requests are to be caught in them
ARBITER_SECONDS = 1.5  # gunicorn's master checks the heartbeats once a second


class Freezing(NamedTuple):
    """How often an instance is frozen, for how long, and the platform's request timeout."""

    rounds: int
    frozen_seconds: float
    timeout_seconds: int


@pytest.fixture
def freezing(soak: bool) -> Freezing:
    return Freezing(20, 30.0, 15) if soak else Freezing(1, 3.0, 2)


@pytest.fixture
def instance(freezing: Freezing, emulator: Emulator, shared_cloud: GoogleCloud) -> Iterator[Linked]:
    settings = {"CLOUD_RUN_TIMEOUT_SECONDS": str(freezing.timeout_seconds)}
    with linked_function(emulator, shared_cloud, settings) as linked:
        yield linked


def workers(instance: Linked) -> list[int]:
    return [child.pid for child in psutil.Process(instance.process.pid).children()]


@contextmanager
def frozen(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Stop the server and its workers for the block.

    Gunicorn's master wakes first. The kernel may wake them in any order; this is the worst one,
    since the master checks the heartbeats before the worker can send one.
    """
    os.killpg(process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(process.pid, signal.SIGCONT)
        time.sleep(ARBITER_SECONDS)
        os.killpg(process.pid, signal.SIGCONT)


def ask(connection: HTTPConnection, key: str) -> None:
    connection.request("GET", "/v2/calls/77", headers=dict(bearer(key)))


def status(connection: HTTPConnection) -> int:
    """Read the answer, and leave the connection open."""
    response = connection.getresponse()
    response.read()
    return response.status


def test_a_frozen_instance_answers_when_it_wakes(
    instance: Linked, freezing: Freezing, acme_key: str
) -> None:
    """By the same worker, and on the same connections; requests in flight get an answer."""
    assert instance.ask().status == 200
    before, firestore = workers(instance), instance.links["Firestore"]
    in_flight: Counter[int] = Counter()
    for _ in range(freezing.rounds):
        with ExitStack() as stack:
            signing, reading, idle = (
                stack.enter_context(
                    closing(HTTPConnection("127.0.0.1", instance.service.port, PATIENCE_SECONDS))
                )
                for _ in range(3)
            )
            ask(idle, acme_key)
            assert status(idle) == 200
            instance.cloud.iam.seconds = STAGE_SECONDS
            ask(signing, acme_key)
            time.sleep(STAGE_SECONDS / 3)
            firestore.delay = STAGE_SECONDS
            ask(reading, acme_key)
            time.sleep(STAGE_SECONDS / 3)
            with frozen(instance.process):
                time.sleep(freezing.frozen_seconds)
                ask(idle, acme_key)
                instance.cloud.iam.seconds = firestore.delay = 0.0

            assert status(idle) == 200
            for connection in (signing, reading):
                in_flight[status(connection)] += 1
                ask(connection, acme_key)
                assert status(connection) == 200
        assert workers(instance) == before

    assert "WORKER TIMEOUT" not in instance.service.output()
    assert in_flight.keys() <= {200, *(code for code, _ in HONEST)}
    FIGURES.append(
        f"woken {freezing.rounds} times after {freezing.frozen_seconds:.0f} s:"
        f" no worker killed; requests in flight were answered {dict(in_flight)}"
    )
