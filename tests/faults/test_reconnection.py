"""Attempts to connect during an outage: gRPC makes them, at the pace that its options set."""

import asyncio
from contextlib import suppress

import grpc

from call_api.cloud.channels import channel_options

OUTAGE_SECONDS = 5.0


def test_the_pauses_between_attempts_do_not_grow() -> None:
    """Left to itself, gRPC would try three times in these 5 s, and then every 2 minutes."""
    attempts = 0

    def refuse(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal attempts
        attempts += 1
        writer.close()

    async def outage() -> None:
        async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
            host, port = server.sockets[0].getsockname()
            async with grpc.aio.insecure_channel(f"{host}:{port}", channel_options(1)) as channel:
                with suppress(TimeoutError):
                    await asyncio.wait_for(channel.channel_ready(), OUTAGE_SECONDS)

    asyncio.run(outage())

    assert attempts > 6
