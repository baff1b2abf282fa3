"""The client's connection: work for a client that has left is cancelled."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

from starlette.types import Receive


class ClientLeftError(Exception):
    """The client closed the connection before it had its answer."""


@asynccontextmanager
async def cancelled_when_client_leaves(receive: Receive) -> AsyncIterator[None]:
    """Cancel the work inside when the client disconnects.

    Raises:
        ClientLeftError: it did.
    """
    work = cast("asyncio.Task[object]", asyncio.current_task())  # this is one
    watcher = asyncio.create_task(_wait_for_disconnect(receive))
    watcher.add_done_callback(lambda done: done.cancelled() or work.cancel())
    try:
        yield
    except asyncio.CancelledError:
        if not watcher.done():  # cancelled by the server, which is shutting down
            raise
        work.uncancel()
        raise ClientLeftError from None
    finally:
        watcher.cancel()


async def _wait_for_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass  # a body, which no method here has a use for
