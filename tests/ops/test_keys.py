"""The operator's tool for keys, against the emulator, and what the served function makes of it."""

import hashlib
import io
import itertools
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, TextIO

import grpc
import pytest
from google.cloud import firestore
from google.cloud.firestore import WriteBatch

from call_api.calls.keys import PREFIX, is_well_formed, new_key
from ops.keys import main
from tests.support.commands import Outcome, Tool, outcome_of
from tests.support.fake_firestore import fake_firestore_that_refuses, serving
from tests.support.project import PROJECT, PutKey
from tests.support.serving import ROOT, Service, measuring

DAY = timedelta(days=1)
MAYBE = "It may have been done all the same."
OWNER = (("authorization", "Bearer owner"),)  # whom the emulator takes for a service account


@pytest.fixture
def tool(
    emulator_host: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Tool:
    """Run `python -m ops.keys` in this process, against the emulator unless a host is given."""
    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", emulator_host)
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", PROJECT)
    monkeypatch.delenv("FIRESTORE_DATABASE", raising=False)

    def run(
        *argv: str, now: datetime | None = None, host: str = "", output: TextIO | None = None
    ) -> Outcome:
        with monkeypatch.context() as patch:
            if host:
                patch.setenv("FIRESTORE_EMULATOR_HOST", host)
            if output:
                patch.setattr(sys, "stdout", output)
            done = outcome_of(lambda: main(argv, now or datetime.now(UTC)), capsys)
        if isinstance(done.status, int):
            return done
        # As the interpreter does with a sentence: it is written to standard error.
        return Outcome(1, done.stdout, f"{done.status}\n")

    return run


@pytest.fixture
def issued(tool: Tool) -> str:
    return tool("issue", "--org", "org_acme").stdout.strip()


def digits(key: str, number: int = 12) -> str:
    return hashlib.sha256(key.encode()).hexdigest()[:number]


def listed(tool: Tool, org: str) -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = tool("list", "--org", org, "--json").json()
    return records


@contextmanager
def emulator_behind(
    host: str,
    before_commit: Callable[[grpc.ServicerContext], object] = lambda _: None,
    after: Callable[[grpc.ServicerContext], object] = lambda _: None,
) -> Iterator[str]:
    """Lead to the emulator, and do something before it writes, or before it says that it has."""
    channel = grpc.insecure_channel(host)

    class Leading(grpc.GenericRpcHandler):
        def service(self, details: grpc.HandlerCallDetails) -> Any:
            method = details.method

            def commit(request: bytes, context: grpc.ServicerContext) -> bytes:
                before_commit(context)
                try:
                    answer: bytes = channel.unary_unary(method, bytes, bytes)(
                        request, metadata=OWNER
                    )
                except grpc.RpcError as error:
                    context.abort(error.code(), str(error.details()))
                after(context)
                return answer

            if method.endswith("/Commit"):
                return grpc.unary_unary_rpc_method_handler(commit)
            return grpc.unary_stream_rpc_method_handler(
                lambda request, _: channel.unary_stream(method, bytes, bytes)(
                    request, metadata=OWNER
                )
            )

    with channel, serving(Leading()) as behind:
        yield behind


@pytest.mark.google_emulator
def test_an_issued_key_opens_its_orgs_calls_and_after_revocation_none(
    service: Service, tool: Tool
) -> None:
    key = tool("issue", "--org", "org_acme", "--name", "CI", "--expires", "90d").stdout.strip()
    assert service.request(key=key).status == 200

    assert tool("revoke", digits(key)).status == 0
    assert service.request(key=key).status == 401


def test_an_expired_key_is_refused(service: Service, tool: Tool) -> None:
    now = datetime.now(UTC)
    key = tool("issue", "--org", "org_acme", "--expires", "1d", now=now - DAY).stdout.strip()
    later = tool("issue", "--org", "org_acme", "--expires", "2d", now=now - DAY).stdout.strip()

    assert service.request(key=key).status == 401
    assert service.request(key=later).status == 200


def test_a_key_is_printed_once_and_stored_as_its_hash(
    tool: Tool, database: firestore.Client, noon: datetime
) -> None:
    done = tool("issue", "--org", "org_new", "--name", "CI", "--expires", "90d", now=noon)
    key = done.stdout.removesuffix("\n")

    assert is_well_formed(key)
    assert done == (
        0,
        f"{key}\n",
        (
            f"Issued {digits(key)} for org_new. The key expires 2026-06-23T12:00:00Z,"
            " and is shown this once.\n"
        ),
    )
    assert database.document("api_keys", digits(key, 64)).get().to_dict() == {
        "org_id": "org_new",
        "name": "CI",
        "created_at": noon,
        "expires_at": noon + 90 * DAY,
    }


def test_the_list_has_what_people_need_and_never_the_key(tool: Tool, noon: datetime) -> None:
    later = tool("issue", "--org", "org_list", now=noon + DAY).stdout.strip()
    first = tool("issue", "--org", "org_list", "--name", "प्रिया", "--expires", "90d", now=noon)
    shown = tool("list", "--org", "org_list")

    never = "-" + 19 * " "
    head, oldest, newest = shown.stdout.splitlines()
    assert head == f"HASH{9 * ' '} CREATED{14 * ' '} EXPIRES{14 * ' '} REVOKED{14 * ' '} NAME"
    dates = "2026-03-25T12:00:00Z  2026-06-23T12:00:00Z"
    assert oldest == f"{digits(first.stdout.strip())}  {dates}  {never}  प्रिया"
    assert newest == f"{digits(later)}  2026-03-26T12:00:00Z  {never}  {never}  -"
    assert shown.stderr == "Keys of org_list: 2.\n"
    assert later not in shown.stdout + shown.stderr
    assert digits(later, 13) not in shown.stdout


def test_the_list_is_in_the_order_of_creation(tool: Tool, put_key: PutKey, noon: datetime) -> None:
    for n, key in enumerate(["a", "b", "c"]):  # whose hashes begin with c, 3 and 2
        put_key({"org_id": "org_order", "name": key, "created_at": noon + n * DAY}, key)

    assert [record["name"] for record in listed(tool, "org_order")] == ["a", "b", "c"]


def test_dates_are_shown_in_utc_wherever_the_operator_is(
    tool: Tool, noon: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Asia/Kolkata")
        time.tzset()
        made = tool("issue", "--org", "org_zone", "--json", now=noon)
    time.tzset()

    assert made.json()["created_at"] == "2026-03-25T12:00:00Z"


def test_an_org_without_keys_has_an_empty_list(tool: Tool) -> None:
    assert tool("list", "--org", "org_none").stderr == "Keys of org_none: 0.\n"
    assert listed(tool, "org_none") == []


@pytest.mark.google_emulator
def test_json_is_for_programs(tool: Tool, noon: datetime) -> None:
    issued = tool("issue", "--org", "org_json", "--name", "CI", "--json", now=noon)
    made = issued.json()
    assert issued.stdout == json.dumps(made, indent=2) + "\n"
    key = made.pop("key")
    assert made == {
        "hash": digits(key),
        "created_at": "2026-03-25T12:00:00Z",
        "expires_at": None,
        "revoked_at": None,
        "name": "CI",
    }
    assert listed(tool, "org_json") == [made]
    revoked = tool("revoke", digits(key), "--json").json()
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ", revoked.pop("revoked_at"))
    assert revoked.items() <= made.items()


@pytest.mark.google_emulator
def test_a_record_that_others_have_written_is_listed_as_it_is(tool: Tool, put_key: PutKey) -> None:
    key = put_key({"org_id": "org_odd", "name": ["a"], "created_at": "yesterday", "revoked_at": 0})
    assert f"{digits(key)}  yesterday  " in tool("list", "--org", "org_odd").stdout
    assert listed(tool, "org_odd")[0]["name"] == ["a"]

    assert "is revoked" in tool("revoke", digits(key)).stderr

    put_key({"org_id": "org_bytes", "name": b"a"})
    assert listed(tool, "org_bytes")[0]["name"] == "b'a'"


def test_what_others_have_stored_makes_no_row_and_controls_no_terminal(
    tool: Tool, put_key: PutKey
) -> None:
    forged = f"CI\n{'0' * 12}  2026-03-25T12:00:00Z  -  -  \x1b[2Jother \u202eyek"
    key = put_key({"org_id": "org_forged", "name": forged, "created_at": "now\r\x1b[1A\t"})

    _, row = tool("list", "--org", "org_forged").stdout.splitlines()
    assert row.startswith(rf"{digits(key)}  now\r\x1b[1A\t ")
    assert row.endswith(rf"  CI\n{'0' * 12}  2026-03-25T12:00:00Z  -  -  \x1b[2Jother \u202eyek")
    assert listed(tool, "org_forged")[0]["name"] == forged


@pytest.mark.google_emulator
def test_the_first_date_of_a_revocation_stays(
    tool: Tool, issued: str, database: firestore.Client
) -> None:
    record = database.document("api_keys", digits(issued, 64))
    first = tool("revoke", digits(issued, 64))
    assert (first.status, first.stdout) == (0, "")
    written = record.get().to_dict()
    again = tool("revoke", digits(issued, 8))

    assert again.status == 0
    assert again.stderr == first.stderr.replace("is revoked", "was revoked already")
    assert record.get().to_dict() == written


@pytest.mark.google_emulator
def test_a_revocation_that_is_still_to_come_comes_at_once(
    service: Service, tool: Tool, put_key: PutKey
) -> None:
    key = put_key({"org_id": "org_acme", "revoked_at": datetime.now(UTC) + DAY})
    assert service.request(key=key).status == 200

    assert tool("revoke", digits(key)).status == 0
    assert service.request(key=key).status == 401


@pytest.mark.google_emulator
def test_a_revocation_does_not_depend_on_this_machines_clock(
    service: Service, tool: Tool, issued: str
) -> None:
    assert tool("revoke", digits(issued), now=datetime.now(UTC) + DAY).status == 0
    assert service.request(key=issued).status == 401


@pytest.mark.google_emulator
@pytest.mark.parametrize("command", ["revoke", "rotate"])
def test_a_key_that_is_revoked_meanwhile_keeps_that_date_and_gets_no_successor(
    tool: Tool, database: firestore.Client, emulator_host: str, noon: datetime, command: str
) -> None:
    """A rotation is one write: where the old key is revoked meanwhile, there is no new one either."""
    org = f"org_meanwhile_{command}"
    key = tool("issue", "--org", org).stdout.strip()
    record = database.document("api_keys", digits(key, 64))

    with emulator_behind(emulator_host, lambda _: record.update({"revoked_at": noon})) as host:
        second = tool(command, digits(key), host=host)

    assert second == (1, "", f"{digits(key)} was changed meanwhile: run it again.\n")
    (only,) = listed(tool, org)
    assert (only["hash"], only["expires_at"]) == (digits(key), None)
    assert only["revoked_at"] == "2026-03-25T12:00:00Z"


@pytest.mark.google_emulator
def test_a_revocation_that_fails_is_not_tried_again(
    tool: Tool, issued: str, emulator_host: str
) -> None:
    tries = []

    def fail(context: grpc.ServicerContext) -> None:
        tries.append(context)
        context.abort(grpc.StatusCode.UNAVAILABLE, "not here")

    with emulator_behind(emulator_host, fail) as host:
        failed = tool("revoke", digits(issued), host=host)

    assert failed == (1, "", f"Firestore cannot be used: 503 not here. {MAYBE} Run it again.\n")
    assert len(tries) == 1


@pytest.mark.google_emulator
def test_a_rotation_keeps_org_and_name_and_ends_the_old_key_in_some_days(
    tool: Tool, database: firestore.Client
) -> None:
    old = tool("issue", "--org", "org_turn", "--name", "CI").stdout.strip()
    before = datetime.now(UTC)
    done = tool("rotate", digits(old), "--days", "90")
    key = done.stdout.removesuffix("\n")
    was, new = (database.document("api_keys", digits(k, 64)).get().to_dict() for k in (old, key))

    assert is_well_formed(key)
    assert was
    assert new
    ends_at = was["expires_at"]
    assert timedelta(0) <= ends_at - before - 90 * DAY < timedelta(minutes=1)
    assert done == (
        0,
        f"{key}\n",
        (
            f"Issued {digits(key)} for org_turn. The key never expires, and is shown this once."
            f" {digits(old)} ends {ends_at:%Y-%m-%dT%TZ}.\n"
        ),
    )
    assert new == {
        "org_id": "org_turn",
        "name": "CI",
        "created_at": ends_at - 90 * DAY,
        "expires_at": None,
    }
    assert was["original_expires_at"] is None
    assert {name: was[name] for name in ("org_id", "name")} == {"org_id": "org_turn", "name": "CI"}


@pytest.mark.google_emulator
def test_an_org_that_others_have_stored_controls_no_terminal(tool: Tool, put_key: PutKey) -> None:
    said = tool("rotate", digits(put_key({"org_id": "org\n\x1b[2J"}))).stderr

    assert said.startswith("Issued ")
    assert r" for org\n\x1b[2J. " in said


@pytest.mark.google_emulator
def test_the_old_key_has_a_week_unless_it_ends_earlier(tool: Tool, put_key: PutKey) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    soon = {"org_id": "org_ends", "created_at": now - 88 * DAY, "expires_at": now + 2 * DAY}
    late = soon | {"expires_at": now + 8 * DAY}
    revoked = late | {"revoked_at": now + DAY}

    def ends(fields: dict[str, Any]) -> timedelta:
        said = tool("rotate", digits(put_key(fields))).stderr
        return datetime.fromisoformat(re.findall(r" ends (\S+)\.\n", said)[0]) - now

    assert ends(soon) == 2 * DAY
    assert timedelta(0) <= ends(late) - 7 * DAY < timedelta(minutes=1)
    assert ends(revoked) == DAY


@pytest.mark.google_emulator
@pytest.mark.parametrize("days", [90, None])
def test_a_new_key_has_the_life_that_the_old_one_was_made_for(
    tool: Tool, put_key: PutKey, days: int | None
) -> None:
    """Also the second time: the first rotation has overwritten when the old key expires."""
    now = datetime.now(UTC)
    fields = {"org_id": "org_life", "created_at": now - 80 * DAY}
    old = put_key(fields | ({"expires_at": now + 10 * DAY} if days else {}))

    def life(*more: str) -> timedelta | None:
        made = tool("rotate", digits(old), "--json", *more).json()
        assert made["replaces"]["hash"] == digits(old) != made["hash"]
        start, end = made["created_at"], made["expires_at"]
        return datetime.fromisoformat(end) - datetime.fromisoformat(start) if end else None

    expected = days * DAY if days else None
    assert [life(), life(), life("--expires", "30d")] == [expected, expected, 30 * DAY]


@pytest.mark.google_emulator
def test_days_may_be_written_with_or_without_their_unit(tool: Tool) -> None:
    old = tool("issue", "--org", "org_units", "--expires", "30").stdout.strip()
    made = [tool("rotate", digits(old), "--days", days, "--json") for days in ("14d", "14")]

    ends = {each.json()["replaces"]["expires_at"][:10] for each in made}
    assert ends == {f"{datetime.now(UTC) + 14 * DAY:%Y-%m-%d}"}


@pytest.mark.google_emulator
@pytest.mark.parametrize(
    "odd",
    [
        {"created_at": None},
        {"original_expires_at": "never"},
        {
            "created_at": datetime(2026, 1, 1, tzinfo=UTC),
            "expires_at": datetime.max.replace(tzinfo=UTC),
        },
        {"created_at": datetime(9999, 12, 30, tzinfo=UTC)},
    ],
)
def test_a_new_key_whose_life_nobody_knows_needs_an_end(
    tool: Tool, put_key: PutKey, odd: dict[str, object]
) -> None:
    now = datetime.now(UTC)
    old = put_key({"org_id": "org_what", "created_at": now, "expires_at": now + DAY} | odd)

    assert tool("rotate", digits(old)) == (
        1,
        "",
        (
            f"{digits(old)} expires, but not after a known life:"
            " give the new key's, as by --expires 90d.\n"
        ),
    )
    assert tool("rotate", digits(old), "--expires", "90d").status == 0


@pytest.mark.google_emulator
@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"revoked_at": True}, " was revoked, as of 2026-03-25T12:00:00Z: issue a new key.\n"),
        ({"expires_at": True}, " has expired, as of 2026-03-25T12:00:00Z: issue a new key.\n"),
        ({"org_id": ""}, " cannot be read, so the key is refused: org_id.\n"),
        ({"expires_at": "2099-01-01"}, " cannot be read, so the key is refused: expires_at.\n"),
    ],
)
def test_a_key_that_is_refused_gets_no_successor(
    tool: Tool, put_key: PutKey, noon: datetime, fields: dict[str, object], said: str
) -> None:
    given = {name: noon if value is True else value for name, value in fields.items()}
    old = put_key({"org_id": "org_ended"} | given)
    before = listed(tool, "org_ended")

    done = tool("rotate", digits(old))
    assert (done.status, done.stdout) == (1, "")
    assert re.fullmatch(rf"(The record of )?{digits(old)}{re.escape(said)}", done.stderr)
    assert listed(tool, "org_ended") == before


