"""Reading from Firestore: one round trip, inside its budget, and failures told apart."""

import asyncio
import functools
import hashlib
import itertools
import socket
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

import grpc
import pytest
import trustme
from google.auth.credentials import AnonymousCredentials, Credentials
from google.auth.exceptions import DefaultCredentialsError
from google.cloud.firestore_v1 import _helpers
from google.cloud.firestore_v1.types import (
    BatchGetDocumentsRequest,
    BatchGetDocumentsResponse,
    Document,
    Value,
)

from call_api.calls import Document as StoredDocument
from call_api.calls import get_call
from call_api.errors import (
    CallsUnavailable,
    Internal,
    Problem,
    Unauthenticated,
    UpstreamTimeout,
)
from call_api.firestore import FirestoreCalls
from call_api.settings import Settings
from local.seed import sample_calls
from tests.conftest import BUCKET
from tests.google_cloud import (
    EMAIL,
    FIRESTORE_HOST,
    PROJECT,
    Answers,
    Asked,
    GoogleCloud,
    firestore_that,
)
from tests.serving import served
from tests.test_signing import check_v4

KEY = "a-key"
WRITTEN = datetime(2026, 3, 25, 10, 22, 38, 123_456, tzinfo=UTC)
BUDGET_SECONDS = 3.0
SLACK_SECONDS = 1.0
Read = tuple[StoredDocument | None, StoredDocument | None]


def found(name: str, fields: dict[str, Any]) -> BatchGetDocumentsResponse:
    document = Document(name=name, fields=_helpers.encode_dict(fields), update_time=WRITTEN)
    return BatchGetDocumentsResponse(found=document, read_time=WRITTEN)


def both_documents(
    request: BatchGetDocumentsRequest, _: object = None
) -> Iterator[BatchGetDocumentsResponse]:
    """Answer the key's record and call 77, the call first, as Firestore may."""
    for name in reversed(request.documents):
        fields = sample_calls()[77] if "/calls/" in name else {"org_id": "org_acme"}
        yield found(name, fields)


def no_credentials() -> tuple[Credentials, str | None]:
    raise DefaultCredentialsError


def settings_for(port: int) -> Settings:
    return Settings.from_environment(
        {
            "RECORDINGS_BUCKET": BUCKET,
            "GOOGLE_CLOUD_PROJECT": "demo-tests",
            "FIRESTORE_EMULATOR_HOST": f"127.0.0.1:{port}",
        }
    )


def read(port: int, call_id: int | None = 77, *, times: int = 1) -> list[Read | Problem]:
    """Read so often, all at once, from the Firestore at this port."""

    async def reads() -> list[Read | Problem]:
        store = FirestoreCalls(settings_for(port), no_credentials)
        tasks = (store.read(KEY, call_id) for _ in range(times))
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        return [answer for answer in answers if isinstance(answer, tuple | Problem)]

    answers = asyncio.run(reads())
    assert len(answers) == times
    return answers


def fields_of(answer: Read | Problem) -> tuple[object, object]:
    assert isinstance(answer, tuple)
    key, call = answer
    assert key is not None
    return key.fields(), call and call.fields()


def test_key_and_call_come_in_one_round_trip() -> None:
    with firestore_that(both_documents) as (port, asked):
        (answer,) = read(port)

    assert fields_of(answer) == ({"org_id": "org_acme"}, sample_calls()[77])
    ((request, metadata),) = asked
    database = "projects/demo-tests/databases/(default)"
    assert request.database == database
    assert unquote(metadata["x-goog-request-params"]) == f"database={database}"  # AIP-4222
    assert request.documents == [
        f"{database}/documents/api_keys/{hashlib.sha256(KEY.encode()).hexdigest()}",
        f"{database}/documents/calls/77",
    ]
    assert {"org_id", "recording_object", "expires_at"} <= set(request.mask.field_paths)


def test_without_a_call_id_only_the_key_is_read() -> None:
    with firestore_that(both_documents) as (port, _):
        (answer,) = read(port, None)

    assert fields_of(answer) == ({"org_id": "org_acme"}, None)


