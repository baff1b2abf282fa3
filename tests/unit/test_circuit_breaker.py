"""The circuit breaker's states and transitions, with a clock and a probe of the test's own."""

import asyncio
from collections.abc import Callable

import pytest

from call_api.firestore.circuit_breaker import CircuitBreaker, CircuitOpenError
from tests.support.event_loop import loop_passes


class Upstream:
    """What a probe asks: a future for each probe, for the test to end."""

    def __init__(self, wait_seconds: float = 0.01) -> None:
        self.probes: list[asyncio.Future[None]] = []
        self.time = 100.0
        self.after_a_probe: Callable[[], None] = lambda: None
        self.circuit = CircuitBreaker(self.probe, lambda: self.time, wait_seconds)

    async def probe(self) -> None:
        self.probes.append(asyncio.get_running_loop().create_future())
        await self.probes[-1]
        asyncio.get_running_loop().call_soon(self.after_a_probe)

    async def passes(self) -> bool:
        try:
            await self.circuit.wait_until_closed()
        except CircuitOpenError:
            return False
        return True

    def open(self) -> None:
        self.circuit.record_failure(self.time)

    async def asked(self, requests: int = 1) -> "list[asyncio.Task[bool]]":
        """Let so many requests come, and wait until the probe is under way."""
        waiting = [asyncio.create_task(self.passes()) for _ in range(requests)]
        await loop_passes(2)
        return waiting


@pytest.fixture
def upstream() -> Upstream:
    return Upstream()


async def test_a_closed_circuit_lets_requests_pass_without_a_probe(upstream: Upstream) -> None:
    assert await upstream.passes()
    assert upstream.probes == []


async def test_requests_fail_while_the_probe_is_not_answered(upstream: Upstream) -> None:
    upstream.open()

    assert await asyncio.gather(*(upstream.passes() for _ in range(20))) == [False] * 20
    assert len(upstream.probes) == 1


async def test_requests_pass_when_anybody_is_answered_while_they_wait(upstream: Upstream) -> None:
    """Also where the probe is not."""
    upstream.open()
    waiting = await upstream.asked(2)
    upstream.circuit.record_answer()

    assert await asyncio.gather(*waiting) == [True, True]


async def test_requests_pass_when_the_probe_that_they_wait_for_succeeds(upstream: Upstream) -> None:
    upstream.open()
    waiting = await upstream.asked(3)
    upstream.probes[0].set_result(None)

    assert await asyncio.gather(*waiting) == [True] * 3
    assert await upstream.passes()
    assert len(upstream.probes) == 1


async def test_after_a_failed_probe_the_next_request_starts_another(upstream: Upstream) -> None:
    upstream.open()
    for probe in range(3):
        (waiting,) = await upstream.asked()
        upstream.probes[probe].set_exception(OSError("down"))
        assert not await waiting


async def test_a_probe_goes_on_after_those_who_wait_for_it_have_failed(upstream: Upstream) -> None:
    """So that an upstream that has become slow is not down for good."""
    upstream.open()
    assert not await upstream.passes()
    upstream.probes[0].set_result(None)
    await loop_passes(2)

    assert await upstream.passes()
    assert len(upstream.probes) == 1


async def test_a_request_goes_by_the_probe_that_it_waited_for_not_by_a_later_one(
    upstream: Upstream,
) -> None:
    """Its probe succeeds; before it runs again, a failure opens the circuit and a probe starts."""
    upstream.open()
    (first,) = await upstream.asked()

    def fail_again() -> None:
        upstream.time += 1
        upstream.open()
        later.append(asyncio.create_task(upstream.passes()))

    later: list[asyncio.Task[bool]] = []
    upstream.after_a_probe = fail_again
    upstream.probes[0].set_result(None)

    assert await first
    assert not await later[0]
    assert len(upstream.probes) == 2


async def test_a_failure_does_not_open_the_circuit_if_others_were_answered_meanwhile(
    upstream: Upstream,
) -> None:
    began_at = upstream.time
    upstream.time += 1
    upstream.circuit.record_answer()
    upstream.circuit.record_failure(began_at)

    assert await upstream.passes()
    assert upstream.probes == []


async def test_an_answer_at_the_moment_when_a_request_begins_is_one_since_then(
    upstream: Upstream,
) -> None:
    upstream.circuit.record_answer()

    assert upstream.circuit.has_answered_since(upstream.time)
    assert not upstream.circuit.has_answered_since(upstream.time + 1)


async def test_a_failure_opens_the_circuit_if_the_last_answer_was_before_it_began(
    upstream: Upstream,
) -> None:
    upstream.circuit.record_answer()
    upstream.time += 1
    upstream.circuit.record_failure(upstream.time)

    assert not await upstream.passes()


async def test_an_answer_closes_the_circuit(upstream: Upstream) -> None:
    upstream.open()
    upstream.circuit.record_answer()

    assert await upstream.passes()


@pytest.mark.parametrize("cancelled", [0, 19])
async def test_a_request_that_is_cancelled_does_not_cancel_the_probe(cancelled: int) -> None:
    upstream = Upstream(wait_seconds=60)  # no end of a wait: the probe is answered
    upstream.open()
    waiting = await upstream.asked(20)
    waiting[cancelled].cancel()
    await loop_passes(1)
    upstream.probes[0].set_result(None)
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert results.count(True) == 19
    assert isinstance(results[cancelled], asyncio.CancelledError)
