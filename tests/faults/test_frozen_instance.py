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
import trustme

from tests.support.asking import HONEST
from tests.support.figures import FIGURES
from tests.support.google_cloud import GoogleCloud
from tests.support.link import Link, link_to
from tests.support.serving import Service, bearer, started, wait_until_it_listens

STAGE_SECONDS = 0.6  # for a read or a signature while requests are to be caught in them
ARBITER_SECONDS = 1.5  # gunicorn's master checks the heartbeats once a second


class Freezing(NamedTuple):
    """How often an instance is frozen, for how long, and the platform's request timeout."""

    rounds: int
    frozen_seconds: float
    timeout_seconds: int


class Instance(NamedTuple):
    """A served function, and what it calls."""

    service: Service
    process: subprocess.Popen[bytes]
    cloud: GoogleCloud
    firestore: Link

    def workers(self) -> list[int]:
        return [child.pid for child in psutil.Process(self.process.pid).children()]


@pytest.fixture
def freezing(soak: bool) -> Freezing:
    return Freezing(20, 30.0, 15) if soak else Freezing(2, 3.0, 2)


@pytest.fixture
def instance(
    freezing: Freezing,
    emulator_host: str,
    keyless_settings: dict[str, str],
    keys: dict[str, str],
    authority: trustme.CA,
    authority_file: os.PathLike[str],
) -> Iterator[Instance]:
    assert keys  # the sample calls are there
    with ExitStack() as stack:
        cloud = stack.enter_context(closing(GoogleCloud(authority, str(authority_file))))
        link = stack.enter_context(link_to(int(emulator_host.rpartition(":")[2])))
        settings = keyless_settings | {
            **cloud.environment,
            "FIRESTORE_EMULATOR_HOST": f"127.0.0.1:{link.port}",
            "CLOUD_RUN_TIMEOUT_SECONDS": str(freezing.timeout_seconds),
        }
        process, service = stack.enter_context(started(settings))
        wait_until_it_listens(process, service)
        yield Instance(service, process, cloud, link)
        assert "Traceback" not in service.output()


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
    instance: Instance, freezing: Freezing, acme_key: str
) -> None:
    """By the same worker, and on the same connections; requests in flight get an answer."""
    assert instance.service.request(key=acme_key).status == 200
    workers = instance.workers()
    in_flight: Counter[int] = Counter()
    for _ in range(freezing.rounds):
        with ExitStack() as stack:
            signing, reading, idle = (
                stack.enter_context(
                    closing(HTTPConnection("127.0.0.1", instance.service.port, timeout=10))
                )
                for _ in range(3)
            )
            ask(idle, acme_key)
            assert status(idle) == 200
            instance.cloud.iam.seconds = STAGE_SECONDS
            ask(signing, acme_key)
            time.sleep(STAGE_SECONDS / 3)
            instance.firestore.delay = STAGE_SECONDS
            ask(reading, acme_key)
            time.sleep(STAGE_SECONDS / 3)
            with frozen(instance.process):
                time.sleep(freezing.frozen_seconds)
                ask(idle, acme_key)
                instance.cloud.iam.seconds = instance.firestore.delay = 0.0

            assert status(idle) == 200
            for connection in (signing, reading):
                in_flight[status(connection)] += 1
                ask(connection, acme_key)
                assert status(connection) == 200
        assert instance.workers() == workers

    assert "WORKER TIMEOUT" not in instance.service.output()
    assert in_flight.keys() <= {200, *(code for code, _ in HONEST)}
    FIGURES.append(
        f"woken {freezing.rounds} times after {freezing.frozen_seconds:.0f} s:"
        f" no worker killed; requests in flight were answered {dict(in_flight)}"
    )
