"""Says what the function would answer for stored calls, and which fields it cannot read, and why.

python -m ops.check_calls calls.json     one call, a list of calls, or an object of calls by ID
python -m ops.check_calls calls.jsonl    a call a line; `-` reads such lines from standard input
python -m ops.check_calls --project my-project

It only reads. It prints fields and reasons, never a value. A .json file is read whole; of lines and of a
collection, only a few calls are in memory at a time. The exit status is 1 where a call has a fault that is
answered with 500, or a line is no call.
"""

import argparse
import json
import os
import re
import signal
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO, Any, NamedTuple

from google.api_core.retry import Retry
from google.cloud.firestore import Client

from call_api.calls.access import parse_call_id
from call_api.calls.schema import STORED_CALL_SHAPE, UnreadableCallError, parse_call
from ops.cloud import asking, run_as_program
from ops.terminal import printable, write

FIELDS = sorted({"org_id", *STORED_CALL_SHAPE})  # the function reads no others
PAGE = 200  # calls; one query for a large collection would take longer than Firestore allows
PROGRESS = 10_000  # calls
SHOWN = 5  # calls of a field in the summary
# What a fault leads to, in the order in which the function checks.
EFFECTS = {
    "404": "404 call_not_found for everyone",
    "403": "403 forbidden for everyone",
    "500": "500 stored_call_invalid",
    "null": "200, read as null",
}
FINE = "200, every field read"
NO_CALL = "no call"


class StoredCall(NamedTuple):
    """A call as it is stored."""

    name: str  # in the report
    fields: dict[str, Any]
    document_id: str | None = None  # None where that is not known


class NoCall(NamedTuple):
    """What stands in the place of a call."""

    name: str
    why: str


class Fault(NamedTuple):
    """A field that cannot be read, and why."""

    field: str
    effect: str  # one of EFFECTS
    reason: str


@dataclass
class Summary:
    """Counts of the calls by answer, and of the faults, with the first calls of each."""

    answers: Counter[str] = field(default_factory=Counter)
    faults: Counter[tuple[str, str]] = field(default_factory=Counter)
    first: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    without_id: int = 0

    def add(self, call: StoredCall, faults: Sequence[Fault]) -> None:
        """Count a call."""
        effects = {fault.effect for fault in faults}
        answers = [answer for effect, answer in EFFECTS.items() if effect in effects]
        self.answers[answers[0] if answers else FINE] += 1
        self.without_id += call.document_id is None and "id" not in call.fields
        for fault in faults:
            kind = (fault.field, fault.effect)
            self.faults[kind] += 1
            first = self.first.setdefault(kind, [])
            if len(first) < SHOWN:
                first.append(call.name.removeprefix("call "))

    @property
    def is_failure(self) -> bool:
        """Tell whether there is a 500, also one that a 403 hides, or no call where one should be."""
        return self.answers[NO_CALL] > 0 or any(effect == "500" for _, effect in self.faults)

    def lines(self) -> Iterator[str]:
        """Yield the counts as tables."""
        calls = self.answers.total() - self.answers[NO_CALL]
        yield f"{'calls':<36}{calls:>9,}"
        for answer in (FINE, *reversed(EFFECTS.values()), NO_CALL):
            if number := self.answers[answer]:
                yield f"  {answer:<34}{number:>9,}"
        if self.faults:
            yield ""
            yield f"{'FIELD AT FAULT':<36}{'CALLS':>9}  EFFECT  FIRST CALLS"
        gravest_first = sorted(self.faults, key=lambda kind: list(EFFECTS).index(kind[1]))
        for name, effect in gravest_first:
            number = self.faults[name, effect]
            first = ", ".join(self.first[name, effect])
            more = f" and {number - SHOWN:,} more" if number > SHOWN else ""
            yield f"{name:<36}{number:>9,}  {effect:<6}  {first}{more}"
        if self.without_id:
            yield ""
            yield f"Calls whose id was not checked, since they have none here: {self.without_id:,}."
            yield "A stored call needs its document's ID in id, as an integer."


def main(argv: Sequence[str]) -> None:
    """Report on calls, and leave by `SystemExit`: with the status, or with why they cannot be read."""
    given = _parser().parse_args(argv)
    summary = Summary()
    try:
        for line in report(_calls(given), summary):
            write(f"{line}\n")
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    except BrokenPipeError:  # who reads it has seen enough, as `head` has
        sys.exit(128 + signal.SIGPIPE)
    except OSError as error:
        sys.exit(f"{error.filename or 'Standard output'}: {error.strerror}.")
    sys.exit(int(summary.is_failure))


def report(calls: Iterable[StoredCall | NoCall], summary: Summary) -> Iterator[str]:
    """Yield a line for each call that is not simply fine, then the summary; show the progress."""
    for number, call in enumerate(calls, 1):
        if isinstance(call, NoCall):
            summary.answers[NO_CALL] += 1
            yield f"{call.name}: {call.why}"
        else:
            faults = faults_of(call)
            summary.add(call, faults)
            if faults:
                yield f"{call.name}: {_sentence(faults)}"
        if number % PROGRESS == 0:
            sys.stderr.write(f"{number:,} calls …\n")
    if summary.faults or summary.answers[NO_CALL]:
        yield ""
    yield from summary.lines()