def test_what_does_not_exist_is_none() -> None:
    def missing(
        request: BatchGetDocumentsRequest, _: object
    ) -> Iterator[BatchGetDocumentsResponse]:
        for name in request.documents:
            yield BatchGetDocumentsResponse(missing=name, read_time=WRITTEN)

    with firestore_that(missing) as (port, _):
        assert read(port) == [(None, None)]


def test_the_update_time_is_exact() -> None:
    with firestore_that(both_documents) as (port, _):
        (answer,) = read(port)

    assert isinstance(answer, tuple)
    assert answer[1] is not None
    assert answer[1].updated_ns == int(WRITTEN.timestamp()) * 10**9 + 123_456_000


def test_every_type_is_decoded_and_an_unknown_one_is_no_value_of_ours() -> None:
    fields = {
        "text": "मदद",
        "integer": -(2**63),
        "double": 0.1,
        "boolean": True,
        "null": None,
        "time": datetime(2026, 1, 1, tzinfo=UTC),
        "map": {"in": {"side": [1, "2", None, {}]}},
        "array": [],
    }
    year_10000 = Value()
    Value.pb(year_10000).timestamp_value.seconds = 253_402_300_800

    def answers(
        request: BatchGetDocumentsRequest, _: object
    ) -> Iterator[BatchGetDocumentsResponse]:
        response = found(request.documents[0], fields | {"bytes": b"\xff"})
        response.found.fields["yet to come"] = Value()
        response.found.fields["year 10000"] = year_10000
        yield response

    with firestore_that(answers) as (port, _):
        (answer,) = read(port)

    decoded, _ = fields_of(answer)
    assert isinstance(decoded, dict)
    unknown = {name: decoded.pop(name) for name in ("bytes", "yet to come", "year 10000")}
    assert decoded == fields
    for value in unknown.values():
        assert value is not None
        assert not isinstance(value, str | int | float | bool | list | dict | datetime | bytes)


def test_a_call_is_decoded_only_for_whoever_has_a_key(noon: datetime) -> None:
    """Decoding takes the longer the longer the call is: a stranger could read that off the clock."""

    def undecodable() -> dict[str, object]:
        raise AssertionError

    class Store:
        async def read(self, _: str, __: int | None) -> Read:
            return None, StoredDocument(undecodable, 0)

    with pytest.raises(Unauthenticated):
        asyncio.run(get_call(Store(), "unknown", 77, noon))


NO_ROLE = "Firestore refuses: is roles/datastore.viewer granted?"


@pytest.mark.parametrize(
    ("status", "problem", "reason"),
    [
        (grpc.StatusCode.PERMISSION_DENIED, Internal, NO_ROLE),
        (grpc.StatusCode.UNAUTHENTICATED, Internal, NO_ROLE),
        (grpc.StatusCode.NOT_FOUND, Internal, "Firestore: NotFound"),
        (grpc.StatusCode.INVALID_ARGUMENT, Internal, "Firestore: InvalidArgument"),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, CallsUnavailable, "Firestore: ResourceExhausted"),
        (grpc.StatusCode.UNAVAILABLE, CallsUnavailable, "Firestore: RetryError"),
        (grpc.StatusCode.INTERNAL, CallsUnavailable, "Firestore: InternalServerError"),
        (grpc.StatusCode.DEADLINE_EXCEEDED, UpstreamTimeout, "Firestore"),
    ],
)
def test_failures_are_told_apart(
    status: grpc.StatusCode, problem: type[Problem], reason: str
) -> None:
    started = time.monotonic()
    with firestore_that(status) as (port, requests):
        (answer,) = read(port)

    assert type(answer) is problem
    assert str(answer) == f"{problem.code}: {reason}"
    assert time.monotonic() - started < BUDGET_SECONDS
    assert len(requests) > 1 if status is grpc.StatusCode.UNAVAILABLE else len(requests) == 1


def test_a_failure_that_passes_is_retried() -> None:
    attempts = itertools.count()

    def answers(
        request: BatchGetDocumentsRequest, context: grpc.ServicerContext
    ) -> Iterator[BatchGetDocumentsResponse]:
        if next(attempts) == 0:
            context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")
        yield from both_documents(request)

    with firestore_that(answers) as (port, requests):
        (answer,) = read(port)

    assert fields_of(answer)[0] == {"org_id": "org_acme"}
    assert len(requests) == 2


