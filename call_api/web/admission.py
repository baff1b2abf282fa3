"""Admission: what is in flight is bounded in number and bytes; beyond that, an early 503.

Theory of operation. Each request takes a place, of which there are MAX_REQUESTS. What it waits for
depends on the size of its document when the same caller (an API key) last asked for it:

    small       The document is fetched at once.
    large       The request waits for one of TURNS turns to fetch and decode documents. A waiting
                request holds no document. From its arrival until it has been sent, a large
                document also holds its bytes, of which there are MAX_BYTES.
    unknown     The request takes one of the caller's UNSIZED_FETCHES slots to fetch the document. If
                the document is large, the request keeps the slot until its turn to be decoded.
                The caller's other requests for the same document wait for its size, so a crowd for
                one large call does not fetch it a hundred times at once.

All waits of a request share WAIT_SECONDS. Sized for 512 MiB of memory, of which the process takes
100 at rest. A document takes up to 2 MiB as it arrives, and ten times as much while it is decoded.
"""

import asyncio
from collections.abc import Awaitable, Hashable
from contextlib import suppress
from weakref import WeakValueDictionary

from call_api.errors import CallsUnavailable
from call_api.recently_used import RecentlyUsed

MAX_REQUESTS = 100  # more than the 80 that the platform sends to an instance at a time
MAX_BYTES = 32 * 2**20
LARGE_BYTES = 64 * 2**10  # a call of some ten minutes
TURNS = 4  # enough to decode one document while others are on their way from Firestore
UNSIZED_FETCHES = 16  # of one caller: 800 requests a second at 20 ms for a read
WAIT_SECONDS = 2.0
MAX_REMEMBERED = 4096


class Admission:
    """The capacity that requests share."""

    def __init__(
        self, max_requests: int = MAX_REQUESTS, max_bytes: int = MAX_BYTES, turns: int = TURNS
    ) -> None:
        self.free_requests = max_requests
        self.free_bytes = max_bytes
        self.free_turns = asyncio.Semaphore(turns)
        self._unsized_fetches: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()
        # By caller and document; absent while its size is not known.
        self.was_large: RecentlyUsed[Hashable, bool] = RecentlyUsed(MAX_REMEMBERED)
        self.first_fetches: dict[Hashable, asyncio.Event] = {}

    def enter(self, caller: str, document: Hashable) -> "Place":
        """Reserve a place for a request, which ends with its `leave`.

        Raises:
            CallsUnavailable: there is none.
        """
        if self.free_requests <= 0:
            raise CallsUnavailable("over capacity: too many requests in flight")
        self.free_requests -= 1
        unsized_fetches = self._unsized_fetches.get(caller)
        if unsized_fetches is None:
            unsized_fetches = self._unsized_fetches[caller] = asyncio.Semaphore(UNSIZED_FETCHES)
        return Place(self, (caller, document), unsized_fetches)


class Place:
    """One request's share of the capacity; its methods are called in this order."""

    def __init__(
        self, admission: Admission, subject: Hashable, unsized_fetches: asyncio.Semaphore
    ) -> None:
        self._admission = admission
        self._subject = subject
        self._unsized_fetches = unsized_fetches  # shared by the caller's requests in flight
        self._first_fetch: asyncio.Event | None = None  # set when the document's size is known
        self._is_unsized_fetch = False
        self._has_turn = False
        self._held_bytes = 0
        self._waited_seconds = 0.0

    @property
    def holds_bytes(self) -> bool:
        """Tell whether it holds bytes."""
        return self._held_bytes > 0

    async def before_fetch(self) -> None:
        """Wait until the document may be fetched.

        Raises:
            CallsUnavailable: not within WAIT_SECONDS.
        """
        with suppress(TimeoutError):  # then its size has to be found out by this request, too
            await self._wait_for_size()
        is_large = self._admission.was_large.get(self._subject)
        if is_large:
            await self._take_turn()
        elif is_large is None:
            await self._acquire(self._unsized_fetches)
            self._is_unsized_fetch = True

    def arrived(self, size: int) -> None:
        """Remember the size of the document in bytes, 0 if there is none."""
        is_large = size >= LARGE_BYTES
        self._admission.was_large.put(self._subject, is_large)
        self._end_size_wait()
        if not is_large:
            self._end_unsized_fetch()

    async def before_decoding(self, size: int) -> None:
        """Hold the bytes of a document, and wait for its turn if it is large.

        Raises:
            CallsUnavailable: there is no room, or its turn did not come in time.
        """
        self.hold(size)
        if self.holds_bytes:
            await self._take_turn()

    def end_turn(self) -> None:
        """Let the next large document have its turn."""
        if self._has_turn:
            self._has_turn = False
            self._admission.free_turns.release()

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

    def leave(self) -> None:
        """Give everything back; once."""
        self._end_size_wait()
        self._end_unsized_fetch()
        self.end_turn()
        self._admission.free_bytes += self._held_bytes
        self._admission.free_requests += 1

    async def _wait_for_size(self) -> None:
        first_fetches = self._admission.first_fetches
        while self._admission.was_large.get(self._subject) is None:
            if self._subject not in first_fetches:
                self._first_fetch = first_fetches[self._subject] = asyncio.Event()
                return
            await self._in_time(first_fetches[self._subject].wait())

    def _end_size_wait(self) -> None:
        if self._first_fetch is not None:
            self._first_fetch.set()
            self._first_fetch = None
            del self._admission.first_fetches[self._subject]

    def _end_unsized_fetch(self) -> None:
        if self._is_unsized_fetch:
            self._is_unsized_fetch = False
            self._unsized_fetches.release()

    async def _take_turn(self) -> None:
        if not self._has_turn:
            await self._acquire(self._admission.free_turns)
            self._has_turn = True
            self._end_unsized_fetch()

    async def _acquire(self, slots: asyncio.Semaphore) -> None:
        try:
            await self._in_time(slots.acquire())
        except TimeoutError:
            is_turn = slots is self._admission.free_turns
            what = "large calls" if is_turn else "calls of unknown size for this key"
            raise CallsUnavailable(f"over capacity: too many {what}") from None

    async def _in_time(self, waiting: Awaitable[object]) -> None:
        """Wait for so long as is left; raises TimeoutError."""
        loop = asyncio.get_running_loop()
        began_at = loop.time()
        try:
            async with asyncio.timeout_at(began_at + WAIT_SECONDS - self._waited_seconds):
                await waiting
        finally:
            self._waited_seconds += loop.time() - began_at
