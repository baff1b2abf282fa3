"""Lets the log be written before SIGTERM ends a worker.

uvicorn ends a gunicorn worker by raising SIGTERM a second time, with its default action: the process
is killed and no exit handler runs. Lines that the log's thread has not written by then are lost, and
uvicorn has no hook that runs in between. Therefore this module receives SIGTERM first:

1. It waits until the log is written, at most LOG_SECONDS, and passes the signal on to uvicorn, which
   lets the requests in flight end.
2. Each of these requests keeps its task, after its answer is sent, until the log is written, at most
   LOG_SECONDS. uvicorn ends the worker when no task is left.

Both wait without blocking the event loop, so no answer is delayed.
"""

import asyncio
import signal
from collections.abc import Callable
from contextlib import suppress

LOG_SECONDS = 1.0  # the platform kills what still runs 10 s after SIGTERM
_POLL_SECONDS = 0.005


class Shutdown:
    """SIGTERM, received before the server receives it.

    `is_log_written` tells whether no line is waiting to be written, without waiting for it.
    """

    def __init__(self, is_log_written: Callable[[], bool]) -> None:
        self.begun = False
        self._is_log_written = is_log_written
        self._watching = False
        self._passing_on: asyncio.Task[None] | None = None

    def watch(self) -> None:
        """Take over SIGTERM from the server; called in each request, it acts in the first.

        By then the server has installed its handler, and the log may hold lines.
        """
        if self._watching:
            return
        self._watching = True
        server_handler = signal.getsignal(signal.SIGTERM)
        if not callable(server_handler):  # no server, or one that leaves SIGTERM to the system
            return
        loop = asyncio.get_running_loop()

        async def pass_on() -> None:
            await self.wait_for_log()
            server_handler(signal.SIGTERM, None)

        def begin() -> None:
            if not self.begun:  # the platform and gunicorn may both send it
                self.begun = True
                self._passing_on = loop.create_task(pass_on())

        with suppress(RuntimeError):  # not in the main thread, so the server has no handler either
            loop.add_signal_handler(signal.SIGTERM, begin)

    async def wait_for_log(self) -> None:
        """Wait until the log is written, but no longer than LOG_SECONDS."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + LOG_SECONDS
        while not self._is_log_written() and loop.time() < deadline:  # noqa: ASYNC110  (a thread ends this)
            await asyncio.sleep(_POLL_SECONDS)
