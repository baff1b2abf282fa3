"""signBlob: refused tokens, retries, and answers that are not what IAM publishes."""

import asyncio
import base64
import gzip
import json
import threading
import tracemalloc
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from google.auth.exceptions import RefreshError

from call_api import iam_signer
from call_api.access_token import AccessTokens
from call_api.errors import Internal, Problem, SigningUnavailable
from call_api.iam_signer import MAX_ANSWER_BYTES, Answer, IamSigner, signature_in
from tests.support.fakes import FakeCredentials
from tests.support.google_cloud import DROP, EMAIL, HANG, Iam, Metadata, Raw

FIRST, SECOND, THIRD = (f"ya29.token-{n}" for n in (1, 2, 3))
MIB = 2**20
SIGNED = {"keyId": "1", "signedBlob": base64.b64encode(b"signature").decode()}


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[Metadata, Iam]]:
    metadata = Metadata()
    iam = Iam(metadata, None)
    yield metadata, iam
    iam.close()
    metadata.close()


@pytest.fixture
def iam(servers: tuple[Metadata, Iam], monkeypatch: pytest.MonkeyPatch) -> Iam:
    """Start anew an IAM that accepts the second of three tokens."""
    metadata, iam = servers
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    metadata.tokens, metadata.revoked = 3, {f"Bearer {FIRST}", f"Bearer {THIRD}"}
    iam.requests = iam.signatures = iam.connections = iam.streamed = 0
    iam.asked = threading.Semaphore(0)
    iam.headers.clear()
    iam.planned.clear()
    iam.seconds, iam.lasting = 0.0, None
    return iam


@asynccontextmanager
async def signer_of(iam: Iam, credentials: FakeCredentials) -> AsyncIterator[IamSigner]:
    tokens = AccessTokens(lambda: (credentials, None))
    signer = IamSigner(tokens, f"http://127.0.0.1:{iam.port}")
    try:
        yield signer
    finally:
        if signer._http is not None:  # noqa: SLF001  (a pool lives as long as the process)
            await signer._http.close()  # noqa: SLF001


def run(
    iam: Iam, credentials: FakeCredentials, test: Callable[[IamSigner], Coroutine[Any, Any, None]]
) -> None:
    async def with_signer() -> None:
        async with signer_of(iam, credentials) as signer:
            await test(signer)

    asyncio.run(with_signer())


def problem_of(iam: Iam, credentials: FakeCredentials) -> Problem:
    """Return what a signature fails with."""
    problems = []

    async def test(signer: IamSigner) -> None:
        with pytest.raises(Problem) as problem:
            await signer.sign(EMAIL, b"message")
        problems.append(problem.value)

    run(iam, credentials, test)
    return problems[0]


def test_a_signature_is_the_account_s(iam: Iam) -> None:
    async def test(signer: IamSigner) -> None:
        assert await signer.account() == EMAIL
        signature = await signer.sign(EMAIL, b"message")
        iam.key.public_key().verify(signature, b"message", PKCS1v15(), SHA256())

    run(iam, FakeCredentials(SECOND), test)


def test_the_request_asks_for_an_answer_that_is_not_compressed(iam: Iam) -> None:
    async def test(signer: IamSigner) -> None:
        await signer.sign(EMAIL, b"message")

    run(iam, FakeCredentials(SECOND), test)
    (headers,) = iam.headers
    assert headers["Accept-Encoding"] == "identity"
    assert headers["Authorization"] == f"Bearer {SECOND}"


# Refused tokens


def test_a_refused_token_is_replaced_once(iam: Iam) -> None:
    credentials = FakeCredentials(FIRST, SECOND)

    async def test(signer: IamSigner) -> None:
        await signer.sign(EMAIL, b"message")
        await signer.sign(EMAIL, b"message")

    run(iam, credentials, test)
    assert (credentials.refreshes, iam.requests, iam.signatures) == (2, 3, 2)


def test_twenty_refused_requests_cause_one_refresh(iam: Iam) -> None:
    credentials = FakeCredentials(FIRST, SECOND)

    async def test(signer: IamSigner) -> None:
        await asyncio.gather(*(signer.sign(EMAIL, b"message") for _ in range(20)))

    run(iam, credentials, test)
    assert (credentials.refreshes, iam.requests, iam.signatures) == (2, 40, 20)


def test_a_token_that_is_refused_again_is_an_internal_error(iam: Iam) -> None:
    credentials = FakeCredentials(FIRST, THIRD, SECOND)
    problem = problem_of(iam, credentials)

    assert isinstance(problem, Internal)
    hint = "to a new access token, too: is the service account disabled?"
    assert str(problem) == f"internal: signBlob answered 401 {hint}"
    assert (credentials.refreshes, iam.requests) == (2, 2)


