"""The operator's command line: issues, lists and revokes API keys.

KEY=$(python -m ops.keys issue --org org_acme --name CI --expires 90d)
python -m ops.keys list --org org_acme
python -m ops.keys revoke 5f0c93d81b7e
"""

import argparse
import json
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from google.api_core.exceptions import GoogleAPICallError, PermissionDenied
from google.api_core.retry import Retry, if_exception_type
from google.auth.exceptions import GoogleAuthError
from google.cloud.firestore import SERVER_TIMESTAMP, Client, CollectionReference
from google.cloud.firestore_v1.base_query import FieldFilter

from call_api.calls.keys import COLLECTION, is_well_formed, key_hash, key_id, new_key
from ops.terminal import printable

_ROW = "{:12}  {:20}  {:20}  {:20}  {}\n"
# Tried once, as no type of failure is retried: who runs this sees it fail, and can run it again.
_ONCE: dict[str, Any] = {"retry": Retry(if_exception_type()), "timeout": 10.0}


class _Answer(NamedTuple):
    """What a command has to say once it is done."""

    sentence: str  # for standard error
    plain: str  # for standard output, for people
    parsed: object  # the same for programs
    on_failed_output: Callable[[], str]  # cleans up, and returns a clause that says what is left


def main(argv: Sequence[str], now: datetime) -> None:
    """Run a command; where it fails, leave by `SystemExit` with what is wrong."""
    given = _parser().parse_args(argv)
    try:
        with closing(Client(given.project, database=given.database)) as client:
            answer: _Answer = given.run(client.collection(COLLECTION), given, now)
            text = json.dumps(answer.parsed, indent=2, default=str) + "\n"
            _deliver(text if given.json else answer.plain, answer.on_failed_output)
    except KeyboardInterrupt:
        sys.exit("Interrupted.")
    except PermissionDenied:
        sys.exit(f"Firestore refuses: is roles/datastore.user granted in {given.project}?")
    except (GoogleAPICallError, GoogleAuthError) as error:
        sys.exit(" ".join(f"Firestore cannot be used: {error}".split()))
    try:
        sys.stderr.write(f"{answer.sentence}\n")
        sys.stderr.flush()
    except (OSError, ValueError, AttributeError):  # the last: it is None where it is closed
        sys.stderr = None  # else the interpreter flushes it again at exit, and ends with status 120


def _deliver(text: str, on_failure: Callable[[], str]) -> None:
    """Write to standard output; where that fails, clean up and leave by `SystemExit`."""
    try:
        _write(text)
    except (OSError, ValueError, KeyboardInterrupt) as error:
        sys.stdout = None  # else the interpreter flushes it again at exit, and prints a traceback
        why = str(error) or "interrupted"
        sys.exit(f"Standard output cannot be written ({why}): {on_failure()}.")


def _write(text: str) -> None:
    if text:
        if sys.stdout is None:
            raise OSError("it is closed")
        sys.stdout.write(text)
        sys.stdout.flush()


def _issue(keys: CollectionReference, given: argparse.Namespace, now: datetime) -> _Answer:
    key = new_key()
    expires_at = now + timedelta(days=int(given.expires[:-1])) if given.expires else None
    fields = {"org_id": given.org, "name": given.name, "created_at": now, "expires_at": expires_at}
    record = keys.document(key_hash(key))
    record.set(fields, **_ONCE)
    shown = _shown(record.id, fields)

    def delete() -> str:
        try:
            record.delete(**_ONCE)
        except (GoogleAPICallError, GoogleAuthError, KeyboardInterrupt):
            return f"its record could not be deleted, so end the key by `revoke {shown['hash']}`"
        return "the key is deleted again"

    said = f"Issued {shown['hash']} for {given.org}. The key is shown this once."
    return _Answer(said, f"{key}\n", {"key": key} | shown, delete)


