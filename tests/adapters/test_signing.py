"""V4 signed URLs, signed in process: the rules of Cloud Storage, whatever a recording is called."""

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from google.oauth2 import service_account
from google.oauth2.credentials import Credentials as UserCredentials

from call_api.cloud.tokens import AccessTokens
from call_api.errors import Internal
from call_api.recordings.links import SignedUrls
from call_api.settings import Settings
from local.signer import new_signer
from tests.support.fakes import finder_of, no_credentials
from tests.support.project import BUCKET, SIGNER
from tests.support.v4 import NAMES, check_v4


@pytest.fixture(scope="module")
def signer() -> tuple[dict[str, str], RSAPublicKey]:
    return new_signer(SIGNER)


def settings(**changes: str) -> Settings:
    return Settings.from_environment({"RECORDINGS_BUCKET": BUCKET} | changes)


def urls(tmp_path: Path, key: dict[str, str], **changes: str) -> SignedUrls:
    file = tmp_path / "key.json"
    file.write_text(json.dumps(key))
    changed = settings(RECORDING_SIGNER_KEY_FILE=str(file), **changes)
    return SignedUrls(changed, AccessTokens(no_credentials))


@pytest.mark.parametrize(("name", "extension"), NAMES.items())
def test_a_link_is_right_by_the_rules(
    name: str, extension: str, tmp_path: Path, signer: tuple[dict[str, str], RSAPublicKey]
) -> None:
    key, public_key = signer
    url = asyncio.run(urls(tmp_path, key).signed_url(name, 77))

    check_v4(url, name, public_key, SIGNER)
    parts = urlsplit(url)
    assert (parts.scheme, parts.netloc) == ("https", "storage.googleapis.com")
    assert unquote(parts.path) == f"/{BUCKET}/{name}"
    query = dict(parse_qsl(parts.query))
    assert query["response-content-disposition"] == f'inline; filename="call-77{extension}"'
    assert query["X-Goog-Expires"] == "3600"
    age = datetime.now(UTC) - datetime.strptime(query["X-Goog-Date"] + "+0000", "%Y%m%dT%H%M%SZ%z")
    assert 0 <= age.total_seconds() < 30


def test_links_point_to_the_emulator_where_one_is_set(
    tmp_path: Path, signer: tuple[dict[str, str], RSAPublicKey]
) -> None:
    key, public_key = signer
    recordings = urls(tmp_path, key, STORAGE_EMULATOR_HOST="http://localhost:9199")
    url = asyncio.run(recordings.signed_url("a", 1))

    assert url.startswith(f"http://localhost:9199/{BUCKET}/a?")
    check_v4(url, "a", public_key, SIGNER)


def test_default_credentials_that_are_a_key_sign_in_process(
    signer: tuple[dict[str, str], RSAPublicKey],
) -> None:
    key, public_key = signer
    credentials = service_account.Credentials.from_service_account_info(key)
    recordings = SignedUrls(settings(), AccessTokens(finder_of(credentials)))

    url = asyncio.run(recordings.signed_url("a", 1))
    check_v4(url, "a", public_key, SIGNER)
    assert "response-content-disposition=inline%3B%20filename%3D%22call-1%22" in url


def test_without_credentials_a_call_with_a_recording_is_an_internal_error() -> None:
    with pytest.raises(Internal, match=r": there are no Application Default Credentials$"):
        asyncio.run(SignedUrls(settings(), AccessTokens(no_credentials)).signed_url("a", 1))


def test_credentials_without_a_service_account_cannot_sign() -> None:
    """A developer's own, say."""
    recordings = SignedUrls(settings(), AccessTokens(finder_of(UserCredentials("valid"))))

    with pytest.raises(Internal, match=r": the default credentials are not a service account's$"):
        asyncio.run(recordings.signed_url("a", 1))