def test_the_request_after_a_second_refusal_fetches_another_token(iam: Iam) -> None:
    credentials = FakeCredentials(FIRST, THIRD, SECOND)

    async def test(signer: IamSigner) -> None:
        with pytest.raises(Internal):
            await signer.sign(EMAIL, b"message")
        await signer.sign(EMAIL, b"message")

    run(iam, credentials, test)
    assert (credentials.refreshes, iam.requests) == (3, 3)


def test_a_refused_token_that_is_issued_again_is_an_internal_error(iam: Iam) -> None:
    """The metadata server caches its token."""
    credentials = FakeCredentials(FIRST, FIRST)

    assert isinstance(problem_of(iam, credentials), Internal)
    assert (credentials.refreshes, iam.requests) == (2, 2)


def test_a_token_is_replaced_once_also_where_transient_failures_come_between(iam: Iam) -> None:
    iam.planned.extend([503, 401, 503, 401])
    credentials = FakeCredentials(FIRST, SECOND, THIRD)

    assert isinstance(problem_of(iam, credentials), Internal)
    assert (credentials.refreshes, iam.requests) == (2, 4)


def test_a_refused_token_without_a_successor_is_an_outage(iam: Iam) -> None:
    problem = problem_of(iam, FakeCredentials(FIRST, RefreshError()))

    assert isinstance(problem, SigningUnavailable)
    assert str(problem) == "signing_unavailable: no access token for signBlob: RefreshError"
    assert iam.requests == 1


def test_a_missing_role_does_not_cost_a_token(iam: Iam) -> None:
    iam.lasting = 403
    credentials = FakeCredentials(SECOND)

    assert str(problem_of(iam, credentials)).endswith("Creator on itself?")
    assert (credentials.refreshes, iam.requests) == (1, 1)


# The account


@pytest.mark.parametrize(
    "email", [None, "", "default", "a@b", "a@b.c/../d@e.f", "a b@c.d", "a@b.c?d", "ä@b.de", 5]
)
def test_credentials_that_name_no_service_account_cannot_sign(iam: Iam, email: object) -> None:
    credentials = FakeCredentials(SECOND)
    credentials.service_account_email = email

    async def test(signer: IamSigner) -> None:
        with pytest.raises(Internal, match=": the default credentials are not a service account's"):
            await signer.account()

    run(iam, credentials, test)


def test_without_a_token_there_is_no_account(iam: Iam) -> None:
    async def test(signer: IamSigner) -> None:
        with pytest.raises(SigningUnavailable, match=": no access token for signBlob: malformed"):
            await signer.account()

    run(iam, FakeCredentials("mal formed"), test)


def test_a_defect_in_a_refresh_is_not_reported_as_an_outage(iam: Iam) -> None:
    async def test(signer: IamSigner) -> None:
        with pytest.raises(ZeroDivisionError):
            await signer.account()

    run(iam, FakeCredentials(ZeroDivisionError()), test)


# Answers


@pytest.mark.parametrize("headers", [{}, {"Transfer-Encoding": "chunked"}], ids=str)
def test_an_endless_answer_is_left_after_64_kib(headers: dict[str, str], iam: Iam) -> None:
    """It is neither read nor kept, and the next request has a connection of its own."""
    iam.planned.append(Raw(b"x" * 65536, headers, endless=True))
    held: list[int] = []

    async def test(signer: IamSigner) -> None:
        await signer.account()
        tracemalloc.start()
        with pytest.raises(Internal, match=r": signBlob answered more than 65536 bytes$"):
            await signer.sign(EMAIL, b"message")
        held.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        await signer.sign(EMAIL, b"message")

    run(iam, FakeCredentials(SECOND), test)
    assert held[0] < 2 * MIB
    assert iam.streamed < 4 * MIB  # what was read, and what the kernel's buffers took
    assert (iam.requests, iam.connections) == (2, 2)


def test_an_endless_answer_with_a_transient_status_is_retried(iam: Iam) -> None:
    iam.planned.append(Raw(b"x" * 65536, endless=True, status=503))

    async def test(signer: IamSigner) -> None:
        await signer.sign(EMAIL, b"message")

    run(iam, FakeCredentials(SECOND), test)
    assert iam.streamed < 4 * MIB
    assert (iam.requests, iam.connections) == (2, 2)


def test_compressed_data_is_not_unpacked(iam: Iam) -> None:
    bomb = gzip.compress(bytes(32 * MIB))
    assert len(bomb) < MAX_ANSWER_BYTES
    iam.planned.append(Raw(bomb, {"Content-Encoding": "gzip"}))
    held: list[int] = []

    async def test(signer: IamSigner) -> None:
        await signer.account()
        tracemalloc.start()
        with pytest.raises(Internal, match=": signBlob answered compressed data, which was not as"):
            await signer.sign(EMAIL, b"message")
        held.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()

    run(iam, FakeCredentials(SECOND), test)
    assert held[0] < 2 * MIB
    assert iam.requests == 1


