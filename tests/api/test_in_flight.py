"""What the function holds while a request is in flight, and when it lets go."""

import asyncio
import json
from collections.abc import Awaitable, Callable

import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message

from call_api.calls.publish import LARGE_BYTES
from call_api.errors import Internal
from call_api.web import admission
from call_api.web.admission import Admission, Place
from call_api.web.api import RecordingUrls
from local.seed import sample_calls
from tests.support.fakes import FakeCalls, FakeDocument, FakeRecordingUrls
from tests.support.in_process import KEY_OF_THE_OTHERS, KEYS, MINE, Function, scope_of

LONG = sample_calls()[77] | {
    "transcript": [{"role": "user", "content": "x" * 1_000, "timestamp": "0.0"}] * 1_000
}


class LongCalls(FakeCalls):
    """A store whose calls are long, and which keeps when the time for the last read began."""

    began_at = 0.0

    async def read(
        self, hashed_key: str, call_id: int | None, began_at: float
    ) -> tuple[FakeDocument | None, FakeDocument | None]:
        record, call = await super().read(hashed_key, call_id, began_at)
        self.began_at = began_at
        if call is not None:
            call.size = 1_000_000
        return record, call


class SlowRecordingUrls(FakeRecordingUrls):
    """Signs when it may."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.may_sign = asyncio.Event(), asyncio.Event()

    async def signed_url(self, object_name: str, call_id: int) -> str:
        self.asked.set()
        await self.may_sign.wait()
        return await super().signed_url(object_name, call_id)


class LongCall(Function):
    """The function over a long call, with room for one."""

    def __init__(
        self, signer: RecordingUrls | None = None, *, places: int = 10, turns: int = 4
    ) -> None:
        self.store = LongCalls(keys=KEYS, calls={77: LONG})
        admission = Admission(max_requests=places, max_bytes=1_500_000, turns=turns)
        super().__init__(self.store, signer=signer, admission=admission)

    async def take_a_turn(self) -> Place:
        """Publish another long call, until its place is left."""
        place = self.api.admission.enter("caller", "another long call")
        await place.before_publishing(LARGE_BYTES)
        return place


async def send_to(client: Callable[[Message], Awaitable[None]], response: Response) -> None:
    async def receive() -> Message:
        raise AssertionError

    await response({"type": "http", "method": "GET"}, receive, client)


async def quick_client(_: Message) -> None:
    """Take what is sent at once."""


def test_a_long_answer_keeps_its_place_until_it_has_been_sent() -> None:
    function, sent = LongCall(), list[Message]()

    async def client(message: Message) -> None:
        sent.append(message)
        refused = await function.respond()
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
        assert json.loads(bytes(refused.body))["code"] == "calls_unavailable"

    async def run() -> None:
        await send_to(client, await function.respond())
        assert sent[-1]["more_body"] is False
        assert (await function.respond()).status_code == 200

    asyncio.run(run())


def test_a_body_holds_its_bytes_while_it_is_compressed() -> None:
    """A control character of the document takes six bytes of JSON."""
    function = LongCall()
    function.store.calls = {77: LONG | {"agent_name": "\x01" * 100_000}}

    assert function.ask(headers=[*MINE, ("accept-encoding", "gzip")]).status_code == 503
    assert "too many bytes" in function.entries()[0]["message"]


def test_a_call_that_was_long_the_last_time_is_not_read_before_its_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(admission, "WAIT_SECONDS", 0.0)
    function = LongCall(turns=1)

    async def run() -> None:
        await send_to(quick_client, await function.respond())
        other = await function.take_a_turn()
        assert (await function.respond()).status_code == 503
        other.leave()
        assert (await function.respond()).status_code == 200

    asyncio.run(run())
    assert function.store.reads == [None, 77, 77]
    assert [entry["org_id"] for entry in function.entries()] == ["org_acme"] * 3


def test_what_is_long_is_known_of_one_caller_s_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody else waits for a turn before the call is read, and an owner is told apart at once."""
    monkeypatch.setattr(admission, "WAIT_SECONDS", 0.0)
    function = LongCall(turns=1)
    function.store.calls = {77: LONG, 78: LONG | {"id": 78}}
    other_key = [("authorization", f"Bearer {KEY_OF_THE_OTHERS}")]

    async def run() -> None:
        await send_to(quick_client, await function.respond())
        await function.take_a_turn()
        function.store.reads.clear()
        assert (await function.respond(headers=other_key)).status_code == 403
        assert (await function.respond("/v2/calls/78")).status_code == 503
        assert function.store.reads == [None, 77, 78]

    asyncio.run(run())


def test_to_wait_for_a_turn_takes_nothing_from_the_time_to_read() -> None:
    function = LongCall(turns=1)

    async def run() -> float:
        await send_to(quick_client, await function.respond())
        other = await function.take_a_turn()
        waiting = asyncio.create_task(function.respond())
        await asyncio.sleep(0.05)  # waits for its turn, longer than the tolerance below
        left_at = asyncio.get_running_loop().time()
        other.leave()
        assert (await waiting).status_code == 200
        return left_at

    left_at = asyncio.run(run())
    assert function.store.began_at > left_at - 0.01


def test_a_refused_call_is_freed_at_once() -> None:
    """Not by the next garbage collection: some libraries keep what they raise, and so its frames."""

    class Failing(FakeRecordingUrls):
        """Keeps what it raises, as the retry of google-api-core does."""

        problem = Internal("kept")

        async def signed_url(self, _object_name: str, _call_id: int) -> str:
            raise self.problem

    function = LongCall(Failing())
    assert function.ask().status_code == 500

    assert Failing.problem.__traceback__ is None


def test_work_stops_and_frees_its_place_when_the_client_leaves() -> None:
    urls = SlowRecordingUrls()
    function = LongCall(urls, places=1)

    async def leaves() -> Message:
        await urls.asked.wait()
        return {"type": "http.disconnect"}

    async def run() -> None:
        response = await function.api.respond(Request(scope_of(), leaves))
        assert response.status_code == 499
        urls.asked.clear()
        await function.api.respond(Request(scope_of(), leaves))

    asyncio.run(run())

    entry, again = function.entries()
    assert (entry["severity"], entry["code"]) == ("INFO", "client_closed_request")
    assert entry["status"] == again["status"] == 499, "there was no place for the second one"
