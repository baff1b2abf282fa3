"""Reading from Firestore: one round trip, and failures told apart."""

import asyncio
import hashlib
import itertools
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from typing import Any
from urllib.parse import unquote

import pytest
import trustme
from google.auth.credentials import AnonymousCredentials, Credentials
from google.auth.exceptions import TransportError
from google.cloud.firestore_v1.types import BatchGetDocumentsRequest as Request
from google.cloud.firestore_v1.types import BatchGetDocumentsResponse as Response
from google.cloud.firestore_v1.types import Value
from google.oauth2.credentials import Credentials as UserCredentials
from grpc import ServicerContext, Status, StatusCode

from call_api.calls.access import ApiKey, StoredDocument
from call_api.calls.keys import key_hash
from call_api.calls.publish import LARGE_BYTES
from call_api.calls.schema import STORED_CALL_SHAPE
from call_api.cloud.tokens import AccessTokens
from call_api.errors import (
    CallsUnavailable,
    Forbidden,
    Internal,
    Problem,
    StoredCallInvalid,
    UpstreamTimeout,
)
from call_api.firestore import store as firestore
from call_api.firestore.store import FirestoreCalls
from call_api.settings import Settings
from local.seed import sample_calls
from tests.support.contract import stored_fields
from tests.support.fakes import FakeCredentials, finder_of, no_credentials, read_call
from tests.support.firestore_reads import (
    KEY,
    Firestore,
    Read,
    both_documents,
    outcome,
    read_now,
    store_at,
)
from tests.support.google_cloud import (
    EMAIL,
    FIRESTORE_HOST,
    PROJECT,
    WRITTEN,
    Answers,
    Asked,
    GoogleCloud,
    fake_firestore,
)
from tests.support.project import BUCKET
from tests.support.serving import served
from tests.support.v4 import check_v4

Responses = Iterator[Response]


def read(answers: Answers | StatusCode | Status) -> tuple[Read | Problem, list[Asked]]:
    """Read a key's record and call 77 from a Firestore that answers so; return also what it was asked."""
    with fake_firestore(answers) as (port, asked):
        return asyncio.run(outcome(store_at(port))), asked


def fields_of(answer: Read | Problem) -> tuple[object, object]:
    assert isinstance(answer, tuple)
    key, call = answer
    assert key is not None
    return {"org_id": key.value("org_id")}, call and call.decoded(STORED_CALL_SHAPE)


def test_key_and_call_come_in_one_round_trip() -> None:
    answer, asked = read(both_documents)

    published = {
        name: value for name, value in sample_calls()[77].items() if name in STORED_CALL_SHAPE
    }
    assert fields_of(answer) == ({"org_id": "org_acme"}, published)
    ((request, metadata),) = asked
    database = "projects/demo-tests/databases/(default)"
    assert request.database == database
    assert unquote(metadata["x-goog-request-params"]) == f"database={database}"  # AIP-4222
    assert request.documents == [
        f"{database}/documents/api_keys/{hashlib.sha256(KEY.encode()).hexdigest()}",
        f"{database}/documents/calls/77",
    ]
    # What is neither published nor read of a key never leaves Firestore.
    assert set(request.mask.field_paths) == {*ApiKey.model_fields, *stored_fields()}


RETRIED = {StatusCode.UNAVAILABLE, StatusCode.ABORTED, StatusCode.CANCELLED}


@pytest.mark.parametrize(
    ("status", "problem", "hint"),
    [
        (StatusCode.PERMISSION_DENIED, Internal, ": is roles/datastore.viewer granted?"),
        (StatusCode.UNAUTHENTICATED, Internal, ": it refuses the access token"),
        (StatusCode.NOT_FOUND, Internal, ": does the database exist?"),
        (StatusCode.FAILED_PRECONDITION, Internal, ": is the database in Native mode?"),
        (StatusCode.INVALID_ARGUMENT, Internal, ": is FIRESTORE_DATABASE right?"),
        (StatusCode.UNAVAILABLE, CallsUnavailable, ""),
        (StatusCode.ABORTED, CallsUnavailable, ""),
        (StatusCode.CANCELLED, CallsUnavailable, ""),
        (StatusCode.INTERNAL, CallsUnavailable, ""),
        (StatusCode.DEADLINE_EXCEEDED, UpstreamTimeout, ""),
    ],
)
def test_failures_are_told_apart(status: StatusCode, problem: type[Problem], hint: str) -> None:
    answer, requests = read(status)

    assert type(answer) is problem
    assert str(answer) == f"{problem.code}: Firestore: {status.name}{hint}"
    if status in RETRIED:
        assert len(requests) > 2
    else:
        assert len(requests) == 1


