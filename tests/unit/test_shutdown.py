"""SIGTERM ends the worker after the log is written, or after a second."""

import asyncio
import os
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType

import pytest

from call_api import shutdown
from call_api.shutdown import Shutdown

PATIENCE_SECONDS = 10.0


class Server:
    """Handles SIGTERM as uvicorn does."""

    def __init__(self) -> None:
        self.stops: list[int] = []

    def handle_exit(self, number: int, _frame: FrameType | None) -> None:
        self.stops.append(number)


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    before = signal.signal(signal.SIGTERM, server.handle_exit)
    yield server
    signal.signal(signal.SIGTERM, before)


async def until_stopped(server: Server) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not server.stops:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.001)


def test_the_server_is_stopped_once_the_log_is_written(server: Server) -> None:
    written = threading.Event()
    stop = Shutdown(written.is_set)

    async def serve() -> None:
        stop.watch()
        stop.watch()  # as each request does
        assert not stop.begun
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)  # from the platform and from gunicorn
        for _ in range(20):
            await asyncio.sleep(0.001)
        assert stop.begun
        assert server.stops == []
        written.set()
        await until_stopped(server)

    asyncio.run(serve())
    assert server.stops == [signal.SIGTERM]


def test_the_server_is_stopped_although_the_log_is_stuck(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutdown, "LOG_SECONDS", 0.02)
    stop = Shutdown(lambda: False)

    async def serve() -> None:
        stop.watch()
        os.kill(os.getpid(), signal.SIGTERM)
        await until_stopped(server)

    asyncio.run(serve())
    assert server.stops == [signal.SIGTERM]


def test_without_a_server_s_handler_sigterm_is_left_alone() -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:

        async def serve() -> None:
            Shutdown(lambda: False).watch()
            assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL

        asyncio.run(serve())
    finally:
        signal.signal(signal.SIGTERM, before)


def test_in_another_thread_than_the_main_one_sigterm_is_left_alone(server: Server) -> None:
    stop = Shutdown(lambda: False)
    finished: list[bool] = []

    async def serve() -> None:
        stop.watch()
        finished.append(True)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    thread.join(PATIENCE_SECONDS)

    assert finished == [True]
    assert signal.getsignal(signal.SIGTERM) == server.handle_exit


def test_a_stop_waits_for_the_log_for_a_second() -> None:
    assert shutdown.LOG_SECONDS == 1.0
