"""What gRPC does by itself: it connects again during an outage, and repeats no call."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc

from call_api.cloud.channels import channel_options
from call_api.cloud.failures import status_of

ATTEMPTS = 6
PATIENCE_SECONDS = 60.0


@asynccontextmanager
async def channel_to(
    server: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None] | None],
) -> AsyncIterator[grpc.aio.Channel]:
    """Open a channel to a server, which is called for each connection."""
    async with await asyncio.start_server(server, "127.0.0.1", 0) as listening:
        host, port = listening.sockets[0].getsockname()
        async with grpc.aio.insecure_channel(f"{host}:{port}", channel_options(1)) as channel:
            yield channel


def test_the_pauses_between_attempts_do_not_grow() -> None:
    """Left to itself, gRPC would make the fifth pause six times as long as the first."""
    attempted_at: list[float] = []

    async def outage() -> None:
        enough = asyncio.Event()

        def refuse(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            attempted_at.append(asyncio.get_running_loop().time())
            writer.close()
            if len(attempted_at) == ATTEMPTS:
                enough.set()

        async with channel_to(refuse) as channel:
            channel.get_state(try_to_connect=True)
            await asyncio.wait_for(enough.wait(), PATIENCE_SECONDS)

    asyncio.run(outage())

    pauses = [after - before for before, after in itertools.pairwise(attempted_at)]
    assert max(pauses) < 3 * min(pauses), pauses


PREFACE_BYTES, FRAME_HEAD_BYTES = 24, 9
HEADERS, SETTINGS, GOAWAY = 1, 4, 7


def frame(kind: int, payload: bytes = b"") -> bytes:
    """Return a frame of HTTP/2 without flags on stream 0 (RFC 9113, 4.1)."""
    return len(payload).to_bytes(3) + bytes([kind]) + bytes(5) + payload


def test_a_call_that_a_closing_connection_drops_is_left_to_the_retry_here() -> None:
    """gRPC would repeat it, unseen, inside each attempt of ours."""
    calls = 0

    async def drop(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal calls
        await reader.readexactly(PREFACE_BYTES)
        writer.write(frame(SETTINGS))
        kind = None
        while kind != HEADERS:
            head = await reader.readexactly(FRAME_HEAD_BYTES)
            await reader.readexactly(int.from_bytes(head[:3]))
            kind = head[3]
        calls += 1
        writer.write(frame(GOAWAY, bytes(8)))  # the last stream that was looked at is 0; no error
        await writer.drain()
        writer.close()

    async def ask() -> grpc.StatusCode | None:
        async with channel_to(drop) as channel:
            method: Any = channel.unary_unary("/service/method")
            try:
                await method(b"", timeout=PATIENCE_SECONDS)
            except grpc.RpcError as error:
                return status_of(error)
            return None

    assert (asyncio.run(ask()), calls) == (grpc.StatusCode.UNAVAILABLE, 1)
