"""The report on stored calls: by file, by line and by collection, and never a value in it."""

import copy
import io
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.cloud import firestore
from hypothesis import given

from call_api.calls.schema import Call
from local.seed import sample_calls
from ops import check_calls
from ops.check_calls import StoredCall, Summary, faults_of, report
from tests.support import strategies as made
from tests.support.commands import Outcome, Tool, outcome_of
from tests.support.fake_firestore import fake_firestore_that_refuses
from tests.support.project import PROJECT
from tests.support.reading import reading
from tests.support.serving import ROOT

CASES = ROOT / "tests" / "cases" / "records.json"
FINE = sample_calls()[77]
PAGE = (ROOT / "docs" / "stored-calls.md").read_text("utf-8")
CANARY = "+14155550100"
LINE = json.dumps(FINE) + "\n"


File = Callable[..., str]
Store = Callable[[str, dict[str, Any]], None]


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Tool:
    """Run `python -m ops.check_calls` in this process; bytes are its standard input."""

    def run(*argv: str, stdin: bytes = b"") -> Outcome:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        return outcome_of(lambda: check_calls.main(argv), capsys)

    return run


@pytest.fixture
def calls(tmp_path: Path) -> File:
    """Write a file of calls."""

    def write(content: object, name: str = "calls.json") -> str:
        file = tmp_path / name
        file.write_text(content if isinstance(content, str) else json.dumps(content))
        return str(file)

    return write


@pytest.fixture
def collection(
    database: firestore.Client, emulator_host: str, monkeypatch: pytest.MonkeyPatch
) -> Store:
    """Store calls in a collection, by ID."""
    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", emulator_host)
    monkeypatch.delenv("FIRESTORE_DATABASE", raising=False)

    def store(name: str, by_id: dict[str, Any]) -> None:
        for call_id, fields in by_id.items():
            database.document(name, call_id).set(fields)

    return store


def counts(outcome: Outcome) -> dict[str, int]:
    """Return the first table of the summary."""
    table = re.search(r"^calls +.*(\n  .*)*", outcome.stdout, re.MULTILINE)
    assert table
    rows = (row.strip().rpartition(" ") for row in table[0].splitlines())
    return {name.strip(): int(number.replace(",", "")) for name, _, number in rows}


def test_the_report_on_the_cases_says_what_to_correct(tool: Tool, calls: File) -> None:
    cases = json.loads(CASES.read_text("utf-8"))
    owned = {
        name: {kind: call | {"org_id": "org_acme"} for kind, call in kinds.items()}
        for name, kinds in cases.items()
    }

    assert tool(calls(owned)) == (
        1,
        """\
call vapi/literal: 500 stored_call_invalid: transcript[].role (not 'assistant' or 'user')
call retell/literal: 500 stored_call_invalid: transcript[].role (not 'assistant' or 'user')
call bolna/literal: 200, read as null: recording_duration (not a finite number)
call bolna-busy/literal: 500 stored_call_invalid: status (not 'active', 'ended', 'error', 'pending' or 'deleted')
call pipecat/honest: 200, read as null: transcript[].timestamp (not seconds from the start of a call)

calls                                      15
  200, every field read                    10
  200, read as null                         2
  500 stored_call_invalid                   3

FIELD AT FAULT                          CALLS  EFFECT  FIRST CALLS
transcript[].role                           2  500     vapi/literal, retell/literal
status                                      1  500     bolna-busy/literal
recording_duration                          1  null    bolna/literal
transcript[].timestamp                      1  null    pipecat/honest

Calls whose id was not checked, since they have none here: 15.
A stored call needs its document's ID in id, as an integer.
""",
        "",
    )


def test_a_call_without_an_owner_is_refused_to_everyone_and_its_other_faults_are_said(
    tool: Tool, calls: File
) -> None:
    del (unowned := dict(FINE))["org_id"]
    done = tool(calls([unowned, FINE | {"org_id": ""}, unowned | {"type": 5, "latency_ms": -1}]))

    first, second, third = done.stdout.splitlines()[:3]
    assert first == "call 77: 403 forbidden for everyone: org_id (missing)"
    assert second == "call 77: 403 forbidden for everyone: org_id (not the owner's name)"
    assert third == (
        "call 77: 403 forbidden for everyone: org_id (missing); then 500 stored_call_invalid: type"
        " (not 'web', 'inbound' or 'outbound'); then read as null: latency_ms (a negative number)"
    )
    assert counts(done) == {"calls": 3, "403 forbidden for everyone": 3}
    assert done.status == 1
    assert tool(calls(unowned)).status == 0


