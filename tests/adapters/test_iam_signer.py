"""signBlob: refused tokens, retries, and answers that are not what IAM publishes."""

import asyncio
import gc
import itertools
import socket
import threading
import tracemalloc
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any
from urllib.parse import unquote

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from google.auth.exceptions import TransportError
from google.cloud.iam_credentials_v1 import SignBlobResponse
from grpc import StatusCode

from call_api.cloud.tokens import AccessTokens
from call_api.errors import Internal, Problem, SigningUnavailable
from call_api.recordings import iam as iam_signer
from call_api.recordings.iam import MAX_ANSWER_BYTES, IamSigner, iam_channel_options
from tests.support.fakes import FakeCredentials, finder_of
from tests.support.google_cloud import EMAIL, HANG, NO_EMAILS, NOTHING, Iam, Metadata, with_reason

FIRST, SECOND, THIRD = (f"ya29.token-{n}" for n in (1, 2, 3))
MIB = 2**20


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[Metadata, Iam]]:
    metadata = Metadata()
    iam = Iam(metadata, None)
    yield metadata, iam
    iam.close()
    metadata.close()


@pytest.fixture
def iam(servers: tuple[Metadata, Iam]) -> Iam:
    """Start anew an IAM that accepts the second of three tokens."""
    metadata, iam = servers
    metadata.tokens, metadata.revoked = 3, {f"Bearer {FIRST}", f"Bearer {THIRD}"}
    iam.forget()
    return iam


Ask = Callable[[IamSigner], Coroutine[Any, Any, Any]]


async def sign(signer: IamSigner) -> bytes:
    return await signer.sign(EMAIL, b"message")


def run(
    iam: Iam, credentials: FakeCredentials, ask: Ask = sign, *, first_ports: Sequence[int] = ()
) -> Any:
    """Ask a new signer, whose first channels lead to other ports than IAM's."""
    ports = itertools.chain(first_ports, itertools.repeat(iam.port))

    def open_channel() -> grpc.aio.Channel:
        return grpc.aio.insecure_channel(f"127.0.0.1:{next(ports)}", iam_channel_options())

    async def with_signer() -> Any:
        tokens = AccessTokens(finder_of(credentials))
        found, _ = await tokens.credentials()
        return await ask(IamSigner(found, tokens, open_channel))

    return asyncio.run(with_signer())


def problem_of(iam: Iam, credentials: FakeCredentials, ask: Ask = sign) -> Problem:
    """Return what a new signer fails with."""
    with pytest.raises(Problem) as problem:
        run(iam, credentials, ask)
    return problem.value


def test_a_signature_is_the_account_s(iam: Iam) -> None:
    async def test(signer: IamSigner) -> None:
        assert await signer.account() == EMAIL
        iam.key.public_key().verify(await sign(signer), b"message", PKCS1v15(), SHA256())

    run(iam, FakeCredentials(SECOND), test)


@pytest.mark.parametrize("quota_project", [None, "mine"])
def test_the_request_carries_token_route_and_quota_project(
    quota_project: str | None, iam: Iam
) -> None:
    credentials = FakeCredentials(SECOND)
    credentials.quota_project_id = quota_project
    run(iam, credentials)

    (headers,) = iam.headers
    assert headers["authorization"] == f"Bearer {SECOND}"
    route = unquote(headers["x-goog-request-params"])  # AIP-4222
    assert route == f"name=projects/-/serviceAccounts/{EMAIL}"
    assert headers.get("x-goog-user-project") == quota_project


# Refused tokens


def test_a_token_that_is_refused_again_is_an_internal_error(iam: Iam) -> None:
    credentials = FakeCredentials(FIRST, THIRD, SECOND)
    problem = problem_of(iam, credentials)

    assert isinstance(problem, Internal)
    hint = " to a new access token, too: is the service account disabled?"
    assert str(problem) == f"internal: signBlob answered UNAUTHENTICATED{hint}"
    assert (credentials.refreshes, iam.requests) == (2, 2)


def test_a_token_is_replaced_once_also_where_transient_failures_come_between(iam: Iam) -> None:
    unavailable, refused = StatusCode.UNAVAILABLE, StatusCode.UNAUTHENTICATED
    iam.planned.extend([unavailable, refused, unavailable, refused])
    credentials = FakeCredentials(FIRST, SECOND, THIRD)

    assert isinstance(problem_of(iam, credentials), Internal)
    assert (credentials.refreshes, iam.requests) == (2, 4)


