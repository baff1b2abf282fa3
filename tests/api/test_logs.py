"""The log: one JSON object a line, one line a request, and never a secret."""

import asyncio
import hashlib
import io
import json
import re
import traceback
from time import perf_counter
from typing import Any

import pytest

from call_api.errors import Internal, Problem, UpstreamTimeout
from call_api.log import JsonLog, RequestEntry, stack_trace
from local.seed import sample_calls
from tests.support.fakes import FakeCalls, FakeRecordingUrls
from tests.support.in_process import KEY, KEYS, Function
from tests.support.project import PROJECT, PutCall
from tests.support.serving import Service, served

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
FIELDS = [
    *("severity", "message", "request_id", "call_id", "org_id", "status", "code", "read_ms"),
    *("sign_ms", "total_ms", "key_id"),
]


def entry_of(service: Service, *args: Any, **kwargs: Any) -> dict[str, Any]:
    before = len(service.log())
    service.request(*args, **kwargs)
    (entry,) = service.entries(before)
    return entry


def test_an_answered_call_is_one_line(service: Service, acme_key: str) -> None:
    started = perf_counter()
    reply = service.request(headers=[("X-Request-Id", "r-1")], key=acme_key)
    waited_ms = (perf_counter() - started) * 1000
    entry = service.entries()[-1]

    assert list(entry) == FIELDS
    told = f"read;dur={entry['read_ms']}, sign;dur={entry['sign_ms']}"
    assert reply.headers["Server-Timing"] == told
    times = [entry.pop(name) for name in ("read_ms", "sign_ms", "total_ms")]
    assert all(isinstance(time, float) and 0 < time == round(time, 2) for time in times)
    assert times[0] + times[1] <= times[2] + 0.02  # each is rounded
    assert times[2] < waited_ms
    assert entry == {
        "severity": "INFO",
        "message": "GET 200",
        "request_id": "r-1",
        "call_id": "77",
        "org_id": "org_acme",
        "status": 200,
        "code": None,
        "key_id": hashlib.sha256(acme_key.encode()).hexdigest()[:12],
    }


@pytest.mark.parametrize(
    ("call_id", "method", "stages"),
    [
        (77, "GET", ["read", "sign"]),
        (77, "HEAD", ["read"]),
        (84, "GET", ["read"]),
    ],
    ids=["with a link", "HEAD", "without a recording"],
)
def test_a_client_is_told_the_stages_that_there_were(
    call_id: int, method: str, stages: list[str], service: Service, acme_key: str
) -> None:
    reply = service.request(method, f"/v2/calls/{call_id}", key=acme_key)

    pattern = ", ".join(f"{stage};dur=[0-9.]+" for stage in stages)
    assert re.fullmatch(pattern, reply.headers["Server-Timing"])


def test_a_stage_is_as_long_as_what_it_waits_for(monkeypatch: pytest.MonkeyPatch) -> None:
    for waits, step in ((FakeCalls, "read"), (FakeRecordingUrls, "signed_url")):
        original = getattr(waits, step)

        async def wait(*args: Any, original: Any = original) -> Any:
            await asyncio.sleep(0.06)  # the stage, which is measured by the real clock
            return await original(*args)

        monkeypatch.setattr(waits, step, wait)
    entry = json.loads(respond()[1])

    assert min(entry["read_ms"], entry["sign_ms"]) >= 60


def test_a_refusal_is_info_with_its_code_and_reason(service: Service, acme_key: str) -> None:
    refused: dict[str, dict[str, Any]] = {
        "unauthenticated: no bearer key": {},
        "unauthenticated: unknown key": {"key": "unknown"},
        "unauthenticated: more than one credentials header": {
            "key": acme_key,
            "headers": [("Authorization", "x")],
        },
        "unauthenticated: malformed key": {"key": f"{acme_key} x"},
        "forbidden": {"key": acme_key, "target": "/v2/calls/87"},
        "call_not_found": {"key": acme_key, "target": "/v2/calls/077"},
        "route_not_found": {"target": "/admin"},
        "method_not_allowed": {"method": "PUT"},
    }
    for message, request in refused.items():
        entry = entry_of(service, **request)
        assert entry["severity"] == "INFO"
        assert entry["message"].split(" ", 2)[2] == message
        assert entry["code"] == message.split(":")[0]
        assert entry["read_ms"] is None or entry["read_ms"] > 0
        assert list(entry) == FIELDS


def test_faults_stand_between_the_key_and_the_trace() -> None:
    entry = RequestEntry("r-1", {"logging.googleapis.com/trace": TRACE}, faults=["latency_ms"])

    fields = [*FIELDS[2:], "faults", "logging.googleapis.com/trace"]
    assert list(entry.fields(200)) == fields


def test_times_are_milliseconds() -> None:
    entry = RequestEntry("r-1", {}, started=perf_counter() - 1000)

    assert 1_000_000 <= float(str(entry.fields(200)["total_ms"])) < 1_000_900