@pytest.mark.parametrize("missing", ["api_keys", "calls"])
def test_an_incomplete_answer_is_not_used(missing: str) -> None:
    """A good key is not refused for it, and a call that exists is not missing."""

    def incomplete(request: Request, _: object) -> Responses:
        for response in both_documents(request):
            if f"/{missing}/" not in response.found.name:
                yield response
        yield Response(read_time=WRITTEN)
        yield Response(missing=f"{request.documents[0]}-2", read_time=WRITTEN)

    answer, requests = read(incomplete)

    assert isinstance(answer, CallsUnavailable)
    assert str(answer) == "calls_unavailable: Firestore: incomplete answers"
    assert len(requests) > 2


NO_MESSAGE = b"\xff\xff"


@pytest.mark.parametrize(
    "malformed",
    [NO_MESSAGE, b"\x0a\x02" + NO_MESSAGE],
    ids=["answer", "document"],
)
def test_a_malformed_answer_is_internal_and_not_retried(
    malformed: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    answer, requests = read(lambda *_: iter([malformed]))

    assert str(answer) == "internal: Firestore answered no message of its type"
    assert len(requests) == 1
    assert not caplog.records  # gRPC would log an answer that it cannot parse


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (StatusCode.UNAVAILABLE, "Socket closed"),
        (StatusCode.INTERNAL, "Received RST_STREAM with error code 2"),
        (
            StatusCode.INTERNAL,
            "Stream removed (RST_STREAM (Received RST_STREAM with error code 0))",
        ),
        (StatusCode.INTERNAL, "stream terminated by RST_STREAM with error code: NO_ERROR"),
    ],
)
def test_a_transient_failure_is_retried(status: StatusCode, words: str) -> None:
    attempts = itertools.count()

    def answers(request: Request, context: ServicerContext) -> Responses:
        if next(attempts) == 0:
            context.abort(status, words)
        yield from both_documents(request)

    answer, requests = read(answers)

    assert fields_of(answer)[0] == {"org_id": "org_acme"}
    assert len(requests) == 2


@pytest.mark.parametrize("status", [StatusCode.INTERNAL, StatusCode.DEADLINE_EXCEEDED])
def test_a_document_that_firestore_fails_on_opens_no_circuit(status: StatusCode) -> None:
    """However often it is asked for. Nor is the connection replaced, which works."""
    peers: set[str] = set()

    def answers(request: Request, context: ServicerContext) -> Responses:
        peers.add(context.peer())
        if request.documents[-1].endswith("/13"):
            context.abort(status, "s3cret")
        yield from both_documents(request)

    async def reads(port: int) -> list[Read | Problem]:
        store = store_at(port)
        return [await outcome(store, call_id) for call_id in [13] * 5 + [77]]

    with fake_firestore(answers) as (port, asked):
        *failed, answered = asyncio.run(reads(port))

    assert all(isinstance(each, Problem) for each in failed)
    assert isinstance(answered, tuple)
    assert len(peers) == 1
    assert {len(each.request.documents) for each in asked} == {2}, "no probe was needed"


def test_a_refusal_closes_the_circuit() -> None:
    """Else a missing role would be reported as an outage, and no log would name it."""
    firestore = Firestore()

    async def reads(port: int) -> list[type]:
        store = store_at(port)
        answered = []
        for status in (StatusCode.UNAVAILABLE, StatusCode.PERMISSION_DENIED):
            firestore.status = status
            answered.append(type(await outcome(store)))
        return answered

    with fake_firestore(firestore) as (port, _):
        assert asyncio.run(reads(port)) == [CallsUnavailable, Internal]


MIB = 2**20


def test_the_owner_of_an_oversized_call_is_still_checked(noon: datetime) -> None:
    """Who owns it is read all the same, so nobody else learns that it is large."""

    def answers(request: Request, _: object) -> Responses:
        for response in both_documents(request):
            if "transcript" in request.mask.field_paths and "/calls/" in response.found.name:
                response.found.fields["ended_reason"] = Value(string_value="x" * 2 * MIB)
            if response.found.name.endswith(key_hash("foreign")):
                response.found.fields["org_id"] = Value(string_value="org_globex")
            yield response

    async def ask(port: int, key: str) -> StoredDocument:
        return await read_call(store_at(port), key, 77, noon)

    with fake_firestore(answers) as (port, asked):
        with pytest.raises(Forbidden):
            asyncio.run(ask(port, "foreign"))
        document = asyncio.run(ask(port, KEY))

    assert set(asked[-1].request.mask.field_paths) == set(ApiKey.model_fields)
    assert {each.metadata["authorization"] for each in asked} == {"Bearer owner"}

    with pytest.raises(
        StoredCallInvalid, match=r"^stored_call_invalid: call document: larger than 2 MiB$"
    ):
        document.decoded(STORED_CALL_SHAPE)
    assert document.size > LARGE_BYTES, "the next request for it waits for a turn"
    assert document.updated_ns == int(WRITTEN.timestamp()) * 10**9 + 123_456_000


def test_a_call_whose_owner_cannot_be_read_either_is_internal() -> None:
    """Not a 503: whatever is too large stays so."""

    def answers(request: Request, _: object) -> Responses:
        for response in both_documents(request):
            response.found.fields["org_id"] = Value(string_value="x" * 2 * MIB)
            yield response

    answer, requests = read(answers)

    assert str(answer) == "internal: Firestore answered more than 2097152 bytes"
    assert len(requests) == 2