@pytest.mark.parametrize(
    ("document", "names"),
    [
        ({"latency_ms": -1}, ["call 77"]),
        (
            [{"latency_ms": -1}, {}, {"id": None, "latency_ms": -1}],
            ["call 77", "call 3 of the file"],
        ),
        ({"78": {"id": 78, "latency_ms": -1}}, ["call 78"]),
        ({"calls": {"78": {"id": 78, "latency_ms": -1}, "79": {"id": 79}}}, ["call calls/78"]),
        ({"a\u200f\n\x1b[2J": {"latency_ms": -1}}, ["call a\\u200f\\n\\x1b[2J"]),
        ({"कॉल": {"latency_ms": -1}}, ["call कॉल"]),
    ],
)
def test_a_call_is_named_by_its_key_its_id_or_its_place(
    tool: Tool, calls: File, document: Any, names: list[str]
) -> None:
    def whole(value: Any) -> Any:
        """Complete each call."""
        if isinstance(value, list):
            return [whole(each) for each in value]
        if any(isinstance(each, dict) for each in value.values()):
            return {key: whole(each) for key, each in value.items()}
        return FINE | value

    said = tool(calls(whole(document))).stdout.split("\n\n")[0].splitlines()
    assert [line.partition(":")[0] for line in said] == names


def test_an_id_must_be_the_key_where_the_key_is_an_id(tool: Tool, calls: File) -> None:
    del (without := dict(FINE))["id"]
    done = tool(calls({"77": FINE, "78": FINE, "79": without, "first": without}))

    assert done.stdout.splitlines()[:2] == [
        "call 78: 500 stored_call_invalid: id (not the document's ID)",
        "call 79: 500 stored_call_invalid: id (missing)",
    ]
    assert "\nCalls whose id was not checked, since they have none here: 1.\n" in done.stdout


def test_lines_are_read_from_a_file_and_from_standard_input(tool: Tool, calls: File) -> None:
    lines = LINE + "\n  \n" + json.dumps({"agent_name": 5}) + "\n" + LINE

    done = tool(calls(lines, "calls.jsonl"))
    assert done == tool("-", stdin=lines.encode())
    assert done.stdout.startswith("call on line 4: 403 forbidden for everyone: org_id (missing)")
    assert counts(done)["calls"] == 3
    assert tool("-", stdin=LINE.encode()).status == 0


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (f'{{"caller_phone": "{CANARY}"'.encode(), "line 2: not JSON"),
        (b'{"id": "\xff"}', "line 2: not JSON"),
        (b"[" * 100_000, "line 2: not JSON"),
        (f'["{CANARY}"]'.encode(), "call on line 2: not an object"),
        (b"null", "call on line 2: not an object"),
    ],
)
def test_a_line_that_is_no_call_is_a_fault_and_the_others_are_read(
    tool: Tool, line: bytes, why: str
) -> None:
    done = tool("-", stdin=LINE.encode() + line + b"\n" + LINE.encode())

    assert done.status == 1
    assert done.stdout.splitlines()[0] == why
    assert counts(done) == {"calls": 2, "200, every field read": 2, "no call": 1}
    assert CANARY not in done.stdout + done.stderr


def test_what_is_no_call_in_a_document_is_a_fault(tool: Tool, calls: File) -> None:
    assert tool(calls([5])).stdout.startswith("call 1 of the file: not an object\n")
    assert tool(calls({"77": None})).stdout.startswith("call 77: not an object\n")
    assert tool(calls("5")).stdout.startswith("call 1 of the file: not an object\n")
    assert tool(calls("5")).status == 1


def test_a_file_that_cannot_be_read_is_one_sentence(
    tool: Tool, calls: File, tmp_path: Path
) -> None:
    lines = calls(LINE + LINE)

    assert tool(lines).status == (
        f"{lines} is not JSON. A file of a call a line needs a name that ends with .jsonl."
    )
    for missing in (tmp_path / "calls.json", tmp_path / "calls.jsonl"):
        missing.unlink(missing_ok=True)
        assert tool(str(missing)).status == f"{missing}: No such file or directory."