@pytest.mark.google_emulator
@pytest.mark.parametrize(
    ("failure", "said"),
    [
        (grpc.StatusCode.DEADLINE_EXCEEDED, "Firestore cannot be used: 504 no answer"),
        (grpc.StatusCode.UNAVAILABLE, "Firestore cannot be used: 503 no answer"),
        (KeyboardInterrupt, "Interrupted"),
    ],
)
def test_a_rotation_without_an_answer_may_have_been_done(
    tool: Tool,
    emulator_host: str,
    monkeypatch: pytest.MonkeyPatch,
    failure: Any,
    said: str,
) -> None:
    org = f"org_{digits(said)}"
    old = tool("issue", "--org", org).stdout.strip()
    commit = WriteBatch.commit

    def interrupted(batch: WriteBatch, **options: Any) -> None:
        commit(batch, **options)
        raise KeyboardInterrupt

    def fail(context: grpc.ServicerContext) -> None:
        context.abort(failure, "no answer")

    with monkeypatch.context() as patch, emulator_behind(emulator_host, after=fail) as host:
        if failure is KeyboardInterrupt:
            patch.setattr(WriteBatch, "commit", interrupted)
        else:
            patch.setenv("FIRESTORE_EMULATOR_HOST", host)
        done = tool("rotate", digits(old))
    records = {each["hash"]: each for each in listed(tool, org)}
    (new,) = records.keys() - {digits(old)}

    assert done == (
        1,
        "",
        (
            f"{said}. {MAYBE} If `list --org {org}` shows {new}, revoke that: nobody has the"
            f" key. {digits(old)} then ends {records[digits(old)]['expires_at']}.\n"
        ),
    )


