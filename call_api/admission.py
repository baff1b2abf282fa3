"""Admission: what is in flight is bounded in number and bytes; beyond that, an early 503.

Sized for 512 MiB of memory, of which the process takes 110 at rest. If 100 documents of the
largest size arrive at the same moment, they take 200 MiB until all but 32 MiB of them have been
refused. One of them at a time is decoded, which takes up to 40 MiB.
"""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from call_api.errors import CallsUnavailable

MAX_REQUESTS = 100  # more than the 80 that the platform sends to an instance at a time
MAX_BYTES = 32 * 2**20
LARGE_BYTES = 64 * 2**10  # a call of some ten minutes; smaller documents are not counted
TURN_WAIT_SECONDS = 3.0
MAX_REMEMBERED = 1024


@dataclass(eq=False)
class Place:
    """One request's share of the capacity."""

    subject: Hashable
    held_bytes: int = 0

    @property
    def is_large(self) -> bool:
        """Tell whether its document counts."""
        return self.held_bytes > 0


class Admission:
    """Hands out the places for requests in flight, and the turns of large documents."""

    def __init__(self, max_requests: int = MAX_REQUESTS, max_bytes: int = MAX_BYTES) -> None:
        self._free_requests = max_requests
        self._free_bytes = max_bytes
        self._large_sizes: OrderedDict[Hashable, int] = OrderedDict()
        self._large_turn = asyncio.Lock()

    def enter(self, subject: Hashable) -> Place:
        """Return a place for a request; give it back with `leave`.

        `subject` is who asks for what. If the answer was large the last time, room for it is
        taken now: a document that could not be kept is not fetched either.

        Raises:
            CallsUnavailable: there is no room.
        """
        if self._free_requests <= 0:
            raise CallsUnavailable("over capacity: too many requests in flight")
        place = Place(subject)
        self._take_bytes(place, self._large_sizes.get(subject, 0))
        self._free_requests -= 1
        return place

    def resize(self, place: Place, size: int) -> None:
        """Let a place hold a document, or what was made of it, of `size` bytes.

        Raises:
            CallsUnavailable: there is no room.
        """
        if size < LARGE_BYTES:
            self._large_sizes.pop(place.subject, None)
            size = 0
        else:
            self._large_sizes[place.subject] = size
            if len(self._large_sizes) > MAX_REMEMBERED:
                self._large_sizes.popitem(last=False)
        self._take_bytes(place, size)

    def leave(self, place: Place) -> None:
        """Give a place back, once."""
        self._free_requests += 1
        self._free_bytes += place.held_bytes

    @asynccontextmanager
    async def turn(self, place: Place) -> AsyncIterator[None]:
        """Let large documents be decoded one after the other; small ones do not wait.

        Raises:
            CallsUnavailable: its turn did not come within TURN_WAIT_SECONDS.
        """
        if not place.is_large:
            yield
            return
        try:
            async with asyncio.timeout(TURN_WAIT_SECONDS):
                await self._large_turn.acquire()
        except TimeoutError:
            raise CallsUnavailable("over capacity: too many large calls") from None
        try:
            yield
        finally:
            self._large_turn.release()

    def _take_bytes(self, place: Place, size: int) -> None:
        if size - place.held_bytes > self._free_bytes:
            raise CallsUnavailable("over capacity: too many bytes of calls in flight")
        self._free_bytes -= size - place.held_bytes
        place.held_bytes = size