def test_a_collection_is_read_as_the_function_reads_it(
    tool: Tool, collection: Store, noon: Any
) -> None:
    stored = {
        "1": FINE | {"id": 1, "created_at": noon, "latency_ms": 0.4},
        "2": FINE | {"id": 2, "created_at": firestore.GeoPoint(1, 2)},
        "3": FINE | {"id": 1, "voice": b"alloy"},
        "4": FINE
        | {"id": 4, "tags": 5, "analysis": {"tags": ["a", noon], "score": {"score": 101}}},
        "call-5": FINE | {"id": 5},
    }
    collection("checked", stored)
    done = tool("--project", PROJECT, "--collection", "checked")

    assert done.status == 1
    assert done.stdout.partition("\n\n")[0] == (
        "call 2: 500 stored_call_invalid: created_at (not a timestamp)\n"
        "call 3: 500 stored_call_invalid: id (not the document's ID);"
        " then read as null: voice (not a dictionary)\n"
        "call 4: 200, read as null: analysis.score.score (not less than or equal to 100),"
        " analysis.tags[] (an item that is no text)\n"
        "call call-5: 404 call_not_found for everyone: (the document's ID)"
        " (not a decimal from 1 to 2^63-1)"
    )
    assert counts(done) == {
        "calls": 5,
        "200, every field read": 1,
        "200, read as null": 1,
        "404 call_not_found for everyone": 1,
        "500 stored_call_invalid": 2,
    }
    assert "not checked" not in done.stdout


@pytest.mark.google_emulator  # it has cursors
@pytest.mark.parametrize("page", [1, 2, 3, 5, 6])
def test_a_collection_is_read_page_by_page(
    tool: Tool, collection: Store, monkeypatch: pytest.MonkeyPatch, page: int
) -> None:
    collection("paged", {str(n): FINE | {"id": n} for n in range(1, 6)})
    monkeypatch.setattr(check_calls, "PAGE", page)

    done = tool("--project", PROJECT, "--collection", "paged")
    assert (done.status, counts(done)["200, every field read"]) == (0, 5)


def test_an_emulator_without_cursors_ends_the_command(
    tool: Tool, collection: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    collection("repeated", {str(n): FINE | {"id": n} for n in range(1, 6)})
    monkeypatch.setattr(check_calls, "PAGE", 2)
    monkeypatch.setattr("google.cloud.firestore.Query.start_after", lambda query, _: query)

    said = tool("--project", PROJECT, "--collection", "repeated").status
    assert said == "This emulator gives the first calls again and again. Google's does not."


def test_a_missing_role_is_named(tool: Tool, monkeypatch: pytest.MonkeyPatch) -> None:
    with fake_firestore_that_refuses(grpc.StatusCode.PERMISSION_DENIED) as host:
        monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", host)
        assert tool("--project", PROJECT) == (
            f"Firestore refuses: is roles/datastore.viewer granted in {PROJECT}?",
            "",
            "",
        )


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ([], "one of the arguments FILE --project is required"),
        (["calls.json", "--project", "p"], "not allowed with argument"),
        (["--project", ""], "argument --project: give a name without a slash"),
        (["--project", "p", "--collection", "a/b"], "argument --collection: give a name without"),
    ],
)
def test_a_command_that_is_written_wrong_is_said_so(tool: Tool, argv: list[str], said: str) -> None:
    done = tool(*argv)

    assert (done.status, done.stdout) == (2, "")
    assert said in done.stderr


def texts(value: object) -> set[str]:
    """Return the texts in a value that no field's name or reason could hold by chance."""
    if isinstance(value, dict):
        return set().union(*map(texts, value.values()))
    if isinstance(value, list):
        return set().union(*map(texts, value))
    return {value} if isinstance(value, str) and value.startswith(made.SECRET) else set()


@given(made.DOCUMENTS)
def test_the_report_names_what_cannot_be_read_and_no_value(fields: dict[str, Any]) -> None:
    faults = faults_of(StoredCall("call 77", copy.deepcopy(fields), "77"))
    essential = {fault.field for fault in faults if fault.effect == "500"}
    descriptive = {fault.field for fault in faults if fault.effect == "null"}
    expected = reading(fields, 77)

    if expected.call is None:
        assert essential
        assert essential <= expected.faults
    else:
        assert (essential, descriptive) == (set(), expected.faults)
    owner = fields.get("org_id")
    is_owned = isinstance(owner, str) and owner != ""
    assert is_owned == all(fault.effect != "403" for fault in faults)
    printed = "\n".join(report([StoredCall("call 77", fields, "77")], Summary()))
    assert [text for text in texts(fields) if text in printed] == []


