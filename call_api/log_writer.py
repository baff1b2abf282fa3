"""Writes log lines to a descriptor from its own thread; it never blocks its callers or fails them.

Theory of operation. `write` appends a line to a bounded queue. A daemon thread writes whole lines
from the front of the queue and removes them once they are written, so the bounds also cover what is
being written.

| the descriptor | what the thread does | what callers see |
|---|---|---|
| accepts bytes | writes all that is queued, up to PIPE_BUF bytes a call | nothing |
| blocks: a pipe that nobody reads | waits in write(2) | nothing, until the queue is full |
| fails: disk full, reader gone, EAGAIN | retries after a pause, from the first missing byte | the same |

While the queue is full, new lines are dropped and counted. A report of their number takes their place
in the queue as soon as another line is accepted or the queue has drained. Every line is thus either
written or counted by a report at the place where it is missing.

The platform imports the function before it forks its workers, and threads do not survive a fork: the
thread starts with a process's first line, and a forked child starts with an empty queue.
"""

import atexit
import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from itertools import islice
from typing import TextIO

MAX_LINES = 10_000  # a line is some 350 bytes, so both bounds are reached at about the same time:
MAX_BYTES = 4 * 2**20  # after 10 s at 1,000 requests a second, in 1 % of the smallest instance
RETRY_PAUSE_SECONDS = 0.1
FLUSH_SECONDS = 1.0

# The thread pauses each time it has emptied the queue. A line that follows a quiet moment is written at
# once. Under load, lines are written together, since waking the thread for each of them would cost
# about 50 us of CPU a request. A process that is killed loses the lines of one pause.
PAUSE_SECONDS = 0.05

# A write of at most PIPE_BUF bytes to a pipe is atomic (POSIX), so other processes that share the pipe
# do not tear the lines of a batch.
BATCH_BYTES = select.PIPE_BUF


class LogWriter:
    """A bounded queue of lines and the thread that writes them.

    `drop_report` renders the line that stands for a number of dropped lines.
    """

    def __init__(
        self,
        descriptor: int,
        drop_report: Callable[[int], str],
        *,
        os_write: Callable[[int, memoryview], int] = os.write,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._descriptor = descriptor
        self._drop_report = drop_report
        self._os_write = os_write
        self._sleep = sleep
        self._reset()
        os.register_at_fork(after_in_child=self._reset)

    def _reset(self) -> None:
        # Reentrant, so a line that is written by a signal handler cannot deadlock.
        lock = threading.RLock()
        self._arrived = threading.Condition(lock)  # for the thread
        self._drained = threading.Condition(lock)  # for `flush`
        self._lines: deque[bytes] = deque()
        self._bytes = 0
        self._dropped = 0  # since the last line in the queue
        self._thread: threading.Thread | None = None

    def write(self, line: str) -> None:
        """Queue a line, which ends with its newline, or drop and count it."""
        data = line.encode(errors="backslashreplace")
        with self._arrived:
            if self._thread is None:
                self._start()
            if len(self._lines) >= MAX_LINES or self._bytes + len(data) > MAX_BYTES:
                self._dropped += 1
                return
            if self._dropped:
                self._queue_drop_report()
            self._queue(data)

    def flush(self, seconds: float = FLUSH_SECONDS) -> bool:
        """Wait until the queue is empty, but no longer than this; tell whether it is."""
        with self._drained:
            return self._drained.wait_for(lambda: not self._lines, seconds)

    def _start(self) -> None:
        thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
        with suppress(RuntimeError):  # no more threads can be started; the next line tries again
            thread.start()
            self._thread = thread
            atexit.register(self.flush)

    def _queue(self, data: bytes) -> None:
        self._lines.append(data)
        self._bytes += len(data)
        if len(self._lines) == 1:  # otherwise the thread is not waiting
            self._arrived.notify()

    def _queue_drop_report(self) -> None:
        self._queue(self._drop_report(self._dropped).encode())
        self._dropped = 0

    def _run(self) -> None:
        while True:
            lines = self._next_batch()
            self._write_whole(b"".join(lines))
            if self._remove(lines):
                self._sleep(PAUSE_SECONDS)

    def _next_batch(self) -> list[bytes]:
        with self._arrived:
            self._arrived.wait_for(lambda: self._lines)
            count = size = 0
            for line in self._lines:
                size += len(line)
                if count and size > BATCH_BYTES:
                    break
                count += 1
            return list(islice(self._lines, count))

    def _write_whole(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            try:
                written = self._os_write(self._descriptor, rest)
            except OSError:
                written = 0
            if not written:
                self._sleep(RETRY_PAUSE_SECONDS)
            rest = rest[written:]

    def _remove(self, lines: list[bytes]) -> bool:
        """Remove lines that are written; tell whether the queue is empty now."""
        with self._drained:
            for line in lines:
                self._lines.popleft()
                self._bytes -= len(line)
            if self._dropped and not self._lines:
                self._queue_drop_report()
            if self._lines:
                return False
            self._drained.notify_all()
            return True


def own_descriptor(stream: TextIO | None) -> int:
    """Return a new descriptor for what a stream writes to, or for nothing where it has none.

    A duplicate stays valid when the stream or its descriptor is closed. Without it, descriptor 1 could
    by then be a socket, and log lines would be sent to a client. Python sets `sys.stdout` to None
    where descriptor 1 was closed at the start.
    """
    if stream is not None:
        with suppress(OSError, ValueError):
            return os.dup(stream.fileno())
    return os.open(os.devnull, os.O_WRONLY)