def test_what_claims_to_be_compressed_is_not_unpacked_either(iam: Iam) -> None:
    """Unpacking it would fail in a way that looks transient."""
    iam.lasting = Raw(b"s3cret", {"Content-Encoding": "gzip"})

    assert isinstance(problem_of(iam, FakeCredentials(SECOND)), Internal)
    assert iam.requests == 1


MALFORMED = {
    "no JSON": [
        b"",
        b"s3cret",
        b"{",
        b"\xff\xfe",
        b"[" * 60_000,
        b'{"signedBlob": NaN',
        b"1" * 5000,
    ],
    "no signature": [
        *[b"null", b"[]", b'"s3cret"', b"5", b"{}", b'{"signedblob": "c2ln"}'],
        *[b'{"signedBlob": %b}' % value for value in (b"null", b'""', b"5", b"[]", b"{}", b"true")],
    ],
    "a signature that is not base64": [
        b'{"signedBlob": "%b"}' % value
        for value in (b"s3cret!", b"c2ln\\n", b"c2l", b"c2-_", b"\\u00e4", b"\\ud800")
    ],
}


@pytest.mark.parametrize(
    ("said", "body"), [(said, body) for said, bodies in MALFORMED.items() for body in bodies]
)
def test_a_malformed_answer_is_an_internal_error_without_its_text(said: str, body: bytes) -> None:
    with pytest.raises(Internal) as problem:
        signature_in(Answer(200, "identity", body))

    assert str(problem.value) == f"internal: signBlob answered {said}"
    assert problem.value.__cause__ is None


def test_a_malformed_answer_is_not_retried(iam: Iam) -> None:
    iam.lasting = Raw(b"s3cret")

    assert isinstance(problem_of(iam, FakeCredentials(SECOND)), Internal)
    assert iam.requests == 1


def test_the_longest_answer_counts() -> None:
    body = json.dumps(SIGNED).encode().ljust(MAX_ANSWER_BYTES)

    assert signature_in(Answer(200, "Identity", body)) == b"signature"
    with pytest.raises(Internal, match=r": signBlob answered more than 65536 bytes$"):
        signature_in(Answer(200, "identity", body + b" "))


@pytest.mark.parametrize("failure", [429, 503, DROP])
def test_a_transient_failure_is_retried(failure: int | str, iam: Iam) -> None:
    iam.planned.append(failure)

    async def test(signer: IamSigner) -> None:
        await signer.sign(EMAIL, b"message")

    run(iam, FakeCredentials(SECOND), test)
    assert (iam.requests, iam.signatures) == (2, 1)


# Connections


async def cancelled_while_it_waits(signer: IamSigner, iam: Iam) -> None:
    """Cancel a signature once IAM has its request, which it leaves without an answer."""
    iam.asked = threading.Semaphore(0)
    iam.planned.append(HANG)
    task = asyncio.create_task(signer.sign(EMAIL, b"message"))
    assert await asyncio.to_thread(iam.asked.acquire, timeout=10)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


def test_a_client_that_leaves_does_not_cost_the_others_their_connections(iam: Iam) -> None:
    async def test(signer: IamSigner) -> None:
        iam.seconds = 0.05  # so that two connections are needed
        await asyncio.gather(*(signer.sign(EMAIL, b"message") for _ in range(2)))
        await cancelled_while_it_waits(signer, iam)
        await signer.sign(EMAIL, b"message")

    run(iam, FakeCredentials(SECOND), test)
    assert (iam.requests, iam.connections) == (4, 2)


def test_after_silence_all_connections_are_new_and_the_old_ones_are_closed(
    iam: Iam, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(iam_signer, "SILENCE_SECONDS", 0.0)
    monkeypatch.setattr(iam_signer, "DRAIN_SECONDS", 0.0)

    async def test(signer: IamSigner) -> None:
        await signer.sign(EMAIL, b"message")
        pool = signer._http  # noqa: SLF001
        await cancelled_while_it_waits(signer, iam)
        await signer.sign(EMAIL, b"message")
        assert signer._http is not pool  # noqa: SLF001
        await asyncio.gather(*signer._closing)  # noqa: SLF001
        assert pool.closed
        assert not signer._closing  # noqa: SLF001

    run(iam, FakeCredentials(SECOND), test)


def test_two_that_end_in_silence_leave_their_connections_once(
    iam: Iam, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(iam_signer, "SILENCE_SECONDS", 0.0)

    async def test(signer: IamSigner) -> None:
        await signer.account()
        iam.planned.extend([HANG, HANG])
        tasks = [asyncio.create_task(signer.sign(EMAIL, b"message")) for _ in range(2)]
        for _ in tasks:
            assert await asyncio.to_thread(iam.asked.acquire, timeout=10)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert len(signer._closing) == 1  # noqa: SLF001

    run(iam, FakeCredentials(SECOND), test)
