"""Reading from Firestore within its budget: silence, outages and a slow start delay nobody else."""

import asyncio
import functools
import itertools
import socket
import statistics
import time
from collections.abc import Iterator, Sequence

import grpc
import pytest
from google.auth.credentials import AnonymousCredentials, Credentials
from google.cloud.firestore_v1.types import BatchGetDocumentsRequest, BatchGetDocumentsResponse

from call_api.calls.keys import key_hash
from call_api.cloud.tokens import AccessTokens
from call_api.errors import CallsUnavailable, Internal, Problem, UpstreamTimeout
from call_api.firestore.store import FirestoreCalls
from tests.support.firestore_reads import (
    KEY,
    Firestore,
    Read,
    both_documents,
    outcome,
    read,
    read_now,
    settings_for,
    store_at,
)
from tests.support.google_cloud import fake_firestore

BUDGET_SECONDS = 3.0
PROBE_SECONDS = 2.0
SLACK_SECONDS = 2.0


def test_an_unreachable_firestore_is_503_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    def timed_read() -> float:
        started = time.monotonic()
        (answer,) = read(port)
        seconds = time.monotonic() - started
        assert isinstance(answer, CallsUnavailable)
        return seconds

    assert statistics.median(timed_read() for _ in range(3)) < 2.0


def test_reads_from_a_silent_firestore_end_within_the_budget() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        started = time.monotonic()
        answers = read(silent.getsockname()[1], times=20)

    assert {str(answer) for answer in answers} == {"upstream_timeout: Firestore: silence"}
    assert time.monotonic() - started < BUDGET_SECONDS + SLACK_SECONDS


def test_a_silent_connection_is_replaced_once() -> None:
    """The one that replaces it is not left, too, when the next of them gives up."""
    peers: set[str] = set()

    def answers(
        request: BatchGetDocumentsRequest, context: grpc.ServicerContext
    ) -> Iterator[BatchGetDocumentsResponse]:
        peers.add(context.peer())
        if request.documents[-1].endswith("/13"):
            time.sleep(BUDGET_SECONDS + SLACK_SECONDS)
        yield from both_documents(request)

    @functools.cache
    def slow_credentials() -> tuple[Credentials, str | None]:
        time.sleep(1)  # so that all three find no connection when they come
        return AnonymousCredentials(), "theirs"

    async def reads(port: int) -> list[Read | BaseException]:
        without_project = settings_for(port).model_copy(update={"project": None})
        store = FirestoreCalls(without_project, AccessTokens(slow_credentials))

        async def read_at(seconds: float, call_id: int) -> Read:
            await asyncio.sleep(seconds)
            return await read_now(store, call_id)

        silent = [read_at(seconds, 13) for seconds in (0, 0.4, 0.8)]
        others = [read_at(BUDGET_SECONDS + seconds, 77) for seconds in (0.2, 0.6, 1.0)]
        return await asyncio.gather(*silent, *others, return_exceptions=True)

    with fake_firestore(answers) as (port, asked):
        answered = asyncio.run(reads(port))

    first, *others = answered[:3]
    assert str(first) == "upstream_timeout: Firestore: silence"
    assert {str(other) for other in others} == {"upstream_timeout: Firestore: this read alone"}
    assert [type(answer) for answer in answered[3:]] == [tuple] * 3
    assert len(peers) == 2
    assert sum(len(each.request.documents) == 1 for each in asked) == 1, "one probe is enough"


def test_a_silent_firestore_is_asked_by_one_probe_at_a_time() -> None:
    firestore = Firestore()
    firestore.hang_seconds = BUDGET_SECONDS + SLACK_SECONDS

    async def reads(port: int) -> list[Read | Problem]:
        store = store_at(port)
        one_by_one = [await outcome(store), await outcome(store)]
        return one_by_one + await asyncio.gather(*(outcome(store) for _ in range(20)))

    with fake_firestore(firestore) as (port, asked):
        answered = asyncio.run(reads(port))

    assert [type(answer) for answer in answered] == [UpstreamTimeout] + [CallsUnavailable] * 21
    assert str(answered[-1]) == (
        "calls_unavailable: circuit open: Firestore has failed, and has not answered since"
    )
    first, *probes = asked
    assert len(first.request.documents) == 2
    assert [len(probe.request.documents) for probe in probes] == [1]  # of a key that nobody has


