"""The log writer: lines arrive whole and in order, or their number is reported; callers never wait."""

import errno
import io
import os
import select
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from call_api import log_writer
from call_api.log_writer import PAUSE_SECONDS, LogWriter, own_descriptor
from tests.support.serving import ROOT, measuring

PATIENCE_SECONDS = 10.0
FAILURES = [errno.ENOSPC, errno.EPIPE, errno.EAGAIN, errno.EBADF, errno.EIO]


def drop_report(count: int) -> str:
    return f"{count} dropped\n"


class FakeDescriptor:
    """Stands for `os.write`: fails or writes in part as planned, and waits for permits if closed."""

    def __init__(self, *plan: int | OSError) -> None:
        self.plan = deque(plan)
        self.written: list[bytes] = []
        self.open = True
        self.entered = threading.Semaphore(0)
        self.permits = threading.Semaphore(0)

    def __call__(self, _: int, data: memoryview) -> int:
        if not self.open:
            self.entered.release()
            assert self.permits.acquire(timeout=PATIENCE_SECONDS)
        outcome = self.plan.popleft() if self.plan else len(data)
        if isinstance(outcome, OSError):
            raise outcome
        self.written.append(bytes(data[:outcome]))
        return len(self.written[-1])

    def text(self) -> str:
        return b"".join(self.written).decode()

    def reopen(self) -> None:
        """Let everything pass from now on, also the write that waits."""
        self.open = True
        self.permits.release()


def doze(_: float) -> None:
    """Stand for `time.sleep`, but shorter."""
    time.sleep(0.0001)


def writer_to(descriptor: FakeDescriptor, sleep: Callable[[float], None] = doze) -> LogWriter:
    return LogWriter(-1, drop_report, os_write=descriptor, sleep=sleep)


def closed_descriptor(
    sleep: Callable[[float], None] = doze,
) -> tuple[FakeDescriptor, LogWriter]:
    """Return a writer whose thread is waiting in the write of its first line, "first"."""
    descriptor = FakeDescriptor()
    descriptor.open = False
    writer = writer_to(descriptor, sleep)
    writer.write("first\n")
    assert descriptor.entered.acquire(timeout=PATIENCE_SECONDS)
    return descriptor, writer


def test_lines_are_written_in_their_order() -> None:
    descriptor = FakeDescriptor()
    writer = writer_to(descriptor)
    for number in range(1000):
        writer.write(f"{number}\n")

    assert writer.flush(PATIENCE_SECONDS)
    assert descriptor.text() == "".join(f"{number}\n" for number in range(1000))
    assert "log-writer" in {thread.name for thread in threading.enumerate()}


def test_a_character_that_utf_8_cannot_encode_is_escaped() -> None:
    descriptor = FakeDescriptor()
    writer = writer_to(descriptor)
    writer.write("मदद \ud800\n")

    assert writer.flush(PATIENCE_SECONDS)
    assert descriptor.text() == "मदद \\ud800\n"


def test_queued_lines_are_written_in_atomic_writes() -> None:
    """Lines of processes that share a pipe are not mixed up: POSIX promises it up to PIPE_BUF."""
    descriptor, writer = closed_descriptor()
    line = "x" * 999 + "\n"
    for _ in range(10):
        writer.write(line)
    writer.write("x" * 9999 + "\n")
    writer.write("x" * (select.PIPE_BUF - 1) + "\n")
    writer.write("last\n")
    writer.write("x" * (select.PIPE_BUF - 6) + "\n")
    descriptor.reopen()

    assert writer.flush(PATIENCE_SECONDS)
    batch = select.PIPE_BUF // 1000 * 1000
    sizes = [len(written) for written in descriptor.written]
    assert sizes == [6, batch, batch, 10_000 - 2 * batch, 10_000, select.PIPE_BUF, select.PIPE_BUF]


def test_no_failure_or_partial_write_loses_or_tears_a_line() -> None:
    descriptor = FakeDescriptor()
    writer = writer_to(descriptor)

    @given(
        lines=st.lists(st.integers(0, 3000).map(lambda size: "x" * size + "\n"), max_size=20),
        plan=st.lists(
            st.integers(0, 5000)
            | st.sampled_from(FAILURES).map(lambda number: OSError(number, "")),
            max_size=20,
        ),
    )
    def check(lines: list[str], plan: list[int | OSError]) -> None:
        descriptor.plan, descriptor.written = deque(plan), []
        for line in lines:
            writer.write(line)
        assert writer.flush(PATIENCE_SECONDS)
        assert descriptor.text() == "".join(lines)

    check()


