"""Signed URLs of recordings, and the choice of the signer."""

import asyncio
import re
from datetime import UTC, datetime

from google.auth.credentials import Credentials
from google.auth.exceptions import GoogleAuthError
from google.oauth2.service_account import Credentials as ServiceAccountKey

from call_api.cloud.tokens import AccessTokens
from call_api.errors import Internal, UpstreamTimeout
from call_api.recordings.iam import IamSigner
from call_api.recordings.key_file import fault_of, key_from_file
from call_api.settings import Settings
from call_api.v4_urls import UnsignedUrl, V4Urls

URL_SECONDS = 3600
SIGN_SECONDS = 4.0  # for all of a signature: credentials, token, connecting, retries
_EXTENSION = re.compile(r"\.[A-Za-z0-9]{1,8}\Z")


class SignedUrls:
    """V4 signed URLs of the recordings in one bucket.

    A service account's key signs in process: the key file that the settings name, or else the
    default credentials. Default credentials without a key sign through IAM.

    Raises:
        SettingsError: the key file that the settings name cannot sign.
    """

    def __init__(self, settings: Settings, tokens: AccessTokens) -> None:
        self._urls = V4Urls(settings.storage_endpoint, settings.recordings_bucket, URL_SECONDS)
        self._tokens = tokens
        self._signer: ServiceAccountKey | IamSigner | None = None
        if settings.signer_key_file is not None:
            self._signer = key_from_file(settings.signer_key_file)

    async def signed_url(self, object_name: str, call_id: int) -> str:
        """Return a URL that answers GET for URL_SECONDS, within SIGN_SECONDS.

        Raises:
            SigningUnavailable: IAM cannot sign right now, or there is no access token to ask it.
            UpstreamTimeout: SIGN_SECONDS are over.
            Internal: the credentials cannot sign until a role or a setting is corrected.
        """
        if isinstance(self._signer, ServiceAccountKey):  # 0.3 ms, and nothing to wait for
            return self._signed_in_process(object_name, call_id, self._signer)
        try:
            async with asyncio.timeout(SIGN_SECONDS):
                signer = self._signer or await self._choose_signer()
                if isinstance(signer, ServiceAccountKey):
                    return self._signed_in_process(object_name, call_id, signer)
                email = await signer.account()
                unsigned = self._unsigned(object_name, call_id, email)
                return unsigned.with_signature(await signer.sign(email, unsigned.string_to_sign))
        except TimeoutError as error:
            raise UpstreamTimeout("signing") from error

    async def _choose_signer(self) -> ServiceAccountKey | IamSigner:
        """Choose once; of concurrent first requests, the first one to have the credentials does."""
        try:
            credentials, _ = await self._tokens.credentials()
        except GoogleAuthError as error:
            reason = "there are no Application Default Credentials to sign with"
            raise Internal(reason) from error
        if self._signer is None:
            self._signer = self._signer_with(credentials)
        return self._signer

    def _signer_with(self, credentials: Credentials) -> ServiceAccountKey | IamSigner:
        if not hasattr(credentials, "service_account_email"):
            raise Internal("the default credentials are not a service account's")
        if not isinstance(credentials, ServiceAccountKey):
            return IamSigner(self._tokens)
        if fault := fault_of(credentials):
            raise Internal(f"the default credentials are a key that cannot sign: {fault}")
        return credentials

    def _unsigned(self, object_name: str, call_id: int, signer_email: str) -> UnsignedUrl:
        extension = _EXTENSION.search(object_name)
        file_name = f"call-{call_id}{extension[0] if extension else ''}"
        disposition = f'inline; filename="{file_name}"'
        return self._urls.unsigned(object_name, disposition, signer_email, datetime.now(UTC))

    def _signed_in_process(self, object_name: str, call_id: int, key: ServiceAccountKey) -> str:
        unsigned = self._unsigned(object_name, call_id, key.service_account_email)
        return unsigned.with_signature(key.sign_bytes(unsigned.string_to_sign))
