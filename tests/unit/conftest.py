"""Tests that are coroutines: each runs in an event loop of its own."""

import asyncio
import functools
import gc
from collections.abc import Callable, Coroutine
from inspect import iscoroutinefunction
from typing import Any

import pytest


def run(test: Coroutine[Any, Any, None]) -> None:
    """Run it in a new event loop, which must have nothing to complain about."""
    complaints: list[dict[str, Any]] = []

    async def watched() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, what: complaints.append(what))
        await test
        gc.collect(1)  # where asyncio notices failures that nobody has retrieved

    asyncio.run(watched())
    assert complaints == []


def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> None:
    """Make a function of a test that is a coroutine; pytest calls it next."""
    test = pyfuncitem.obj
    if iscoroutinefunction(test):
        pyfuncitem.obj = functools.wraps(test)(lambda **fixtures: run(test(**fixtures)))


@pytest.fixture
def in_event_loop() -> Callable[[Coroutine[Any, Any, None]], None]:
    """For a test of more than one event loop."""
    return run
