"""The log: one JSON object a line on stdout, with the field names that Cloud Logging knows."""

import json
import logging
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter
from typing import Protocol

from call_api.web.headers import TraceContext

_LEVELS = logging.getLevelNamesMapping()
_to_json = json.JSONEncoder(allow_nan=False).encode  # NaN is not JSON


class LineSink(Protocol):
    """Takes lines, each with its newline; a LogWriter, or a text stream in memory."""

    def write(self, line: str, /) -> object:
        """Take a line without blocking or raising."""


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
    """The log entry of one request, filled in while the request is answered."""

    request_id: str
    trace: Mapping[str, object]
    call_id: int | None = None
    org_id: str | None = None
    severity: str = "INFO"
    reason: str = ""
    code: str | None = None
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
            **self.trace,
        }
        return entry if self.stack_trace is None else entry | {"stack_trace": self.stack_trace}


def trace_fields(trace: TraceContext | None, project: str | None) -> dict[str, object]:
    """Return the fields that join an entry to its trace."""
    if trace is None:
        return {}
    name = f"projects/{project}/traces/{trace.trace_id}" if project else trace.trace_id
    return {
        "logging.googleapis.com/trace": name,
        "logging.googleapis.com/spanId": f"{trace.span_id:016x}",
        "logging.googleapis.com/trace_sampled": trace.is_sampled,
    }


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