def test_an_id_keeps_all_its_digits_and_what_is_none_is_null(
    service: Service, acme_key: str
) -> None:
    """Cloud Logging keeps numbers as doubles."""
    for segment, logged in ((f"{2**63 - 1}?x=1", "9223372036854775807"), ("077", None)):
        entry = entry_of(service, key=acme_key, target=f"/v2/calls/{segment}")
        assert entry["call_id"] == logged


@pytest.mark.parametrize(
    ("header", "value", "span", "sampled"),
    [
        ("traceparent", f"00-{TRACE}-{SPAN}-01", SPAN, True),
        ("traceparent", f"00-{TRACE}-{SPAN}-00", SPAN, False),
        ("traceparent", f"cc-{TRACE}-{SPAN}-03", SPAN, True),
        ("traceparent", f"00-{TRACE}-{SPAN}-1b", SPAN, True),
        ("X-Cloud-Trace-Context", f"{TRACE}/{int(SPAN, 16)};o=1", SPAN, True),
        ("X-Cloud-Trace-Context", f"{TRACE}/{int(SPAN, 16)}", SPAN, False),
        ("X-Cloud-Trace-Context", f"{TRACE}/{2**64 - 1}", "f" * 16, False),
        ("X-Cloud-Trace-Context", TRACE, "0" * 16, False),  # the span that is none
    ],
)
def test_an_entry_joins_its_trace(
    header: str, value: str, span: str, sampled: bool, service: Service
) -> None:
    entry = entry_of(service, headers=[(header, value)])

    assert list(entry)[-3:] == [
        f"logging.googleapis.com/{name}" for name in ("trace", "spanId", "trace_sampled")
    ]
    assert list(entry.values())[-3:] == [f"projects/{PROJECT}/traces/{TRACE}", span, sampled]


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("traceparent", ""),
        ("traceparent", f"ff-{TRACE}-{SPAN}-01"),
        ("traceparent", f"00-{'0' * 32}-{SPAN}-01"),
        ("traceparent", f"00-{TRACE}-{'0' * 16}-01"),
        ("traceparent", f"00-{TRACE.upper()}-{SPAN}-01"),
        ("traceparent", 'x", "severity": "ALERT'),
        ("X-Cloud-Trace-Context", "not-a-trace"),
        ("X-Cloud-Trace-Context", "0" * 32),
        ("X-Cloud-Trace-Context", f"{'0' * 32}/{int(SPAN, 16)};o=1"),
        ("X-Cloud-Trace-Context", f"{TRACE}/{2**64};o=1"),
        ("X-Cloud-Trace-Context", f"{TRACE}/{'9' * 20}"),
        ("X-Cloud-Trace-Context", f"{TRACE}/{'0' * 20}1"),
    ],
)
def test_a_malformed_trace_is_left_out(header: str, value: str, service: Service) -> None:
    assert list(entry_of(service, headers=[(header, value)])) == FIELDS


def respond(
    failure: Exception | None = None, *, level: str = "INFO", key: str = KEY, trace: str = ""
) -> tuple[int, str]:
    """Answer one request over fakes; return the status and the log."""
    function = Function(
        FakeCalls(keys=KEYS, calls={77: sample_calls()[77]}, failure=failure), level=level
    )
    headers = [("authorization", f"Bearer {key}"), ("traceparent", trace)]
    return function.ask(headers=headers).status_code, function.log.getvalue()


def test_an_unexpected_exception_is_a_500_with_its_stack_but_not_its_words() -> None:
    """A message can quote what it failed on."""

    def failure(value: str) -> Exception:
        try:
            try:
                return ValueError(int(value))
            except ValueError as error:
                raise RuntimeError(value) from error
        except RuntimeError as error:
            return error

    status, log = respond(failure("s3cret"))
    entry = json.loads(log)

    assert (status, entry["severity"], entry["code"]) == (500, "ERROR", "internal")
    assert entry["message"] == "GET 500 internal: unexpected exception"
    stack = entry["stack_trace"]
    assert "builtins.ValueError" in stack
    assert stack.endswith("builtins.RuntimeError")
    assert "raise RuntimeError(value) from error" in stack
    assert "s3cret" not in log


def failed_after_another(*, suppressed: bool) -> tuple[Exception, Exception]:
    """Return what failed first, and what failed after it or, suppressed, in its place."""

    def fail() -> None:
        try:
            json.loads("s3cret")  # fails some frames below
        except ValueError:
            raise LookupError("s3cret")  # noqa: B904  (a cause has a test of its own)

    with pytest.raises(LookupError) as last:
        fail()
    first = last.value.__context__
    assert isinstance(first, ValueError)
    last.value.__suppress_context__ = suppressed  # as `from None` does
    return first, last.value


