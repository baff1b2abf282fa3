"""Work for a client that has left is cancelled."""

import asyncio

import pytest
from starlette.types import Message

from call_api.web import client as client_connection
from call_api.web.client import CancelledWhenClientLeaves, ClientLeftError
from tests.support.event_loop import loop_passes


@pytest.fixture(autouse=True)
def watched_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_connection, "UNWATCHED_SECONDS", 0.0)


class Client:
    """A client that has sent a body in two parts, and leaves when the test says so."""

    def __init__(self) -> None:
        self.leaves = asyncio.Event()
        self.parts = 2

    async def receive(self) -> Message:
        if self.parts:
            self.parts -= 1
            return {"type": "http.request", "body": b"x", "more_body": self.parts > 0}
        await self.leaves.wait()
        return {"type": "http.disconnect"}


@pytest.fixture
def client() -> Client:
    return Client()


async def check_that_nothing_goes_on() -> None:
    """Neither is this task cancelled, nor is the client still watched."""
    await loop_passes(1)
    (task,) = asyncio.all_tasks()
    assert (task, task.cancelling()) == (asyncio.current_task(), 0)


async def test_the_work_of_a_client_that_stays_is_finished(client: Client) -> None:
    async with CancelledWhenClientLeaves(client.receive):
        await loop_passes(9)
    await check_that_nothing_goes_on()


async def test_the_work_of_a_client_that_leaves_is_cancelled(client: Client) -> None:
    asyncio.get_running_loop().call_later(0.01, client.leaves.set)
    with pytest.raises(ClientLeftError):
        async with CancelledWhenClientLeaves(client.receive):
            await asyncio.Event().wait()
    await check_that_nothing_goes_on()


async def test_a_client_that_leaves_as_the_work_ends_does_not_cancel_what_follows(
    client: Client,
) -> None:
    ended = asyncio.Event()

    def end() -> None:
        ended.set()
        client.leaves.set()

    async with CancelledWhenClientLeaves(client.receive):
        await loop_passes(9)  # until the client is watched
        asyncio.get_running_loop().call_soon(end)
        await ended.wait()
    await loop_passes(9)
    await check_that_nothing_goes_on()


async def test_a_failure_inside_is_passed_on(client: Client) -> None:
    with pytest.raises(ZeroDivisionError):
        async with CancelledWhenClientLeaves(client.receive):
            raise ZeroDivisionError
    await check_that_nothing_goes_on()


async def test_a_server_that_shuts_down_is_not_a_client_that_leaves(client: Client) -> None:
    async def work() -> None:
        async with CancelledWhenClientLeaves(client.receive):
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await loop_passes(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await check_that_nothing_goes_on()
