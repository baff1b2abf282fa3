"""Reading from Firestore within its budget: silence, outages and a slow start delay nobody else.

A test that waits for a budget to end begins its reads in the past, so that little of it is left.
"""

import asyncio
import functools
import itertools
import socket
import threading
import time
from collections.abc import Iterator, Sequence

import grpc
import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud.firestore_v1.types import BatchGetDocumentsRequest, BatchGetDocumentsResponse

from call_api.calls.keys import key_hash
from call_api.cloud.credentials import DefaultCredentials
from call_api.cloud.tokens import AccessTokens
from call_api.errors import CallsUnavailable, Internal, Problem, UpstreamTimeout
from call_api.firestore import store as module
from call_api.firestore.store import LATE_SECONDS, READ_SECONDS, FirestoreCalls
from tests.support.fakes import no_credentials
from tests.support.firestore_reads import (
    KEY,
    Firestore,
    Read,
    both_documents,
    outcome,
    settings_for,
    store_at,
)
from tests.support.google_cloud import fake_firestore

LEFT_SECONDS = 0.6
HANG_SECONDS = 6.0  # longer than any read
PATIENCE_SECONDS = 60.0


@pytest.fixture(autouse=True)
def _busy_is_not_frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take a busy machine for no frozen one."""
    # Less than twice READ_SECONDS, or a lateness that is computed wrongly would pass.
    monkeypatch.setattr(module, "LATE_SECONDS", READ_SECONDS + 2)


async def read_late(
    store: FirestoreCalls, call_id: int = 77, left_seconds: float = LEFT_SECONDS
) -> Read | Problem:
    """Read with so little left of the budget."""
    began_at = asyncio.get_running_loop().time() - READ_SECONDS + left_seconds
    try:
        return await store.read(key_hash(KEY), call_id, began_at)
    except Problem as problem:
        return problem


def test_an_unreachable_firestore_is_503_before_the_budget_ends() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    assert isinstance(asyncio.run(outcome(store_at(port))), CallsUnavailable)


def test_a_silent_connection_is_replaced_once() -> None:
    """The one that replaces it is not left, too, when the next of them gives up."""
    peers: set[str] = set()
    may_connect = threading.Event()

    def answers(
        request: BatchGetDocumentsRequest, context: grpc.ServicerContext
    ) -> Iterator[BatchGetDocumentsResponse]:
        peers.add(context.peer())
        if request.documents[-1].endswith("/13"):
            time.sleep(HANG_SECONDS)
        yield from both_documents(request)

    @functools.cache
    def slow_credentials() -> DefaultCredentials:
        may_connect.wait(PATIENCE_SECONDS)
        return DefaultCredentials(AnonymousCredentials(), "theirs")

    async def reads(port: int) -> list[Read | Problem]:
        without_project = settings_for(port).model_copy(update={"project": None})
        store = FirestoreCalls(without_project, AccessTokens(slow_credentials))
        first, *silent = (
            asyncio.create_task(read_late(store, 13, left)) for left in (LEFT_SECONDS, 2.5, 2.5)
        )
        await asyncio.sleep(0)  # all three find no connection when they come
        may_connect.set()
        answered = [await first, await outcome(store)]
        answered += await asyncio.gather(*silent)
        return [*answered, await outcome(store)]

    with fake_firestore(answers) as (port, asked):
        silence, answer, *alone, last = asyncio.run(reads(port))

    assert str(silence) == "upstream_timeout: Firestore: silence"
    assert [str(each) for each in alone] == [
        "upstream_timeout: Firestore: silence, though it has answered meanwhile"
    ] * 2
    assert [type(each) for each in (answer, last)] == [tuple, tuple]
    assert len(peers) == 2
    assert sum(len(each.request.documents) == 1 for each in asked) == 1, "one probe is enough"


def test_silence_about_one_document_opens_no_circuit() -> None:
    """Firestore has answered about the other one."""

    def answers(
        request: BatchGetDocumentsRequest, _: grpc.ServicerContext
    ) -> Iterator[BatchGetDocumentsResponse]:
        yield from itertools.islice(both_documents(request), 1)
        time.sleep(HANG_SECONDS)

    with fake_firestore(answers) as (port, _):
        silence = asyncio.run(read_late(store_at(port)))

    assert str(silence) == "upstream_timeout: Firestore: silence, though it has answered meanwhile"


def test_a_silent_firestore_is_asked_by_one_probe_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By another one when the first has had no answer in its time."""
    monkeypatch.setattr(module, "PROBE_SECONDS", 1.0)
    firestore = Firestore()
    firestore.hang_seconds = HANG_SECONDS

    async def reads(port: int) -> list[Read | Problem]:
        store = store_at(port)
        answers = [await read_late(store)]
        answers += await asyncio.gather(*(outcome(store) for _ in range(20)))
        assert len(asked) == 2
        while len(asked) < 3:
            answers.append(await outcome(store))
        return answers

    with fake_firestore(firestore) as (port, asked):
        first, *others = asyncio.run(reads(port))

    assert isinstance(first, UpstreamTimeout)
    assert {str(other) for other in others} == {
        "calls_unavailable: circuit open: Firestore has failed, and has not answered since"
    }
    read, *probes = (len(each.request.documents) for each in asked)
    assert (read, probes) == (2, [1, 1])  # a probe is of a key that nobody has


