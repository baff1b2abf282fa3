"""The operator's command line: issues, lists, rotates and revokes API keys.

KEY=$(python -m ops.keys issue --org org_acme --name CI --expires 90d)
python -m ops.keys list --org org_acme
KEY=$(python -m ops.keys rotate 5f0c93d81b7e --days 7d)
python -m ops.keys revoke 5f0c93d81b7e
"""

import argparse
import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, NamedTuple

from google.api_core.exceptions import (
    Cancelled,
    FailedPrecondition,
    GoogleAPICallError,
    NotFound,
    RetryError,
    ServerError,
)
from google.auth.exceptions import GoogleAuthError
from google.cloud.firestore import (
    DELETE_FIELD,
    SERVER_TIMESTAMP,
    Client,
    CollectionReference,
    DocumentSnapshot,
)
from google.cloud.firestore_v1.base_query import FieldFilter
from pydantic import ValidationError

from call_api.calls.access import ApiKey
from call_api.calls.keys import COLLECTION, is_well_formed, key_hash, key_id, new_key
from ops.cloud import FIRESTORE_ONCE, asking, run_as_program, unusable
from ops.terminal import printable, write

# Of a key that has been rotated: what its first rotation has overwritten, for the life of a later successor.
ORIGINAL_EXPIRY = "original_expires_at"
LAST_SECOND = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)  # the library rounds a later moment up
_ROW = "{:12}  {:20}  {:20}  {:20}  {}\n"


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
        with (
            asking("Firestore", f"roles/datastore.user granted in {given.project}"),
            closing(Client(given.project, database=given.database)) as client,
        ):
            answer: _Answer = given.run(client, given, now)
            text = json.dumps(answer.parsed, indent=2, default=str) + "\n"
            _deliver(text if given.json else answer.plain, answer.on_failed_output)
    except KeyboardInterrupt:
        sys.exit("Interrupted.")
    try:
        sys.stderr.write(f"{answer.sentence}\n")
        sys.stderr.flush()
    except (OSError, ValueError, AttributeError):  # the last: it is None where it is closed
        sys.stderr = None  # else the interpreter flushes it again at exit, and ends with status 120


def _deliver(text: str, on_failure: Callable[[], str]) -> None:
    """Write to standard output; where that fails, clean up and leave by `SystemExit`."""
    try:
        if text:
            write(text)
    except (OSError, ValueError, KeyboardInterrupt) as error:
        why = str(error) or "interrupted"
        sys.exit(f"Standard output cannot be written ({why}): {on_failure()}.")


def _issue(client: Client, given: argparse.Namespace, now: datetime) -> _Answer:
    key = new_key()
    expires_at = now + given.expires if given.expires else None
    fields = {"org_id": given.org, "name": given.name, "created_at": now, "expires_at": expires_at}
    record = client.document(COLLECTION, key_hash(key))
    shown = _shown(record.id, fields)
    with _telling_if_unknown(_unseen(shown, given.org)):
        record.set(fields, **FIRESTORE_ONCE)

    def delete() -> str:
        try:
            record.delete(**FIRESTORE_ONCE)
        except (GoogleAPICallError, GoogleAuthError, KeyboardInterrupt):
            return f"its record could not be deleted, so end the key by `revoke {shown['hash']}`"
        return "the key is deleted again"

    said = _issued(shown, given.org)
    return _Answer(said, f"{key}\n", {"key": key} | shown, delete)


def _list(client: Client, given: argparse.Namespace, _: datetime) -> _Answer:
    keys = client.collection(COLLECTION)
    found = keys.where(filter=FieldFilter("org_id", "==", given.org)).get(**FIRESTORE_ONCE)
    records = [_shown(one.id, one.to_dict() or {}) for one in found]
    records.sort(key=lambda record: str(record["created_at"]))
    heads = _ROW.format("HASH", "CREATED", "EXPIRES", "REVOKED", "NAME")
    rows = (_ROW.format(*(printable(value or "-") for value in one.values())) for one in records)
    said = f"Keys of {given.org}: {len(records)}."
    return _Answer(said, heads + "".join(rows), records, lambda: "the list is incomplete")


