"""A circuit breaker: while an upstream is down, requests fail fast instead of waiting for it.

Theory of operation. The circuit has three states:

    closed      Requests pass. A failure opens the circuit, unless others are answered (below).
    open        Requests do not pass. The next one starts a half-open probe.
    half-open   One probe is asking the upstream. Requests wait for it, for a bounded time. If it
                succeeds, the circuit closes and they pass; if it fails, the circuit is open again;
                if it takes longer than they wait, they fail and the probe goes on. An answer to a
                request that was already on its way closes the circuit, too.

A failure opens the circuit only if the upstream has answered nobody since the failed request
began. An upstream that answers others is up, and what failed was one request. The caller decides what
a failure is, and reports neither its own lateness nor an error that the upstream returned for one
document.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

PROBE_WAIT_SECONDS = 0.5


class CircuitOpenError(Exception):
    """The upstream is down, and has not answered a probe yet."""


class CircuitBreaker:
    """The state of the circuit to one upstream.

    `probe` asks the upstream and raises an exception if it is still down. It limits its own time,
    which should be longer than `probe_wait_seconds`: an upstream that is only slow then fails
    some requests, but closes the circuit. `clock` returns seconds that never go backwards.
    """

    def __init__(
        self,
        probe: Callable[[], Awaitable[None]],
        clock: Callable[[], float],
        probe_wait_seconds: float = PROBE_WAIT_SECONDS,
    ) -> None:
        self._probe = probe
        self._clock = clock
        self._probe_wait_seconds = probe_wait_seconds
        self._is_open = False
        self._answered_at = float("-inf")
        self._probing: asyncio.Task[None] | None = None  # half-open while it runs

    async def wait_until_closed(self) -> None:
        """Return when a request may pass.

        Raises:
            CircuitOpenError: the upstream has not answered in time, the probe or anybody.
        """
        if not self._is_open:
            return
        if self._probing is None or self._probing.done():
            self._probing = asyncio.create_task(self._run_probe())
        began_at = self._clock()
        await asyncio.wait([self._probing], timeout=self._probe_wait_seconds)
        if not self.has_answered_since(began_at):
            raise CircuitOpenError

    def record_answer(self) -> None:
        """Close the circuit: the upstream has answered."""
        self._answered_at = self._clock()
        self._is_open = False

    def has_answered_since(self, time: float) -> bool:
        """Tell whether the upstream has answered anybody since then."""
        return self._answered_at >= time

    def record_failure(self, began_at: float) -> None:
        """Open the circuit, unless the upstream has answered anybody since `began_at`."""
        if not self.has_answered_since(began_at):
            self._is_open = True

    async def _run_probe(self) -> None:
        with suppress(Exception):  # whatever it is, the upstream has not answered
            await self._probe()
            self.record_answer()
