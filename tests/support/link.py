"""A TCP link between the function and what it calls, which fails as it is told."""

import asyncio
import socket
import struct
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress

LINGER_NOT = struct.pack("ii", 1, 0)  # to close a socket then sends a reset, not an orderly end


class _Connection:
    """One connection through the link, with both its ends."""

    def __init__(self, *ends: asyncio.StreamWriter) -> None:
        self.ends = ends
        self.lost = False  # bytes are missing, so nothing that follows could be understood

    def reset(self) -> None:
        for end in self.ends:
            connection = end.get_extra_info("socket")
            with suppress(OSError):  # it may have ended already
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NOT)
            end.transport.abort()


class Link:
    """Leads to a port of this machine; its methods may be called from any thread.

    `delay` holds up everything, in seconds, each way. While `silent`, connections are taken and
    nothing is led on. After `cut_after` further bytes of answers the connection is reset, once;
    `garble` changes the next bytes of an answer, once.
    """

    def __init__(self, upstream: int) -> None:
        self.upstream = upstream
        self.port = 0
        self.delay = 0.0
        self.silent = False
        self.cut_after: int | None = None
        self.garble = False
        self._connections: set[_Connection] = set()
        self._server: asyncio.Server | None = None
        self.loop = asyncio.new_event_loop()

    def heal(self) -> None:
        """Lead on what comes from now on; what was lost stays lost."""
        self.delay, self.silent, self.cut_after, self.garble = 0.0, False, None, False
        self._run(self._listen())

    def refuse(self) -> None:
        """Reset the connections that there are, and refuse new ones."""
        self._run(self._reset(refuse=True))

    def reset(self) -> None:
        """Reset the connections that there are; new ones work."""
        self._run(self._reset(refuse=False))

    def forget(self) -> None:
        """Lead nothing on for the connections that there are; new ones work."""
        for connection in list(self._connections):
            connection.lost = True

    def _run(self, change: Coroutine[None, None, None]) -> None:
        asyncio.run_coroutine_threadsafe(change, self.loop).result(5)

    async def _listen(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(self._lead, "127.0.0.1", self.port)
            self.port = self._server.sockets[0].getsockname()[1]

    async def _reset(self, *, refuse: bool) -> None:
        if refuse and self._server is not None:
            self._server.close()
            self._server = None
        for connection in list(self._connections):
            connection.reset()

    async def _lead(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            answers, upstream = await asyncio.open_connection("127.0.0.1", self.upstream)
        except OSError:
            writer.transport.abort()
            return
        if self._server is None:  # refused meanwhile
            writer.transport.abort()
            upstream.transport.abort()
            return
        connection = _Connection(writer, upstream)
        self._connections.add(connection)
        with suppress(OSError):
            await asyncio.gather(
                self._pass_on(reader, upstream, connection),
                self._pass_on(answers, writer, connection, answers=True),
            )
        self._connections.discard(connection)
        for end in connection.ends:
            end.close()

    async def _pass_on(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        connection: _Connection,
        *,
        answers: bool = False,
    ) -> None:
        while data := await reader.read(65_536):
            await asyncio.sleep(self.delay)
            if self.silent or connection.lost:
                connection.lost = True
                continue
            if answers and self.garble:
                self.garble = False
                data = bytes(byte ^ 0xFF for byte in data)
            if answers and self.cut_after is not None:
                writer.write(data[: self.cut_after])
                self.cut_after -= len(data)
                if self.cut_after <= 0:
                    self.cut_after = None
                    await asyncio.sleep(0.01)  # for what was written to arrive before the reset
                    connection.reset()
            else:
                writer.write(data)
            await writer.drain()
        if not connection.lost:
            writer.write_eof()


@contextmanager
def link_to(port: int) -> Iterator[Link]:
    """Open a link to a port of this machine."""
    link = Link(port)
    thread = threading.Thread(target=link.loop.run_forever, daemon=True)
    thread.start()
    try:
        link.heal()
        yield link
    finally:
        link.refuse()
        asyncio.run_coroutine_threadsafe(_all_ended(), link.loop).result(5)
        link.loop.call_soon_threadsafe(link.loop.stop)
        thread.join(5)
        link.loop.close()


async def _all_ended() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
