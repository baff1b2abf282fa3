"""Cloud Storage: V4 signed URLs of recordings, signed in process or through IAM."""

import asyncio
import base64
import re
from collections.abc import Callable
from http import HTTPStatus

import httpx2
from google.api_core.exceptions import RetryError
from google.api_core.retry import AsyncRetry, if_exception_type
from google.auth.credentials import AnonymousCredentials, Credentials, Signing
from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError
from google.auth.transport.requests import Request
from google.cloud.storage import Client  # type: ignore[import-untyped]
from google.oauth2.service_account import Credentials as ServiceAccountKey

from call_api.errors import Internal, SigningUnavailable, UpstreamTimeout
from call_api.settings import Settings, SettingsError

URL_SECONDS = 3600
SIGN_SECONDS = 4.0  # for all of a signature: credentials, token, connecting, retries
_IAM = "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts"
_EXTENSION = re.compile(r"\.[A-Za-z0-9]{1,8}\Z")
_NO_ROLE = "is roles/iam.serviceAccountTokenCreator granted to the service account on itself?"
_RETRY = AsyncRetry(if_exception_type(SigningUnavailable), initial=0.05, timeout=3.0)

DefaultCredentials = Callable[[], tuple[Credentials, str | None]]


class RecordingUrls:
    """Signed URLs for the recordings; SettingsError where the key file cannot sign any."""

    def __init__(self, settings: Settings, default_credentials: DefaultCredentials) -> None:
        # Anonymous, since this client asks Cloud Storage nothing: it only builds URLs.
        client = Client(project="unused", credentials=AnonymousCredentials())
        self._bucket = client.bucket(settings.recordings_bucket)
        self._endpoint = settings.storage_endpoint
        self._default_credentials = default_credentials
        self._finding = asyncio.Lock()
        self._signer: ServiceAccountKey | IamSigner | None = None
        if settings.signer_key_file is not None:
            try:
                self._signer = ServiceAccountKey.from_service_account_file(settings.signer_key_file)
            except Exception:  # noqa: BLE001  (any means a useless key, and may quote it)
                what = "no readable JSON key file of a service account"
                raise SettingsError(f"RECORDING_SIGNER_KEY_FILE names {what}") from None

    async def signed_url(self, object_name: str, call_id: int) -> str:
        """Return a URL that answers GET for URL_SECONDS, or raise what `web.Signer` says."""
        try:
            async with asyncio.timeout(SIGN_SECONDS):
                signer = await self._found_signer()
                if isinstance(signer, ServiceAccountKey):  # 0.3 ms, too short for a thread
                    return self._url(object_name, call_id, signer)
                message = _Message(await signer.email())
                unsigned = self._url(object_name, call_id, message)
                return unsigned + (await signer.sign(message)).hex()
        except TimeoutError as error:
            raise UpstreamTimeout("signing") from error
        except DefaultCredentialsError as error:
            raise Internal("there are no Application Default Credentials to sign with") from error
        except GoogleAuthError as error:
            raise SigningUnavailable(f"credentials: {type(error).__name__}") from error
        except RetryError as error:
            raise error.cause from error  # the failure of the last try

    async def _found_signer(self) -> "ServiceAccountKey | IamSigner":
        async with self._finding:
            if self._signer is None:
                found, _ = await asyncio.to_thread(self._default_credentials)
                self._signer = found if isinstance(found, ServiceAccountKey) else IamSigner(found)
            return self._signer

    def _url(self, object_name: str, call_id: int, signer: Signing) -> str:
        extension = _EXTENSION.search(object_name)
        filename = f"call-{call_id}{extension[0] if extension else ''}"
        url: str = self._bucket.blob(object_name).generate_signed_url(
            version="v4",
            expiration=URL_SECONDS,
            method="GET",
            response_disposition=f'inline; filename="{filename}"',
            api_access_endpoint=self._endpoint,
            credentials=signer,
        )
        return url


class _Message(Signing):
    """Keeps what the library wants signed, and signs nothing: its URL ends in `Signature=`.

    The library's own way to IAM takes a thread and a TLS connection for each signature.
    """

    signer = None
    signer_email = None
    content = b""

    def __init__(self, email: str) -> None:
        self.signer_email = email

    def sign_bytes(self, message: bytes) -> bytes:
        self.content = message
        return b""


class IamSigner:
    """Signs through IAM's signBlob, as the service account whose credentials it holds."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials
        self._refresh: asyncio.Task[None] | None = None
        # No time limits of its own: the budget bounds a signature as a whole. Every connection is
        # kept for the next signature, since its TLS handshake costs more than the signature.
        limits = httpx2.Limits(max_keepalive_connections=None, keepalive_expiry=60)
        self._http = httpx2.AsyncClient(timeout=None, limits=limits)

    async def email(self) -> str:
        """Return the service account's e-mail address, which comes with the first token."""
        if not self._credentials.valid:
            # One refresh for all who wait, and not cancelled with the first whose budget ends.
            if self._refresh is None or self._refresh.done():
                refresh = asyncio.to_thread(self._credentials.refresh, Request())
                self._refresh = asyncio.create_task(refresh)
            await asyncio.shield(self._refresh)
        email = getattr(self._credentials, "service_account_email", None)
        if not isinstance(email, str):
            raise Internal("the Application Default Credentials are not a service account's")
        return email

    @_RETRY
    async def sign(self, message: _Message) -> bytes:
        """Return IAM's signature."""
        try:
            answer = await self._http.post(
                f"{_IAM}/{message.signer_email}:signBlob",
                json={"payload": base64.b64encode(message.content).decode()},
                headers={"Authorization": f"Bearer {self._credentials.token}"},
            )
        except httpx2.TransportError as error:
            raise SigningUnavailable(f"signBlob: {type(error).__name__}") from error
        status = f"signBlob answered {answer.status_code}"
        if answer.is_server_error or answer.status_code == HTTPStatus.TOO_MANY_REQUESTS:
            raise SigningUnavailable(status)
        if answer.status_code in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            raise Internal(f"{status}: {_NO_ROLE}")
        if not answer.is_success:
            raise Internal(status)
        return base64.b64decode(answer.json()["signedBlob"])