def faults_of(call: StoredCall) -> list[Fault]:
    """Return what the function cannot read of a call, in the order of its checks."""
    call_id = None if call.document_id is None else parse_call_id(call.document_id)
    if call.document_id is not None and call_id is None:
        return [Fault("(the document's ID)", "404", "not a decimal from 1 to 2^63-1")]
    faults = []
    owner = call.fields.get("org_id")
    if not isinstance(owner, str) or not owner:
        is_missing = "org_id" not in call.fields
        faults.append(Fault("org_id", "403", "missing" if is_missing else "not the owner's name"))
    values = dict(call.fields)
    if call_id is None:
        call_id = values.setdefault("id", 1)  # there is no document's ID to compare it with
    essential: Mapping[str, str] = {}
    descriptive: Mapping[str, str]
    try:
        _, descriptive = parse_call(values, call_id)
    except UnreadableCallError as error:
        essential, descriptive = error.essential, error.descriptive
    for effect, found in (("500", essential), ("null", descriptive)):
        for name, reason in found.items():
            is_missing = effect == "500" and name in STORED_CALL_SHAPE and name not in call.fields
            faults.append(Fault(name, effect, "missing" if is_missing else _plain(reason)))
    return faults


def _plain(reason: str) -> str:
    """Put pydantic's words about a value, which hold no part of it, into plainer ones."""
    reason = re.sub(r" or instance of \w+|^Value error, ", "", reason)
    return reason.replace("Input should be ", "not ").replace("a valid ", "a ")


def _sentence(faults: Sequence[Fault]) -> str:
    parts: list[str] = []
    for effect, answer in EFFECTS.items():
        found = [f"{fault.field} ({fault.reason})" for fault in faults if fault.effect == effect]
        if found:
            # What comes after an answer is what an earlier fault hides.
            head = answer.removeprefix("200, ") if parts else answer
            parts.append(f"{head}: {', '.join(found)}")
    return "; then ".join(parts)


def _calls(given: argparse.Namespace) -> Iterator[StoredCall | NoCall]:
    if given.project is not None:
        yield from _of_collection(given)
    elif given.file == "-":
        yield from _of_lines(sys.stdin.buffer)
    elif given.file.endswith((".jsonl", ".ndjson")):
        with Path(given.file).open("rb") as lines:
            yield from _of_lines(lines)
    else:
        yield from _of_document(given.file)


def _of_collection(given: argparse.Namespace) -> Iterator[StoredCall]:
    """Yield the calls of a collection, a page at a time."""
    with (
        asking("Firestore", f"roles/datastore.viewer granted in {given.project}"),
        closing(Client(given.project, database=given.database)) as client,
    ):
        first_page = client.collection(given.collection).select(FIELDS).limit(PAGE)
        page, ids = first_page, [""]
        while True:
            before, ids = ids, []
            for one in page.stream(retry=Retry(timeout=30), timeout=60):
                ids.append(one.id)
                yield StoredCall(f"call {printable(one.id)}", one.to_dict() or {}, one.id)
            if len(ids) < PAGE:
                return
            if ids == before:
                sys.exit("This emulator gives the first calls again and again. Google's does not.")
            page = first_page.start_after(one)


def _of_lines(lines: IO[bytes]) -> Iterator[StoredCall | NoCall]:
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                value = _parsed(line)
            except (ValueError, RecursionError):
                yield NoCall(f"line {number}", "not JSON")
            else:
                yield _unkeyed(value, f"call on line {number}")


def _parsed(text: bytes) -> Any:
    """Read JSON in UTF-8; half of a surrogate pair, as only an escape can write it, is none.

    Raises:
        ValueError: it is no such JSON.
    """
    value = json.loads(text)
    if b"\\ud" in text.lower():
        json.dumps(value, ensure_ascii=False).encode()
    return value


def _of_document(file: str) -> Iterator[StoredCall | NoCall]:
    try:
        document = _parsed(Path(file).read_bytes())
    except (ValueError, RecursionError):
        sys.exit(f"{file} is not JSON. A file of a call a line needs a name that ends with .jsonl.")
    if isinstance(document, list):
        for number, value in enumerate(document, 1):
            yield _unkeyed(value, f"call {number} of the file")
    elif _is_of_calls(document):
        yield from _keyed(document)
    else:
        yield _unkeyed(document, "call 1 of the file")


def _unkeyed(value: object, place: str) -> StoredCall | NoCall:
    """Return a call by its own ID, or by its place where it has none."""
    if not isinstance(value, dict):
        return NoCall(place, "not an object")
    call_id = value.get("id")
    return StoredCall(f"call {call_id}" if type(call_id) is int else place, value)


def _keyed(calls: dict[str, Any], above: str = "") -> Iterator[StoredCall | NoCall]:
    """Yield the calls of an object by their keys. A key that is no call's ID may also name several."""
    for key, value in calls.items():
        is_id = parse_call_id(key) is not None
        name = above + printable(key)
        if not is_id and _is_of_calls(value):
            yield from _keyed(value, f"{name}/")
        elif isinstance(value, dict):
            yield StoredCall(f"call {name}", value, key if is_id else None)
        else:
            yield NoCall(f"call {name}", "not an object")


def _is_of_calls(value: object) -> bool:
    """Tell an object of calls from a call: it has none of a call's fields."""
    return isinstance(value, dict) and value != {} and value.keys().isdisjoint(FIELDS)


def _name(text: str) -> str:
    if not text or "/" in text:
        raise argparse.ArgumentTypeError("give a name without a slash")
    return text


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m ops.check_calls", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("file", nargs="?", metavar="FILE", help="calls in JSON or JSON Lines")
    source.add_argument(
        "--project", type=_name, help="read a Firestore collection of this project instead"
    )
    database = os.environ.get("FIRESTORE_DATABASE")
    add = parser.add_argument
    add("--database", default=database, help="or FIRESTORE_DATABASE, or (default)")
    add("--collection", type=_name, default="calls", help="default: calls")
    return parser


if __name__ == "__main__":
    run_as_program(partial(main, sys.argv[1:]))
