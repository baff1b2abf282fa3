"""A log that is closed, full or unread changes no answer, and loses no line without a report."""

import http.client
import json
import os
import select
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from call_api.log import PIPE_BYTES
from ops.published import check_reply
from tests.support.serving import (
    CLOSED,
    STOP_SECONDS,
    Service,
    bearer,
    started,
    wait_until_it_listens,
)

REQUESTS = 300  # of some 330 bytes
LEFT_IN_THE_PIPE = 32 * 2**10  # for 100 lines
CLIENTS = 4
PATIENCE_SECONDS = 60.0


class Kind(NamedTuple):
    """A request, and the status of its answer."""

    target: str
    key: str | None
    status: int


@pytest.fixture
def kinds(keys: dict[str, str]) -> list[Kind]:
    """Make requests of two orgs and without a key; most need no read, so a thousand take seconds."""
    acme, globex = keys["org_acme"], keys["org_globex"]
    return [
        Kind("/v2/calls/77", acme, 200),
        Kind("/v2/calls/87", globex, 200),
        Kind("/v2/calls/77", globex, 403),
        Kind("/v2/calls/99999999", acme, 404),
        Kind("/v2/calls/x", globex, 404),
        Kind("/v2/calls/77", "unknown", 401),
        *[Kind("/v2/calls/77", None, 401), Kind("/elsewhere", None, 404)] * 17,
    ]


def ask(service: Service, kinds: list[Kind], name: str, requests: int) -> set[str]:
    """Send requests of all kinds over a few connections; return their IDs once all are answered."""

    def client(first: int) -> list[str]:
        sent = []
        connection = http.client.HTTPConnection("127.0.0.1", service.port, PATIENCE_SECONDS)
        with closing(connection):
            for number in range(first, requests, CLIENTS):
                kind = kinds[number // CLIENTS % len(kinds)]
                sent.append(f"{name}-{number}")
                headers = {"X-Request-Id": sent[-1], **dict(bearer(kind.key))}
                connection.request("GET", kind.target, headers=headers)
                response = connection.getresponse()
                body = response.read()
                assert (kind, response.status) == (kind, kind.status)
                assert response.headers["X-Request-Id"] == sent[-1]
                if number < CLIENTS * len(kinds):  # one of each kind: the check takes long
                    check_reply("GET", response.status, response.headers, body)
        return sent

    with ThreadPoolExecutor(CLIENTS) as pool:
        ids = [each for sent in pool.map(client, range(CLIENTS)) for each in sent]
    assert len(set(ids)) == requests
    return set(ids)


class Log:
    """The other end of the function's stdout, which is read when the test says so."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._begun = b""  # of a line
        self.request_ids: list[str] = []
        self.dropped: list[int] = []

    def read_until(self, accounted_for: int) -> None:
        """Read until so many requests have their line or are reported as dropped."""
        while len(self.request_ids) + sum(self.dropped) < accounted_for:
            assert select.select([self._descriptor], [], [], PATIENCE_SECONDS)[0], self.dropped
            self._read()

    def read_all(self) -> None:
        """Read what is there, to the end of a line."""
        while select.select([self._descriptor], [], [], 0.1)[0]:
            self._read()
        assert self._begun == b""

    def _read(self) -> None:
        received = os.read(self._descriptor, 2**16)
        *lines, self._begun = (self._begun + received).split(b"\n")
        for entry in map(json.loads, filter(None, lines)):
            if "dropped_lines" in entry:
                self.dropped.append(entry["dropped_lines"])
            else:
                self.request_ids.append(entry["request_id"])


@contextmanager
def piped(settings: dict[str, str]) -> Iterator[tuple[subprocess.Popen[bytes], Service, Log]]:
    """Serve the function with a log that nobody reads for now, and that is nearly full."""
    with ExitStack() as stack:
        reading, writing = os.pipe()
        stack.callback(os.close, reading)
        stack.callback(os.close, writing)
        process, service = stack.enter_context(started(settings, writing))
        wait_until_it_listens(process, service)
        os.write(writing, b"\n" * (PIPE_BYTES - LEFT_IN_THE_PIPE))
        yield process, service, Log(reading)
        assert service.stderr.read_text() == ""


def test_an_unread_log_changes_no_answer_and_reports_dropped_lines(
    settings: dict[str, str], kinds: list[Kind]
) -> None:
    with piped(settings) as (_, service, log):
        asked = ask(service, kinds, "unread", REQUESTS)
        log.read_all()
        in_the_pipe = len(log.request_ids)
        asked |= ask(service, kinds, "read-again", 40)
        log.read_until(REQUESTS + 40)

        assert 50 < in_the_pipe < REQUESTS
        assert log.dropped == [REQUESTS - in_the_pipe]
        assert len(set(log.request_ids)) == len(log.request_ids)
        assert set(log.request_ids) <= asked


def test_a_stop_does_not_wait_forever_for_a_log_that_nobody_reads(
    settings: dict[str, str], kinds: list[Kind]
) -> None:
    with piped(settings) as (process, service, log):
        asked = ask(service, kinds, "stuck", REQUESTS)
        process.terminate()
        assert process.wait(STOP_SECONDS) == 0
        log.read_all()

    assert set(log.request_ids) < asked
    assert log.dropped == []  # nobody is left to report it


@pytest.mark.parametrize("stdout", ["closed at the start", "/dev/full"])
def test_a_log_that_cannot_be_written_changes_no_answer(
    stdout: str, settings: dict[str, str], kinds: list[Kind]
) -> None:
    with ExitStack() as stack:
        descriptor = CLOSED
        if stdout == "/dev/full":
            descriptor = stack.enter_context(Path(stdout).open("wb")).fileno()
        process, service = stack.enter_context(started(settings, descriptor))
        wait_until_it_listens(process, service)
        ask(service, kinds, "unwritten", 80)
        assert service.stderr.read_text() == ""
