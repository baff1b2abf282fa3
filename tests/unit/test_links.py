"""The choice of the signer, and the time that it may take."""

import asyncio
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from urllib.parse import parse_qs

import pytest
from google.oauth2 import service_account

from call_api.cloud.credentials import DefaultCredentials
from call_api.cloud.tokens import AccessTokens
from call_api.errors import Internal, UpstreamTimeout
from call_api.recordings import links as signed_urls
from call_api.recordings.links import SignedUrls
from call_api.settings import Settings
from local.signer import new_signer
from tests.support.fakes import finder_of
from tests.support.project import BUCKET, SIGNER

KEY_FILE, _ = new_signer(SIGNER)
SETTINGS = Settings.from_environment({"RECORDINGS_BUCKET": BUCKET})


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


async def test_first_requests_that_come_together_share_one_signer() -> None:
    key = key_of(KEY_FILE)
    urls = urls_of(key)

    await asyncio.gather(*(urls.signed_url("a", 1) for _ in range(20)))

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
