"""Admission: what is in flight is bounded in number and bytes; beyond that, an early 503.

Theory of operation. Each request takes a place, of which there are MAX_REQUESTS. One whose document
is large has to take a turn, too, to fetch and decode it: TURNS of these run side by side, the
others wait in line, which costs nothing, and are refused after TURN_WAIT_SECONDS. A document is
known to be large if it was the last time that the same caller asked for it, and then its turn comes
before it is fetched. Otherwise its size is known when it has arrived. From then until it has been
sent, a large document also holds its bytes, of which there are MAX_BYTES.

Sized for 512 MiB of memory, of which the process takes 100 at rest: 100 documents that arrive at
the same moment take up to 200 MiB until all but 32 MiB of them have been refused, and those that
are being decoded up to 20 MiB each.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass

from call_api.errors import CallsUnavailable

MAX_REQUESTS = 100  # more than the 80 that the platform sends to an instance at a time
MAX_BYTES = 32 * 2**20
LARGE_BYTES = 64 * 2**10  # a call of some ten minutes
TURNS = 4  # enough to decode one while others are on their way from Firestore
TURN_WAIT_SECONDS = 2.0
MAX_REMEMBERED = 1024


@dataclass(eq=False)
class Place:
    """One request's share of the capacity."""

    subject: Hashable
    is_large: bool
    held_bytes: int = 0
    has_turn: bool = False


class Admission:
    """Hands out the places for requests in flight, and the turns of large documents."""

    def __init__(
        self, max_requests: int = MAX_REQUESTS, max_bytes: int = MAX_BYTES, turns: int = TURNS
    ) -> None:
        self._free_requests = max_requests
        self._free_bytes = max_bytes
        self._free_turns = asyncio.Semaphore(turns)
        self._large_subjects: OrderedDict[Hashable, None] = OrderedDict()

    def enter(self, subject: Hashable) -> Place:
        """Return a place for a request; give it back with `leave`.

        `subject` is who asks for what.

        Raises:
            CallsUnavailable: there is no place.
        """
        if self._free_requests <= 0:
            raise CallsUnavailable("over capacity: too many requests in flight")
        self._free_requests -= 1
        return Place(subject, is_large=subject in self._large_subjects)

    def leave(self, place: Place) -> None:
        """Give a place back, with all that it holds; once."""
        self.end_turn(place)
        self._free_requests += 1
        self._free_bytes += place.held_bytes

    async def take_turn(self, place: Place) -> None:
        """Wait for a turn, if the place is for a large document and has none yet.

        Raises:
            CallsUnavailable: the turn did not come in time.
        """
        if not place.is_large or place.has_turn:
            return
        try:
            async with asyncio.timeout(TURN_WAIT_SECONDS):
                await self._free_turns.acquire()
        except TimeoutError:
            raise CallsUnavailable("over capacity: too many large calls") from None
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
        if place.is_large:
            self._large_subjects[place.subject] = None
            if len(self._large_subjects) > MAX_REMEMBERED:
                self._large_subjects.popitem(last=False)
        else:
            self._large_subjects.pop(place.subject, None)
            size = 0
        if size - place.held_bytes > self._free_bytes:
            raise CallsUnavailable("over capacity: too many bytes of calls in flight")
        self._free_bytes -= size - place.held_bytes
        place.held_bytes = size
