"""Signed links to recordings, and the choice of who signs them."""

import asyncio
import re

from google.auth.credentials import AnonymousCredentials, Credentials, Signing
from google.cloud.storage import Client  # type: ignore[import-untyped]  # it has no types
from google.oauth2.service_account import Credentials as ServiceAccountKey

from call_api.cloud.credentials import CredentialsError
from call_api.cloud.tokens import AccessTokens
from call_api.errors import Internal, UpstreamTimeout
from call_api.recordings.iam import IamSigner, credentials_problem
from call_api.recordings.key_file import fault_of, key_from_file
from call_api.settings import Settings

LINK_SECONDS = 3600
SIGN_SECONDS = 4.0  # for all of a signature: credentials, token, connecting, retries
_EXTENSION = re.compile(r"\.[A-Za-z0-9]{1,8}\Z")


class SignedUrls:
    """V4 signed URLs of the recordings in one bucket, made by Cloud Storage's library.

    A service account's key signs in process: the key file that the settings name, or else the
    default credentials. Default credentials without a key sign through IAM.

    Raises:
        SettingsError: the key file that the settings name cannot sign.
    """

    def __init__(self, settings: Settings, tokens: AccessTokens) -> None:
        # It asks nothing of Cloud Storage, and so needs neither credentials nor a project.
        client = Client(project="unused", credentials=AnonymousCredentials())
        self._bucket = client.bucket(settings.recordings_bucket)
        self._endpoint = settings.storage_endpoint
        self._tokens = tokens
        self._signer: ServiceAccountKey | IamSigner | None = None
        if settings.signer_key_file is not None:
            self._signer = key_from_file(settings.signer_key_file)

    async def signed_url(self, object_name: str, call_id: int) -> str:
        """Return a URL that answers GET for LINK_SECONDS, within SIGN_SECONDS.

        Raises:
            SigningUnavailable: IAM cannot sign right now, or there are no credentials.
            UpstreamTimeout: SIGN_SECONDS are over.
            Internal: the credentials cannot sign until a role or a setting is corrected.
        """
        if isinstance(self._signer, ServiceAccountKey):  # nothing to wait for
            return self._url(object_name, call_id, self._signer)
        try:
            async with asyncio.timeout(SIGN_SECONDS):
                signer = self._signer or await self._choose_signer()
                if isinstance(signer, ServiceAccountKey):
                    return self._url(object_name, call_id, signer)
                email = await signer.account()
                unsigned = _Unsigned(email)
                url = self._url(object_name, call_id, unsigned)
                signature = await signer.sign(email, unsigned.string_to_sign)
                before, name, _placeholder = url.rpartition("X-Goog-Signature=")
                return before + name + signature.hex()
        except TimeoutError as error:
            raise UpstreamTimeout("signing") from error

    async def _choose_signer(self) -> ServiceAccountKey | IamSigner:
        """Return the signer; the first request that gets the credentials chooses it for all."""
        try:
            credentials, _ = await self._tokens.credentials()
        except CredentialsError as error:
            raise credentials_problem(error) from error
        if self._signer is None:
            self._signer = self._signer_with(credentials)
        return self._signer

    def _signer_with(self, credentials: Credentials) -> ServiceAccountKey | IamSigner:
        if not isinstance(credentials, ServiceAccountKey):
            return IamSigner(credentials, self._tokens)
        if fault := fault_of(credentials):
            raise Internal(f"the default credentials are a key that cannot sign: {fault}")
        return credentials

    def _url(self, object_name: str, call_id: int, credentials: Signing) -> str:
        extension = _EXTENSION.search(object_name)
        file_name = f"call-{call_id}{extension[0] if extension else ''}"
        url: str = self._bucket.blob(object_name).generate_signed_url(
            version="v4",
            method="GET",
            expiration=LINK_SECONDS,
            response_disposition=f'inline; filename="{file_name}"',
            credentials=credentials,
            api_access_endpoint=self._endpoint,
        )
        return url


class _Unsigned(Signing):
    """Credentials that sign nothing yet, since IAM is asked asynchronously, and the library is not.

    They keep the string that is to be signed, and return a placeholder, with which the URL ends.
    """

    string_to_sign: bytes

    def __init__(self, signer_email: str) -> None:
        self._signer_email = signer_email

    @property
    def signer_email(self) -> str:
        return self._signer_email

    @property
    def signer(self) -> None:
        """There is none."""

    def sign_bytes(self, message: bytes) -> bytes:
        self.string_to_sign = message
        return b"\0"