def trace_of(error: Exception, name: str) -> str:
    frames = "".join(traceback.format_tb(error.__traceback__))
    return f"Traceback (most recent call last):\n{frames}{name}"


def test_a_stack_begins_with_the_failure_before_it() -> None:
    first, last = failed_after_another(suppressed=False)
    before, after = trace_of(first, "json.decoder.JSONDecodeError"), "builtins.LookupError"

    assert before.count("  File ") > 2
    assert stack_trace(last) == f"{before}\n\nThen:\n\n{trace_of(last, after)}"


def test_a_failure_that_was_replaced_is_not_in_the_stack() -> None:
    _, last = failed_after_another(suppressed=True)

    assert stack_trace(last) == trace_of(last, "builtins.LookupError")


def test_causes_that_form_a_cycle_are_each_in_the_stack_once() -> None:
    first, last = failed_after_another(suppressed=False)
    first.__cause__ = last

    assert stack_trace(last).count("builtins.LookupError") == 1


def test_a_thousand_causes_are_one_stack() -> None:
    error: Exception | None = None
    for number in range(2000):
        error, cause = KeyError(number), error
        error.__cause__ = cause

    assert error is not None
    assert stack_trace(error).count("builtins.KeyError") == 2000


@pytest.mark.parametrize("problem", [Internal("a role is missing"), UpstreamTimeout("Firestore")])
def test_a_failure_that_is_understood_is_an_error_without_a_stack(problem: Problem) -> None:
    status, log = respond(problem)
    entry = json.loads(log)

    assert (status, entry["severity"]) == (problem.status, "ERROR")
    assert "stack_trace" not in entry


def test_without_a_project_a_trace_is_its_bare_id() -> None:
    _, log = respond(trace=f"00-{TRACE}-{SPAN}-01")

    assert json.loads(log)["logging.googleapis.com/trace"] == TRACE


@pytest.mark.parametrize(
    ("level", "lines"), [("DEBUG", 3), ("INFO", 3), ("WARNING", 1), ("ERROR", 1), ("CRITICAL", 0)]
)
def test_the_level_is_the_least_that_is_written(level: str, lines: int) -> None:
    logs = [
        respond(level=level),
        respond(level=level, key="unknown"),
        respond(Internal("x"), level=level),
    ]

    assert sum(log.count("\n") for _, log in logs) == lines


def circular() -> dict[str, object]:
    fields: dict[str, object] = {}
    fields["itself"] = fields
    return fields


@pytest.mark.parametrize(
    ("severity", "fields", "reason"),
    [
        ("CRITICAL", {"org_id": object()}, "TypeError"),
        ("CRITICAL", {"org_id": {("s3cret",): 1}}, "TypeError"),
        ("CRITICAL", {"read_ms": float("nan")}, "ValueError"),
        ("CRITICAL", {"call_id": 10**5000}, "ValueError"),
        ("CRITICAL", circular(), "ValueError"),
        ("S3CRET", {}, "KeyError"),
    ],
)
def test_an_entry_that_cannot_be_rendered_is_an_error_that_names_no_value(
    severity: str, fields: dict[str, object], reason: str
) -> None:
    stream = io.StringIO()
    JsonLog(stream, "CRITICAL").write(severity, "s3cret", fields)

    assert json.loads(stream.getvalue()) == {
        "severity": "ERROR",
        "message": f"log entry cannot be rendered: {reason}",
    }


def test_any_text_is_one_line_of_ascii() -> None:
    stream = io.StringIO()
    JsonLog(stream, "INFO").write("INFO", "मदद\ud800\n\u2028", {})

    assert stream.getvalue().isascii()
    assert stream.getvalue().count("\n") == 1
    assert json.loads(stream.getvalue())["message"] == "मदद\ud800\n\u2028"


def test_no_secret_is_logged_at_any_level(
    settings: dict[str, str], acme_key: str, put_call: PutCall
) -> None:
    corrupt = put_call(
        {"phone_number": "+15550100", "caller_phone": 15550101, "cost": {"total_usd": "s3cret"}}
    )
    with served(settings | {"LOG_LEVEL": "DEBUG"}) as service:
        for target in (
            "/v2/calls/77?token=s3cret",
            f"/v2/calls/{corrupt}",
            "/s3cret",
            "/v2/calls/s3cret",
        ):
            for headers in (
                [("Authorization", f"Bearer {acme_key}")],
                [("Authorization", f"Bearer {acme_key}, s3cret")],
                [("Authorization", "Basic s3cret")],
                [("X-Forwarded-Authorization", f"Bearer {acme_key}"), ("Cookie", "s3cret")],
                [("X-Request-Id", "s3cret and more"), ("If-None-Match", "s3cret")],
            ):
                service.request(target=target, headers=headers)
        output = service.output()

    secrets = [acme_key, "s3cret", "X-Goog-Signature", "मदद", "1555010"]
    assert [secret for secret in secrets if secret in output] == []
    assert len(output.splitlines()) >= 20
