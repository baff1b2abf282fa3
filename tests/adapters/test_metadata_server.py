"""Tokens of the metadata server, through google-auth: answers of any size, speed and form."""

import asyncio
import gzip
import json
import tracemalloc
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from google.auth import _exponential_backoff
from google.auth.compute_engine import Credentials, _metadata

from call_api.cloud import tokens as access_token
from call_api.cloud.tokens import AccessTokens, TokenUnavailable
from tests.support.google_cloud import EMAIL, Metadata, Raw

MIB = 2**20
JSON = {"Content-Type": "application/json"}
TOKEN = {"access_token": "ya29.token", "token_type": "Bearer", "expires_in": 3600}


@pytest.fixture
def metadata(monkeypatch: pytest.MonkeyPatch) -> Iterator[Metadata]:
    server = Metadata()
    monkeypatch.setattr(_metadata, "_GCE_METADATA_HOST", f"127.0.0.1:{server.port}")
    no_sleep = SimpleNamespace(sleep=lambda _: None)  # between its attempts
    monkeypatch.setattr(_exponential_backoff, "time", no_sleep)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    yield server
    server.close()


@pytest.fixture
def tokens() -> AccessTokens:
    return AccessTokens(lambda: (Credentials(), None))


def test_a_token_comes_with_the_account_s_address(metadata: Metadata, tokens: AccessTokens) -> None:
    async def test() -> None:
        assert await tokens.get() == metadata.token()
        credentials, _ = await tokens.credentials()
        assert credentials.service_account_email == EMAIL  # type: ignore[attr-defined]

    asyncio.run(test())
    assert metadata.encodings == {"identity"}


@pytest.mark.parametrize("headers", [{}, {"Transfer-Encoding": "chunked"}], ids=str)
def test_an_endless_answer_is_left_after_64_kib(
    headers: dict[str, str], metadata: Metadata, tokens: AccessTokens
) -> None:
    metadata.failures.append(Raw(b"x" * 65536, JSON | headers, endless=True))
    held: list[int] = []

    async def test() -> None:
        tracemalloc.start()
        with pytest.raises(TokenUnavailable, match=r"^RefreshError$"):
            await tokens.get()
        held.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert await tokens.get() == metadata.token()

    asyncio.run(test())
    assert held[0] < 2 * MIB
    assert metadata.streamed < 4 * MIB
    assert metadata.tokens == 1


def test_an_answer_that_takes_too_long_is_left(
    metadata: Metadata, tokens: AccessTokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access_token, "ANSWER_SECONDS", 0.0)

    with pytest.raises(TokenUnavailable, match=r"^RefreshError$"):
        asyncio.run(tokens.get())
    assert metadata.tokens == 0


def test_an_answer_cut_short_is_asked_for_again(metadata: Metadata, tokens: AccessTokens) -> None:
    metadata.failures.append(Raw(b"{", JSON | {"Content-Length": "100"}))

    assert asyncio.run(tokens.get()) == metadata.token()
    assert not metadata.failures


def test_compressed_data_is_not_unpacked(metadata: Metadata, tokens: AccessTokens) -> None:
    bomb = gzip.compress(bytes(32 * MIB))
    metadata.failures.append(Raw(bomb, JSON | {"Content-Encoding": "gzip"}))
    held: list[int] = []

    async def test() -> None:
        tracemalloc.start()
        with pytest.raises(TokenUnavailable, match="malformed answer"):
            await tokens.get()
        held.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()

    asyncio.run(test())
    assert held[0] < 2 * MIB


@pytest.mark.parametrize(
    "answer",
    [
        *["", "s3cret", "{", "null", "[]", "{}", '"s3cret"'],
        *[{"access_token": "s3cret"}, {"expires_in": 3600}],
        *[TOKEN | {"access_token": odd} for odd in (None, 5, "", "s3 cret", "s3cret\r\nX: y")],
        *[TOKEN | {"expires_in": odd} for odd in (None, "3600", 1e300, 0, -1)],
    ],
    ids=repr,
)
def test_a_malformed_answer_is_no_token_and_is_not_kept(
    answer: object, metadata: Metadata, tokens: AccessTokens
) -> None:
    body = answer if isinstance(answer, str) else json.dumps(answer)
    metadata.failures.append(Raw(body.encode(), JSON))

    async def test() -> None:
        with pytest.raises(TokenUnavailable):
            await tokens.get()
        assert await tokens.get() == metadata.token()

    asyncio.run(test())
    assert metadata.tokens == 1


def test_an_answer_of_another_type_is_no_token(metadata: Metadata, tokens: AccessTokens) -> None:
    metadata.failures.extend([Raw(b"hello", {"Content-Type": "text/plain"}), Raw(b"hello")])

    async def test() -> None:
        for _ in range(2):
            with pytest.raises(TokenUnavailable):
                await tokens.get()
        assert await tokens.get() == metadata.token()

    asyncio.run(test())
