"""Access tokens: single-flight refresh, stale and refused tokens, failures."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any

import pytest
from google.api_core.exceptions import Forbidden, RetryError, Unauthenticated
from google.auth.exceptions import RefreshError, TransportError

from call_api.cloud import tokens as tokens_module
from call_api.cloud.credentials import CredentialsError, DefaultCredentials
from call_api.cloud.failures import Failure
from call_api.cloud.tokens import MAX_ATTEMPTS, REFRESH_MARGIN, AccessTokens
from tests.support.fakes import Clock, FakeCredentials, Issued, finder_of

SECOND = timedelta(seconds=1)
LIFE = timedelta(hours=1)


class Source:
    """Access tokens over credentials whose refreshes give what is listed, under one clock."""

    def __init__(self, *refreshes: Issued | str | Exception) -> None:
        self.clock = Clock()
        self.credentials = FakeCredentials(*refreshes, clock=self.clock)
        self.tokens = AccessTokens(finder_of(self.credentials), self.clock)

    @property
    def refreshes(self) -> int:
        return self.credentials.refreshes

    def block(self) -> None:
        """Let refreshes from now on block until `unblock`."""
        self.credentials.started.clear()
        self.credentials.may_end.clear()

    def unblock(self) -> None:
        self.credentials.may_end.set()

    async def started(self) -> None:
        """Wait until a refresh is under way."""
        assert await asyncio.to_thread(self.credentials.started.wait, 10)
        self.credentials.started.clear()


async def ended() -> None:
    """Wait for the refresh in the background."""
    if others := asyncio.all_tasks() - {asyncio.current_task()}:
        await asyncio.wait(others)


async def test_a_fresh_token_is_fetched_once() -> None:
    source = Source("first")

    assert [await source.tokens.get() for _ in range(3)] == ["first"] * 3
    source.clock.time += LIFE - REFRESH_MARGIN - SECOND
    assert await source.tokens.get() == "first"
    assert source.refreshes == 1


async def test_a_stale_token_is_served_while_the_next_is_fetched() -> None:
    source = Source("first", "second")
    await source.tokens.get()

    source.clock.time += LIFE - REFRESH_MARGIN
    source.block()
    assert [await source.tokens.get() for _ in range(20)] == ["first"] * 20
    source.unblock()
    await ended()
    assert await source.tokens.get() == "second"
    assert source.refreshes == 2


@pytest.mark.parametrize("failure", [RefreshError(), ZeroDivisionError(), Issued("mal formed")])
async def test_a_stale_token_serves_until_it_expires(failure: Issued | Exception) -> None:
    """Failed refreshes in the background change nothing."""
    source = Source("first", failure, failure, "second")
    await source.tokens.get()

    source.clock.time += LIFE - SECOND
    for _ in range(2):
        assert await source.tokens.get() == "first"
        await ended()
    source.clock.time += SECOND
    assert await source.tokens.get() == "second"


async def test_an_expired_token_is_waited_for() -> None:
    source = Source("first", "second")
    await source.tokens.get()

    source.clock.time += LIFE
    assert await source.tokens.get() == "second"


async def test_a_token_is_lacked_before_it_comes_after_it_ends_and_where_it_is_refused() -> None:
    """What a read that is late has waited for: a circuit opens for Firestore's silence alone."""
    source = Source("first", "second")
    assert not source.tokens.has_valid()

    await source.tokens.get()
    source.clock.time += LIFE - SECOND
    assert source.tokens.has_valid()
    source.clock.time += SECOND
    assert not source.tokens.has_valid()
    token = await source.tokens.get()
    assert source.tokens.has_valid()
    source.tokens.reject(token)
    assert not source.tokens.has_valid()


async def test_a_token_without_an_expiry_stays_fresh() -> None:
    source = Source(Issued("first", None))
    await source.tokens.get()

    source.clock.time += timedelta(days=365)
    assert await source.tokens.get() == "first"
    assert source.refreshes == 1


async def test_by_default_the_clock_is_the_machine_s() -> None:
    credentials = FakeCredentials(Issued("first", REFRESH_MARGIN.total_seconds() + 60), "second")
    tokens = AccessTokens(finder_of(credentials))

    assert [await tokens.get() for _ in range(2)] == ["first"] * 2
    assert credentials.refreshes == 1


async def test_twenty_callers_share_one_refresh_and_its_failure() -> None:
    source, answers = Source(RefreshError(), "first"), []
    for _ in range(2):
        source.block()
        callers = [asyncio.create_task(source.tokens.get()) for _ in range(20)]
        await source.started()
        source.unblock()
        answers.append(await asyncio.gather(*callers, return_exceptions=True))

    failed, fetched = answers
    assert {type(answer) for answer in failed} == {CredentialsError}
    assert fetched == ["first"] * 20
    assert source.refreshes == 2


