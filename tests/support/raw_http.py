"""HTTP byte by byte: requests that no client library would send, and what comes back."""

import io
import json
import socket
from contextlib import suppress
from email.message import Message
from http.client import HTTPResponse
from typing import Any, NamedTuple

from tests.support.judge import judge

PATIENCE_SECONDS = 60.0
# What answers where the function is never asked: uvicorn's 400, starlette's redirect, 404 and 405.
FRAMEWORK = {
    307: b"",
    400: b"Invalid HTTP request received.",
    404: b"Not Found",
    405: b"Method Not Allowed",
}


class RawReply(NamedTuple):
    """One answer of a connection."""

    status: int
    headers: Message
    body: bytes

    @property
    def ours(self) -> bool:
        """Tell whether the function made it; the framework's own have none of its headers."""
        return "X-Request-Id" in self.headers

    def json(self) -> Any:
        return json.loads(self.body)


class _Bytes(io.BytesIO):
    """Bytes as the socket that `HTTPResponse` wants, which it may close after each answer."""

    def makefile(self, *_: object) -> "_Bytes":
        return self

    def close(self) -> None:
        """Stay open: the next answer follows in the same bytes."""


def exchange(port: int, *sent: bytes, method: str = "GET") -> list[RawReply]:
    """Send the bytes in these pieces; the answers, read until the server closes.

    Every request must therefore be its connection's last, or be followed by one that is.
    """
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        received = bytearray()
        with suppress(ConnectionError):  # closed before all was sent: what it said counts
            for piece in sent:
                connection.sendall(piece)
        with suppress(ConnectionError):
            while piece := connection.recv(65536):
                received += piece
    return parsed(bytes(received), method)


def parsed(received: bytes, method: str = "GET") -> list[RawReply]:
    """Take answers apart; check ours against openapi.yaml, and that the others are constants."""
    stream: Any = _Bytes(received)
    replies = []
    while stream.tell() < len(received):
        # What could not be read as a request was not HEAD either, and so its refusal has a body.
        refused = received.startswith(b"HTTP/1.1 400 ", stream.tell())
        response = HTTPResponse(stream, method="GET" if refused else method)
        response.begin()
        reply = RawReply(response.status, response.msg, response.read())
        if reply.ours:
            judge(method, reply.status, reply.headers, reply.body)
        else:
            empty = method == "HEAD" and not refused
            assert reply.body == (b"" if empty else FRAMEWORK[reply.status])
        replies.append(reply)
    return replies