def test_a_refused_token_without_a_successor_is_an_outage(iam: Iam) -> None:
    problem = problem_of(iam, FakeCredentials(FIRST, TransportError()))

    assert isinstance(problem, SigningUnavailable)
    assert str(problem) == "signing_unavailable: no access token for signBlob: TransportError"
    assert iam.requests == 1


# The account


@pytest.mark.parametrize("email", NO_EMAILS)
def test_credentials_that_name_no_service_account_cannot_sign(iam: Iam, email: object) -> None:
    credentials = FakeCredentials(SECOND)
    credentials.service_account_email = email

    problem = problem_of(iam, credentials, IamSigner.account)

    assert isinstance(problem, Internal)
    assert str(problem) == "internal: the default credentials are not a service account's"


@pytest.mark.parametrize(
    ("given", "kind", "reason"),
    [
        ("mal formed", SigningUnavailable, "malformed token"),
        (ZeroDivisionError(), Internal, "unusable credentials: ZeroDivisionError"),
    ],
    ids=["an outage", "a defect"],
)
def test_without_a_token_there_is_no_account(
    given: str | Exception, kind: type[Problem], reason: str, iam: Iam
) -> None:
    problem = problem_of(iam, FakeCredentials(given), IamSigner.account)

    assert type(problem) is kind
    assert str(problem) == f"{kind.code}: no access token for signBlob: {reason}"


# Answers


@pytest.mark.parametrize(
    ("size", "compression"),
    [
        (MAX_ANSWER_BYTES + 1, grpc.Compression.NoCompression),
        (256 * MIB, grpc.Compression.NoCompression),
        (32 * MIB, grpc.Compression.Gzip),  # 32 KiB on the wire
    ],
    ids=["1 byte", "256 MiB", "32 MiB compressed"],
)
def test_an_oversized_answer_is_neither_kept_nor_asked_again(
    size: int, compression: grpc.Compression, iam: Iam
) -> None:
    iam.planned.append(bytes(size))
    iam.compression = compression
    held: list[int] = []

    async def test(signer: IamSigner) -> None:
        await signer.account()
        tracemalloc.start()
        with pytest.raises(Internal, match=r": signBlob answered more than 65536 bytes$"):
            await sign(signer)
        held.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert iam.requests == 1
        await sign(signer)

    run(iam, FakeCredentials(SECOND), test)
    assert held[0] < 2 * MIB


def test_the_longest_answer_counts(iam: Iam) -> None:
    iam.planned.append(answer_of(MAX_ANSWER_BYTES))

    assert len(run(iam, FakeCredentials(SECOND))) > MAX_ANSWER_BYTES - 8


def answer_of(size: int) -> bytes:
    """Return a valid answer of so many bytes."""
    empty = len(SignBlobResponse.serialize(SignBlobResponse(signed_blob=bytes(MAX_ANSWER_BYTES))))
    signature = bytes(size - (empty - MAX_ANSWER_BYTES))
    answer: bytes = SignBlobResponse.serialize(SignBlobResponse(signed_blob=signature))
    assert len(answer) == size
    return answer


MALFORMED = [b"s3cret", b"\xff", b"\x22\x05abc", b"\x22"]
# The last two have the signature's number with another type, and another number.
WITHOUT_SIGNATURE = [NOTHING, b"", b"\x0a\x011", b"\x20\x05", b"\x2a\x06s3cret"]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        *((answer, "no message of its type") for answer in MALFORMED),
        *((answer, "no signature") for answer in WITHOUT_SIGNATURE),
    ],
    ids=repr,
)
def test_an_answer_of_no_use_is_an_internal_error_without_its_text(
    answer: str | bytes, said: str, iam: Iam
) -> None:
    iam.lasting = answer
    problem = problem_of(iam, FakeCredentials(SECOND))

    assert isinstance(problem, Internal)
    assert str(problem) == f"internal: signBlob answered {said}"
    assert problem.__cause__ is None
    assert iam.requests == 1


@pytest.mark.parametrize("status", [StatusCode.UNAVAILABLE, StatusCode.RESOURCE_EXHAUSTED])
def test_a_transient_failure_is_retried(status: StatusCode, iam: Iam) -> None:
    iam.planned.append(status)
    run(iam, FakeCredentials(SECOND))

    assert (iam.requests, iam.signatures, len(iam.connections)) == (2, 1, 1)