async def test_a_cancelled_caller_leaves_the_refresh_to_the_others() -> None:
    source = Source("first")
    source.block()

    leaving, staying = (asyncio.create_task(source.tokens.get()) for _ in range(2))
    await source.started()
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    source.unblock()
    assert await staying == "first"
    assert source.refreshes == 1


async def test_a_failure_that_no_caller_waits_for_is_dropped() -> None:
    source = Source(RefreshError(), "first")
    source.block()

    leaving = asyncio.create_task(source.tokens.get())
    await source.started()
    leaving.cancel()
    source.unblock()
    await ended()
    assert await source.tokens.get() == "first"
    assert source.refreshes == 2


async def test_twenty_refusals_of_one_token_cause_one_refresh() -> None:
    """Ten arrive before the refresh ends, and ten after it."""
    source = Source("first", "second")
    refused = await source.tokens.get()
    source.block()

    async def replaced() -> str:
        source.tokens.reject(refused)
        return await source.tokens.get()

    early = [asyncio.create_task(replaced()) for _ in range(10)]
    await source.started()
    source.unblock()
    results = await asyncio.gather(*early)
    results += [await replaced() for _ in range(10)]
    assert results == ["second"] * 20
    assert source.refreshes == 2


async def test_a_refused_token_that_is_issued_again_is_served_again() -> None:
    """Each refusal causes one refresh; it is the caller that gives up after the second."""
    source = Source("first", "first", "second")

    for expected in ("first", "first", "second"):
        assert await source.tokens.get() == expected
        source.tokens.reject(expected)
    assert source.refreshes == 3


async def test_a_stale_token_refused_during_its_refresh_is_not_served_again() -> None:
    source = Source("first", "second")
    await source.tokens.get()

    source.clock.time += LIFE - SECOND
    source.block()
    source.tokens.reject(await source.tokens.get())
    waiting = asyncio.create_task(source.tokens.get())
    await source.started()
    source.unblock()
    assert await waiting == "second"
    assert source.refreshes == 2


async def test_a_token_that_was_never_issued_can_be_rejected() -> None:
    source = Source("first")

    source.tokens.reject("another")
    assert await source.tokens.get() == "first"
    source.tokens.reject("another")
    assert await source.tokens.get() == "first"


@pytest.mark.parametrize(
    ("given", "reason", "is_transient"),
    [
        (RefreshError("s3cret"), "RefreshError", False),
        (RefreshError("s3cret", retryable=True), "RefreshError", True),
        (TransportError("s3cret"), "TransportError", True),
        *[
            (kind("s3cret"), f"unusable credentials: {kind.__name__}", False)
            for kind in (AttributeError, KeyError, TypeError, OSError, RecursionError)
        ],
        (Issued("first", 0.0), "expired token", True),
        (Issued("first", -1.0), "expired token", True),
        *[
            (Issued(malformed), "malformed token", True)
            for malformed in (
                *(None, 5, b"s3cret", ["s3cret"]),
                *("", " ", "s3 cret", "s3cret\n", "s3\rcret", "s3\x00cret", "s3\x7fcret", "s3crét"),
            )
        ],
    ],
    ids=repr,
)
async def test_a_refresh_without_a_usable_token_is_not_cached(
    given: Issued | Exception, reason: str, is_transient: bool
) -> None:
    source = Source(given, "second")

    with pytest.raises(CredentialsError) as failed:
        await source.tokens.get()
    assert (str(failed.value), failed.value.is_transient) == (reason, is_transient)
    assert await source.tokens.get() == "second"


async def test_credentials_are_found_once_for_twenty_callers() -> None:
    credentials = FakeCredentials("first")
    finds: list[FakeCredentials] = []

    def find() -> DefaultCredentials:
        finds.append(credentials)
        return DefaultCredentials(credentials, "project")  # type: ignore[arg-type]  # a fake

    tokens = AccessTokens(find)

    answers = await asyncio.gather(*(tokens.credentials() for _ in range(20)))
    assert {(id(one), project) for one, project in answers} == {(id(credentials), "project")}
    assert await tokens.get() == "first"
    assert len(finds) == 1


async def test_missing_credentials_are_looked_for_again() -> None:
    missing = CredentialsError(Failure(True, "not yet"))
    finds: list[Any] = [missing, missing, FakeCredentials("a")]

    def find() -> DefaultCredentials:
        next_one = finds.pop(0)
        if isinstance(next_one, Exception):
            raise next_one
        return DefaultCredentials(next_one, "project")

    tokens = AccessTokens(find)

    with pytest.raises(CredentialsError):
        await tokens.credentials()
    with pytest.raises(CredentialsError):
        await tokens.get()
    assert await tokens.get() == "a"
    assert await tokens.credentials() == (await tokens.credentials())
    assert finds == []


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens_module, "ATTEMPT_SECONDS", 0.05)


