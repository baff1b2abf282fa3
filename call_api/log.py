"""The log: one JSON object a line on stdout, with the field names that Cloud Logging knows."""

import fcntl
import json
import logging
import os
import socket
import stat
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from time import perf_counter
from typing import Protocol

_LEVELS = logging.getLevelNamesMapping()
_to_json = json.JSONEncoder(allow_nan=False).encode  # NaN is not JSON


STDOUT = 1
PIPE_BYTES = 2**20  # some 3,000 lines; what an unprivileged process may ask Linux for


class LineSink(Protocol):
    """Takes lines, each with its newline: a LineWriter, or a text stream in memory."""

    def write(self, line: str, /) -> object:
        """Take a line without blocking or raising."""


class LineWriter:
    """Writes each line at once, or drops and counts it: a log that nobody reads delays no answer.

    `send` writes bytes without waiting, and returns how many; it raises OSError where it writes none.
    What is missing of a line is written before the next one, and so is the number of dropped lines.
    """

    def __init__(self, send: Callable[[bytes], int]) -> None:
        self._send = send
        self._rest = b""
        self._dropped = 0

    def write(self, line: str) -> None:
        """Write a line, which ends with its newline, or count it."""
        self._rest = self._send_some(self._rest)
        text = drop_report(self._dropped) + line if self._dropped else line
        data = text.encode()
        rest = data if self._rest else self._send_some(data)
        if rest == data:
            self._dropped += 1
        else:
            self._dropped, self._rest = 0, rest

    def _send_some(self, data: bytes) -> bytes:
        """Send as much as can be, and return the rest."""
        try:
            return data[self._send(data) :] if data else data
        except OSError:
            return data


def stdout_sender(descriptor: int = STDOUT) -> Callable[[bytes], int]:
    """Return what writes to stdout, for a LineWriter.

    Never to the descriptor itself: stdout may be closed later, and its number given to a client's
    connection. A file is written as everybody does: it shares its offset with other writers.
    """
    try:
        mode = os.fstat(descriptor).st_mode
    except OSError:  # it was closed at the start
        return partial(os.write, os.open(os.devnull, os.O_WRONLY))
    if stat.S_ISSOCK(mode):
        connection = socket.socket(fileno=os.dup(descriptor))
        return lambda data: connection.send(data, socket.MSG_DONTWAIT)
    if stat.S_ISFIFO(mode) or stat.S_ISCHR(mode):
        return partial(os.write, _opened_anew(descriptor))
    return partial(os.write, os.dup(descriptor))


def _opened_anew(descriptor: int) -> int:
    """Open a pipe or a terminal for writing without waiting.

    O_NONBLOCK on the descriptor that the process was given would change it for its parents as well.
    """
    flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY
    try:
        own = os.open(f"/proc/self/fd/{descriptor}", flags)
    except OSError:  # there is no /proc, or it is another user's: then writing may wait
        return os.dup(descriptor)
    with suppress(OSError):  # the default of 64 KiB will do, and a terminal has none
        fcntl.fcntl(own, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    return own


class JsonLog:
    """Writes the entries at or above a level, and never fails the caller.

    It does not use `logging`: where the platform sets LOG_EXECUTION_ID, the framework reconfigures
    `logging` after it has loaded this code, which silences every logger made until then.
    """

    def __init__(self, sink: LineSink, level: str) -> None:
        self._sink = sink
        self._threshold = _LEVELS[level]

    def write(self, severity: str, message: str, fields: Mapping[str, object]) -> None:
        """Write one line; `severity` is a name that LOG_LEVEL can have.

        An entry that cannot be rendered is replaced by an ERROR that names the exception's type and,
        since an exception's message can quote a value, nothing else.
        """
        try:
            if _LEVELS[severity] < self._threshold:
                return
            line = _to_json({"severity": severity, "message": message, **fields})
        except Exception as error:  # noqa: BLE001  (a line of the log must not fail an answer)
            reason = f"log entry cannot be rendered: {type(error).__name__}"
            line = _to_json({"severity": "ERROR", "message": reason})
        self._sink.write(line + "\n")


def drop_report(count: int) -> str:
    """Return the line that stands in the log for lines that were dropped."""
    message = f"{count} log lines were dropped"
    return _to_json({"severity": "WARNING", "message": message, "dropped_lines": count}) + "\n"


@dataclass
class RequestEntry:
    """The log entry of one request, filled in while it is answered; it is a `calls.access.Asker`."""

    request_id: str
    trace: Mapping[str, object]
    call_id: int | None = None
    org_id: str | None = None
    key_id: str | None = None
    severity: str = "INFO"
    reason: str = ""
    code: str | None = None
    faults: Sequence[str] = ()  # fields of the call that cannot be read
    stack_trace: str | None = None
    stages_ms: dict[str, float] = field(default_factory=dict)
    started: float = field(default_factory=perf_counter)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Measure a stage, also one that fails."""
        started = perf_counter()
        try:
            yield
        finally:
            self.stages_ms[name] = _ms_since(started)

    def fields(self, status: int) -> dict[str, object]:
        """Return all fields but severity and message; times are milliseconds."""
        entry: dict[str, object] = {
            "request_id": self.request_id,
            # As text: Cloud Logging stores numbers as doubles, which cannot hold every 64-bit ID.
            "call_id": None if self.call_id is None else str(self.call_id),
            "org_id": self.org_id,
            "status": status,
            "code": self.code,
            "read_ms": self.stages_ms.get("read"),
            "sign_ms": self.stages_ms.get("sign"),
            "total_ms": _ms_since(self.started),
            "key_id": self.key_id,
        }
        if self.faults:
            entry["faults"] = self.faults
        entry |= self.trace
        return entry if self.stack_trace is None else entry | {"stack_trace": self.stack_trace}


def stack_trace(error: BaseException) -> str:
    """Return the stacks of an exception and its causes, oldest first, without their messages.

    A message can quote a header or a stored value; a stack shows only source code.
    """
    stacks: dict[int, str] = {}
    following: BaseException | None = error
    while following is not None and id(following) not in stacks:  # causes can form a cycle
        kind = type(following)
        frames = "".join(traceback.format_tb(following.__traceback__))
        stacks[id(following)] = (
            f"Traceback (most recent call last):\n{frames}{kind.__module__}.{kind.__qualname__}"
        )
        if following.__cause__ is None and not following.__suppress_context__:
            following = following.__context__
        else:
            following = following.__cause__
    return "\n\nThen:\n\n".join(reversed(stacks.values()))


def _ms_since(started: float) -> float:
    return round((perf_counter() - started) * 1000, 2)
