"""Erases one call: its recording in all versions, what is stored below its document, and the document.

python -m ops.erase_call --call 77
python -m ops.erase_call --call 77 --object recordings/2026/03/25/call-77.wav    if the document is gone

It shows what it has found, and asks. The document goes last, since it names the recording: a run that was
interrupted can be repeated. docs/data.md says what Google Cloud keeps after that, and for how long.
"""

import argparse
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import datetime
from functools import partial
from itertools import takewhile
from typing import Any, NamedTuple

from google.api_core.exceptions import FailedPrecondition, Forbidden, NotFound
from google.cloud.firestore import Client, DocumentReference, DocumentSnapshot
from google.cloud.firestore_v1.base_query import FieldFilter
from google.cloud.storage import Client as StorageClient  # type: ignore[import-untyped]
from pydantic import TypeAdapter, ValidationError

from call_api.calls.schema import ObjectName
from call_api.names import bucket_name
from ops.cloud import FIRESTORE_ONCE, STORAGE_ONCE, asking, run_as_program
from ops.terminal import printable, write

COLLECTION = "calls"
FIELDS = ["org_id", "status", "recording_object"]
TYPES: dict[type, str] = {
    bool: "a boolean",
    int: "a number",
    float: "a number",
    bytes: "bytes",
    datetime: "a timestamp",
    list: "an array",
    dict: "a map",
}
LONGEST = 1024  # characters, as of the longest name
SHOWN = 5  # other calls that name the recording
DAY_SECONDS = 24 * 3600
_OBJECT_NAME: TypeAdapter[str] = TypeAdapter(ObjectName)


class Recording(NamedTuple):
    """The versions of a recording that are in the bucket, and what the bucket does with deleted ones."""

    name: str
    bucket: Any  # google.cloud.storage.Bucket
    versions: list[Any]  # google.cloud.storage.Blob, of one generation each
    kept_seconds: int  # by soft delete; 0 where that is off


class Call(NamedTuple):
    """What there is of a call."""

    document: DocumentSnapshot[Any]  # which may not exist
    below: list[DocumentReference]  # documents of its subcollections, the deepest first
    recording: Recording | None  # None where none is known, or it is to stay
    sharing: list[str]  # IDs of other calls that name the same recording


def main(argv: Sequence[str]) -> None:
    """Erase a call; where that fails, leave by `SystemExit` with what is wrong."""
    given = _parser().parse_args(argv)
    _refuse_half_an_emulator()
    try:
        with (
            asking("Firestore", f"roles/datastore.user granted in {given.project}"),
            closing(Client(given.project, database=given.database)) as database,
            closing(StorageClient(given.project)) as storage,
        ):
            _run(database, storage, given)
    except KeyboardInterrupt:
        sys.exit("Interrupted: run it again to erase what is left.")


def _run(database: Client, storage: StorageClient, given: argparse.Namespace) -> None:
    call = _found(database, storage, given)
    path = f"{COLLECTION}/{printable(given.call)}"
    recording = call.recording
    has_versions = recording is not None and bool(recording.versions)
    if not (call.document.exists or call.below or has_versions):
        _say(f"There is nothing left of {path}.", *_nothing_of(recording, given))
        return
    _say(*_lines(call, given))
    if given.recording is None and recording is not None:
        # Not looked up again after the question: a call that names the recording only then is as late
        # as one that is stored after the erasure.
        if call.sharing and recording.versions:
            sys.exit(
                f"Nothing was erased: the recording is that of {_others(call.sharing)}, too. Say"
                " --recording delete to erase it for all, or --recording keep to erase the rest alone."
            )
        if given.yes and not recording.versions:
            sys.exit(
                f"Nothing was erased: {given.bucket} has no version of the recording. If it is the"
                " right bucket, say --recording delete."
            )
    if not given.yes and not _confirmed(given.call):
        sys.exit(f"Nothing was erased: the answer was not {printable(given.call)}.")
    if recording is not None:
        with asking("Cloud Storage", _bucket_role(given)):
            _erase_versions(recording)
    for one in call.below:
        one.delete(**FIRESTORE_ONCE)
    _refuse_what_came_meanwhile(call, given)
    if call.document.exists:
        _erase_document(call.document, path)
    _say(*_what_is_kept(call, path, given))


def _found(database: Client, storage: StorageClient, given: argparse.Namespace) -> Call:
    reference = database.document(COLLECTION, given.call)
    document = reference.get(FIELDS, **FIRESTORE_ONCE)
    below = list(_below(reference))
    name = _recording_name(document, given)
    if name is None or given.recording == "keep":
        return Call(document, below, None, [])
    same = database.collection(COLLECTION).where(filter=FieldFilter("recording_object", "==", name))
    # One more than are shown, and the call itself.
    naming = same.select(["__name__"]).limit(SHOWN + 2).get(**FIRESTORE_ONCE)
    sharing = [one.id for one in naming if one.id != given.call]
    with asking("Cloud Storage", _bucket_role(given)):
        bucket = storage.get_bucket(given.bucket, **STORAGE_ONCE)
        versions = _versions(bucket, name)
    kept_seconds = int(bucket.soft_delete_policy.retention_duration_seconds or 0)
    return Call(document, below, Recording(name, bucket, versions, kept_seconds), sharing)