def test_a_firestore_that_is_not_there_is_503_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    started = time.monotonic()
    (answer,) = read(port)

    assert isinstance(answer, CallsUnavailable)
    assert time.monotonic() - started < 2


def test_a_firestore_that_is_silent_ends_with_the_budget_for_one_and_for_twenty() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        started = time.monotonic()
        answers = read(silent.getsockname()[1], times=20)

    assert {type(answer) for answer in answers} == {UpstreamTimeout}
    assert time.monotonic() - started < BUDGET_SECONDS + SLACK_SECONDS


def test_a_silent_connection_is_left_once_however_many_wait_on_it() -> None:
    """The one that replaces it is not left, too, when the next of them gives up."""
    peers: set[str] = set()

    def answers(
        request: BatchGetDocumentsRequest, context: grpc.ServicerContext
    ) -> Iterator[BatchGetDocumentsResponse]:
        peers.add(context.peer())
        if request.documents[-1].endswith("/13"):
            time.sleep(BUDGET_SECONDS + SLACK_SECONDS)
        yield from both_documents(request)

    @functools.cache
    def slow_credentials() -> tuple[Credentials, str | None]:
        time.sleep(0.5)  # so that all three find no connection when they come
        return AnonymousCredentials(), "theirs"

    async def reads(port: int) -> list[Read | BaseException]:
        without_project = settings_for(port).model_copy(update={"project": None})
        store = FirestoreCalls(without_project, slow_credentials)

        async def read_at(seconds: float, call_id: int) -> Read:
            await asyncio.sleep(seconds)
            return await store.read(KEY, call_id)

        silent = [read_at(seconds, 13) for seconds in (0, 0.2, 0.4)]
        others = [read_at(BUDGET_SECONDS + seconds, 77) for seconds in (0.1, 0.3, 0.5)]
        return await asyncio.gather(*silent, *others, return_exceptions=True)

    with firestore_that(answers) as (port, asked):
        answered = asyncio.run(reads(port))

    assert [type(answer) for answer in answered] == [UpstreamTimeout] * 3 + [tuple] * 3
    assert len(peers) == 2
    assert sum(len(each.request.documents) == 1 for each in asked) == 1, "one trial is enough"


def reads_one_by_one(
    answers: Answers, *, then_at_once: int = 0
) -> tuple[list[Read | BaseException], list[Asked]]:
    """Read twice, one after the other, then so often at once."""

    async def reads(port: int) -> list[Read | BaseException]:
        store = FirestoreCalls(settings_for(port), no_credentials)
        answered: list[Read | BaseException] = []
        for times in (1, 1, then_at_once):
            tasks = (store.read(KEY, 77) for _ in range(times))
            answered += await asyncio.gather(*tasks, return_exceptions=True)
        return answered

    with firestore_that(answers) as (port, asked):
        return asyncio.run(reads(port)), asked


def test_while_firestore_fails_one_read_at_a_time_asks_whether_it_is_back() -> None:
    def silent(_: BatchGetDocumentsRequest, __: object) -> Iterator[BatchGetDocumentsResponse]:
        time.sleep(BUDGET_SECONDS + SLACK_SECONDS)
        yield from ()

    answered, asked = reads_one_by_one(silent, then_at_once=20)

    assert [type(answer) for answer in answered] == [UpstreamTimeout] + [CallsUnavailable] * 21
    assert "Firestore has failed, and has not answered since" in str(answered[-1])
    first, *trials = asked
    assert len(first.request.documents) == 2
    assert [len(trial.request.documents) for trial in trials] == [1]  # of a key that nobody has