@pytest.mark.google_emulator
def test_a_key_that_is_changed_meanwhile_is_not_changed_back(
    tool: Tool, database: firestore.Client, noon: datetime
) -> None:
    old = tool("issue", "--org", "org_back").stdout.strip()
    record = database.document("api_keys", digits(old, 64))

    class Failing(io.StringIO):
        def flush(self) -> None:
            record.update({"expires_at": noon})
            raise OSError("full")

    done = tool("rotate", digits(old), output=Failing())

    assert ": that cannot be undone, so end the new key by `revoke " in done.stderr
    assert record.get().get("expires_at") == noon


@pytest.mark.google_emulator
@pytest.mark.parametrize("expires", [{}, {"expires_at": None}])
def test_a_rotation_that_cannot_be_shown_is_undone(
    tool: Tool,
    put_key: PutKey,
    database: firestore.Client,
    emulator_host: str,
    expires: dict[str, None],
) -> None:
    old = put_key({"org_id": "org_undone"} | expires)
    record = database.document("api_keys", digits(old, 64))
    done = run_without_output(">/dev/full", emulator_host, "rotate", digits(old))

    assert done == (
        1,
        "",
        (
            "Standard output cannot be written ([Errno 28] No space left on device):"
            f" the new key is deleted again, and {digits(old)} ends as before.\n"
        ),
    )
    assert record.get().to_dict() == {"org_id": "org_undone"} | expires
    assert digits(old) in {each["hash"] for each in listed(tool, "org_undone")}
    record.delete()
    assert listed(tool, "org_undone") == []


