"""The client's connection: work for a client that has left is cancelled."""

import asyncio
from types import TracebackType
from typing import Self, cast

from starlette.types import Receive

# Most requests are answered before it is worth the time to watch their client.
UNWATCHED_SECONDS = 0.05


class ClientLeftError(Exception):
    """The client closed the connection before it had its answer."""


class CancelledWhenClientLeaves:
    """Cancels the work in its `async with` block when the client disconnects.

    Raises:
        ClientLeftError: it did.
    """

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._work = cast("asyncio.Task[object]", asyncio.current_task())  # a coroutine has one
        self._watcher: asyncio.Task[None] | None = None
        self._client_left = False

    async def __aenter__(self) -> Self:
        """Start watching after UNWATCHED_SECONDS."""
        self._timer = asyncio.get_running_loop().call_later(UNWATCHED_SECONDS, self._watch)
        return self

    async def __aexit__(
        self,
        _kind: type[BaseException] | None,
        error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        """Stop watching, and report who cancelled the work."""
        self._timer.cancel()
        if self._watcher is not None:
            self._watcher.cancel()
        if self._client_left and isinstance(error, asyncio.CancelledError):
            self._work.uncancel()
            raise ClientLeftError from None

    def _watch(self) -> None:
        self._watcher = asyncio.create_task(self._wait_for_disconnect())

    async def _wait_for_disconnect(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass  # a body, which no method here has a use for
        self._client_left = True
        self._work.cancel()