def _list(keys: CollectionReference, given: argparse.Namespace, _: datetime) -> _Answer:
    found = keys.where(filter=FieldFilter("org_id", "==", given.org)).get(**_ONCE)
    records = [_shown(one.id, one.to_dict() or {}) for one in found]
    records.sort(key=lambda record: str(record["created_at"]))
    heads = _ROW.format("HASH", "CREATED", "EXPIRES", "REVOKED", "NAME")
    rows = (_ROW.format(*(printable(value or "-") for value in one.values())) for one in records)
    said = f"Keys of {given.org}: {len(records)}."
    return _Answer(said, heads + "".join(rows), records, lambda: "the list is incomplete")


def _revoke(keys: CollectionReference, given: argparse.Namespace, _: datetime) -> _Answer:
    query = keys.where(filter=FieldFilter("__name__", ">=", keys.document(given.hash)))
    query = query.where(filter=FieldFilter("__name__", "<", keys.document(f"{given.hash}g")))
    found = query.limit(2).get(**_ONCE)
    if len(found) != 1:
        sys.exit(f"{'More than one' if found else 'No'} key's hash starts with {given.hash}.")
    one, fields = found[0], found[0].to_dict() or {}
    said, revoked_at = "was revoked already", fields.get("revoked_at")
    if not isinstance(revoked_at, datetime) or revoked_at > one.read_time:
        # By Firestore's clock: were this machine's ahead, the key would live on. And only the
        # record that was read: of two who revoke a key at once, the first one's date stays.
        unchanged = Client.write_option(last_update_time=one.update_time)
        written = one.reference.update({"revoked_at": SERVER_TIMESTAMP}, unchanged, **_ONCE)
        said, fields["revoked_at"] = "is revoked", written.transform_results[0].timestamp_value
    shown = _shown(one.id, fields)
    said = f"{shown['hash']} {said}, as of {shown['revoked_at']}"
    return _Answer(f"{said}.", "", shown, lambda: said)


def _shown(digest: str, fields: Mapping[str, object]) -> dict[str, object]:
    shown: dict[str, object] = {"hash": key_id(digest)}
    for name in ("created_at", "expires_at", "revoked_at", "name"):
        at = fields.get(name)
        shown[name] = f"{at.astimezone(UTC):%Y-%m-%dT%TZ}" if isinstance(at, datetime) else at
    return shown


def _like(pattern: str, what: str) -> Callable[[str], str]:
    def checked(text: str) -> str:
        if is_well_formed(text):  # to be revoked, maybe, since it has leaked
            raise argparse.ArgumentTypeError(f"this is a key; its hash: {key_id(key_hash(text))}")
        if not (re.fullmatch(pattern, text) and text.isprintable()):
            raise argparse.ArgumentTypeError(f"give {what}")
        return text

    return checked


def _parser() -> argparse.ArgumentParser:
    project, database = map(os.environ.get, ("GOOGLE_CLOUD_PROJECT", "FIRESTORE_DATABASE"))
    line = _like(r"\S|\S.*\S", "one line of text")
    days = _like("[1-9][0-9]{0,3}d", "days, such as 90d")
    digits = _like("[0-9a-f]{8,64}", "the first 8 digits of its hash, or more")
    parser = argparse.ArgumentParser("python -m ops.keys", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    issue = commands.add_parser("issue", help="make a key and print it, this once")
    issue.add_argument("--name", type=line, help="what the key is for")
    issue.add_argument("--expires", type=days, metavar="DAYS", help="such as 90d; default: never")
    revoke = commands.add_parser("revoke", help="end a key, at once and for good")
    revoke.add_argument("hash", type=digits, metavar="HASH-PREFIX", help="as `list` shows it")
    listing = commands.add_parser("list", help="list an org's keys, dead or alive")
    for command, run in ((issue, _issue), (listing, _list), (revoke, _revoke)):
        command.set_defaults(run=run)
        add = command.add_argument
        if command is not revoke:
            add("--org", type=line, required=True, help="the org that the keys speak for")
        add("--project", default=project, required=not project, help="or GOOGLE_CLOUD_PROJECT")
        add("--database", default=database, help="or FIRESTORE_DATABASE, or (default)")
        add("--json", action="store_true", help="print JSON on standard output")
    return parser


if __name__ == "__main__":
    main(sys.argv[1:], datetime.now(UTC))
