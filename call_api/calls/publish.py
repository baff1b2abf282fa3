"""From a stored document to the published JSON: decoded, validated, rendered, compressed.

Plain functions, which take milliseconds for a large call. So that they hold up no other request, the
work on a large document goes to a thread of its own, and the work on a small one is done at once.
"""

import asyncio
import ctypes
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime
from typing import NamedTuple, TypeVar

from isal import isal_zlib  # faster than zlib

from call_api.calls.access import StoredDocument
from call_api.calls.schema import (
    RENDERING_VERSION,
    STORED_CALL_SHAPE,
    Call,
    UnreadableCallError,
    parse_call,
)
from call_api.errors import StoredCallInvalid

LARGE_BYTES = 64 * 2**10  # a call of a quarter of an hour
SWITCH_SECONDS = 0.0005
M_ARENA_MAX = -8  # mallopt(3)
ETAG_WINDOW_SECONDS = 600  # of a link's 3,600, so a 304 leaves at least 50 minutes on it
MIN_GZIP_BYTES = 4096  # below that, the bytes saved fit into the same few packets
GZIP_LEVEL = 2  # of ISA-L's 0 to 3
GZIP_FORMAT = 16 + isal_zlib.MAX_WBITS  # zlib's way to ask for gzip's header and checksum

T = TypeVar("T")


class Published(NamedTuple):
    """What a call is published as."""

    call_id: int
    etag: str
    recording: str | None  # the object that the link is to be signed for
    json: bytes | None  # without its link; None where the client holds this version
    faults: list[str]  # the descriptive fields that cannot be read


class LargeCallThread:
    """The one thread that works on large documents, one at a time. It starts with its first work."""

    def __init__(self) -> None:
        _share_one_heap()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="large-calls")

    async def run(self, size: int, work: Callable[[], T]) -> T:
        """Do the work on so many bytes and return its result: less than LARGE_BYTES at once, else in the thread.

        If the caller is cancelled while it waits for the thread, the work is not done.
        """
        if size < LARGE_BYTES:
            return work()
        return await asyncio.get_running_loop().run_in_executor(self._thread, _giving_way, work)


def _share_one_heap() -> None:
    """Let all threads take memory from the main thread's heap.

    glibc gives each thread a heap of its own, which grows in small steps and shrinks after each call:
    the same work takes much longer there.
    """
    with suppress(AttributeError, OSError):  # not glibc
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, 1)


def _giving_way(work: Callable[[], T]) -> T:
    """Do the work, and hand the GIL to the event loop often.

    Each time that the event loop wants to run, it waits for the GIL for a switch interval. With Python's
    own, of 5 ms, other requests would notice. The interval is the process's, and set by this thread alone.
    """
    interval = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_SECONDS)
    try:
        return work()
    finally:
        sys.setswitchinterval(interval)


def publish(
    document: StoredDocument,
    call_id: int,
    now: Callable[[], datetime],
    client_has: Callable[[str], bool],
) -> Published:
    """Return what a call's document is published as.

    `client_has` tells whether the client holds the version with this ETag: then nothing is rendered.

    Raises:
        StoredCallInvalid: an essential field cannot be read.
    """
    try:
        call, faults = parse_call(document.decoded(STORED_CALL_SHAPE), call_id)
    except UnreadableCallError as error:
        raise StoredCallInvalid(f"call document: {error}") from None
    tag = etag(call, document.updated_ns, now())
    rendered = None if client_has(tag) else call.render()
    return Published(call_id, tag, recording_to_sign(call), rendered, list(faults))


def recording_to_sign(call: Call) -> str | None:
    """Return the recording's object; a deleted call's is never signed."""
    return None if call.status == "deleted" else call.recording_object


def etag(call: Call, updated_ns: int, now: datetime) -> str:
    """Return the weak validator: document, rendering and, where a link is signed, its age.

    `now` is the time of the answer, not of the request: a slow read must not make a 304 outlive
    its window.
    """
    window = int(now.timestamp()) // ETAG_WINDOW_SECONDS if recording_to_sign(call) else 0
    return f'W/"{RENDERING_VERSION}-{updated_ns:x}-{window:x}"'


def gzipped(body: bytes) -> bytes:
    """Return a body as gzip."""
    return isal_zlib.compress(body, GZIP_LEVEL, wbits=GZIP_FORMAT)