def _rotate(client: Client, given: argparse.Namespace, _: datetime) -> _Answer:
    """Issue a key in place of another one, which goes on for some days: both or neither."""
    one = _found(client.collection(COLLECTION), given.hash)
    before, moment = one.to_dict() or {}, one.read_time  # Firestore's clock, as for a revocation
    old = _unended(one, moment)
    ends_at = min(filter(None, (moment + given.days, old.expires_at)))
    key = new_key()
    new = client.document(COLLECTION, key_hash(key))
    made_until = before.get(ORIGINAL_EXPIRY, old.expires_at)
    if isinstance(made_until, datetime):
        made_until = min(made_until, LAST_SECOND)
    expires_at = moment + given.expires if given.expires else _expiry(old, made_until, moment, one)
    fields = {
        "org_id": old.org_id,
        "name": old.name,
        "created_at": moment,
        "expires_at": expires_at,
    }
    batch = client.batch()
    batch.create(new, fields)
    # Only the record that was read: a key that is revoked meanwhile gets no successor.
    unchanged = Client.write_option(last_update_time=one.update_time)
    ending_fields = {"expires_at": ends_at, ORIGINAL_EXPIRY: made_until}
    batch.update(one.reference, ending_fields, unchanged)
    shown, replaced = _shown(new.id, fields), _shown(one.id, before | {"expires_at": ends_at})
    end = _date(min(filter(None, (ends_at, old.revoked_at))))
    ending = f"{replaced['hash']} ends {end}"
    with (
        _telling_if_unknown(f"{_unseen(shown, old.org_id)} {replaced['hash']} then ends {end}."),
        _unless_changed(one),
    ):
        results = batch.commit(**FIRESTORE_ONCE)

    def undo() -> str:
        new_unchanged, old_unchanged = (
            Client.write_option(last_update_time=result.update_time) for result in results
        )
        batch = client.batch()
        batch.delete(new, new_unchanged)
        batch.update(
            one.reference,
            {name: before.get(name, DELETE_FIELD) for name in ending_fields},
            old_unchanged,
        )
        try:
            batch.commit(**FIRESTORE_ONCE)
        except (GoogleAPICallError, GoogleAuthError, KeyboardInterrupt):
            return (
                f"that cannot be undone, so end the new key by `revoke {shown['hash']}`; {ending}"
            )
        return f"the new key is deleted again, and {replaced['hash']} ends as before"

    said = f"{_issued(shown, old.org_id)} {ending}."
    return _Answer(said, f"{key}\n", {"key": key} | shown | {"replaces": replaced}, undo)


@contextmanager
def _telling_if_unknown(advice: str) -> Iterator[None]:
    """Leave by `SystemExit` with advice where a write may have been done, since no answer came."""
    try:
        yield
    except (ServerError, Cancelled, RetryError, KeyboardInterrupt) as error:
        why = unusable("Firestore", error) if isinstance(error, Exception) else "Interrupted"
        sys.exit(f"{why}. It may have been done all the same. {advice}")


@contextmanager
def _unless_changed(one: DocumentSnapshot[Any]) -> Iterator[None]:
    """Leave by `SystemExit` where a record is not any more what was read."""
    try:
        yield
    except (FailedPrecondition, NotFound):
        sys.exit(f"{key_id(one.id)} was changed meanwhile: run it again.")


def _issued(shown: Mapping[str, object], org: str) -> str:
    expiry = f"expires {shown['expires_at']}" if shown["expires_at"] else "never expires"
    return f"Issued {shown['hash']} for {printable(org)}. The key {expiry}, and is shown this once."


def _unseen(shown: Mapping[str, object], org: str) -> str:
    return (
        f"If `list --org {printable(org)}` shows {shown['hash']}, revoke that: nobody has the key."
    )


def _unended(one: DocumentSnapshot[Any], moment: datetime) -> ApiKey:
    """Return the key of a record, as the function reads it; leave if it is refused by then."""
    try:
        key = ApiKey.model_validate(one.to_dict())
    except ValidationError as error:
        at_fault = ", ".join(str(fault["loc"][0]) for fault in error.errors())
        sys.exit(
            f"The record of {key_id(one.id)} cannot be read, so the key is refused: {at_fault}."
        )
    for ended_at, how in ((key.revoked_at, "was revoked"), (key.expires_at, "has expired")):
        if ended_at is not None and ended_at <= moment:
            sys.exit(f"{key_id(one.id)} {how}, as of {_date(ended_at)}: issue a new key.")
    return key


def _expiry(
    old: ApiKey, made_until: object, moment: datetime, one: DocumentSnapshot[Any]
) -> datetime | None:
    """Return when the new key expires: after as long a life as the old one was given."""
    if made_until is None:
        return None
    try:
        if isinstance(made_until, datetime) and old.created_at and old.created_at < made_until:
            return moment + (made_until - old.created_at)
    except OverflowError:  # it was made to end in the year 9999, say
        pass
    sys.exit(
        f"{key_id(one.id)} expires, but not after a known life:"
        " give the new key's, as by --expires 90d."
    )


