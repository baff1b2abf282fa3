"""The event loop as tests wait for it: by its passes, since what they wait for has no event of its own."""

import asyncio


async def loop_passes(number: int) -> None:
    """Let the event loop run whatever is ready, so many times."""
    for _ in range(number):
        await asyncio.sleep(0)