@pytest.mark.parametrize(
    ("signatures", "refusal"),
    [
        (5, StatusCode.RESOURCE_EXHAUSTED),
        (1, with_reason(StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMIT_EXCEEDED")),
        (20, with_reason(StatusCode.RESOURCE_EXHAUSTED, "NEVER_HEARD_OF")),
    ],
    ids=["5", "1, with a reason", "20, with another"],
)
def test_over_the_quota_iam_is_asked_again_seldom(signatures: int, refusal: Any, iam: Iam) -> None:
    """As often as for other failures would be some seven times each."""
    iam.lasting = refusal

    async def test(signer: IamSigner) -> None:
        tasks = (sign(signer) for _ in range(signatures))
        failures = await asyncio.gather(*tasks, return_exceptions=True)
        assert {type(failure) for failure in failures} == {SigningUnavailable}

    run(iam, FakeCredentials(SECOND), test)
    assert 2 * signatures <= iam.requests <= 5 * signatures


@pytest.mark.parametrize(
    ("refusal", "said"),
    [
        (
            StatusCode.PERMISSION_DENIED,
            ": has it roles/iam.serviceAccountTokenCreator on itself?",
        ),
        (with_reason(StatusCode.PERMISSION_DENIED, "NEVER_HEARD_OF"), ", NEVER_HEARD_OF"),
    ],
    ids=["without a reason", "with Google's"],
)
def test_a_refusal_is_an_internal_error(refusal: Any, said: str, iam: Iam) -> None:
    iam.lasting = refusal
    problem = problem_of(iam, FakeCredentials(SECOND))

    assert isinstance(problem, Internal)
    assert str(problem) == f"internal: signBlob answered PERMISSION_DENIED{said}"
    assert iam.requests == 1


# Connections


async def waiting_signature(signer: IamSigner, iam: Iam) -> "asyncio.Task[bytes]":
    """Start a signature that IAM leaves without an answer; IAM has its request."""
    iam.asked = threading.Semaphore(0)
    iam.planned.append(HANG)
    task = asyncio.create_task(sign(signer))
    assert await asyncio.to_thread(iam.asked.acquire, timeout=10)
    return task


async def cancelled(task: "asyncio.Task[bytes]") -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_a_channel_that_cannot_connect_is_replaced(iam: Iam) -> None:
    """The retry is not delayed by gRPC's own backoff."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    async def test(signer: IamSigner) -> None:
        await asyncio.gather(sign(signer), sign(signer))

    run(iam, FakeCredentials(SECOND), test, first_ports=[port])
    assert (iam.requests, len(iam.connections)) == (2, 1)


@pytest.mark.parametrize(
    ("silence_seconds", "connections"), [(iam_signer.SILENCE_SECONDS, 1), (0.0, 2)]
)
def test_a_client_that_leaves_costs_the_others_their_connection_only_after_silence(
    silence_seconds: float, connections: int, iam: Iam, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(iam_signer, "SILENCE_SECONDS", silence_seconds)

    async def test(signer: IamSigner) -> None:
        await cancelled(await waiting_signature(signer, iam))
        await sign(signer)

    run(iam, FakeCredentials(SECOND), test)
    assert (iam.requests, len(iam.connections)) == (2, connections)


def test_two_that_end_in_silence_replace_the_connection_once(
    iam: Iam, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(iam_signer, "SILENCE_SECONDS", 0.0)

    async def test(signer: IamSigner) -> None:
        for silent in [await waiting_signature(signer, iam) for _ in range(2)]:
            await cancelled(silent)
            await sign(signer)

    run(iam, FakeCredentials(SECOND), test)
    assert (iam.requests, len(iam.connections)) == (4, 2)


def test_a_signature_on_a_connection_that_is_given_up_is_still_received(
    iam: Iam, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(iam_signer, "SILENCE_SECONDS", 0.0)

    async def test(signer: IamSigner) -> None:
        silent = await waiting_signature(signer, iam)
        iam.seconds = 0.5
        slow = asyncio.create_task(sign(signer))
        assert await asyncio.to_thread(iam.asked.acquire, timeout=10)
        await cancelled(silent)
        gc.collect()
        assert await slow

    run(iam, FakeCredentials(SECOND), test)
    assert (iam.requests, len(iam.connections)) == (2, 1)
