"""The erasure of a call, against the emulator and a fake bucket, and what the function answers then."""

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

import grpc
import pytest
from google.cloud import firestore
from google.cloud.storage import Blob  # type: ignore[import-untyped]

from ops import erase_call
from tests.support.bucket import DENIED, HELD, RETAINED, Bucket, BucketServer
from tests.support.commands import Outcome, Tool, outcome_of
from tests.support.fake_firestore import fake_firestore_that_refuses
from tests.support.project import BUCKET, PROJECT, PutCall
from tests.support.serving import ROOT, Service

# The embedded emulator lists no subcollections.
erasing = pytest.mark.google_emulator

PAGE = (ROOT / "docs" / "data.md").read_text("utf-8")
OTHERS = "recordings/others.wav"
WEEK = "the bucket keeps each erased version for 7 days, to be restored"


class Answers(NamedTuple):
    """A standard input whose line comes after something else has happened."""

    line: str
    meanwhile: Callable[[], object]

    def readline(self) -> str:
        self.meanwhile()
        return self.line


@pytest.fixture
def bucket() -> Iterator[Bucket]:
    with closing(BucketServer(BUCKET)) as server:
        server.bucket.put(OTHERS)
        yield server.bucket


@pytest.fixture
def tool(
    emulator_host: str,
    bucket: Bucket,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Tool:
    """Run `python -m ops.erase_call` in this process; the call's ID is the answer to its question."""
    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", emulator_host)
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", bucket.server.url)
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", PROJECT)
    monkeypatch.setenv("RECORDINGS_BUCKET", BUCKET)
    monkeypatch.delenv("FIRESTORE_DATABASE", raising=False)

    def run(
        call: object,
        *argv: str,
        answer: object = None,
        meanwhile: Callable[[], object] = lambda: None,
    ) -> Outcome:
        answers = Answers(f"{call if answer is None else answer}\n", meanwhile)
        monkeypatch.setattr(sys, "stdin", answers)
        return outcome_of(lambda: erase_call.main(["--call", str(call), *argv]), capsys)

    return run


@dataclass(frozen=True)
class StoredCall:
    """A call that a test has stored, and what its own recording would be called."""

    id: int | str
    database: firestore.Client

    @property
    def recording(self) -> str:
        return f"recordings/call-{self.id}.wav"

    @property
    def document(self) -> firestore.DocumentReference:
        return self.database.document("calls", str(self.id))

    def is_stored(self) -> bool:
        return bool(self.document.get().exists)


@pytest.fixture
def call(put_call: PutCall, database: firestore.Client, bucket: Bucket) -> StoredCall:
    """Store a call with a recording of its own, in one version."""
    stored = StoredCall(put_call(), database)
    put_call({"recording_object": stored.recording}, at=stored.id)
    bucket.put(stored.recording)
    return stored


@erasing
def test_an_erased_call_is_not_found_and_its_recording_is_gone(
    tool: Tool, service: Service, acme_key: str, bucket: Bucket, call: StoredCall
) -> None:
    bucket.put(call.recording, call.recording, f"{call.recording}.bak")
    target = f"/v2/calls/{call.id}"
    before = service.request(target=target, key=acme_key)
    assert before.status == 200

    done = tool(call.id)

    assert done.status == 0
    after = service.request(target=target, key=acme_key)
    assert (after.status, after.json()["code"]) == (404, "call_not_found")
    polled = service.request(
        target=target, key=acme_key, headers=[("If-None-Match", str(before.headers["ETag"]))]
    )
    assert polled.status == 404
    assert bucket.names() == [f"{call.recording}.bak", OTHERS]


@erasing
def test_it_shows_and_asks_as_the_page_says(tool: Tool, put_call: PutCall, bucket: Bucket) -> None:
    call_id = put_call()
    name = f"recordings/2026/03/25/call-{call_id}.wav"
    put_call({"recording_object": name}, at=call_id)
    bucket.put(name, name)
    done = tool(call_id)

    printed = done.stdout.replace(str(call_id), "77").replace(PROJECT, "my-project")
    shown = PAGE.replace(f"{done.stderr}77\n", "")
    assert shown != PAGE
    assert f"erase_call --call 77\n{printed.replace(BUCKET, 'my-recordings')}```" in shown


@erasing
@pytest.mark.parametrize("answer", ["", "yes", "7"])
def test_any_other_answer_erases_nothing(
    tool: Tool, bucket: Bucket, call: StoredCall, answer: str
) -> None:
    done = tool(call.id, answer=answer)

    assert done.status == f"Nothing was erased: the answer was not {call.id}."
    assert call.is_stored()
    assert bucket.names() == [call.recording, OTHERS]


@erasing
def test_a_script_is_not_asked(tool: Tool, call: StoredCall) -> None:
    done = tool(call.id, "--yes", answer="")

    assert (done.status, done.stderr) == (0, "")


@erasing
def test_a_second_run_says_that_nothing_is_left(tool: Tool, call: StoredCall) -> None:
    assert tool(call.id).status == 0

    nothing = f"There is nothing left of calls/{call.id}.\n"
    assert tool(call.id) == (
        0,
        f"{nothing}If versions of its recording may be left, name it by --object.\n",
        "",
    )
    assert tool(call.id, "--object", call.recording) == (
        0,
        f"{nothing}There is no version of {call.recording} in {BUCKET}.\nSoft delete: {WEEK}.\n",
        "",
    )


@erasing
def test_versions_that_are_left_without_a_document_are_erased_by_name(
    tool: Tool, bucket: Bucket, call: StoredCall
) -> None:
    assert tool(call.id).status == 0
    bucket.put(call.recording, call.recording)
    done = tool(call.id, "--object", call.recording)

    assert done.status == 0
    assert done.stdout.startswith(f"document     calls/{call.id} is not in {PROJECT}, ")
    assert f"Versions of {call.recording} erased: 2.\n" in done.stdout
    assert bucket.names() == [OTHERS]


@erasing
def test_a_recording_that_other_calls_name_needs_a_word(
    tool: Tool, put_call: PutCall, bucket: Bucket, call: StoredCall
) -> None:
    other = put_call({"recording_object": call.recording})
    refused = tool(call.id, "--yes")

    assert refused.status == (
        f"Nothing was erased: the recording is that of calls {other}, too. Say"
        " --recording delete to erase it for all, or --recording keep to erase the rest alone."
    )
    assert f"             also of calls {other}\n" in refused.stdout
    assert call.is_stored()
    assert bucket.names() == [call.recording, OTHERS]

    kept = tool(call.id, "--recording", "keep")
    assert kept.status == 0
    assert kept.stdout.endswith(f"The recording was not touched: '{call.recording}'\n")
    assert not call.is_stored()
    assert bucket.names() == [call.recording, OTHERS]

    assert tool(other, "--recording", "delete").status == 0
    assert bucket.names() == [OTHERS]


@erasing
def test_a_recording_of_other_calls_that_is_gone_needs_none(
    tool: Tool, put_call: PutCall, bucket: Bucket, call: StoredCall
) -> None:
    put_call({"recording_object": call.recording})
    bucket.versions.clear()

    assert tool(call.id).status == 0


@erasing
def test_a_bucket_without_the_recording_is_asked_about(
    tool: Tool, bucket: Bucket, call: StoredCall
) -> None:
    """In another bucket than the recording's, the only pointer to it would be erased."""
    bucket.versions.clear()
    refused = tool(call.id, "--yes")

    assert f"             versions: none in {BUCKET}: is this the bucket?\n" in refused.stdout
    assert refused.status == (
        f"Nothing was erased: {BUCKET} has no version of the recording."
        " If it is the right bucket, say --recording delete."
    )
    assert call.is_stored()
    assert tool(call.id, answer="").status != 0
    assert tool(call.id, "--yes", "--recording", "delete").status == 0
    assert not call.is_stored()


@erasing
def test_of_many_calls_that_name_it_the_first_are_shown(
    tool: Tool, put_call: PutCall, call: StoredCall
) -> None:
    others = sorted(put_call({"recording_object": call.recording}) for _ in range(7))
    said = str(tool(call.id).status)

    shown = ", ".join(map(str, others[:5]))
    assert f"is that of calls {shown}, and more, too." in said


@erasing
def test_a_call_without_a_recording_is_erased(
    tool: Tool, put_call: PutCall, database: firestore.Client, bucket: Bucket
) -> None:
    call = StoredCall(put_call(without=("recording_object",)), database)
    bucket.refusals["get"] = ("forbidden", DENIED)  # the bucket is not asked
    done = tool(call.id)

    assert done.status == 0
    assert "recording    none\n" in done.stdout
    assert "- recording" not in done.stdout
    assert not call.is_stored()


@erasing
@pytest.mark.parametrize(
    ("value", "what"),
    [
        (7, "a number"),
        (0.5, "a number"),
        (True, "a boolean"),
        (["recordings/a.wav"], "an array"),
        ({"name": "a"}, "a map"),
        (b"a", "bytes"),
        (datetime(2026, 3, 25, tzinfo=UTC), "a timestamp"),
        (firestore.GeoPoint(1, 2), "of another type"),
        ("", "''"),
        (" ", "' '"),
        (f"gs://{BUCKET}/recordings/a.wav", f"'gs://{BUCKET}/recordings/a.wav'"),
        ("https://example.com/\x1b[2J", r"'https://example.com/\x1b[2J'"),
        ("a" * 1025, f"'{'a' * 1024}'"),
    ],
)
def test_a_call_whose_recording_cannot_be_told_is_erased_with_a_word(
    tool: Tool,
    put_call: PutCall,
    database: firestore.Client,
    bucket: Bucket,
    value: object,
    what: str,
) -> None:
    call = StoredCall(put_call({"recording_object": value}), database)
    refused = tool(call.id)

    assert refused.status == (
        f"recording_object is no object's name but {what}, so the recording is not known."
        " Name it by --object, or say --recording keep to erase the rest alone."
    )
    assert call.is_stored()

    kept = tool(call.id, "--recording", "keep")
    assert kept.status == 0
    assert f"The recording was not touched: {what}\n" in kept.stdout
    assert not call.is_stored()
    assert bucket.names() == [OTHERS]


@erasing
def test_the_recording_of_such_a_call_is_erased_by_its_name(
    tool: Tool, put_call: PutCall, database: firestore.Client, bucket: Bucket
) -> None:
    call = StoredCall(put_call({"recording_object": f"gs://{BUCKET}/recordings/url.wav"}), database)
    bucket.put("recordings/url.wav")

    assert tool(call.id, "--object", "recordings/url.wav").status == 0
    assert not call.is_stored()
    assert bucket.names() == [OTHERS]


@erasing
def test_a_document_of_any_shape_is_erased(tool: Tool, database: firestore.Client) -> None:
    call = StoredCall("a \u202eb", database)
    call.document.set({"org_id": 7, "transcript": "x" * 10, "status": {}})
    done = tool(call.id, "--yes")

    assert done.status == 0
    assert done.stdout.startswith(rf"document     calls/a \u202eb in {PROJECT}")
    assert "             org 7, status none\n" in done.stdout
    assert not call.is_stored()


@erasing
def test_an_unreadable_answer_is_none(tool: Tool, call: StoredCall) -> None:
    def fail() -> None:
        raise OSError

    done = tool(call.id, meanwhile=fail)

    assert done.status == f"Nothing was erased: the answer was not {call.id}."
    assert call.is_stored()


@erasing
@pytest.mark.parametrize("name", ["a b/ü#?%2F.wav", "recordings/[1]*.wav", "e\u0301.wav"])
def test_a_recording_of_any_name_is_erased(
    tool: Tool, put_call: PutCall, bucket: Bucket, name: str
) -> None:
    bucket.put(name)

    assert tool(put_call({"recording_object": name})).status == 0
    assert bucket.names() == [OTHERS]


@erasing
def test_another_recording_than_the_document_s_is_refused(
    tool: Tool, bucket: Bucket, call: StoredCall
) -> None:
    done = tool(call.id, "--object", OTHERS)

    assert done.status == f"The call names another recording than --object: {call.recording}."
    assert call.is_stored()
    assert OTHERS in bucket.names()


@erasing
def test_what_is_stored_below_the_document_goes_with_it(tool: Tool, call: StoredCall) -> None:
    """Firestore deletes no subcollection with its document."""
    deep = call.document.collection("notes").document("none").collection("edits").document("1")
    for one in (call.document.collection("events").document("1"), deep):
        one.set({"text": "private"})
    done = tool(call.id)

    assert done.status == 0
    assert "below it     documents: 3, in events, notes\n" in done.stdout
    assert list(call.document.collections()) == []
    assert not deep.get().exists


@erasing
def test_what_an_earlier_deletion_has_left_below_is_erased(
    tool: Tool, database: firestore.Client
) -> None:
    event = database.document("calls/71000/events/1")
    event.set({"text": "private"})
    done = tool(71000)

    assert done.status == 0
    assert "below it     documents: 1, in events\n" in done.stdout
    assert "recording    not known without the document: name it by --object\n" in done.stdout
    assert not event.get().exists


@erasing
@pytest.mark.parametrize("status", ["pending", "active", "Active"])
def test_a_call_that_goes_on_may_be_stored_again(
    tool: Tool, put_call: PutCall, status: str
) -> None:
    done = tool(put_call({"status": status, "recording_object": None}))

    assert done.status == 0
    assert "             The call goes on: its writer may store it again.\n" in done.stdout


@erasing
@pytest.mark.parametrize(
    ("reason", "message"),
    [
        ("retentionPolicyNotMet", RETAINED),
        ("objectUnderActiveHold", HELD),
        ("forbidden", HELD),  # what the service answers
    ],
)
def test_a_recording_that_the_bucket_must_keep_keeps_its_document(
    tool: Tool, bucket: Bucket, call: StoredCall, reason: str, message: str
) -> None:
    bucket.put(call.recording)
    bucket.refusals[bucket.versions[-1].generation] = (reason, message)
    done = tool(call.id)

    assert done.status == (
        f"Versions erased: 1 of 2. The bucket keeps the next one: {message} The document is still"
        " there: run this again later, or with --recording keep."
    )
    assert call.is_stored()

    bucket.refusals.clear()
    assert tool(call.id).status == 0
    assert bucket.names() == [OTHERS]
    assert not call.is_stored()


@erasing
@pytest.mark.parametrize("method", ["get", "list", "delete"])
def test_a_missing_role_on_the_bucket_is_named_and_nothing_is_erased(
    tool: Tool, bucket: Bucket, call: StoredCall, method: str
) -> None:
    bucket.refusals[method] = ("forbidden", DENIED)
    done = tool(call.id)

    assert done.status == (
        f"Cloud Storage refuses: is roles/storage.legacyBucketWriter granted on {BUCKET}?"
    )
    assert call.is_stored()
    assert call.recording in bucket.names()


@erasing
def test_a_bucket_that_does_not_exist_is_one_sentence(tool: Tool, call: StoredCall) -> None:
    said = str(tool(call.id, "--bucket", "gs://nowhere/").status)

    assert re.fullmatch(r"Cloud Storage cannot be used: 404 .*/b/nowhere\?.*", said)
    assert call.is_stored()


@erasing
def test_a_bucket_that_cannot_be_reached_is_one_sentence(
    tool: Tool, call: StoredCall, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:1")
    said = str(tool(call.id).status)

    assert re.fullmatch("Cloud Storage cannot be used: .*refused.*", said)


def test_a_missing_role_in_the_project_is_named(
    tool: Tool, monkeypatch: pytest.MonkeyPatch
) -> None:
    with fake_firestore_that_refuses(grpc.StatusCode.PERMISSION_DENIED) as host:
        monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", host)
        assert tool(77) == (
            f"Firestore refuses: is roles/datastore.user granted in {PROJECT}?",
            "",
            "",
        )


@erasing
def test_a_document_that_is_written_meanwhile_stays(tool: Tool, call: StoredCall) -> None:
    done = tool(call.id, meanwhile=lambda: call.document.update({"interruptions": 3}))

    assert done.status == (
        f"calls/{call.id} has been written meanwhile, and is still there: run this again."
    )
    assert call.is_stored()
    assert tool(call.id).status == 0


@erasing
@pytest.mark.parametrize("has_document", [True, False])
def test_a_recording_that_is_stored_meanwhile_keeps_its_document(
    tool: Tool, bucket: Bucket, call: StoredCall, has_document: bool
) -> None:
    """It would survive, and nothing would name it."""
    if not has_document:
        call.document.delete()
    done = tool(call.id, "--object", call.recording, meanwhile=lambda: bucket.put(call.recording))

    still = "So is the document: run" if has_document else "Run"
    assert done.status == (
        f"Stored meanwhile, and still there: a version of {call.recording}. {still} this again."
    )
    assert call.is_stored() is has_document
    assert bucket.names() == [call.recording, OTHERS]

    assert tool(call.id, "--object", call.recording).status == 0
    assert bucket.names() == [OTHERS]


@erasing
def test_what_is_stored_below_the_document_meanwhile_keeps_it(tool: Tool, call: StoredCall) -> None:
    event = call.document.collection("events").document("late")
    done = tool(call.id, meanwhile=lambda: event.set({"text": "private"}))

    assert done.status == (
        "Stored meanwhile, and still there: a document below the call's."
        " So is the document: run this again."
    )
    assert call.is_stored()
    event.delete()


@erasing
def test_a_document_that_is_gone_meanwhile_is_erased(tool: Tool, call: StoredCall) -> None:
    done = tool(call.id, meanwhile=call.document.delete)

    assert done.status == 0
    assert f"calls/{call.id} is erased.\n" in done.stdout


@erasing
def test_a_version_that_is_gone_meanwhile_is_no_failure(
    tool: Tool, bucket: Bucket, call: StoredCall
) -> None:
    bucket.put(call.recording)
    done = tool(call.id, meanwhile=bucket.versions.pop)

    assert done.status == 0
    assert f"Versions of {call.recording} erased: 1.\n" in done.stdout  # of two


@erasing
@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "off: what is erased is gone at once"),
        (7_776_000, "the bucket keeps each erased version for 90 days, to be restored"),
    ],
)
def test_the_bucket_s_soft_delete_is_told(
    tool: Tool, bucket: Bucket, call: StoredCall, seconds: int, said: str
) -> None:
    bucket.soft_delete_seconds = seconds
    done = tool(call.id)

    assert f"soft delete  {said}\n" in done.stdout
    assert f"- recording: {said}\n" in done.stdout


