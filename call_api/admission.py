"""Admission: what is in flight is bounded in number and bytes; beyond that, an early 503.

Theory of operation. Each request takes a place, of which there are MAX_REQUESTS. Its subject is who
asks for what. The size of a subject's document is remembered from the last time:

    small       The request goes on at once.
    large       It waits in line for one of a few turns to fetch and decode documents, which costs
                nothing, and is refused after WAIT_SECONDS. From its arrival until it has been sent,
                a large document also holds its bytes, of which there are MAX_BYTES.
    unknown     It goes on at once, as if it were small, and takes its turn when the document has
                arrived and is large. Meanwhile others with the same subject wait for its size, so
                that a crowd for one large call does not fetch it a hundred times at once.

Sized for 512 MiB of memory, of which the process takes 100 at rest. A document takes up to 2 MiB as
it arrives, and ten times as much while it is being decoded.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Hashable
from dataclasses import dataclass

from call_api.errors import CallsUnavailable

MAX_REQUESTS = 100  # more than the 80 that the platform sends to an instance at a time
MAX_BYTES = 32 * 2**20
LARGE_BYTES = 64 * 2**10  # a call of some ten minutes
TURNS = 4  # enough to decode one document while others are on their way from Firestore
WAIT_SECONDS = 2.0
MAX_REMEMBERED = 4096


@dataclass(eq=False)
class Place:
    """One request's share of the capacity."""

    subject: Hashable
    is_large: bool = False
    has_turn: bool = False
    held_bytes: int = 0
    size_known: asyncio.Event | None = None  # for those who wait for the size of its document


class Admission:
    """Hands out the places for requests in flight, and the turns of large documents."""

    def __init__(
        self, max_requests: int = MAX_REQUESTS, max_bytes: int = MAX_BYTES, turns: int = TURNS
    ) -> None:
        self._free_requests = max_requests
        self._free_bytes = max_bytes
        self._free_turns = asyncio.Semaphore(turns)
        self._is_large: OrderedDict[Hashable, bool] = OrderedDict()
        self._first_of: dict[Hashable, asyncio.Event] = {}

    def enter(self, subject: Hashable) -> Place:
        """Return a place for a request; give it back with `leave`.

        Raises:
            CallsUnavailable: there is no place.
        """
        if self._free_requests <= 0:
            raise CallsUnavailable("over capacity: too many requests in flight")
        self._free_requests -= 1
        return Place(subject)

    def leave(self, place: Place) -> None:
        """Give a place back, with all that it holds; once."""
        self._end_size_wait(place)
        self.end_turn(place)
        self._free_requests += 1
        self._free_bytes += place.held_bytes

    async def before_fetch(self, place: Place) -> None:
        """Wait until the document may be fetched.

        Raises:
            CallsUnavailable: that was not so in time.
        """
        subject = place.subject
        if subject not in self._is_large:
            if (first := self._first_of.get(subject)) is None:
                place.size_known = self._first_of[subject] = asyncio.Event()
            else:
                await _in_time(first.wait())
        place.is_large = self._is_large.get(subject, False)
        await self.take_turn(place)

    async def take_turn(self, place: Place) -> None:
        """Wait for a turn, if the document is large and has none yet.

        Raises:
            CallsUnavailable: the turn did not come in time.
        """
        if place.is_large and not place.has_turn:
            await _in_time(self._free_turns.acquire())
            place.has_turn = True

    def end_turn(self, place: Place) -> None:
        """Let the next large document have its turn."""
        if place.has_turn:
            place.has_turn = False
            self._free_turns.release()

    def resize(self, place: Place, size: int) -> None:
        """Let a place hold a document, or what was made of it, of `size` bytes.

        Raises:
            CallsUnavailable: there is no room.
        """
        place.is_large = size >= LARGE_BYTES
        self._is_large[place.subject] = place.is_large
        if len(self._is_large) > MAX_REMEMBERED:
            self._is_large.popitem(last=False)
        self._end_size_wait(place)
        held_bytes = size if place.is_large else 0
        if held_bytes - place.held_bytes > self._free_bytes:
            raise CallsUnavailable("over capacity: too many bytes of calls in flight")
        self._free_bytes -= held_bytes - place.held_bytes
        place.held_bytes = held_bytes

    def _end_size_wait(self, place: Place) -> None:
        if place.size_known is not None:
            place.size_known.set()
            place.size_known = None
            del self._first_of[place.subject]


async def _in_time(waiting: Awaitable[object]) -> None:
    try:
        async with asyncio.timeout(WAIT_SECONDS):
            await waiting
    except TimeoutError:
        raise CallsUnavailable("over capacity: too many large calls") from None