@pytest.mark.google_emulator
def test_a_rotation_that_can_be_neither_shown_nor_undone_names_the_new_key(
    tool: Tool, emulator_host: str
) -> None:
    old = tool("issue", "--org", "org_both").stdout.strip()
    commits = itertools.count()

    def fail(context: grpc.ServicerContext) -> None:
        if next(commits):
            context.abort(grpc.StatusCode.UNAVAILABLE, "not here")

    with emulator_behind(emulator_host, fail) as host:
        done = run_without_output(">/dev/full", host, "rotate", digits(old))
    new = next(key for key in listed(tool, "org_both") if key["hash"] != digits(old))

    assert (done.status, done.stdout) == (1, "")
    said = re.escape(f"end the new key by `revoke {new['hash']}`; {digits(old)} ends ")
    assert re.search(rf": that cannot be undone, so {said}20\S+Z\.\n$", done.stderr)


@pytest.mark.google_emulator
def test_a_hash_that_is_not_the_only_one_or_not_there_is_refused(
    tool: Tool, database: firestore.Client
) -> None:
    both = [f"{'5eed' * 3}{last * 52}" for last in "0f"]
    for name in both:
        database.document("api_keys", name).set({"org_id": "org_twins"})

    assert tool("revoke", "5eed5eed") == (
        1,
        "",
        "More than one key's hash starts with 5eed5eed.\n",
    )
    assert tool("revoke", "5eed5eeda") == (1, "", "No key's hash starts with 5eed5eeda.\n")
    assert tool("revoke", both[1]).status == 0
    assert database.document("api_keys", both[0]).get().to_dict() == {"org_id": "org_twins"}