def test_a_slow_firestore_is_not_dead_for_good_after_a_failure() -> None:
    """A trial has more time than those who wait for it, or it would never end in an answer."""
    attempts = itertools.count()

    def answers(
        request: BatchGetDocumentsRequest, context: grpc.ServicerContext
    ) -> Iterator[BatchGetDocumentsResponse]:
        if next(attempts) == 0:
            context.abort(grpc.StatusCode.INTERNAL, "s3cret")
        time.sleep(1.7)
        yield from both_documents(request)

    async def reads(port: int) -> list[type]:
        store = FirestoreCalls(settings_for(port), no_credentials)
        answered = [await asyncio.gather(store.read(KEY, 77), return_exceptions=True)]
        while not isinstance(answered[-1][0], tuple) and len(answered) < 10:
            answered.append(await asyncio.gather(store.read(KEY, 77), return_exceptions=True))
        return [type(answer) for (answer,) in answered]

    with firestore_that(answers) as (port, _):
        *refused, last = asyncio.run(reads(port))

    assert set(refused) == {CallsUnavailable}
    assert last is tuple


def test_a_trial_that_is_not_answered_ends_and_another_begins() -> None:
    attempts = itertools.count()

    def answers(
        _: BatchGetDocumentsRequest, context: grpc.ServicerContext
    ) -> Iterator[BatchGetDocumentsResponse]:
        if next(attempts) > 0:
            time.sleep(BUDGET_SECONDS)
        context.abort(grpc.StatusCode.INTERNAL, "s3cret")
        yield from ()

    async def reads(port: int) -> None:
        store = FirestoreCalls(settings_for(port), no_credentials)
        for seconds in (0.0, 2.0, 0.0):
            with pytest.raises(CallsUnavailable):
                await store.read(KEY, 77)
            await asyncio.sleep(seconds)

    with firestore_that(answers) as (port, asked):
        asyncio.run(reads(port))

    assert [len(each.request.documents) for each in asked] == [2, 1, 1]


def test_how_a_trial_failed_is_not_what_others_are_told() -> None:
    def answers(
        _: BatchGetDocumentsRequest, context: grpc.ServicerContext
    ) -> Iterator[BatchGetDocumentsResponse]:
        context.abort(grpc.StatusCode.INTERNAL, "s3cret")
        yield from ()

    (_, told), _ = reads_one_by_one(answers)

    assert str(told).endswith("Firestore has failed, and has not answered since")


def test_a_read_behind_a_trial_keeps_within_the_budget_with_it() -> None:
    attempts = itertools.count()

    def answers(
        request: BatchGetDocumentsRequest, context: grpc.ServicerContext
    ) -> Iterator[BatchGetDocumentsResponse]:
        attempt = next(attempts)
        if attempt == 0:
            context.abort(grpc.StatusCode.INTERNAL, "s3cret")
        if attempt > 1:  # behind the trial
            time.sleep(BUDGET_SECONDS + SLACK_SECONDS)  # so that only a budget can end the read
        yield from both_documents(request)

    async def second(port: int) -> tuple[type, float]:
        store = FirestoreCalls(settings_for(port), no_credentials)
        await asyncio.gather(store.read(KEY, 77), return_exceptions=True)
        started = time.monotonic()
        (answer,) = await asyncio.gather(store.read(KEY, 77), return_exceptions=True)
        return type(answer), time.monotonic() - started

    with firestore_that(answers) as (port, _):
        answer, seconds = asyncio.run(second(port))

    assert answer is UpstreamTimeout
    assert seconds < BUDGET_SECONDS - 0.2


def test_a_connection_over_which_a_failure_was_told_is_kept() -> None:
    """It works: a new one would be a TLS handshake for nothing."""
    peers: set[str] = set()
    attempts = itertools.count()

    def answers(
        request: BatchGetDocumentsRequest, context: grpc.ServicerContext
    ) -> Iterator[BatchGetDocumentsResponse]:
        peers.add(context.peer())
        if next(attempts) == 0:
            context.abort(grpc.StatusCode.INTERNAL, "s3cret")
        yield from both_documents(request)

    (_, answered), _ = reads_one_by_one(answers)

    assert isinstance(answered, tuple)
    assert len(peers) == 1


