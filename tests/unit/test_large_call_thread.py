"""The thread for large calls: large work leaves the event loop free, in one thread, and is dropped where nobody waits."""

import asyncio
import re
import subprocess
import sys
import threading
from contextlib import suppress
from functools import partial

import pytest

from call_api.calls.publish import LARGE_BYTES, SWITCH_SECONDS, LargeCallThread
from tests.support.serving import ROOT


async def test_small_work_is_done_at_once_and_large_work_in_one_thread() -> None:
    thread = LargeCallThread()
    small, *large = [
        await thread.run(size, lambda: threading.current_thread().name)
        for size in (LARGE_BYTES - 1, LARGE_BYTES, LARGE_BYTES + 1)
    ]

    assert small == threading.current_thread().name
    assert large == ["large-calls_0"] * 2


async def test_the_event_loop_goes_on_meanwhile() -> None:
    may_end = threading.Event()
    working = asyncio.create_task(LargeCallThread().run(LARGE_BYTES, lambda: may_end.wait(10)))
    await asyncio.sleep(0)
    may_end.set()

    assert await working


async def test_work_that_has_not_begun_is_dropped_with_who_waits_for_it() -> None:
    begun, may_end, done = threading.Event(), threading.Event(), list[str]()

    def first() -> None:
        begun.set()
        assert may_end.wait(10)
        done.append("first")

    thread = LargeCallThread()
    working = asyncio.create_task(thread.run(LARGE_BYTES, first))
    await asyncio.to_thread(begun.wait, 10)
    second, third = (
        asyncio.create_task(thread.run(LARGE_BYTES, partial(done.append, name)))
        for name in ("second", "third")
    )
    await asyncio.sleep(0)
    second.cancel()
    with suppress(asyncio.CancelledError):
        await second
    may_end.set()
    await asyncio.gather(working, third)

    assert done == ["first", "third"]


async def test_threads_take_turns_often_while_there_is_large_work() -> None:
    usual = sys.getswitchinterval()

    assert await LargeCallThread().run(LARGE_BYTES, sys.getswitchinterval) == SWITCH_SECONDS
    assert sys.getswitchinterval() == usual


HEAPS = """
import asyncio, ctypes, platform, sys
from call_api.calls.publish import LARGE_BYTES, LargeCallThread

asyncio.run(LargeCallThread().run(LARGE_BYTES, lambda: None))
if platform.libc_ver()[0] == "glibc":  # no other one has a heap for each thread
    ctypes.CDLL(None).malloc_stats()
else:
    print("Arena 0:", file=sys.stderr)
"""


def test_the_thread_takes_memory_from_the_main_heap() -> None:
    """In a process of its own: in this one, other threads have had heaps before."""
    run = subprocess.run(
        [sys.executable, "-c", HEAPS], cwd=ROOT, capture_output=True, text=True, check=True
    )

    assert re.findall(r"Arena \d+", run.stderr) == ["Arena 0"]


async def test_a_failure_of_large_work_is_raised_where_it_is_waited_for() -> None:
    usual = sys.getswitchinterval()

    with pytest.raises(ZeroDivisionError):
        await LargeCallThread().run(LARGE_BYTES, lambda: 1 // 0)
    assert sys.getswitchinterval() == usual