def test_a_slow_firestore_recovers_after_a_failure() -> None:
    """A probe has more time than those who wait for it, or it would never end in an answer."""
    firestore = Firestore()

    async def reads(port: int) -> list[Read | Problem]:
        store = store_at(port)
        firestore.status = grpc.StatusCode.UNAVAILABLE
        answered = [await outcome(store)]
        firestore.status, firestore.hang_seconds = None, 0.8
        while not isinstance(answered[-1], tuple) and len(answered) < 10:
            answered.append(await outcome(store))
        return answered

    with fake_firestore(firestore) as (port, _):
        *refused, last = asyncio.run(reads(port))

    assert [type(answer) for answer in refused] == [CallsUnavailable] * len(refused)
    assert len(refused) > 1
    assert isinstance(last, tuple)


def test_waiting_for_a_probe_counts_toward_the_budget() -> None:
    """The time left is enough for the probe or for the read, and not for one after the other."""
    firestore = Firestore()

    async def reads(port: int) -> Read | Problem:
        store = store_at(port)
        firestore.status = grpc.StatusCode.UNAVAILABLE
        assert isinstance(await outcome(store), CallsUnavailable)
        firestore.status, firestore.hang_seconds = None, 0.2
        return await read_late(store, left_seconds=0.3)

    with fake_firestore(firestore) as (port, _):
        assert isinstance(asyncio.run(reads(port)), UpstreamTimeout)


def test_a_frozen_process_opens_no_circuit(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was frozen, or busy: its own timer fires late, so the silence was not Firestore's."""
    monkeypatch.setattr(module, "LATE_SECONDS", LATE_SECONDS)
    firestore = Firestore()

    async def reads(port: int, asked: Sequence[object]) -> tuple[Read | Problem, Read | Problem]:
        store = store_at(port)
        assert isinstance(await outcome(store), tuple)  # connects
        firestore.hang_seconds = HANG_SECONDS
        reading = asyncio.create_task(read_late(store))
        while len(asked) < 2:  # noqa: ASYNC110  (the fake runs in threads of its own)
            await asyncio.sleep(0.001)
        firestore.hang_seconds = 0.0  # for the next one; this one hangs
        time.sleep(LEFT_SECONDS + 2 * LATE_SECONDS)  # noqa: ASYNC251  (holds up the event loop on purpose)
        return await reading, await outcome(store)

    with fake_firestore(firestore) as (port, asked):
        late, next_one = asyncio.run(reads(port, asked))

    assert str(late) == "upstream_timeout: this process was busy or frozen"
    assert isinstance(next_one, tuple)
    assert len(firestore.peers) == 1
    assert {len(each.request.documents) for each in asked} == {2}, "no probe was needed"


def test_slow_credentials_open_no_circuit() -> None:
    """And what is wrong with them is named, as soon as it is known."""
    attempts, may_end = itertools.count(), threading.Event()

    def default_credentials() -> DefaultCredentials:
        if next(attempts) == 0:
            may_end.wait(PATIENCE_SECONDS)
        return no_credentials()

    async def reads(port: int) -> list[Read | Problem]:
        settings = settings_for(port).model_copy(update={"project": None})
        store = FirestoreCalls(settings, AccessTokens(default_credentials))
        late = await read_late(store)
        may_end.set()
        return [late, await outcome(store), await outcome(store)]

    with fake_firestore(Firestore()) as (port, _):
        answered = asyncio.run(reads(port))

    assert str(answered[0]) == "upstream_timeout: credentials for Firestore"
    assert [type(answer) for answer in answered[1:]] == [Internal, Internal]