@pytest.mark.parametrize("unset", ["FIRESTORE_EMULATOR_HOST", "STORAGE_EMULATOR_HOST"])
def test_an_emulator_on_one_side_alone_is_refused(
    tool: Tool, monkeypatch: pytest.MonkeyPatch, unset: str
) -> None:
    monkeypatch.delenv(unset)
    (other,) = {"FIRESTORE_EMULATOR_HOST", "STORAGE_EMULATOR_HOST"} - {unset}

    assert tool(77).status == (
        f"Only {other} is set: set both FIRESTORE_EMULATOR_HOST and STORAGE_EMULATOR_HOST,"
        " or neither."
    )


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--call", ""], "argument --call: give the ID of a document of calls"),
        (["--call", "7/7"], "argument --call: give the ID of a document of calls"),
        (["--call", "77", "--bucket", "a/b"], "argument --bucket: give a bucket's name"),
        (["--call", "77", "--bucket", "192.0.2.1"], "argument --bucket: give a bucket's name"),
        (["--call", "77", "--bucket", "gs://"], "argument --bucket: give a bucket's name"),
        (["--call", "77", "--object", "gs://a/b"], "argument --object: give an object's name"),
        (["--call", "77", "--object", ""], "argument --object: give an object's name"),
        (["--call", "77", "--recording", "yes"], "argument --recording: invalid choice"),
        ([], "the following arguments are required: --call"),
    ],
)
@pytest.mark.usefixtures("tool")
def test_a_command_that_is_written_wrong_is_said_so(
    argv: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    done = outcome_of(lambda: erase_call.main(argv), capsys)

    assert done.status == 2
    assert said in done.stderr


@pytest.mark.parametrize(
    ("variable", "option"),
    [("GOOGLE_CLOUD_PROJECT", "--project"), ("RECORDINGS_BUCKET", "--bucket")],
)
def test_a_missing_project_or_bucket_is_said_so(
    tool: Tool, monkeypatch: pytest.MonkeyPatch, variable: str, option: str
) -> None:
    monkeypatch.setenv(variable, "")
    done = tool(77)

    assert done.status == 2
    assert f"required: {option}" in done.stderr


@erasing
def test_the_database_is_the_one_that_is_named(tool: Tool, call: StoredCall) -> None:
    done = tool(call.id, "--database", "calls-eu")

    assert done.stdout.startswith(f"There is nothing left of calls/{call.id}.\n")
    assert call.is_stored()


@erasing
@pytest.mark.usefixtures("tool")
def test_an_output_that_cannot_be_written_erases_nothing(bucket: Bucket, call: StoredCall) -> None:
    with open("/dev/full", "wb") as full:  # noqa: PTH123  (a device)
        done = subprocess.run(
            [sys.executable, "-m", "ops.erase_call", "--call", str(call.id), "--yes"],
            cwd=ROOT,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )

    assert done.returncode == 1
    assert done.stderr == (
        "Standard output cannot be written ([Errno 28] No space left on device):"
        " run it again to see what is left.\n"
    )
    assert call.is_stored()
    assert call.recording in bucket.names()


@erasing
def test_a_run_that_is_interrupted_between_two_versions_can_be_repeated(
    tool: Tool, bucket: Bucket, call: StoredCall, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put(call.recording)
    delete = Blob.delete

    def delete_and_interrupt(version: Any, **options: Any) -> None:
        delete(version, **options)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Blob, "delete", delete_and_interrupt)
        interrupted = tool(call.id)

    assert interrupted.status == "Interrupted: run it again to erase what is left."
    assert call.is_stored()
    assert bucket.names() == [call.recording, OTHERS]

    assert tool(call.id).status == 0
    assert not call.is_stored()
    assert bucket.names() == [OTHERS]
