"""V4 signed URLs by the rules of Cloud Storage, the choice of the signer, and the time that it may take."""

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import parse_qs, parse_qsl, unquote, urlsplit

import pytest
from google.oauth2 import service_account

from call_api.cloud.credentials import DefaultCredentials
from call_api.cloud.tokens import AccessTokens
from call_api.errors import Internal, UpstreamTimeout
from call_api.recordings import links as signed_urls
from call_api.recordings.links import SignedUrls
from call_api.settings import Settings
from local.signer import new_signer
from tests.support.fakes import FakeCredentials, finder_of, no_credentials
from tests.support.project import BUCKET, SIGNER
from tests.support.v4 import NAMES, check_v4

KEY_FILE, PUBLIC_KEY = new_signer(SIGNER)
BUCKET_ALONE = {"RECORDINGS_BUCKET": BUCKET}
SETTINGS = Settings.from_environment(BUCKET_ALONE)


class CountingKey(service_account.Credentials):
    """A key that counts its signatures."""

    signatures = 0

    def sign_bytes(self, message: bytes) -> bytes:
        self.signatures += 1
        signature: bytes = super().sign_bytes(message)
        return signature


def key_of(key_file: dict[str, str]) -> CountingKey:
    key: CountingKey = CountingKey.from_service_account_info(key_file)  # type: ignore[no-untyped-call]
    return key


def urls_of(credentials: object) -> SignedUrls:
    return SignedUrls(SETTINGS, AccessTokens(finder_of(credentials)))


def urls_of_key_file(folder: Path, **changes: str) -> SignedUrls:
    file = folder / "key.json"
    file.write_text(json.dumps(KEY_FILE))
    environment = BUCKET_ALONE | changes | {"RECORDING_SIGNER_KEY_FILE": str(file)}
    return SignedUrls(Settings.from_environment(environment), AccessTokens(no_credentials))


@pytest.mark.parametrize(("name", "extension"), NAMES.items())
async def test_a_link_is_right_by_the_rules(name: str, extension: str, tmp_path: Path) -> None:
    url = await urls_of_key_file(tmp_path).signed_url(name, 77)

    check_v4(url, name, PUBLIC_KEY, SIGNER)
    parts = urlsplit(url)
    assert (parts.scheme, parts.netloc) == ("https", "storage.googleapis.com")
    assert unquote(parts.path) == f"/{BUCKET}/{name}"
    query = dict(parse_qsl(parts.query))
    assert query["response-content-disposition"] == f'inline; filename="call-77{extension}"'
    assert query["X-Goog-Expires"] == "3600"
    age = datetime.now(UTC) - datetime.strptime(query["X-Goog-Date"] + "+0000", "%Y%m%dT%H%M%SZ%z")
    assert 0 <= age.total_seconds() < 30


async def test_links_point_to_the_emulator_where_one_is_set(tmp_path: Path) -> None:
    urls = urls_of_key_file(tmp_path, STORAGE_EMULATOR_HOST="http://localhost:9199")
    url = await urls.signed_url("a", 1)

    assert url.startswith(f"http://localhost:9199/{BUCKET}/a?")
    check_v4(url, "a", PUBLIC_KEY, SIGNER)


async def test_first_requests_that_come_together_share_one_signer() -> None:
    key = key_of(KEY_FILE)
    urls = urls_of(key)

    url, *_ = await asyncio.gather(*(urls.signed_url("a", 1) for _ in range(20)))

    check_v4(url, "a", PUBLIC_KEY, SIGNER)
    assert "filename%3D%22call-1%22" in url
    assert key.signatures == 1 + 20  # a trial, and one for each link


@pytest.fixture
def tokyo(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the machine's local time be nine hours ahead of UTC."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("tokyo")
async def test_a_link_is_valid_from_now_on_where_local_time_is_not_utc() -> None:
    url = await urls_of(key_of(KEY_FILE)).signed_url("a", 1)

    signed_at = datetime.strptime(parse_qs(url)["X-Goog-Date"][0], "%Y%m%dT%H%M%S%z")
    assert abs((datetime.now(UTC) - signed_at).total_seconds()) < 60


async def test_a_default_key_that_cannot_sign_is_an_internal_error() -> None:
    urls = urls_of(key_of(KEY_FILE | {"client_email": ""}))
    fault = 'a key that cannot sign: its "client_email" is not an e-mail address'

    for _ in range(2):
        with pytest.raises(Internal, match=f"^internal: the default credentials are {fault}$"):
            await urls.signed_url("a", 1)


async def test_without_credentials_a_call_with_a_recording_is_an_internal_error() -> None:
    urls = SignedUrls(SETTINGS, AccessTokens(no_credentials))

    with pytest.raises(Internal, match=r": there are no Application Default Credentials$"):
        await urls.signed_url("a", 1)


async def test_credentials_without_a_service_account_cannot_sign() -> None:
    """A developer's own, say."""
    credentials = FakeCredentials("a-token")
    del credentials.service_account_email
    urls = urls_of(credentials)

    with pytest.raises(Internal, match=r": the default credentials are not a service account's$"):
        await urls.signed_url("a", 1)


async def test_credentials_that_are_not_found_in_time_are_a_timeout(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(signed_urls, "SIGN_SECONDS", 0.01)
    key, may_end = key_of(KEY_FILE), threading.Event()

    def find() -> DefaultCredentials:
        assert may_end.wait(10)
        return DefaultCredentials(key, "demo-tests")

    urls = SignedUrls(SETTINGS, AccessTokens(find))
    with pytest.raises(UpstreamTimeout, match=r": signing$"):
        await urls.signed_url("a", 1)
    may_end.set()
    monkeypatch.setattr(signed_urls, "SIGN_SECONDS", 10.0)
    assert "X-Goog-Signature=" in await urls.signed_url("a", 1)
