"""Clients: work for one that leaves is cancelled, and one that reads slowly holds its place."""

import asyncio
from contextlib import ExitStack, suppress
from types import TracebackType
from typing import Self, cast

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

# Most requests are answered before it is worth the time to watch their client.
UNWATCHED_SECONDS = 0.05
PIECE_BYTES = 256 * 2**10
SEND_SECONDS = 10.0


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


class HeldResponse(Response):
    """A large answer, sent in pieces as fast as the client reads it.

    It keeps its place among the requests in flight until it has been sent, so clients that read slowly
    cannot pile up more memory than admission allows. After SEND_SECONDS it gives up the rest and its
    place, and the server closes the connection. Up to two pieces may then stay in the server's buffer,
    uncounted, until the client reads or leaves.
    """

    media_type = "application/json"

    def __init__(self, body: bytes, headers: dict[str, str], held: ExitStack) -> None:
        super().__init__(body, headers=headers)
        self._held = held

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        """Send the answer."""
        start = {"status": self.status_code, "headers": self.raw_headers}
        # After a timeout the server closes the connection, since its answer is not complete.
        with self._held, suppress(TimeoutError):
            async with asyncio.timeout(SEND_SECONDS):
                await send({"type": "http.response.start", **start})
                for at in range(0, len(self.body), PIECE_BYTES):
                    piece = self.body[at : at + PIECE_BYTES]
                    more = at + PIECE_BYTES < len(self.body)
                    await send({"type": "http.response.body", "body": piece, "more_body": more})