def _revoke(client: Client, given: argparse.Namespace, _: datetime) -> _Answer:
    one = _found(client.collection(COLLECTION), given.hash)
    fields = one.to_dict() or {}
    said, revoked_at = "was revoked already", fields.get("revoked_at")
    if not isinstance(revoked_at, datetime) or revoked_at > one.read_time:
        # By Firestore's clock: were this machine's ahead, the key would live on. And only the
        # record that was read: of two who revoke a key at once, the first one's date stays.
        unchanged = Client.write_option(last_update_time=one.update_time)
        with _telling_if_unknown("Run it again."), _unless_changed(one):
            written = one.reference.update(
                {"revoked_at": SERVER_TIMESTAMP}, unchanged, **FIRESTORE_ONCE
            )
        said, fields["revoked_at"] = "is revoked", written.transform_results[0].timestamp_value
    shown = _shown(one.id, fields)
    said = f"{shown['hash']} {said}, as of {shown['revoked_at']}"
    return _Answer(f"{said}.", "", shown, lambda: said)


def _found(keys: CollectionReference, digits: str) -> DocumentSnapshot[Any]:
    """Return the one record whose hash starts so; leave if there is none, or more."""
    query = keys.where(filter=FieldFilter("__name__", ">=", keys.document(digits)))
    query = query.where(filter=FieldFilter("__name__", "<", keys.document(f"{digits}g")))
    found = query.limit(2).get(**FIRESTORE_ONCE)
    if len(found) != 1:
        sys.exit(f"{'More than one' if found else 'No'} key's hash starts with {digits}.")
    return found[0]


def _shown(digest: str, fields: Mapping[str, object]) -> dict[str, object]:
    shown: dict[str, object] = {"hash": key_id(digest)}
    for name in ("created_at", "expires_at", "revoked_at", "name"):
        at = fields.get(name)
        shown[name] = _date(at) if isinstance(at, datetime) else at
    return shown


def _date(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%dT%TZ}"


def _like(pattern: str, what: str) -> Callable[[str], str]:
    def checked(text: str) -> str:
        if is_well_formed(text):  # to be revoked, maybe, since it has leaked
            raise argparse.ArgumentTypeError(f"this is a key; its hash: {key_id(key_hash(text))}")
        if not (re.fullmatch(pattern, text) and text.isprintable()):
            raise argparse.ArgumentTypeError(f"give {what}")
        return text

    return checked


def _days(most: int) -> Callable[[str], timedelta]:
    def checked(text: str) -> timedelta:
        match = re.fullmatch("([1-9][0-9]{0,3})d?", text)
        if match is None or int(match[1]) > most:
            raise argparse.ArgumentTypeError(f"give 1 to {most} days, such as {min(most, 90)}d")
        return timedelta(days=int(match[1]))

    return checked


def _parser() -> argparse.ArgumentParser:
    project, database = map(os.environ.get, ("GOOGLE_CLOUD_PROJECT", "FIRESTORE_DATABASE"))
    line = _like(r"\S|\S.*\S", "one line of text")
    days, few = _days(9999), _days(90)
    digits = _like("[0-9a-f]{8,64}", "the first 8 digits of its hash, or more")
    parser = argparse.ArgumentParser("python -m ops.keys", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    issue = commands.add_parser("issue", help="make a key and print it, this once")
    issue.add_argument("--name", type=line, help="what the key is for")
    issue.add_argument("--expires", type=days, metavar="DAYS", help="such as 90d; default: never")
    rotate = commands.add_parser("rotate", help="make a key in place of one that then ends soon")
    add = rotate.add_argument
    add("--days", type=few, default="7d", help="how long the old key goes on; default: 7d")
    add("--expires", type=days, metavar="DAYS", help="such as 90d; default: the old key's life")
    revoke = commands.add_parser("revoke", help="end a key, at once and for good")
    listing = commands.add_parser("list", help="list an org's keys, dead or alive")
    runs = ((issue, _issue), (listing, _list), (rotate, _rotate), (revoke, _revoke))
    for command, run in runs:
        command.set_defaults(run=run)
        add = command.add_argument
        if command in {rotate, revoke}:
            add("hash", type=digits, metavar="HASH-PREFIX", help="as `list` shows it")
        else:
            add("--org", type=line, required=True, help="the org that the keys speak for")
        add("--project", default=project, required=not project, help="or GOOGLE_CLOUD_PROJECT")
        add("--database", default=database, help="or FIRESTORE_DATABASE, or (default)")
        add("--json", action="store_true", help="print JSON on standard output")
    return parser


if __name__ == "__main__":
    run_as_program(partial(main, sys.argv[1:], datetime.now(UTC)))