def test_a_key_in_place_of_its_hash_is_recognised_without_a_read(tool: Tool, issued: str) -> None:
    done = tool("revoke", issued, host="127.0.0.1:1")

    assert done.status == 2
    assert done.stderr.endswith(f"this is a key; its hash: {digits(issued)}\n")
    assert issued not in done.stderr


def test_a_key_is_256_random_bits_after_a_prefix_that_scanners_can_match() -> None:
    made = {new_key() for _ in range(100)}

    assert len(made) == 100
    assert PREFIX == "callkey_"
    assert all(re.fullmatch("callkey_[0-9a-f]{72}", key) for key in made)
    assert all(map(is_well_formed, made))


def test_any_one_slip_in_a_key_is_recognised() -> None:
    for _ in range(20):
        key = new_key()
        for place, right in enumerate(key):
            others = {*"0123456789abcdefgzGZ_-O l٣\n", ""} - {right}
            assert not any(is_well_formed(key[:place] + c + key[place + 1 :]) for c in others)
            assert not any(is_well_formed(key[:place] + c + key[place:]) for c in "0f \n")
            swapped = key[:place] + key[place : place + 2][::-1] + key[place + 2 :]
            assert swapped == key or not is_well_formed(swapped)
        assert not is_well_formed(key + "\n")


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["delete"], "invalid choice"),
        (["issue"], "the following arguments are required: --org"),
        (["issue", "--org", ""], "argument --org: give one line of text"),
        (["issue", "--org", "org_acme "], "argument --org: give one line of text"),
        (["issue", "--org", "org\nacme"], "argument --org: give one line of text"),
        (["issue", "--org", "org_\udcff"], "argument --org: give one line of text"),
        (["issue", "--org", "o", "--name", "\x1b[2J"], "argument --name: give one line of text"),
        *(
            (["issue", "--org", "o", "--expires", text], "argument --expires: give 1 to 9999 days")
            for text in ("0d", "1.5d", "90 d", "10000d", "٩d", "d", "1m")
        ),
        *(
            (["revoke", text], "argument HASH-PREFIX: give the first 8 digits")
            for text in ("", "5eed", "5eed5ee", "xyzxyzxyz", "5eed/5eed", "a" * 65, "callkey_1")
        ),
        (["rotate", "5eed"], "argument HASH-PREFIX: give the first 8 digits"),
        *(
            (["rotate", "5eed5eed", "--days", text], "argument --days: give 1 to 90 days")
            for text in ("", "0", "91", "91d", "100", "7 d", "-1", "1.5", "٩")
        ),
    ],
)
def test_a_command_that_is_written_wrong_is_said_so(tool: Tool, argv: list[str], said: str) -> None:
    done = tool(*argv)

    assert (done.status, done.stdout) == (2, "")
    assert said in done.stderr


