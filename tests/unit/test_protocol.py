"""What the protocol reads of a request, and what it refuses, to the byte."""

import asyncio
import logging
from collections.abc import Iterable

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from call_api.web.protocol import (
    MAX_BLANKS,
    MAX_BODY_BYTES,
    MAX_BODY_LINES,
    MAX_BODY_READS,
    MAX_FIELDS,
    MAX_HEAD_BYTES,
    MAX_HEAD_READS,
    BoundedProtocol,
)
from tests.support.event_loop import loop_passes

LINE = b"GET / HTTP/1.1\r\nHost: x\r\n"
GET = LINE + b"\r\n"
CHUNKED = LINE + b"Transfer-Encoding: chunked\r\n\r\n"
REFUSED, ANSWERED, NOT_YET = ["400"], ["200"], list[str]()
OPEN, CLOSED = True, False


def in_bytes(sent: bytes) -> list[bytes]:
    return [bytes([byte]) for byte in sent]


BLANKS = b" \t" * (MAX_BLANKS // 2)


def head(fields: int = 1, size: int = 0, end: bytes = b"\r\n") -> bytes:
    """Make a head of so many fields and at least so many bytes."""
    lines = [b"GET / HTTP/1.1", b"Host: x", *[b"a:"] * (fields - 1)]
    padding = b"a" * (size - len(end.join(lines) + end * 2))
    return end.join([*lines[:-1], lines[-1] + padding]) + end * 2


def with_body(size: int) -> bytes:
    return LINE + b"Content-Length: %d\r\n\r\n" % size + b"\n" * size


def chunks(number: int) -> bytes:
    return CHUNKED + b"1\r\na\r\n" * number + b"0\r\n\r\n"


def one_chunk(size: int) -> bytes:
    """Make a body of so many bytes, of which 13 frame its chunk."""
    return CHUNKED + b"%x\r\n%b\r\n0\r\n\r\n" % (size - 13, b"a" * (size - 13))


def trailer(fields: int) -> bytes:
    return CHUNKED + b"0\r\n" + b"a:\n" * fields + b"\n"


class Transport(asyncio.Transport):
    """A client that reads all, and sends what is handed to its protocol."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.writes = 0
        self.is_open = True
        self.is_read = True

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert self.is_open
        self.written += data
        self.writes += bool(data)  # asyncio ignores an empty write

    def close(self) -> None:
        self.is_open = False

    def is_closing(self) -> bool:
        return not self.is_open

    def pause_reading(self) -> None:
        self.is_read = False

    def resume_reading(self) -> None:
        self.is_read = True

    def statuses(self) -> list[str]:
        return [answer[:3].decode() for answer in self.written.split(b"HTTP/1.1 ")[1:]]


class Connection:
    """A connection to an application that answers each request at once, or when it is told."""

    def __init__(self, *, answers_at_once: bool = True) -> None:
        self.may_answer = asyncio.Event()
        if answers_at_once:
            self.may_answer.set()
        config = uvicorn.Config(self.application, interface="asgi3", log_config=None)
        self.transport = Transport()
        self.protocol = BoundedProtocol(config, ServerState(), {})
        self.protocol.connection_made(self.transport)

    async def application(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        if not self.may_answer.is_set():
            await self.may_answer.wait()
        headers = [(b"content-length", b"2")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"ok"})

    async def sends(self, *pieces: bytes) -> "Connection":
        """Send what the server still reads, and let it work after each piece."""
        for piece in pieces:
            if self.transport.is_open and self.transport.is_read:
                self.protocol.data_received(piece)
            await loop_passes(9)
        return self

    def end(self) -> None:
        self.protocol.connection_lost(None)
        assert self.protocol.timeout_keep_alive_task is None


async def outcome(pieces: Iterable[bytes]) -> tuple[list[str], bool]:
    """Return the statuses of the first two answers, and whether the connection is open."""
    connection = await Connection().sends(*pieces)
    found = connection.transport.statuses()[:2], connection.transport.is_open
    connection.end()
    return found


HEADS = {
    "as many fields as may be": ([head(MAX_FIELDS)], ANSWERED, OPEN),
    "a field more": ([head(MAX_FIELDS + 1)], REFUSED, CLOSED),
    "a field more, lines without a return": ([head(MAX_FIELDS + 1, end=b"\n")], REFUSED, CLOSED),
    "two fields more, not complete": ([head(MAX_FIELDS + 2)[:-2]], REFUSED, CLOSED),
    "a field in 100 lines": ([LINE + b"a: b\r\n" + b" c\r\n" * 99 + b"\r\n"], REFUSED, CLOSED),
    "as many bytes as may be": ([head(size=MAX_HEAD_BYTES)], ANSWERED, OPEN),
    "a byte more": ([head(size=MAX_HEAD_BYTES + 1)], REFUSED, CLOSED),
    "a byte more, not complete": ([b"G" * (MAX_HEAD_BYTES + 1)], REFUSED, CLOSED),
    "all that may be, not complete": ([b"G" * MAX_HEAD_BYTES], NOT_YET, OPEN),
    "a byte more, in two pieces": ([head(size=MAX_HEAD_BYTES + 1)[:-1], b"\n"], REFUSED, CLOSED),
    "as many reads as may be": (in_bytes(head(size=MAX_HEAD_READS)), ANSWERED, OPEN),
    "a read more": (in_bytes(head(size=MAX_HEAD_READS + 1)), REFUSED, CLOSED),
    "reads of two heads": (in_bytes(head(size=MAX_HEAD_READS)) * 2, ANSWERED * 2, OPEN),
    "heads behind each other": ([GET * 1000], ANSWERED * 2, OPEN),
    "fields of several heads": ([head(MAX_FIELDS) * 2], ANSWERED * 2, OPEN),
    "a field more, behind another": ([GET, head(MAX_FIELDS + 1)], ANSWERED + REFUSED, CLOSED),
    "as many blanks as may be": ([LINE + b"a: a" + BLANKS[1:] + b"a\r\n\r\n"], ANSWERED, OPEN),
    "a blank more": ([LINE + b"a: a" + BLANKS + b"a\r\n\r\n"], REFUSED, CLOSED),
    "blanks behind": ([GET + b"GET /x HTTP/1.1\r\na:" + BLANKS], ANSWERED + REFUSED, CLOSED),
    "empty lines": ([b"\r\n" * 50_000], REFUSED, CLOSED),
}
TOO_LARGE = with_body(MAX_BODY_BYTES + 1)
BODIES = {
    "as many bytes as may be": ([with_body(MAX_BODY_BYTES), GET], ANSWERED * 2, OPEN),
    "a byte more": ([TOO_LARGE, GET], ANSWERED, CLOSED),
    "a byte more, announced": ([TOO_LARGE[:-9], GET], ANSWERED, CLOSED),
    "a byte more, to be sent": ([TOO_LARGE[:-MAX_BODY_BYTES]], ANSWERED, OPEN),
    "a byte more, behind the answer": (
        [TOO_LARGE[:-MAX_BODY_BYTES], TOO_LARGE[-MAX_BODY_BYTES:]],
        ANSWERED,
        CLOSED,
    ),
    "a chunk more, in many pieces": (
        [CHUNKED, *[b"1\r\na\r\n" * 8] * (MAX_BODY_LINES // 16 + 1), b"0\r\n\r\n", GET],
        ANSWERED,
        CLOSED,
    ),
    "an extension, in pieces": (
        [CHUNKED + b"1;", *[b"a" * (MAX_BODY_BYTES // 8)] * 9, b"\r\na\r\n0\r\n\r\n", GET],
        ANSWERED,
        CLOSED,
    ),
    "pipelined requests behind": ([with_body(5) + GET * 1000], ANSWERED * 2, OPEN),
    "as many bytes as may be, in a chunk": ([one_chunk(MAX_BODY_BYTES), GET], ANSWERED * 2, OPEN),
    "a byte more, in a chunk": ([one_chunk(MAX_BODY_BYTES + 1), GET], ANSWERED, CLOSED),
    "as many chunks as may be": ([chunks(MAX_BODY_LINES // 2 - 1), GET], ANSWERED * 2, OPEN),
    "a chunk more": ([chunks(MAX_BODY_LINES // 2), GET], ANSWERED, CLOSED),
    "an extension": ([CHUNKED + b"1;" + b"a" * MAX_BODY_BYTES, GET], ANSWERED, CLOSED),
    "as long a trailer as may be": ([trailer(MAX_BODY_LINES - 2), GET], ANSWERED * 2, OPEN),
    "a trailer with a field more": ([trailer(MAX_BODY_LINES - 1), GET], ANSWERED, CLOSED),
    "blanks in chunks": ([CHUNKED + b"1;" + BLANKS], ANSWERED, CLOSED),
    "blanks of another body": (
        [LINE + b"Content-Length: 600\r\n\r\n" + BLANKS * 3, GET],
        ANSWERED * 2,
        OPEN,
    ),
    "as many reads as may be": (
        [with_body(MAX_BODY_READS)[:-MAX_BODY_READS], *[b"a"] * MAX_BODY_READS, GET],
        ANSWERED * 2,
        OPEN,
    ),
    "a read more": (
        [with_body(MAX_BODY_READS + 1)[: -MAX_BODY_READS - 1], *[b"a"] * (MAX_BODY_READS + 1), GET],
        ANSWERED,
        CLOSED,
    ),
}


@pytest.mark.parametrize(("pieces", "statuses", "is_open"), HEADS.values(), ids=HEADS)
async def test_a_head_within_the_limits_is_answered_and_a_larger_one_refused(
    pieces: list[bytes], statuses: list[str], is_open: bool
) -> None:
    assert await outcome(pieces) == (statuses, is_open)


@pytest.mark.parametrize(("pieces", "statuses", "is_open"), BODIES.values(), ids=BODIES)
async def test_a_request_is_answered_and_too_large_a_body_ends_its_connection(
    pieces: list[bytes], statuses: list[str], is_open: bool
) -> None:
    assert await outcome(pieces) == (statuses, is_open)


async def test_an_answer_of_a_known_length_takes_one_write() -> None:
    connection = await Connection().sends(GET, GET)
    assert connection.transport.statuses() == ANSWERED * 2
    assert connection.transport.writes == 2
    connection.end()


async def test_what_a_body_waits_for_is_sent_at_once() -> None:
    expecting = LINE + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n"
    connection = await Connection(answers_at_once=False).sends(expecting)
    reading = asyncio.create_task(connection.protocol.cycle.receive())  # as the watcher of clients
    await loop_passes(9)
    assert connection.transport.written == b"HTTP/1.1 100 Continue\r\n\r\n"

    connection.may_answer.set()
    await reading
    assert connection.transport.statuses() == ["100", *ANSWERED]
    connection.end()


async def test_of_too_large_a_body_nothing_more_is_read_or_kept() -> None:
    connection = await Connection(answers_at_once=False).sends(TOO_LARGE)
    assert not connection.transport.is_read
    kept = connection.protocol.conn.trailing_data
    connection.protocol.flow.resume_reading()  # as the watcher of clients does
    await connection.sends(b"a" * 2**18)
    assert not connection.transport.is_read
    assert connection.protocol.conn.trailing_data == kept
    assert connection.transport.statuses() == NOT_YET
    assert connection.transport.is_open

    connection.may_answer.set()
    await loop_passes(9)
    assert connection.transport.statuses() == ANSWERED
    assert not connection.transport.is_open
    connection.end()


@pytest.mark.parametrize(
    ("pieces", "statuses"),
    [([CHUNKED + b"zz\r\n"], REFUSED), ([CHUNKED, b"zz\r\n"], ANSWERED)],
    ids=["before the answer", "behind the answer"],
)
async def test_a_malformed_body_gets_one_answer(pieces: list[bytes], statuses: list[str]) -> None:
    assert await outcome(pieces) == (statuses, CLOSED)


async def test_an_answer_behind_a_refusal_is_dropped_and_logs_no_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    connection = await Connection(answers_at_once=False).sends(CHUNKED, b"zz\r\n")
    connection.may_answer.set()
    await loop_passes(9)

    assert connection.transport.statuses() == REFUSED
    assert [record.message for record in caplog.records if record.levelno >= logging.ERROR] == []
    connection.end()
