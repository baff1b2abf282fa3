"""A large answer: sent in pieces, and given up where its client does not read."""

import asyncio
from contextlib import ExitStack

import pytest
from starlette.types import Message

from call_api.web.client import PIECE_BYTES, SEND_SECONDS, HeldResponse


async def never_received() -> Message:
    raise AssertionError("nothing is read from the client")


@pytest.mark.parametrize(
    "size", [1, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 3 * PIECE_BYTES]
)
async def test_the_pieces_are_the_body_and_the_last_one_ends_it(size: int) -> None:
    body = bytes(n % 251 for n in range(size))
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    await HeldResponse(body, {}, ExitStack())({"type": "http"}, never_received, send)

    start, *pieces = sent
    assert (start["type"], start["status"]) == ("http.response.start", 200)
    assert b"".join(piece["body"] for piece in pieces) == body
    assert all(len(piece["body"]) <= PIECE_BYTES for piece in pieces)
    assert [piece["more_body"] for piece in pieces] == [True] * (len(pieces) - 1) + [False]


async def test_what_a_client_does_not_read_in_time_is_given_up() -> None:
    held = ExitStack()
    released: list[float] = []

    async def send(_: Message) -> None:
        await asyncio.Event().wait()  # the client reads nothing

    loop = asyncio.get_running_loop()
    real_time, began = loop.time, loop.time()
    held.callback(lambda: released.append(loop.time() - began))
    sending = asyncio.create_task(
        HeldResponse(b"x", {}, held)({"type": "http"}, never_received, send)
    )
    for seconds in (0.0, SEND_SECONDS - 0.5, SEND_SECONDS + 0.5):
        loop.time = lambda seconds=seconds: real_time() + seconds  # type: ignore[method-assign, misc]
        await asyncio.sleep(0.01)  # lets the timers fire that are due now
    await asyncio.wait_for(sending, 10)

    assert len(released) == 1
    assert released[0] >= SEND_SECONDS