def test_a_missing_project_is_said_so(tool: Tool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "")
    done = tool("list", "--org", "org_acme")
    assert done.status == 2
    assert "required: --project" in done.stderr

    assert tool("list", "--org", "org_acme", "--project", "demo-other").status == 0


def test_the_project_and_the_database_are_those_that_are_named(
    tool: Tool, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool("issue", "--org", "org_here", "--project", "demo-other", "--database", "calls-eu")

    def count() -> int:
        return len(listed(tool, "org_here"))

    assert count() == 0
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "demo-other")
    assert count() == 0
    monkeypatch.setenv("FIRESTORE_DATABASE", "calls-eu")
    assert count() == 1


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (
            grpc.StatusCode.PERMISSION_DENIED,
            f"Firestore refuses: is roles/datastore.user granted in {PROJECT}?\n",
        ),
        (grpc.StatusCode.NOT_FOUND, "Firestore cannot be used: 404 not here\n"),
        (grpc.StatusCode.UNAVAILABLE, "Firestore cannot be used: 503 not here\n"),
    ],
)
@pytest.mark.parametrize(
    "argv",
    [
        ["issue", "--org", "o"],
        ["list", "--org", "o"],
        ["revoke", "5eed5eed"],
        ["rotate", "5eed5eed"],
    ],
)
def test_a_refusal_of_firestore_is_one_sentence(
    tool: Tool, argv: list[str], code: grpc.StatusCode, said: str
) -> None:
    with fake_firestore_that_refuses(code) as host:
        done = tool(*argv, host=host)

    assert (done.status, done.stdout) == (1, "")
    if argv[0] == "issue" and code is grpc.StatusCode.UNAVAILABLE:  # it writes without a read
        maybe = f"{said.strip()}. {MAYBE} If `list --org o` shows [0-9a-f]{{12}}, revoke that: "
        assert re.fullmatch(f"{maybe}nobody has the key.\n", done.stderr)
    else:
        assert done.stderr == said


