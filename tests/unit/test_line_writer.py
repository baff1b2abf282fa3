"""The log's way out: each line is written at once, or counted; nobody waits."""

import errno
import json
import os
import socket
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from call_api.log import PIPE_BYTES, LineWriter, stdout_sender

FAILURES = [errno.ENOSPC, errno.EPIPE, errno.EAGAIN, errno.EBADF, errno.EIO]
Plan = deque[int | OSError]


class Output:
    """Takes what it is planned to take, and then everything."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.written = b""

    def __call__(self, data: bytes) -> int:
        outcome = self.plan.popleft() if self.plan else len(data)
        if isinstance(outcome, OSError):
            raise outcome
        self.written += data[:outcome]
        return min(outcome, len(data))


def accounted_for(written: str) -> list[str | int]:
    """Return the lines, and in the place of a report the number of lines that it reports."""
    return [
        json.loads(line)["dropped_lines"] if line.startswith("{") else line
        for line in written.splitlines()
    ]


@given(
    lines=st.lists(st.integers(0, 3000), max_size=20),
    plan=st.lists(
        st.integers(0, 5000) | st.sampled_from(FAILURES).map(lambda number: OSError(number, "")),
        max_size=20,
    ),
)
def test_every_line_is_written_whole_and_in_order_or_counted_where_it_is_missing(
    lines: list[int], plan: list[int | OSError]
) -> None:
    texts = [f"{number}:{'x' * size}" for number, size in enumerate(lines)]
    output = Output(deque(plan))
    writer = LineWriter(output)
    for text in texts:
        writer.write(f"{text}\n")
    output.plan.clear()
    writer.write("the last\n")

    left = deque([*texts, "the last"])
    for found in accounted_for(output.written.decode()):
        if isinstance(found, int):
            for _ in range(found):
                left.popleft()
        else:
            assert found == left.popleft()
    assert not left


def test_what_cannot_be_written_is_reported_with_the_next_line_that_can() -> None:
    output = Output(deque([OSError(errno.EAGAIN, "")] * 3))
    writer = LineWriter(output)
    for _ in range(4):
        writer.write("line\n")

    report, line = output.written.decode().splitlines()
    assert json.loads(report) == {
        "severity": "WARNING",
        "message": "3 log lines were dropped",
        "dropped_lines": 3,
    }
    assert line == "line"


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    yield reading, writing
    os.close(reading)
    os.close(writing)


def fill(send: Callable[[bytes], int]) -> int:
    """Send until nothing more is taken; return the bytes that were. The test hangs if it blocks."""
    sent = 0
    try:
        while True:
            sent += send(b"x" * 1024)
    except BlockingIOError:
        return sent


def test_a_pipe_that_nobody_reads_is_filled_and_blocks_nobody(pipe: tuple[int, int]) -> None:
    _, writing = pipe

    assert fill(stdout_sender(writing)) == PIPE_BYTES
    assert os.get_blocking(writing), "it belongs to the processes that share it"


# The sender keeps its socket for as long as the process runs.
@pytest.mark.filterwarnings("ignore:.*<socket:pytest.PytestUnraisableExceptionWarning")
def test_a_socket_that_nobody_reads_is_filled_and_blocks_nobody() -> None:
    reading, writing = socket.socketpair()
    with reading, writing:
        assert fill(stdout_sender(writing.fileno())) > 0
        assert writing.getblocking()


def test_a_file_is_written_beside_its_other_writers(tmp_path: Path) -> None:
    """As with `> log 2>&1`: they share one offset, and overwrite nothing of each other."""
    file = tmp_path / "log"
    with file.open("wb", buffering=0) as log:
        send = stdout_sender(log.fileno())
        assert send(b"line\n") == 5
        log.write(b"by another writer\n")
        send(b"line\n")

    assert file.read_text() == "line\nby another writer\nline\n"


def test_the_descriptor_is_our_own(pipe: tuple[int, int]) -> None:
    """Its number cannot become a client's connection when stdout is closed."""
    reading, writing = pipe
    copy = os.dup(writing)
    send = stdout_sender(copy)
    os.close(copy)

    assert send(b"line\n") == 5
    assert os.read(reading, 5) == b"line\n"


def test_a_pipe_without_a_reader_changes_nothing() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    send = stdout_sender(writing)

    with pytest.raises(BrokenPipeError):
        send(b"line\n")
    os.close(writing)


def test_where_it_cannot_be_opened_anew_it_is_written_as_it_is(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where there is no /proc, or stdout is another user's."""
    reading, writing = pipe

    def refuse(*_: object) -> int:
        raise PermissionError

    monkeypatch.setattr(os, "open", refuse)

    assert stdout_sender(writing)(b"line\n") == 5
    assert os.read(reading, 5) == b"line\n"


def test_where_the_pipe_cannot_be_widened_it_stays_as_it_is(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("call_api.log.PIPE_BYTES", 2**31 - 1)

    assert 0 < fill(stdout_sender(pipe[1])) < PIPE_BYTES


def test_without_stdout_lines_go_nowhere(pipe: tuple[int, int]) -> None:
    closed = os.dup(pipe[1])
    os.close(closed)

    assert stdout_sender(closed)(b"line\n") == 5