@pytest.mark.usefixtures("impatient")
async def test_a_search_that_ends_late_replaces_nothing() -> None:
    """The credentials that were found since have an account's address, which comes with a token."""
    late, prompt, may_end = FakeCredentials(), FakeCredentials("token"), threading.Event()
    searches = iter([late, prompt])

    def find() -> DefaultCredentials:
        credentials = next(searches)
        if credentials is late:
            assert may_end.wait(10)
        return DefaultCredentials(credentials, "project")  # type: ignore[arg-type]  # a fake

    tokens = AccessTokens(find)
    with pytest.raises(CredentialsError):
        await tokens.credentials()
    assert await tokens.get() == "token"
    may_end.set()
    await ended()
    found_credentials: Any = (await tokens.credentials()).credentials
    assert found_credentials is prompt


@pytest.mark.usefixtures("impatient")
async def test_a_token_that_comes_late_replaces_none_that_serves_longer() -> None:
    source = Source(Issued("longer", 3600), Issued("late", 60))  # in the order in which they come
    source.block()
    with pytest.raises(CredentialsError):
        await source.tokens.get()
    await source.started()
    waiting = asyncio.create_task(source.tokens.get())
    await source.started()
    source.unblock()
    await waiting
    await ended()
    assert await source.tokens.get() == "longer"


@pytest.mark.usefixtures("impatient")
async def test_an_answer_that_comes_late_counts() -> None:
    source = Source("late")
    source.block()

    with pytest.raises(CredentialsError):
        await source.tokens.get()
    source.unblock()
    await ended()
    assert await source.tokens.get() == "late"
    assert source.refreshes == 1


@pytest.mark.usefixtures("impatient")
async def test_attempts_without_an_answer_are_left_for_others_and_bounded() -> None:
    source = Source(*["late"] * MAX_ATTEMPTS)
    source.block()

    for _ in range(MAX_ATTEMPTS):
        with pytest.raises(CredentialsError, match=r"no answer within 0\.05 s") as failed:
            await source.tokens.get()
        assert failed.value.is_transient
    with pytest.raises(CredentialsError, match=r"^no answer to several attempts$") as failed:
        await source.tokens.get()
    assert failed.value.is_transient
    assert source.refreshes == MAX_ATTEMPTS
    source.unblock()
    await ended()
    assert await source.tokens.get() == "late"


def test_an_event_loop_that_ends_during_a_refresh_leaves_nothing_behind(
    in_event_loop: Callable[[Coroutine[Any, Any, None]], None],
) -> None:
    source = Source(Issued("first", 60), "second", "third")

    async def one_loop() -> None:
        await source.tokens.get()
        source.block()
        assert await source.tokens.get() == "first"  # which is stale
        await source.started()
        source.unblock()

    async def another_loop() -> None:
        assert await source.tokens.get() == "first"
        await ended()
        assert await source.tokens.get() == "third"

    in_event_loop(one_loop())
    in_event_loop(another_loop())
    assert source.refreshes == 3


class Upstream:
    """Refuses the tokens that it is told to."""

    def __init__(self, *refused: str, error: Exception | None = None) -> None:
        self.refused = refused
        self.error = error or Unauthenticated("s3cret")
        self.asked: list[str] = []

    async def __call__(self, token: str) -> str:
        self.asked.append(token)
        if token in self.refused:
            raise self.error
        return f"answer to {token}"


@pytest.mark.parametrize("wrapped", [False, True], ids=["at once", "after retries"])
async def test_a_refused_token_is_replaced_once(wrapped: bool) -> None:
    refused = Unauthenticated("s3cret")
    upstream = Upstream("first", error=RetryError("", refused) if wrapped else refused)

    assert await Source("first", "second").tokens.with_token(upstream) == "answer to second"
    assert upstream.asked == ["first", "second"]


async def test_a_second_refusal_is_the_answer_and_the_next_caller_replaces_that_token_too() -> None:
    source, upstream = Source("first", "second", "third"), Upstream("first", "second")
    with pytest.raises(Unauthenticated):
        await source.tokens.with_token(upstream)

    assert await source.tokens.with_token(upstream) == "answer to third"
    assert upstream.asked == ["first", "second", "second", "third"]


async def test_another_failure_costs_no_token() -> None:
    source, upstream = Source("first"), Upstream("first", error=Forbidden("s3cret"))
    for _ in range(2):
        with pytest.raises(Forbidden):
            await source.tokens.with_token(upstream)

    assert source.refreshes == 1
