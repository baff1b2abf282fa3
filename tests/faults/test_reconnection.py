"""Attempts to connect during an outage: gRPC makes them, at the pace that its options set."""

import asyncio
import itertools

import grpc

from call_api.cloud.channels import channel_options

ATTEMPTS = 6
PATIENCE_SECONDS = 60.0


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

        async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
            host, port = server.sockets[0].getsockname()
            async with grpc.aio.insecure_channel(f"{host}:{port}", channel_options(1)) as channel:
                channel.get_state(try_to_connect=True)
                await asyncio.wait_for(enough.wait(), PATIENCE_SECONDS)

    asyncio.run(outage())

    pauses = [after - before for before, after in itertools.pairwise(attempted_at)]
    assert max(pauses) < 3 * min(pauses), pauses