def test_after_a_failure_the_thread_pauses() -> None:
    pauses: list[float] = []
    descriptor = FakeDescriptor(OSError(errno.ENOSPC, ""), 2, 0, OSError(errno.EAGAIN, ""))
    writer = writer_to(descriptor, pauses.append)
    writer.write("line\n")

    assert writer.flush(PATIENCE_SECONDS)
    assert descriptor.text() == "line\n"
    assert pauses[:3] == [0.1] * 3  # a last, shorter one may follow


def test_lines_that_follow_each_other_closely_are_written_together() -> None:
    """A thread that woke for each line would compete with the event loop for the interpreter."""
    pauses: list[float] = []
    pausing, over = threading.Event(), threading.Event()

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        pausing.set()
        assert over.wait(PATIENCE_SECONDS)

    descriptor = FakeDescriptor()
    writer = writer_to(descriptor, sleep)
    writer.write("first\n")
    assert pausing.wait(PATIENCE_SECONDS)
    assert descriptor.written == [b"first\n"]
    writer.write("second\n")
    writer.write("third\n")
    over.set()

    assert writer.flush(PATIENCE_SECONDS)
    assert descriptor.written == [b"first\n", b"second\nthird\n"]
    assert pauses[0] == PAUSE_SECONDS == 0.05


def test_a_backlog_is_written_without_pauses() -> None:
    pauses: list[float] = []
    descriptor, writer = closed_descriptor(pauses.append)
    for _ in range(100):
        writer.write("x" * 999 + "\n")
    descriptor.reopen()

    assert writer.flush(PATIENCE_SECONDS)
    assert len(pauses) <= 1
    assert len(descriptor.written) > 25


def test_beyond_a_number_of_lines_new_ones_are_dropped_and_reported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(log_writer, "MAX_LINES", 3)
    descriptor, writer = closed_descriptor()
    for name in ("second", "third", "dropped", "dropped"):
        writer.write(f"{name}\n")
    descriptor.reopen()

    assert writer.flush(PATIENCE_SECONDS)
    assert descriptor.text() == "first\nsecond\nthird\n2 dropped\n"
    writer.write("next\n")
    assert writer.flush(PATIENCE_SECONDS)
    assert descriptor.text().endswith("2 dropped\nnext\n")


def test_beyond_a_number_of_bytes_new_lines_are_dropped_and_reported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(log_writer, "MAX_BYTES", 16)
    descriptor, writer = closed_descriptor()
    for line in ("123456789\n", "\n", "\n"):
        writer.write(line)
    descriptor.reopen()

    assert writer.flush(PATIENCE_SECONDS)
    assert descriptor.text() == "first\n123456789\n2 dropped\n"
    writer.write("123456789012345\n")  # what was written no longer counts
    assert writer.flush(PATIENCE_SECONDS)
    assert descriptor.text().endswith("2 dropped\n123456789012345\n")


def test_a_report_stands_where_the_lines_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_writer, "MAX_LINES", 3)
    monkeypatch.setattr(log_writer, "BATCH_BYTES", 1)
    descriptor, writer = closed_descriptor()
    for name in ("second", "third", "dropped", "dropped"):
        writer.write(f"{name}\n")
    descriptor.permits.release()
    assert descriptor.entered.acquire(timeout=PATIENCE_SECONDS)  # "first" is written
    writer.write("fourth\n")
    writer.write("dropped\n")
    descriptor.reopen()

    assert writer.flush(PATIENCE_SECONDS)
    assert descriptor.text() == "first\nsecond\nthird\n2 dropped\nfourth\n1 dropped\n"


def test_the_bounds_are_what_an_instance_can_spare() -> None:
    assert log_writer.MAX_LINES == 10_000
    assert log_writer.MAX_BYTES == 4 * 2**20


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    yield reading, writing
    os.close(reading)
    os.close(writing)


def read(descriptor: int, size: int) -> str:
    received = b""
    while len(received) < size:
        assert select.select([descriptor], [], [], PATIENCE_SECONDS)[0]
        received += os.read(descriptor, size - len(received))
    return received.decode()