def _versions(bucket: Any, name: str) -> list[Any]:
    # Names come in order, so what is not this one begins after its last version.
    listed = bucket.list_blobs(prefix=name, versions=True, **STORAGE_ONCE)
    return list(takewhile(lambda version: version.name == name, listed))


def _below(document: DocumentReference) -> Iterator[DocumentReference]:
    """Yield the documents of its subcollections, which Firestore does not delete with it."""
    for collection in document.collections(**FIRESTORE_ONCE):
        for one in collection.list_documents(**FIRESTORE_ONCE):
            yield from _below(one)
            yield one


def _recording_name(document: DocumentSnapshot[Any], given: argparse.Namespace) -> str | None:
    """Return the recording's name, as the function reads it; leave where it has to be given."""
    value = (document.to_dict() or {}).get("recording_object")
    if value is None:
        return given.object  # type: ignore[no-any-return]  # argparse's
    try:
        name = _OBJECT_NAME.validate_python(value)
    except ValidationError:
        if given.object is None and given.recording != "keep":
            sys.exit(
                f"recording_object is no object's name but {_in_words(value)}, so the recording is not"
                " known. Name it by --object, or say --recording keep to erase the rest alone."
            )
        return given.object  # type: ignore[no-any-return]  # argparse's
    if given.object not in {None, name}:
        sys.exit(f"The call names another recording than --object: {printable(name)}.")
    return name


def _in_words(value: object) -> str:
    if isinstance(value, str):
        return f"'{printable(value[:LONGEST])}'"
    of_type = (words for one, words in TYPES.items() if isinstance(value, one))
    return next(of_type, "of another type")


def _lines(call: Call, given: argparse.Namespace) -> Iterator[str]:
    path = f"{COLLECTION}/{printable(given.call)}"
    where = f"{given.project}, database {given.database or '(default)'}"
    if call.document.exists:
        fields = call.document.to_dict() or {}
        org, status = (printable(fields.get(name) or "none") for name in FIELDS[:2])
        yield f"document     {path} in {where}"
        yield f"             org {org}, status {status}"
        if status.lower() in {"pending", "active"}:  # as the function reads it
            yield "             The call goes on: its writer may store it again."
    else:
        yield f"document     {path} is not in {where}"
    if call.below:
        names = sorted({one.path.split("/")[2] for one in call.below})
        yield f"below it     documents: {len(call.below)}, in {printable(', '.join(names))}"
    if call.recording is None:
        if given.recording == "keep":
            yield "recording    stays, as --recording keep says"
        elif call.document.exists:
            yield "recording    none"
        else:
            yield "recording    not known without the document: name it by --object"
        return
    yield f"recording    {printable(call.recording.name)} in {given.bucket}"
    none = f"none in {given.bucket}: is this the bucket?"
    yield f"             versions: {len(call.recording.versions) or none}"
    if call.sharing:
        yield f"             also of {_others(call.sharing)}"
    yield f"soft delete  {_soft_delete(call.recording)}"


def _nothing_of(recording: Recording | None, given: argparse.Namespace) -> Iterator[str]:
    if recording is not None:
        yield f"There is no version of {printable(recording.name)} in {given.bucket}."
        yield f"Soft delete: {_soft_delete(recording)}."
    else:
        yield "If versions of its recording may be left, name it by --object."


def _confirmed(call_id: str) -> bool:
    try:
        sys.stderr.write("This cannot be undone. Type the call's ID to erase all of that: ")
        sys.stderr.flush()
        return sys.stdin.readline().strip() == call_id
    except (OSError, ValueError, AttributeError):  # the last: it is None where it is closed
        return False


def _erase_versions(recording: Recording) -> None:
    total, erased = len(recording.versions), 0
    for version in recording.versions:
        try:
            version.delete(**STORAGE_ONCE)
        except NotFound:  # a lifecycle rule was faster, or somebody else
            continue
        except Forbidden as error:
            why = _why_held(error)
            if why is None:
                raise
            sys.exit(
                f"Versions erased: {erased} of {total}. The bucket keeps the next one: {why} The"
                " document is still there: run this again later, or with --recording keep."
            )
        erased += 1
    _say(f"Versions of {printable(recording.name)} erased: {erased}.")


def _why_held(error: Forbidden) -> str | None:
    """Return Google's sentence where a retention policy or a hold refuses, else None.

    For a hold, the documentation has a reason of its own. The service gives `forbidden`, as for a
    missing role, and so its message decides.
    """
    for fault in error.errors:
        reason, message = str(fault.get("reason")), str(fault.get("message"))
        if reason in {"retentionPolicyNotMet", "objectUnderActiveHold"} or re.search(
            r" under active [\w-]+ hold ", message
        ):
            return printable(message)
    return None


