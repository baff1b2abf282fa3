"""Access tokens: single-flight refresh, stale and refused tokens, failures."""

import asyncio
import gc
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any

import pytest
from google.auth.exceptions import DefaultCredentialsError, RefreshError, TransportError

from call_api.access_token import REFRESH_MARGIN, AccessTokens, TokenUnavailable
from tests.support.fakes import Clock, FakeCredentials, Issued

SECOND = timedelta(seconds=1)
LIFE = timedelta(hours=1)


def tokens_of(credentials: FakeCredentials, clock: Clock | None = None) -> AccessTokens:
    found = lambda: (credentials, "project")  # noqa: E731
    return AccessTokens(found) if clock is None else AccessTokens(found, clock)


async def started(credentials: FakeCredentials) -> None:
    """Wait until a refresh is under way."""
    assert await asyncio.to_thread(credentials.started.wait, 10)
    credentials.started.clear()


async def ended() -> None:
    """Wait for the refresh in the background."""
    await asyncio.wait(asyncio.all_tasks() - {asyncio.current_task()})


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a test in an event loop, which must have nothing to complain about."""
    complaints: list[dict[str, Any]] = []

    async def watched() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, what: complaints.append(what))
        await test()
        gc.collect(1)  # where asyncio notices failures that nobody has retrieved

    asyncio.run(watched())
    assert complaints == []


def test_a_fresh_token_is_fetched_once() -> None:
    clock = Clock()
    credentials = FakeCredentials("first", clock=clock)
    tokens = tokens_of(credentials, clock)

    async def test() -> None:
        assert [await tokens.get() for _ in range(3)] == ["first"] * 3
        clock.time += LIFE - REFRESH_MARGIN - SECOND
        assert await tokens.get() == "first"

    run(test)
    assert credentials.refreshes == 1


def test_a_stale_token_is_served_while_the_next_is_fetched() -> None:
    clock = Clock()
    credentials = FakeCredentials("first", "second", clock=clock)
    tokens = tokens_of(credentials, clock)

    async def test() -> None:
        await tokens.get()
        clock.time += LIFE - REFRESH_MARGIN
        credentials.may_end.clear()
        assert [await tokens.get() for _ in range(20)] == ["first"] * 20
        credentials.may_end.set()
        await ended()
        assert await tokens.get() == "second"

    run(test)
    assert credentials.refreshes == 2


@pytest.mark.parametrize("failure", [RefreshError(), ZeroDivisionError(), Issued("mal formed")])
def test_a_stale_token_serves_until_it_expires(failure: Issued | Exception) -> None:
    """Whatever the refreshes in the background come to."""
    clock = Clock()
    credentials = FakeCredentials("first", failure, failure, "second", clock=clock)
    tokens = tokens_of(credentials, clock)

    async def test() -> None:
        await tokens.get()
        clock.time += LIFE - SECOND
        for _ in range(2):
            assert await tokens.get() == "first"
            await ended()
        clock.time += SECOND
        assert await tokens.get() == "second"

    run(test)


def test_an_expired_token_is_waited_for() -> None:
    clock = Clock()
    credentials = FakeCredentials("first", "second", clock=clock)
    tokens = tokens_of(credentials, clock)

    async def test() -> None:
        await tokens.get()
        clock.time += LIFE
        assert await tokens.get() == "second"

    run(test)


def test_a_token_without_an_expiry_stays_fresh() -> None:
    clock = Clock()
    credentials = FakeCredentials(Issued("first", None), clock=clock)
    tokens = tokens_of(credentials, clock)

    async def test() -> None:
        await tokens.get()
        clock.time += timedelta(days=365)
        assert await tokens.get() == "first"

    run(test)
    assert credentials.refreshes == 1


def test_by_default_the_clock_is_the_machine_s() -> None:
    credentials = FakeCredentials(Issued("first", REFRESH_MARGIN.total_seconds() + 60), "second")
    tokens = tokens_of(credentials)

    async def test() -> None:
        assert [await tokens.get() for _ in range(2)] == ["first"] * 2

    run(test)
    assert credentials.refreshes == 1


def test_twenty_callers_share_one_refresh() -> None:
    credentials = FakeCredentials("first")
    credentials.may_end.clear()
    tokens = tokens_of(credentials)

    async def test() -> None:
        callers = [asyncio.create_task(tokens.get()) for _ in range(20)]
        await started(credentials)
        credentials.may_end.set()
        assert await asyncio.gather(*callers) == ["first"] * 20

    run(test)
    assert credentials.refreshes == 1


def test_twenty_callers_share_one_failure_and_the_next_caller_tries_again() -> None:
    credentials = FakeCredentials(RefreshError(), "first")
    credentials.may_end.clear()
    tokens = tokens_of(credentials)

    async def test() -> None:
        callers = [asyncio.create_task(tokens.get()) for _ in range(20)]
        await started(credentials)
        credentials.may_end.set()
        results = await asyncio.gather(*callers, return_exceptions=True)
        assert {type(result) for result in results} == {TokenUnavailable}
        assert await tokens.get() == "first"

    run(test)
    assert credentials.refreshes == 2


def test_a_cancelled_caller_leaves_the_refresh_to_the_others() -> None:
    credentials = FakeCredentials("first")
    credentials.may_end.clear()
    tokens = tokens_of(credentials)

    async def test() -> None:
        leaving, staying = (asyncio.create_task(tokens.get()) for _ in range(2))
        await started(credentials)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        credentials.may_end.set()
        assert await staying == "first"

    run(test)
    assert credentials.refreshes == 1


def test_a_failure_that_no_caller_waits_for_any_longer_is_dropped() -> None:
    credentials = FakeCredentials(RefreshError(), "first")
    credentials.may_end.clear()
    tokens = tokens_of(credentials)

    async def test() -> None:
        leaving = asyncio.create_task(tokens.get())
        await started(credentials)
        leaving.cancel()
        credentials.may_end.set()
        await ended()
        assert await tokens.get() == "first"

    run(test)
    assert credentials.refreshes == 2


def test_a_refused_token_is_replaced() -> None:
    credentials = FakeCredentials("first", "second")
    tokens = tokens_of(credentials)

    async def test() -> None:
        tokens.reject(await tokens.get())
        assert [await tokens.get() for _ in range(2)] == ["second"] * 2

    run(test)
    assert credentials.refreshes == 2


def test_twenty_refusals_of_one_token_cause_one_refresh() -> None:
    """Ten arrive before the refresh ends, and ten after it."""
    credentials = FakeCredentials("first", "second")
    tokens = tokens_of(credentials)

    async def test() -> None:
        refused = await tokens.get()
        credentials.started.clear()
        credentials.may_end.clear()

        async def replaced() -> str:
            tokens.reject(refused)
            return await tokens.get()

        early = [asyncio.create_task(replaced()) for _ in range(10)]
        await started(credentials)
        credentials.may_end.set()
        results = await asyncio.gather(*early)
        results += [await replaced() for _ in range(10)]
        assert results == ["second"] * 20

    run(test)
    assert credentials.refreshes == 2


def test_a_refused_token_that_is_issued_again_is_served_again() -> None:
    """The caller gives up after a second refusal; here it is told the truth once per refresh."""
    credentials = FakeCredentials("first", "first", "second")
    tokens = tokens_of(credentials)

    async def test() -> None:
        for expected in ("first", "first", "second"):
            assert await tokens.get() == expected
            tokens.reject(expected)

    run(test)
    assert credentials.refreshes == 3


def test_a_stale_token_refused_during_its_refresh_is_not_served_again() -> None:
    clock = Clock()
    credentials = FakeCredentials("first", "second", clock=clock)
    tokens = tokens_of(credentials, clock)

    async def test() -> None:
        await tokens.get()
        clock.time += LIFE - SECOND
        credentials.started.clear()
        credentials.may_end.clear()
        tokens.reject(await tokens.get())
        waiting = asyncio.create_task(tokens.get())
        await started(credentials)
        credentials.may_end.set()
        assert await waiting == "second"

    run(test)
    assert credentials.refreshes == 2


def test_a_token_that_was_never_issued_can_be_rejected() -> None:
    tokens = tokens_of(FakeCredentials("first"))

    async def test() -> None:
        tokens.reject("another")
        assert await tokens.get() == "first"
        tokens.reject("another")
        assert await tokens.get() == "first"

    run(test)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (RefreshError("s3cret"), "RefreshError"),
        (TransportError("s3cret"), "TransportError"),
        (KeyError("s3cret"), "malformed answer: KeyError"),
        (TypeError("s3cret"), "malformed answer: TypeError"),
        (ValueError("s3cret"), "malformed answer: ValueError"),
        (OverflowError("s3cret"), "malformed answer: OverflowError"),
        (Issued("first", 0.0), "expired token"),
        (Issued("first", -1.0), "expired token"),
        *[
            (Issued(malformed), "malformed token")
            for malformed in (
                *(None, 5, b"s3cret", ["s3cret"]),
                *("", " ", "s3 cret", "s3cret\n", "s3\rcret", "s3\x00cret", "s3\x7fcret", "s3crét"),
            )
        ],
    ],
    ids=repr,
)
def test_a_refresh_without_a_usable_token_is_not_cached(
    given: Issued | Exception, reason: str
) -> None:
    clock = Clock()
    tokens = tokens_of(FakeCredentials(given, "second", clock=clock), clock)

    async def test() -> None:
        with pytest.raises(TokenUnavailable) as unavailable:
            await tokens.get()
        assert str(unavailable.value) == reason
        assert await tokens.get() == "second"

    run(test)


@pytest.mark.parametrize("defect", [ZeroDivisionError(), AttributeError(), RuntimeError()])
def test_a_defect_in_a_refresh_is_not_reported_as_an_outage(defect: Exception) -> None:
    tokens = tokens_of(FakeCredentials(defect, "second"))

    async def test() -> None:
        with pytest.raises(type(defect)):
            await tokens.get()
        assert await tokens.get() == "second"

    run(test)


def test_credentials_are_found_once_for_twenty_callers() -> None:
    credentials = FakeCredentials("first")
    finds: list[FakeCredentials] = []

    def find() -> tuple[Any, str | None]:
        finds.append(credentials)
        return credentials, "project"

    tokens = AccessTokens(find)

    async def test() -> None:
        found = await asyncio.gather(*(tokens.credentials() for _ in range(20)))
        assert {(id(one), project) for one, project in found} == {(id(credentials), "project")}
        assert await tokens.get() == "first"

    run(test)
    assert len(finds) == 1


def test_missing_credentials_are_looked_for_again() -> None:
    finds: list[Any] = [DefaultCredentialsError(), DefaultCredentialsError(), FakeCredentials("a")]

    def find() -> tuple[Any, str | None]:
        found = finds.pop(0)
        if isinstance(found, Exception):
            raise found
        return found, None

    tokens = AccessTokens(find)

    async def test() -> None:
        with pytest.raises(DefaultCredentialsError):
            await tokens.credentials()
        with pytest.raises(DefaultCredentialsError):
            await tokens.get()
        assert await tokens.get() == "a"
        assert await tokens.credentials() == (await tokens.credentials())

    run(test)
    assert finds == []


def test_an_event_loop_that_ends_during_a_refresh_leaves_nothing_behind() -> None:
    credentials = FakeCredentials(Issued("first", 60), "second", "third")
    tokens = tokens_of(credentials)

    async def test() -> None:
        await tokens.get()
        credentials.started.clear()
        credentials.may_end.clear()
        assert await tokens.get() == "first"  # which is stale
        await started(credentials)
        credentials.may_end.set()

    run(test)

    async def in_another_loop() -> None:
        assert await tokens.get() == "first"
        await ended()
        assert await tokens.get() == "third"

    run(in_another_loop)
    assert credentials.refreshes == 3