@pytest.mark.parametrize("blocking", [True, False])
def test_a_pipe_that_nobody_reads_blocks_no_caller(pipe: tuple[int, int], blocking: bool) -> None:
    """The test would hang if it did: a pipe takes 64 KiB."""
    reading, writing = pipe
    os.set_blocking(writing, blocking)
    writer = LogWriter(writing, drop_report, sleep=doze)
    lines = [f"{number:0999}\n" for number in range(500)] + ["x" * 100_000 + "\n"]
    for line in lines:
        writer.write(line)

    assert not writer.flush(0.05)
    assert read(reading, 600_001) == "".join(lines)
    assert writer.flush(PATIENCE_SECONDS)


@pytest.mark.parametrize("failing", ["full", "no reader", "not writable"])
def test_a_descriptor_that_fails_keeps_its_lines_until_it_works(
    failing: str, pipe: tuple[int, int]
) -> None:
    if failing == "no reader":
        unread, descriptor = os.pipe()
        os.close(unread)
    elif failing == "full":
        descriptor = os.open("/dev/full", os.O_WRONLY)
    else:
        descriptor = os.open(os.devnull, os.O_RDONLY)
    reading, writing = pipe
    writer = LogWriter(descriptor, drop_report, sleep=doze)
    writer.write("line\n")

    assert not writer.flush(0.05)
    os.dup2(writing, descriptor)
    assert read(reading, 5) == "line\n"
    assert writer.flush(PATIENCE_SECONDS)
    os.close(descriptor)


def test_where_no_thread_can_be_started_the_next_line_tries_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    descriptor = FakeDescriptor()
    writer = writer_to(descriptor)

    def fail(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", fail)
        patch.setattr(log_writer, "MAX_LINES", 1)
        writer.write("first\n")
        writer.write("dropped\n")
    writer.write("second\n")

    assert writer.flush(PATIENCE_SECONDS)
    assert descriptor.text() == "first\n1 dropped\nsecond\n"


def run(script: str) -> str:
    """Run a script in a process of its own; return what it wrote."""
    imports = "import os, sys, threading\nfrom call_api.log_writer import LogWriter\n"
    done = subprocess.run(
        [sys.executable, "-c", imports + script],
        cwd=ROOT,
        env=measuring(),
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    assert done.stderr == ""
    return done.stdout


def test_what_is_queued_at_the_exit_is_written() -> None:
    """The descriptor accepts the line only after the script has ended."""
    assert run("""
ending = threading.Event()
def write(number, data):
    ending.wait()
    return os.write(number, data)
writer = LogWriter(1, str, os_write=write)
writer.write("line\\n")
import atexit
atexit.register(ending.set)  # runs first: exit handlers run in reverse order
""") == "line\n"  # fmt: skip


def test_a_stuck_log_does_not_stop_the_exit() -> None:
    assert run("""
writer = LogWriter(1, str, os_write=lambda *_: threading.Event().wait())
writer.write("line\\n")
""") == ""  # fmt: skip


def test_a_forked_process_writes_its_own_lines_alone() -> None:
    """The platform forks its workers after the import; a thread does not survive that."""
    assert run("""
import warnings
warnings.simplefilter("ignore")  # from Python 3.12 on, of a fork beside threads
gate = threading.Event()
def write(number, data):
    gate.wait()
    return os.write(number, data)
writer = LogWriter(1, str, os_write=write)
writer.write("parent\\n")
child = os.fork()
if not child:
    gate.set()
    writer.write("child\\n")
    os._exit(not writer.flush(10))
assert os.waitpid(child, 0)[1] == 0
gate.set()
""") == "child\nparent\n"  # fmt: skip


def test_the_descriptor_is_our_own(tmp_path: Path) -> None:
    """Its number cannot become a client's connection when the stream is closed."""
    with (tmp_path / "log").open("w") as stream:
        descriptor = own_descriptor(stream)
        assert descriptor != stream.fileno()
    os.write(descriptor, b"line\n")
    os.close(descriptor)

    assert (tmp_path / "log").read_text() == "line\n"


class WithoutDescriptor(io.StringIO):
    """A stream whose descriptor has been closed behind its back."""

    def fileno(self) -> int:
        return 2**30


def test_without_a_stream_lines_go_nowhere(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as closed:
        pass
    for stream in (None, closed, io.StringIO(), WithoutDescriptor()):
        descriptor = own_descriptor(stream)
        assert os.fstat(descriptor).st_rdev == Path(os.devnull).stat().st_rdev
        assert os.write(descriptor, b"line\n") == 5
        os.close(descriptor)
