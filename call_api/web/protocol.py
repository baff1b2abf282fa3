"""The protocol of the server: bounds what a client's bytes cost before its key is known.

uvicorn hands all that has arrived to h11, up to 256 KiB at a time, and h11 makes Python objects of
every field, chunk and trailer in it, so a few bytes each can hold up everybody. Neither has a setting
against that: `h11_max_incomplete_event_size` is for heads that are not complete yet. So
`BoundedConnection` counts bytes and lines, which costs next to nothing, before h11 parses a part.
"""

import re
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

MAX_HEAD_BYTES = 16 * 2**10
MAX_FIELDS = 100
MAX_BODY_BYTES = 8 * 2**10  # as they arrive, with what frames chunks
MAX_BODY_LINES = 400  # of chunks, which have two each, and of trailers
# Each read costs a turn of the event loop, even if it is of one byte.
MAX_HEAD_READS = 200
MAX_BODY_READS = 64

# h11's time grows with the square of white space in front of what it refuses.
MAX_BLANKS = 200

_END_OF_HEAD = re.compile(rb"\n\r?\n")


def _has_long_blank(data: bytes) -> bool:
    return b" " * MAX_BLANKS in data.replace(b"\t", b" ")


def _is_too_large(head: bytes) -> bool:
    lines = head.count(b"\n")  # the first is the request's, the last is empty
    return len(head) > MAX_HEAD_BYTES or lines > MAX_FIELDS + 2 or _has_long_blank(head)


class BoundedConnection(h11.Connection):
    """Refuses a head that is too large; of a body that is too large, it reads no more.

    It also holds the head of an answer until there is a body, so both take one write instead of two.
    """

    def __init__(self) -> None:
        super().__init__(h11.SERVER, MAX_HEAD_BYTES)
        self.reads_no_more = False
        self._request: h11.Request
        # What has arrived behind the last complete head: of its body, or of the next head.
        self._reads = self._bytes = self._lines = 0
        self._head_to_send = b""  # an answer's head, while it waits for the body

    def send(self, event: h11.Event) -> Any:
        """Return the bytes that are to be sent, or None at the end of the connection."""
        data = super().send(event)
        if data is None:
            return None
        if isinstance(event, h11.Response):
            self._head_to_send = data
            return b""
        head, self._head_to_send = self._head_to_send, b""
        return head + data

    def receive_data(self, data: bytes) -> None:
        """Buffer what has arrived, or drop it."""
        if self.reads_no_more:
            return
        self._reads += 1
        self._bytes += len(data)
        self._lines += data.count(b"\n")
        super().receive_data(data)

    def next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        """Parse what comes next, unless it is too large.

        Raises:
            h11.RemoteProtocolError: the head is too large, or malformed.
        """
        state = self.their_state
        if state is h11.IDLE and self._head_is_too_large():
            raise h11.RemoteProtocolError("the head is too large")
        if state is h11.SEND_BODY and self._body_is_too_large():
            self.reads_no_more = True
            return h11.PAUSED
        event = super().next_event()
        if isinstance(event, h11.Request):
            self._request, behind = event, self.trailing_data[0]
            self._reads, self._bytes, self._lines = 0, len(behind), behind.count(b"\n")
        return event

    def _head_is_too_large(self) -> bool:
        if self._reads > MAX_HEAD_READS:
            return True
        head = self.trailing_data[0]
        if not _is_too_large(head):
            return False
        end = _END_OF_HEAD.search(head, 0, MAX_HEAD_BYTES)  # more requests may be pipelined behind
        return end is None or _is_too_large(head[: end.end()])

    def _body_is_too_large(self) -> bool:
        """Tell whether the body is. What is pipelined behind it counts as well where its length is not known."""
        if self._reads > MAX_BODY_READS:
            return True
        if (
            self._bytes <= MAX_BODY_BYTES
            and self._lines <= MAX_BODY_LINES
            and not _has_long_blank(self.trailing_data[0])
        ):
            return False
        fields = dict(self._request.headers)
        return (
            b"transfer-encoding" in fields or int(fields.get(b"content-length", 0)) > MAX_BODY_BYTES
        )


class BoundedProtocol(H11Protocol):
    """uvicorn's protocol over a `BoundedConnection`."""

    conn: BoundedConnection

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.conn = BoundedConnection()

    def handle_events(self) -> None:
        """Go on with what has arrived. After too large a body, the answer is the connection's last."""
        super().handle_events()
        if self.conn.reads_no_more:
            self.shutdown()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is malformed; once the application has begun its answer, close the connection alone.

        uvicorn would send a second answer to the same request, and log a stack for the exception.
        """
        if self.conn.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            super().send_400_response(msg)
        else:
            self.transport.close()
        if self.cycle is not None:
            self.cycle.disconnected = True
