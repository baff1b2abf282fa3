"""Tokens of the metadata server, through google-auth: answers of any form."""

import asyncio
import json

import pytest
from google.auth.compute_engine import Credentials

from call_api.cloud.credentials import CredentialsError
from call_api.cloud.tokens import AccessTokens
from call_api.errors import SigningUnavailable
from call_api.recordings.iam import IamSigner
from tests.support.fakes import finder_of
from tests.support.google_cloud import EMAIL, NO_EMAILS, Metadata, Raw

JSON = {"Content-Type": "application/json"}
TOKEN = {"access_token": "ya29.token", "token_type": "Bearer", "expires_in": 3600}


@pytest.fixture
def tokens() -> AccessTokens:
    return AccessTokens(finder_of(Credentials()))


def test_a_token_comes_with_the_account_s_address(metadata: Metadata, tokens: AccessTokens) -> None:
    assert asyncio.run(tokens.get()) == metadata.token()
    credentials, _ = asyncio.run(tokens.credentials())
    assert credentials.service_account_email == EMAIL  # type: ignore[attr-defined]  # its class is not known here


def test_an_answer_cut_short_is_asked_for_again(metadata: Metadata, tokens: AccessTokens) -> None:
    metadata.failures.append(Raw(b"{", JSON | {"Content-Length": "100"}))

    assert asyncio.run(tokens.get()) == metadata.token()
    assert not metadata.failures


@pytest.mark.parametrize(
    "answer",
    [
        *["", "s3cret", "{", "null", "[]", "{}", '"s3cret"'],
        *[{"access_token": "s3cret"}, {"expires_in": 3600}],
        *[TOKEN | {"access_token": odd} for odd in (None, 5, "", "s3 cret", "s3cret\r\nX: y")],
        *[TOKEN | {"expires_in": odd} for odd in (None, "3600", 1e300, 0, -1)],
        *[Raw(b"hello", {"Content-Type": "text/plain"}), Raw(b"hello"), Raw(b"no", status=404)],
    ],
    ids=repr,
)
def test_a_malformed_answer_is_no_token_and_is_not_kept(
    answer: object, metadata: Metadata, tokens: AccessTokens
) -> None:
    if not isinstance(answer, Raw):
        body = answer if isinstance(answer, str) else json.dumps(answer)
        answer = Raw(body.encode(), JSON)
    metadata.failures.append(answer)

    with pytest.raises(CredentialsError) as failed:
        asyncio.run(tokens.get())
    assert failed.value.is_transient
    assert asyncio.run(tokens.get()) == metadata.token()
    assert metadata.tokens == 1


async def account(tokens: AccessTokens) -> str:
    credentials, _ = await tokens.credentials()
    return await IamSigner(credentials, tokens).account()


@pytest.mark.parametrize("email", NO_EMAILS)
def test_a_malformed_address_of_the_account_is_not_kept(
    email: object, metadata: Metadata, tokens: AccessTokens
) -> None:
    """Who signs waits for another one; who reads needs none."""
    metadata.accounts.append(email)

    assert asyncio.run(tokens.get()) == metadata.token()
    with pytest.raises(
        SigningUnavailable, match=r": the metadata server names no service account$"
    ):
        asyncio.run(account(tokens))
    assert asyncio.run(account(tokens)) == EMAIL


def test_a_malformed_address_beside_a_malformed_token_is_not_kept(
    metadata: Metadata, tokens: AccessTokens
) -> None:
    metadata.accounts.append("<html>busy")
    metadata.failures.append(Raw(b"{}", JSON))

    with pytest.raises(CredentialsError):
        asyncio.run(tokens.get())
    assert asyncio.run(account(tokens)) == EMAIL


def test_a_malformed_address_replaces_none(metadata: Metadata, tokens: AccessTokens) -> None:
    asyncio.run(account(tokens))
    tokens.reject(metadata.token())
    metadata.accounts.append("default")

    assert asyncio.run(account(tokens)) == EMAIL