@pytest.mark.parametrize("name", Call.model_fields)
@pytest.mark.parametrize("value", [CANARY, [CANARY], {"role": CANARY}, [{"content": CANARY}]])
def test_no_value_of_any_field_is_printed(
    tool: Tool, calls: File, name: str, value: object
) -> None:
    done = tool(calls([FINE | {name: value}, {name: value, CANARY: {CANARY: value}}]))

    assert CANARY not in done.stdout + done.stderr


@pytest.mark.parametrize("text", ["2026-02-30T05:02:11Z", "2026-02-03T23:61:11Z"])
def test_the_reason_for_a_time_that_does_not_exist_holds_no_part_of_it(text: str) -> None:
    (fault,) = faults_of(StoredCall("call 77", FINE | {"started_at": text}, "77"))

    assert fault.reason == "no such time"


def test_the_summary_names_the_first_calls_of_a_field_and_progress_is_shown(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check_calls, "PROGRESS", 100)
    calls = (StoredCall(f"call {n}", FINE | {"voice": "alloy"}) for n in range(250))

    *_, last = report(calls, Summary())
    assert re.fullmatch("voice +250  null +0, 1, 2, 3, 4 and 245 more", last)
    assert capsys.readouterr().err == "100 calls …\n200 calls …\n"


RUN = """
import resource, signal, sys
from ops.check_calls import main
signal.signal(signal.SIGINT, signal.default_int_handler)
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
before = peak()
try:
    main(["-"])
finally:
    sys.stderr.write(f"grown by {peak() - before}")
"""


def started(**options: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", RUN], cwd=ROOT, stdin=subprocess.PIPE, **options)


def test_the_memory_does_not_grow_with_the_number_of_lines() -> None:
    lines = (LINE + json.dumps(FINE | {"voice": "alloy"}) + "\n").encode() * 5_000
    with started(stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        said, grown = process.communicate(lines, timeout=60)

    assert process.returncode == 0
    assert b"\n  200, read as null                     5,000\n" in said
    assert int(grown.rpartition(b" ")[2]) * 1024 < len(lines) / 4


def test_an_interrupt_ends_it_quietly() -> None:
    with started(stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin
        assert process.stdout
        # More than the pipe holds, so it reads once this is written.
        process.stdin.write((json.dumps(FINE | {"voice": "alloy"}) + "\n").encode() * 300)
        process.stdin.flush()
        assert process.stdout.read(1)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)

    assert process.returncode == 128 + signal.SIGINT
    assert re.fullmatch(rb"grown by \d+", said)


@pytest.mark.parametrize(
    ("output", "status", "said"),
    [
        ("pipe", 128 + signal.SIGPIPE, ""),
        ("/dev/full", 1, "Standard output: No space left on device.\n"),
    ],
)
def test_an_output_that_cannot_be_written_ends_it(output: str, status: int, said: str) -> None:
    if output == "pipe":
        reader, writer = os.pipe()
        os.close(reader)
    else:
        writer = os.open(output, os.O_WRONLY)
    try:
        with started(stdout=writer, stderr=subprocess.PIPE) as process:
            _, stderr = process.communicate(LINE.encode(), timeout=60)
    finally:
        os.close(writer)

    assert process.returncode == status
    assert re.fullmatch(rf"grown by \d+{re.escape(said)}", stderr.decode())


@pytest.mark.parametrize(
    "stored", re.findall(r"Stored in `calls/.*?```json\n(.*?)```", PAGE, re.DOTALL)
)
def test_a_mapping_of_the_page_is_read_without_a_fault(stored: str) -> None:
    call = json.loads(stored)

    assert faults_of(StoredCall("mapped", call, str(call["id"]))) == []


def test_the_report_of_the_page_is_printed(tool: Tool, calls: File) -> None:
    vague = FINE | {"latency_ms": -1, "analysis": {"sentiment": "so-so"}}
    said_by_a_bot = FINE | {"id": 78, "transcript": [{"role": "bot", "content": "Hello."}]}
    done = tool(calls([vague, said_by_a_bot, FINE | {"id": 79}]))

    assert f"check_calls calls.json\n{done.stdout}```" in PAGE


def test_the_essential_fields_are_those_of_the_page() -> None:
    (row,) = re.findall(r"^\| essential \| (.*?) \|", PAGE, re.MULTILINE)
    unlike_any = {name: FINE | {name: object()} for name in Call.model_fields}
    faults = {name: faults_of(StoredCall("", call, "77")) for name, call in unlike_any.items()}

    assert re.findall(r"`(\w+)`", row) == [
        name for name, (fault,) in faults.items() if fault.effect == "500"
    ]
