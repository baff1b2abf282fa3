"""Long computations on the event loop, in slices that let other requests pass."""

import asyncio
from collections.abc import Generator
from time import perf_counter
from typing import TypeVar

SLICE_SECONDS = 0.002

T = TypeVar("T")


async def in_slices(steps: Generator[None, None, T], slice_seconds: float = SLICE_SECONDS) -> T:
    """Run a generator to its end and return its result.

    Where it yields, and a slice is over, everything else that is ready on the event loop runs
    before the next slice. A computation shorter than a slice is not interrupted.
    """
    slice_end = perf_counter() + slice_seconds
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: T = end.value
            return result
        if perf_counter() >= slice_end:
            await asyncio.sleep(0)
            slice_end = perf_counter() + slice_seconds