def store_with(credentials: Credentials | FakeCredentials, **settings: str) -> FirestoreCalls:
    """Return a store with these default credentials, and the bucket alone set beside `settings`."""
    environment = Settings.from_environment({"RECORDINGS_BUCKET": BUCKET} | settings)
    return FirestoreCalls(environment, AccessTokens(finder_of(credentials, "theirs")))


def test_the_project_is_the_credentials_where_none_is_set() -> None:
    with fake_firestore(both_documents) as (port, asked):
        settings = {
            "FIRESTORE_EMULATOR_HOST": f"127.0.0.1:{port}",
            "FIRESTORE_DATABASE": "calls-eu",
        }
        asyncio.run(read_now(store_with(AnonymousCredentials(), **settings)))

    assert [each.request.database for each in asked] == ["projects/theirs/databases/calls-eu"]


def test_user_credentials_name_the_quota_project() -> None:
    credentials = UserCredentials("a-token", quota_project_id="mine")
    with fake_firestore(both_documents) as (port, asked):
        store = store_with(credentials, FIRESTORE_EMULATOR_HOST=f"127.0.0.1:{port}")
        asyncio.run(read_now(store))

    assert [each.metadata["x-goog-user-project"] for each in asked] == ["mine"]


async def two_outcomes(credentials: FakeCredentials) -> set[str]:
    store = store_with(credentials)
    return {str(await outcome(store)) for _ in range(2)}


def test_without_an_access_token_calls_are_unavailable() -> None:
    """The metadata server has none right now, which is no fault of Firestore's."""
    credentials = FakeCredentials(TransportError("none"), TransportError("none"))

    assert asyncio.run(two_outcomes(credentials)) == {
        "calls_unavailable: no access token for Firestore: TransportError"
    }


def test_an_access_token_that_does_not_come_is_no_silence_of_firestore_s(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(firestore, "READ_SECONDS", 0.1)
    monkeypatch.setattr(firestore, "LATE_SECONDS", 60.0)  # of a busy machine
    credentials = FakeCredentials("late")
    credentials.may_end.clear()

    async def reads() -> set[str]:
        try:
            return await two_outcomes(credentials)
        finally:
            credentials.may_end.set()

    assert asyncio.run(reads()) == {"upstream_timeout: credentials for Firestore"}


def test_without_credentials_nothing_can_be_read() -> None:
    environment = Settings.from_environment({"RECORDINGS_BUCKET": BUCKET})
    store = FirestoreCalls(environment, AccessTokens(no_credentials))

    with pytest.raises(Internal, match=r"there are no Application Default Credentials$"):
        asyncio.run(read_now(store))


def test_in_production_the_metadata_server_s_token_is_used(
    authority: trustme.CA, authority_file: Any
) -> None:
    """With the bucket alone set: TLS to Google's own hosts, project and account from the server.

    A token that Firestore refuses is replaced.
    """

    def answers(request: Request, context: ServicerContext) -> Responses:
        metadata = {name: str(value) for name, value in context.invocation_metadata()}
        if not cloud.metadata.accepts(metadata["authorization"]):
            context.abort(StatusCode.UNAUTHENTICATED, "s3cret")
        for response in both_documents(request):
            if "transcript" in request.mask.field_paths and response.found.name.endswith("/78"):
                response.found.fields["ended_reason"] = Value(string_value="x" * 3 * MIB)
            yield response

    certificate = authority.issue_cert(FIRESTORE_HOST)
    with (
        closing(GoogleCloud(authority, str(authority_file))) as cloud,
        fake_firestore(answers, certificate) as (port, asked),
    ):
        cloud.proxy.ports[FIRESTORE_HOST] = port
        with served({"RECORDINGS_BUCKET": BUCKET} | cloud.environment) as service:
            replies = [service.request(key=KEY) for _ in range(2)]
            cloud.metadata.revoked.add(f"Bearer {cloud.metadata.token()}")
            replies.append(service.request(key=KEY))
            assert service.request(target="/v2/calls/78", key=KEY).status == 500
            assert service.entries()[-1]["message"].endswith("larger than 2 MiB")
            output = service.output()

    assert [reply.status for reply in replies] == [200] * 3
    url = replies[0].json()["recording_url"]
    assert url.startswith("https://storage.googleapis.com/")
    name = sample_calls()[77]["recording_object"]
    assert isinstance(name, str)
    check_v4(url, name, cloud.iam.key.public_key(), EMAIL)
    database = f"projects/{PROJECT}/databases/(default)"
    # One more for a new key, one for the refused token, and one for the owner of the oversized call.
    assert [each.request.database for each in asked] == [database] * 7
    tokens = [each.metadata["authorization"] for each in asked]
    assert tokens == ["Bearer ya29.token-1"] * 4 + ["Bearer ya29.token-2"] * 3
    assert "ya29.token" not in output
