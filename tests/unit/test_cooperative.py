"""Long computations give way to other requests."""

import asyncio
import itertools
from collections.abc import Generator

import pytest

from call_api import cooperative
from call_api.cooperative import in_slices


def count(steps: int) -> Generator[None, None, int]:
    for _ in range(steps):
        yield
    return steps


def test_the_result_is_the_generator_s() -> None:
    assert asyncio.run(in_slices(count(0))) == 0
    assert asyncio.run(in_slices(count(9))) == 9


def others_that_ran(slice_seconds: float) -> int:
    """Return how often another task ran while 50 steps did."""

    async def run() -> int:
        ran = 0

        async def another() -> None:
            nonlocal ran
            while True:
                ran += 1
                await asyncio.sleep(0)

        other = asyncio.create_task(another())
        await in_slices(count(50), slice_seconds)
        other.cancel()
        return ran

    return asyncio.run(run())


def test_others_run_between_slices() -> None:
    assert others_that_ran(slice_seconds=0.0) == 50


def test_each_slice_is_as_long_as_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = itertools.count()  # each look at the clock is one second later
    monkeypatch.setattr(cooperative, "perf_counter", lambda: next(seconds))

    assert others_that_ran(slice_seconds=10.0) == 5


def test_a_computation_shorter_than_a_slice_is_not_interrupted() -> None:
    assert others_that_ran(slice_seconds=60.0) == 0
