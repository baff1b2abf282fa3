"""Admission: what is in flight is bounded in number and bytes; beyond that, an early 503.

Theory of operation. Each request takes a place, of which there are MAX_REQUESTS. What it waits for
depends on the size of its document when the same caller (an API key) last asked for it:

    small       The document is fetched at once.
    large       The request waits for one of TURNS turns to fetch and publish documents. A waiting
                request holds no document.
    unknown     The request takes one of the caller's FETCHES slots, and one of ALL_FETCHES that all
                callers share. The shared one is free again once the document has arrived. The caller's
                own is kept until a large document has its turn, so one caller has at most FETCHES of
                them waiting, and the others' go on. Where another request of the same caller finds
                out meanwhile that the document is large, this one gives its slots back and waits for
                a turn instead.

From the owner check on, a large document also holds its bytes, of which there are MAX_BYTES; and then
its answer, if that is as large, until it has been sent. All waits of a request share WAIT_SECONDS.
Sized for 512 MiB of memory. A document takes up to 2 MiB as it arrives, and several times as much while it
is published.
"""

import asyncio
from collections.abc import Hashable
from weakref import WeakValueDictionary

from cachetools import LRUCache

from call_api.calls.publish import LARGE_BYTES
from call_api.errors import CallsUnavailable

MAX_REQUESTS = 100  # more than the 80 that the platform sends to an instance at a time
MAX_BYTES = 32 * 2**20
TURNS = 4  # enough to publish one document while others are on their way from Firestore
FETCHES = 4  # of one caller, which waits beyond them, while others do not
ALL_FETCHES = 8  # or many callers together would have as many large documents arrive at once
WAIT_SECONDS = 2.0
MAX_REMEMBERED = 4096


class Admission:
    """The capacity that requests share."""

    def __init__(
        self, max_requests: int = MAX_REQUESTS, max_bytes: int = MAX_BYTES, turns: int = TURNS
    ) -> None:
        self.free_requests = max_requests
        self.free_bytes = max_bytes
        self.turns = asyncio.Semaphore(turns)
        self.all_fetches = asyncio.Semaphore(ALL_FETCHES)
        # By caller and call.
        self.was_large: LRUCache[Hashable, bool] = LRUCache(MAX_REMEMBERED)
        # By caller, for as long as one of its requests is in flight.
        self._fetches: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    def enter(self, caller: str, call: Hashable) -> "Place":
        """Reserve a place for a request, which ends with its `leave`.

        Raises:
            CallsUnavailable: there is none.
        """
        if self.free_requests <= 0:
            raise CallsUnavailable("over capacity: too many requests in flight")
        self.free_requests -= 1
        fetches = self._fetches.get(caller)
        if fetches is None:
            fetches = self._fetches[caller] = asyncio.Semaphore(FETCHES)
        return Place(self, (caller, call), fetches)


class Place:
    """One request's share of the capacity.

    Its methods are called in this order: `before_fetch`, after which it has a turn, slots or, where the
    document is known to be small, neither; `before_publishing`, after which a large document has a turn
    and holds its bytes; `end_turn`; `hold`, each time that the size of what it holds changes; `leave`,
    exactly once, from wherever the request ends.
    """

    def __init__(self, admission: Admission, subject: Hashable, fetches: asyncio.Semaphore) -> None:
        self._admission = admission
        self._subject = subject
        self._caller_slot = _Slot(fetches)
        self._shared_slot = _Slot(admission.all_fetches)
        self._turn = _Slot(admission.turns)
        self._held_bytes = 0
        self.waited_seconds = 0.0

    async def before_fetch(self) -> None:
        """Wait until the document may be fetched.

        Raises:
            CallsUnavailable: not within WAIT_SECONDS.
        """
        # Asked anew after each wait: meanwhile another request of the caller may have found out the size.
        if self._was_large is None:
            await self._wait_for(self._caller_slot, "calls of unknown size for this key")
        if self._was_large is None:
            await self._wait_for(self._shared_slot, "calls of unknown size")
        if self._was_large:
            self._shared_slot.give_back()
            self._caller_slot.give_back()
            await self._wait_for(self._turn, "large calls")

    async def before_publishing(self, size: int) -> None:
        """Hold the bytes of the document that has arrived, and wait for its turn if it is large.

        Raises:
            CallsUnavailable: there is no room, or its turn did not come in time.
        """
        self._shared_slot.give_back()
        is_large = size >= LARGE_BYTES
        self._admission.was_large[self._subject] = is_large
        if is_large:
            self.hold(size)
            await self._wait_for(self._turn, "large calls")
        self._caller_slot.give_back()

    def end_turn(self) -> None:
        """Let the next large document have its turn."""
        self._turn.give_back()

    def hold(self, size: int) -> None:
        """Hold so many bytes from now on, in place of those held before; only large ones count.

        Raises:
            CallsUnavailable: there is no room.
        """
        more_bytes = (size if size >= LARGE_BYTES else 0) - self._held_bytes
        if more_bytes > self._admission.free_bytes:
            raise CallsUnavailable("over capacity: too many bytes of calls in flight")
        self._admission.free_bytes -= more_bytes
        self._held_bytes += more_bytes

    @property
    def holds_bytes(self) -> bool:
        """Tell whether it holds bytes."""
        return self._held_bytes > 0

    def leave(self) -> None:
        """Give everything back."""
        self._shared_slot.give_back()
        self._caller_slot.give_back()
        self._turn.give_back()
        self._admission.free_bytes += self._held_bytes
        self._admission.free_requests += 1

    @property
    def _was_large(self) -> bool | None:
        """Whether the document was large when this caller last asked for it; None if not known."""
        return self._admission.was_large.get(self._subject)

    async def _wait_for(self, slot: "_Slot", what: str) -> None:
        """Take a slot, within so long as is left of WAIT_SECONDS."""
        loop = asyncio.get_running_loop()
        began_at = loop.time()
        try:
            async with asyncio.timeout(WAIT_SECONDS - self.waited_seconds):
                await slot.take()
        except TimeoutError:
            raise CallsUnavailable(f"over capacity: too many {what}") from None
        finally:
            self.waited_seconds += loop.time() - began_at


class _Slot:
    """One request's right to one slot of a semaphore."""

    def __init__(self, semaphore: asyncio.Semaphore) -> None:
        self._semaphore = semaphore
        self._is_taken = False

    async def take(self) -> None:
        """Wait for it, unless it is taken."""
        if not self._is_taken:
            await self._semaphore.acquire()
            self._is_taken = True

    def give_back(self) -> None:
        """Give it back, if it is taken."""
        if self._is_taken:
            self._is_taken = False
            self._semaphore.release()