def _refuse_what_came_meanwhile(call: Call, given: argparse.Namespace) -> None:
    """Leave while the document still names it: an upload may have ended since the versions were listed."""
    recording, came = call.recording, []
    if recording is not None:
        with asking("Cloud Storage", _bucket_role(given)):
            if _versions(recording.bucket, recording.name):
                came.append(f"a version of {printable(recording.name)}")
    if any(True for _ in _below(call.document.reference)):
        came.append("a document below the call's")
    if came:
        last = "So is the document: run" if call.document.exists else "Run"
        sys.exit(f"Stored meanwhile, and still there: {' and '.join(came)}. {last} this again.")


def _erase_document(document: DocumentSnapshot[Any], path: str) -> None:
    # Only what was shown: it may name another recording by now.
    unchanged = Client.write_option(last_update_time=document.update_time)
    try:
        document.reference.delete(unchanged, **FIRESTORE_ONCE)
    except (FailedPrecondition, NotFound):  # either may also say that somebody else has deleted it
        if document.reference.get(FIELDS, **FIRESTORE_ONCE).exists:
            sys.exit(f"{path} has been written meanwhile, and is still there: run this again.")
    _say(f"{path} is erased.")


def _what_is_kept(call: Call, path: str, given: argparse.Namespace) -> Iterator[str]:
    yield f"The function answers 404 for {path}. What Google Cloud still keeps:"
    if call.recording is not None:
        yield f"- recording: {_soft_delete(call.recording)}"
    yield "- document: up to 7 days by point-in-time recovery, an hour where that is off"
    yield "- document: in each backup and export that has it, until that expires or is deleted; a"
    yield "  deleted export stays as long as the soft delete of its bucket says"
    yield "- log: the call's ID, for as long as the log is kept"
    name = (call.document.to_dict() or {}).get("recording_object")
    if given.recording == "keep" and (given.object or name) is not None:
        yield f"The recording was not touched: {_in_words(given.object or name)}"


def _soft_delete(recording: Recording) -> str:
    if not recording.kept_seconds:
        return "off: what is erased is gone at once"
    days = f"{recording.kept_seconds / DAY_SECONDS:.3g}"
    return f"the bucket keeps each erased version for {days} days, to be restored"


def _others(ids: Sequence[str]) -> str:
    more = ", and more" if len(ids) > SHOWN else ""
    return f"calls {', '.join(map(printable, ids[:SHOWN]))}{more}"


def _bucket_role(given: argparse.Namespace) -> str:
    return f"roles/storage.legacyBucketWriter granted on {given.bucket}"


def _refuse_half_an_emulator() -> None:
    """Refuse to erase a real recording for an emulator's document, or the reverse."""
    names = ("FIRESTORE_EMULATOR_HOST", "STORAGE_EMULATOR_HOST")
    have = [name for name in names if os.environ.get(name)]
    if len(have) == 1:
        sys.exit(f"Only {have[0]} is set: set both {names[0]} and {names[1]}, or neither.")


def _say(*lines: str) -> None:
    try:
        write("".join(f"{line}\n" for line in lines))
    except OSError as error:
        sys.exit(f"Standard output cannot be written ({error}): run it again to see what is left.")


def _id(text: str) -> str:
    if not text or "/" in text:
        raise argparse.ArgumentTypeError("give the ID of a document of calls, such as 77")
    return text


def _bucket(text: str) -> str:
    try:
        return bucket_name(text.removeprefix("gs://").removesuffix("/"))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"give a bucket's name; this is none: {error}") from None


def _object(text: str) -> str:
    try:
        return _OBJECT_NAME.validate_python(text)
    except ValidationError:
        raise argparse.ArgumentTypeError("give an object's name, without its bucket") from None


def _parser() -> argparse.ArgumentParser:
    names = ("GOOGLE_CLOUD_PROJECT", "FIRESTORE_DATABASE", "RECORDINGS_BUCKET")
    project, database, bucket = map(os.environ.get, names)
    parser = argparse.ArgumentParser("python -m ops.erase_call", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add = parser.add_argument
    add("--call", type=_id, required=True, metavar="ID", help="the call, as 77")
    add("--object", type=_object, metavar="NAME", help="its recording, if its document has no name")
    add(
        "--recording",
        choices=("delete", "keep"),
        help="what becomes of a recording that other calls name, too, or that cannot be found",
    )
    add("--yes", action="store_true", help="do not ask")
    add("--project", default=project, required=not project, help="or GOOGLE_CLOUD_PROJECT")
    add("--database", default=database, help="or FIRESTORE_DATABASE, or (default)")
    add(
        "--bucket",
        type=_bucket,
        default=bucket,
        required=not bucket,
        help="the recordings', or RECORDINGS_BUCKET",
    )
    return parser


if __name__ == "__main__":
    run_as_program(partial(main, sys.argv[1:]))