def test_what_a_trial_finds_wrong_with_the_settings_is_told() -> None:
    """Not "Firestore has failed", without end."""
    attempts = itertools.count()

    def default_credentials() -> tuple[Credentials, str | None]:
        if next(attempts) == 0:
            time.sleep(BUDGET_SECONDS + 0.2)
        return AnonymousCredentials(), None

    async def reads() -> list[type]:
        settings = Settings.from_environment({"RECORDINGS_BUCKET": BUCKET})
        store = FirestoreCalls(settings, default_credentials)
        answered = [
            await asyncio.gather(store.read(KEY, 77), return_exceptions=True) for _ in range(3)
        ]
        return [type(answer) for (answer,) in answered]

    assert asyncio.run(reads()) == [UpstreamTimeout, Internal, Internal]


def test_a_firestore_that_refuses_is_back_too() -> None:
    """Else a missing role would be told as an outage, and no log would name it."""
    attempts = itertools.count()

    def answers(
        _: BatchGetDocumentsRequest, context: grpc.ServicerContext
    ) -> Iterator[BatchGetDocumentsResponse]:
        first = next(attempts) == 0
        context.abort(
            grpc.StatusCode.INTERNAL if first else grpc.StatusCode.PERMISSION_DENIED, "s3cret"
        )
        yield from ()

    answered, _ = reads_one_by_one(answers)

    assert [type(answer) for answer in answered] == [CallsUnavailable, Internal]


def connect(credentials: Credentials | None, project: str | None, **settings: str) -> Read:
    """Read with these default credentials."""

    def default_credentials() -> tuple[Credentials, str | None]:
        return (credentials, project) if credentials else no_credentials()

    environment = Settings.from_environment({"RECORDINGS_BUCKET": BUCKET} | settings)
    return asyncio.run(FirestoreCalls(environment, default_credentials).read(KEY, 77))


def test_the_project_is_the_credentials_where_none_is_set() -> None:
    with firestore_that(both_documents) as (port, asked):
        connect(
            AnonymousCredentials(),
            "theirs",
            FIRESTORE_EMULATOR_HOST=f"127.0.0.1:{port}",
            FIRESTORE_DATABASE="calls-eu",
        )

    assert [each.request.database for each in asked] == ["projects/theirs/databases/calls-eu"]


def test_without_any_project_nothing_can_be_read() -> None:
    unset = "^internal: GOOGLE_CLOUD_PROJECT is unset, and the credentials name no project$"
    with pytest.raises(Internal, match=unset):
        connect(AnonymousCredentials(), None)


def test_without_credentials_nothing_can_be_read() -> None:
    with pytest.raises(Internal, match="DefaultCredentialsError"):
        connect(None, None, GOOGLE_CLOUD_PROJECT="demo-tests")


def test_in_production_everything_is_asked_with_the_metadata_server_s_token(
    authority: trustme.CA, authority_file: Any
) -> None:
    """With the bucket alone set: TLS to Google's own hosts, project and account from the server."""

    def more_than_grpc_takes_by_default(
        request: BatchGetDocumentsRequest, _: object
    ) -> Iterator[BatchGetDocumentsResponse]:
        for response in both_documents(request):
            response.found.fields["padding"] = Value(string_value="x" * 5 * 2**20)
            yield response

    certificate = authority.issue_cert(FIRESTORE_HOST)
    with (
        closing(GoogleCloud(authority, str(authority_file))) as cloud,
        firestore_that(more_than_grpc_takes_by_default, certificate) as (port, asked),
    ):
        cloud.proxy.ports[FIRESTORE_HOST] = port
        with served({"RECORDINGS_BUCKET": BUCKET} | cloud.environment) as service:
            replies = [service.request(key=KEY) for _ in range(3)]
            output = service.output()

    assert [reply.status for reply in replies] == [200] * 3
    url = replies[0].json()["recording_url"]
    assert url.startswith("https://storage.googleapis.com/")
    name = sample_calls()[77]["recording_object"]
    assert isinstance(name, str)
    check_v4(url, name, cloud.iam.key.public_key(), EMAIL)
    database = f"projects/{PROJECT}/databases/(default)"
    assert [each.request.database for each in asked] == [database] * 3
    tokens = {each.metadata["authorization"] for each in asked}
    assert tokens == {f"Bearer {cloud.metadata.token()}"}
    assert cloud.metadata.token() not in output