@pytest.mark.parametrize("file", ["/nowhere", "/tmp"])  # the latter cannot be read as a file
def test_missing_credentials_are_one_sentence(
    tool: Tool, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    monkeypatch.delenv("FIRESTORE_EMULATOR_HOST")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", file)
    done = tool("list", "--org", "org_acme")

    assert (done.status, done.stdout) == (1, "")
    assert re.fullmatch(rf"Firestore cannot be used: .*{file}.*\n", done.stderr)


def test_the_function_does_not_import_the_tool() -> None:
    sources = [ROOT / "main.py", *(ROOT / "call_api").rglob("*.py")]

    assert not any(re.search(r"(from|import) ops\b", source.read_text()) for source in sources)


# A background job of a shell, as a test run may be, has the signal ignored, and its children inherit that.
RUN_INTERRUPTIBLE = """
import runpy, signal
signal.signal(signal.SIGINT, signal.default_int_handler)
runpy.run_module("ops.keys", run_name="__main__")
"""


def test_an_interrupt_is_reported_in_one_word() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(60)
        environment = {
            "FIRESTORE_EMULATOR_HOST": f"127.0.0.1:{silent.getsockname()[1]}",
            "GOOGLE_CLOUD_PROJECT": PROJECT,
        }
        with (
            subprocess.Popen(
                [sys.executable, "-c", RUN_INTERRUPTIBLE, "list", "--org", "org_acme"],
                cwd=ROOT,
                env=os.environ | measuring() | environment,
                stderr=subprocess.PIPE,
                text=True,
            ) as process,
            silent.accept()[0],
        ):  # it waits for Firestore now
            process.send_signal(signal.SIGINT)
            try:
                _, said = process.communicate(timeout=60)
            finally:
                process.kill()  # or the end of the block would wait for it

    assert (process.returncode, said.splitlines()[-1]) == (1, "Interrupted.")
    assert "Traceback" not in said


def run_without_output(redirection: str, host: str, *argv: str) -> Outcome:
    """Run the program in a shell that redirects its output; `|` leads to a pipe without a reader."""
    program = [sys.executable, "-m", "ops.keys", *argv]
    environment = {"FIRESTORE_EMULATOR_HOST": host, "GOOGLE_CLOUD_PROJECT": PROJECT}
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            ["sh", "-c", f'exec "$@" {redirection.removeprefix("|")}', "sh", *program],
            cwd=ROOT,
            env=os.environ | measuring() | environment,
            stdout=writer if redirection == "|" else subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    finally:
        os.close(writer)
    return Outcome(done.returncode, done.stdout or "", done.stderr)


@pytest.mark.parametrize(
    ("redirection", "why", "more"),
    [
        (">/dev/full", "[Errno 28] No space left on device", ()),
        ("|", "[Errno 32] Broken pipe", ("--json",)),
        (">&-", "it is closed", ()),
    ],
)
def test_a_key_that_cannot_be_shown_is_deleted_again(
    redirection: str, why: str, more: tuple[str, ...], tool: Tool, emulator_host: str
) -> None:
    done = run_without_output(redirection, emulator_host, "issue", "--org", "org_unseen", *more)

    assert done == (
        1,
        "",
        f"Standard output cannot be written ({why}): the key is deleted again.\n",
    )
    assert listed(tool, "org_unseen") == []


@pytest.mark.google_emulator  # it has ranges of __name__
def test_a_key_that_can_be_neither_shown_nor_deleted_is_named(
    tool: Tool, emulator_host: str
) -> None:
    commits = itertools.count()

    def fail(context: grpc.ServicerContext) -> None:
        if next(commits):
            context.abort(grpc.StatusCode.UNAVAILABLE, "not here")

    with emulator_behind(emulator_host, fail) as host:
        done = run_without_output(">/dev/full", host, "issue", "--org", "org_stuck")
    (record,) = listed(tool, "org_stuck")

    assert (done.status, done.stdout) == (1, "")
    assert done.stderr == (
        "Standard output cannot be written ([Errno 28] No space left on device):"
        f" its record could not be deleted, so end the key by `revoke {record['hash']}`.\n"
    )
    assert tool("revoke", record["hash"]).status == 0


def test_an_interrupt_while_a_key_is_shown_deletes_it(tool: Tool) -> None:
    class Interrupted(io.StringIO):
        def flush(self) -> None:
            raise KeyboardInterrupt

    done = tool("issue", "--org", "org_interrupted", output=Interrupted())

    assert done.stderr == (
        "Standard output cannot be written (interrupted): the key is deleted again.\n"
    )
    assert listed(tool, "org_interrupted") == []


def test_a_list_that_cannot_be_shown_is_one_sentence(emulator_host: str) -> None:
    done = run_without_output("|", emulator_host, "list", "--org", "org_acme")

    assert done.status == 1
    assert done.stderr == (
        "Standard output cannot be written ([Errno 32] Broken pipe): the list is incomplete.\n"
    )


@pytest.mark.google_emulator  # it has ranges of __name__
def test_a_revocation_that_cannot_be_shown_is_one_sentence_and_holds(
    service: Service, issued: str, emulator_host: str
) -> None:
    done = run_without_output(">/dev/full", emulator_host, "revoke", digits(issued), "--json")

    assert (done.status, done.stdout) == (1, "")
    said = re.escape("Standard output cannot be written ([Errno 28] No space left on device): ")
    assert re.fullmatch(rf"{said}{digits(issued)} is revoked, as of 20\S+Z\.\n", done.stderr)
    assert service.request(key=issued).status == 401


@pytest.mark.google_emulator  # it has ranges of __name__
def test_a_revocation_needs_no_standard_output(issued: str, emulator_host: str) -> None:
    assert run_without_output(">&-", emulator_host, "revoke", digits(issued)).status == 0


@pytest.mark.parametrize("redirection", ["2>&-", "2>/dev/full"])
def test_a_shown_key_stays_valid_if_standard_error_fails(
    redirection: str, service: Service, emulator_host: str
) -> None:
    """A failure would make a script discard a key that is live."""
    done = run_without_output(redirection, emulator_host, "issue", "--org", "org_acme")

    assert (done.status, done.stderr) == (0, "")
    assert service.request(key=done.stdout.strip()).status == 200
