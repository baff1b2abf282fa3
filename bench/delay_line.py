"""A delay line: a TCP connection on which each round trip takes 20 ms more, however many there are.

It also tells of the gRPC calls that go through it.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import cast

LINE_SECONDS = 0.010  # each way
TIMER_SECONDS = 0.0005  # by which asyncio's timers are late on average: epoll waits whole ms
PREFACE_BYTES, FRAME_HEAD_BYTES, HEADERS = 24, 9, 1  # of HTTP/2 (RFC 9113)


class RpcCounter:
    """Finds the gRPC calls in what a client sends: each opens with one frame of headers."""

    def __init__(self) -> None:
        self._skip = PREFACE_BYTES
        self._head = b""

    def calls_in(self, data: bytes) -> int:
        """Return how many open in the next bytes, however these are cut."""
        calls = at = 0
        while at < len(data):
            if self._skip:
                step = min(self._skip, len(data) - at)
                self._skip -= step
            else:
                step = min(FRAME_HEAD_BYTES - len(self._head), len(data) - at)
                self._head += data[at : at + step]
                if len(self._head) == FRAME_HEAD_BYTES:
                    self._skip = int.from_bytes(self._head[:3], "big")
                    calls += self._head[3] == HEADERS
                    self._head = b""
            at += step
        return calls


class DelayLine(asyncio.Protocol):
    """One end of a connection: what comes here leaves at the other end after LINE_SECONDS."""

    transport: asyncio.Transport
    other: "DelayLine"

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._under_way: deque[tuple[float, bytes]] = deque()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Send the bytes on their way."""
        due = self._loop.time() + LINE_SECONDS - TIMER_SECONDS
        if not self._under_way:
            self._loop.call_at(due, self._arrive)
        self._under_way.append((due, data))

    def _arrive(self) -> None:
        now = self._loop.time()
        while self._under_way and self._under_way[0][0] <= now:
            self.other.transport.write(self._under_way.popleft()[1])
        if self._under_way:
            self._loop.call_at(self._under_way[0][0], self._arrive)

    def connection_lost(self, _: Exception | None) -> None:
        """Close the other end, too."""
        self.other.transport.close()


class ClientsEnd(DelayLine):
    """The end that a client connects to; it tells how many gRPC calls come."""

    def __init__(self, upstream: str, called: Callable[[int], None]) -> None:
        super().__init__()
        self._upstream = upstream
        self._called = called
        self._rpcs = RpcCounter()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connect the other end before anything is read."""
        super().connection_made(transport)
        self.transport.pause_reading()
        self._connecting = self._loop.create_task(self._connect())

    async def _connect(self) -> None:
        host, _, port = self._upstream.rpartition(":")
        _, self.other = await self._loop.create_connection(DelayLine, host, int(port))
        self.other.other = self
        self.transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        """Count, and send the bytes on their way."""
        self._called(self._rpcs.calls_in(data))
        super().data_received(data)