def test_a_slow_firestore_recovers_after_a_failure() -> None:
    """A probe has more time than those who wait for it, or it would never end in an answer."""
    firestore = Firestore()

    async def reads(port: int) -> list[Read | Problem]:
        store = store_at(port)
        firestore.status = grpc.StatusCode.UNAVAILABLE
        answered = [await outcome(store)]
        firestore.status, firestore.hang_seconds = None, 1.2
        while not isinstance(answered[-1], tuple) and len(answered) < 10:
            answered.append(await outcome(store))
        return answered

    with fake_firestore(firestore) as (port, _):
        *refused, last = asyncio.run(reads(port))

    assert {type(answer) for answer in refused} == {CallsUnavailable}
    assert isinstance(last, tuple)


def test_an_unanswered_probe_ends_and_the_next_one_starts() -> None:
    firestore = Firestore()

    async def reads(port: int) -> None:
        store = store_at(port)
        firestore.status = grpc.StatusCode.UNAVAILABLE
        assert isinstance(await outcome(store), CallsUnavailable)
        asked.clear()
        firestore.status, firestore.hang_seconds = None, PROBE_SECONDS + SLACK_SECONDS
        deadline = time.monotonic() + PROBE_SECONDS + SLACK_SECONDS
        while len(asked) < 2:
            assert time.monotonic() < deadline
            assert isinstance(await outcome(store), CallsUnavailable)

    with fake_firestore(firestore) as (port, asked):
        asyncio.run(reads(port))

    assert [len(each.request.documents) for each in asked] == [1, 1]


def test_waiting_for_a_probe_counts_toward_the_budget() -> None:
    """The time left is enough for the probe or for the read, and not for one after the other."""
    firestore = Firestore()

    async def reads(port: int) -> None:
        store = store_at(port)
        firestore.status = grpc.StatusCode.UNAVAILABLE
        assert isinstance(await outcome(store), CallsUnavailable)
        firestore.status, firestore.hang_seconds = None, 0.2
        began_at = asyncio.get_running_loop().time() - BUDGET_SECONDS + 0.3
        with pytest.raises(UpstreamTimeout):
            await store.read(key_hash(KEY), 77, began_at)

    with fake_firestore(firestore) as (port, _):
        asyncio.run(reads(port))


def test_a_frozen_process_opens_no_circuit() -> None:
    """It was frozen, or busy: its own timer fires late, so the silence was not Firestore's."""
    firestore = Firestore()

    async def reads(port: int, asked: Sequence[object]) -> tuple[Read | Problem, Read | Problem]:
        store = store_at(port)
        assert isinstance(await outcome(store), tuple)  # connects
        firestore.hang_seconds = BUDGET_SECONDS + SLACK_SECONDS
        reading = asyncio.create_task(outcome(store))
        await asyncio.sleep(0.5)  # until it has been asked, with time left before the budget ends
        assert len(asked) == 2
        firestore.hang_seconds = 0.0  # for the next one; this one hangs
        time.sleep(BUDGET_SECONDS)  # noqa: ASYNC251  (holds up the event loop on purpose)
        return await reading, await outcome(store)

    with fake_firestore(firestore) as (port, asked):
        late, next_one = asyncio.run(reads(port, asked))

    assert str(late) == "upstream_timeout: this process was busy or frozen"
    assert isinstance(next_one, tuple)
    assert len(firestore.peers) == 1
    assert {len(each.request.documents) for each in asked} == {2}, "no probe was needed"


def test_slow_credentials_open_no_circuit() -> None:
    """And what is wrong with the settings is named, as soon as it is known."""
    attempts = itertools.count()

    def default_credentials() -> tuple[Credentials, str | None]:
        if next(attempts) == 0:
            time.sleep(BUDGET_SECONDS + 1)
        return AnonymousCredentials(), None

    async def reads(port: int) -> list[Read | Problem]:
        settings = settings_for(port).model_copy(update={"project": None})
        store = FirestoreCalls(settings, AccessTokens(default_credentials))
        return [await outcome(store) for _ in range(3)]

    with fake_firestore(Firestore()) as (port, _):
        answered = asyncio.run(reads(port))

    assert str(answered[0]) == "upstream_timeout: credentials for Firestore"
    assert [type(answer) for answer in answered[1:]] == [Internal, Internal]
