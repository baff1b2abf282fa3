"""The log: one JSON object a line on stdout, with the field names that Cloud Logging knows."""

import json
import logging
import re
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter
from typing import TextIO

_TRACEPARENT = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})"
)
_CLOUD_TRACE_CONTEXT = re.compile(r"([0-9a-f]{32})(?:/([0-9]{1,20}))?(?:;o=([0-9]))?")


class JsonLog:
    """Writes the entries at or above a level.

    Not through `logging`: where the platform sets LOG_EXECUTION_ID, the framework configures that
    anew after it has loaded this code, and so silences every logger made until then.
    """

    def __init__(self, stream: TextIO, level: str) -> None:
        self._stream = stream
        self._threshold = logging.getLevelNamesMapping()[level]

    def write(self, severity: str, message: str, fields: Mapping[str, object]) -> None:
        """Write one line; `severity` is a name that LOG_LEVEL can have."""
        if logging.getLevelNamesMapping()[severity] >= self._threshold:
            entry = {"severity": severity, "message": message, **fields}
            self._stream.write(json.dumps(entry) + "\n")
            self._stream.flush()


@dataclass
class RequestEntry:
    """The line of one request, filled in as the request goes."""

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
        """Time a stage, one that fails as well."""
        started = perf_counter()
        try:
            yield
        finally:
            self.stages_ms[name] = _ms_since(started)

    def fields(self, status: int) -> dict[str, object]:
        """Return what the line says beside its severity and message; times are milliseconds."""
        entry: dict[str, object] = {
            "request_id": self.request_id,
            # As text: Cloud Logging keeps numbers as doubles, which cannot tell large IDs apart.
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


def trace_fields(headers: Mapping[str, str], project: str | None) -> dict[str, object]:
    """Return what ties an entry to its trace, from `traceparent` or `X-Cloud-Trace-Context`."""
    if found := _TRACEPARENT.fullmatch(headers.get("traceparent", "")):
        trace, span, sampled = found[1], found[2], bool(int(found[3], 16) & 1)
    elif found := _CLOUD_TRACE_CONTEXT.fullmatch(headers.get("x-cloud-trace-context", "")):
        trace, span, sampled = found[1], f"{int(found[2] or 0):016x}", found[3] == "1"
    else:
        return {}
    return {
        "logging.googleapis.com/trace": f"projects/{project}/traces/{trace}" if project else trace,
        "logging.googleapis.com/spanId": span,
        "logging.googleapis.com/trace_sampled": sampled,
    }


def stack_trace(error: BaseException) -> str:
    """Return the stack of an exception and of its causes, without their messages.

    A message can quote what it failed on, a header or a stored value; a frame is only our code.
    """
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    before = f"{stack_trace(cause)}\n\nThen:\n\n" if cause else ""
    frames = "".join(traceback.format_tb(error.__traceback__))
    kind = type(error)
    return (
        f"{before}Traceback (most recent call last):\n{frames}{kind.__module__}.{kind.__qualname__}"
    )


def _ms_since(started: float) -> float:
    return round((perf_counter() - started) * 1000, 2)
