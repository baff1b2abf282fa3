"""Cloud Storage: V4 signed URLs of recordings, signed in process or through IAM."""

import asyncio
import base64
import re
from http import HTTPStatus
from typing import Any
from urllib.request import getproxies, proxy_bypass

from google.api_core.exceptions import RetryError
from google.api_core.retry import AsyncRetry, if_exception_type
from google.auth.credentials import AnonymousCredentials, Credentials, Signing, TokenState
from google.auth.exceptions import GoogleAuthError
from google.auth.transport.requests import Request
from google.cloud.storage import Client  # type: ignore[import-untyped]
from google.oauth2.service_account import Credentials as ServiceAccountKey

from call_api.errors import Internal, SigningUnavailable, UpstreamTimeout
from call_api.settings import DefaultCredentials, Settings, SettingsError

URL_SECONDS = 3600
SIGN_SECONDS = 4.0  # for all of a signature: credentials, token, connecting, retries
_IAM = "iamcredentials.googleapis.com"
_HINT = {403: ": has it roles/iam.serviceAccountTokenCreator on itself?"}
_PASSES = {429, *range(500, 600)}
_RETRY = AsyncRetry(if_exception_type(SigningUnavailable), initial=0.05, timeout=3.0)


class RecordingUrls:
    """Signed URLs for the recordings; SettingsError where the key file cannot sign any."""

    def __init__(self, settings: Settings, default_credentials: DefaultCredentials) -> None:
        # Anonymous, since this client asks Cloud Storage nothing: it only builds URLs.
        self._bucket = Client("-", AnonymousCredentials()).bucket(settings.recordings_bucket)
        self._endpoint = settings.storage_endpoint
        self._default_credentials = default_credentials
        self._finding = asyncio.Lock()
        self._signer: ServiceAccountKey | IamSigner | None = None
        if settings.signer_key_file is not None:
            try:
                self._signer = ServiceAccountKey.from_service_account_file(settings.signer_key_file)
            except Exception:  # noqa: BLE001  (any means a useless key, and may quote it)
                raise SettingsError("RECORDING_SIGNER_KEY_FILE is no service-account key") from None

    async def signed_url(self, object_name: str, call_id: int) -> str:
        """Return a URL that answers GET for URL_SECONDS, or raise what `web.Signer` says."""
        try:
            async with asyncio.timeout(SIGN_SECONDS):
                signer = await self._found_signer()
                if isinstance(signer, ServiceAccountKey):  # 0.3 ms, too short for a thread
                    return self._url(object_name, call_id, signer)
                message = _Message()
                message.signer_email, _ = await signer.account()
                unsigned = self._url(object_name, call_id, message)
                return unsigned + (await signer.sign(message.content)).hex()
        except TimeoutError as error:
            raise UpstreamTimeout("signing") from error
        except GoogleAuthError as error:
            raise Internal("there are no Application Default Credentials to sign with") from error
        except RetryError as error:
            raise error.cause from None  # the failure of the last try

    async def _found_signer(self) -> "ServiceAccountKey | IamSigner":
        async with self._finding:
            if self._signer is None:
                found, _ = await asyncio.to_thread(self._default_credentials)
                if not hasattr(found, "service_account_email"):
                    raise Internal("the default credentials are not a service account's")
                self._signer = found if isinstance(found, ServiceAccountKey) else IamSigner(found)
            return self._signer

    def _url(self, object_name: str, call_id: int, signer: Signing) -> str:
        extension = (re.search(r"\.[A-Za-z0-9]{1,8}\Z", object_name) or [""])[0]
        url: str = self._bucket.blob(object_name).generate_signed_url(
            version="v4",
            expiration=URL_SECONDS,
            method="GET",
            response_disposition=f'inline; filename="call-{call_id}{extension}"',
            api_access_endpoint=self._endpoint,
            credentials=signer,
        )
        return url


class _Message(Signing):
    """Takes what the library wants signed: its own way to IAM costs a TLS connection each."""

    signer, signer_email, content = None, "", b""

    def sign_bytes(self, message: bytes) -> bytes:
        self.content = message
        return b""  # so the library's URL ends in `X-Goog-Signature=`


class IamSigner:
    """Signs through IAM's signBlob, as the service account whose credentials it holds."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials: Any = credentials  # only some of the library's kinds have an e-mail
        self._fetch: asyncio.Future[list[BaseException | None]] | None = None
        self._http: Any = None  # aiohttp's client

    async def account(self) -> tuple[str, str]:
        """Return the service account's e-mail address, known with its first token, and a token."""
        if self._credentials.token_state is not TokenState.FRESH:
            if self._fetch is None or self._fetch.done():  # one for all who wait
                fetch = asyncio.to_thread(self._credentials.refresh, Request())
                self._fetch = asyncio.gather(fetch, return_exceptions=True)
            if self._credentials.token_state is TokenState.INVALID:  # a stale one serves till then
                (failure,) = await asyncio.shield(self._fetch)  # which the others still wait for
                if failure is not None and not isinstance(failure, GoogleAuthError):
                    raise failure
            if self._credentials.token_state is TokenState.INVALID:
                raise SigningUnavailable("no access token for signBlob")
        return self._credentials.service_account_email, self._credentials.token

    @_RETRY
    async def sign(self, message: bytes) -> bytes:
        """Return IAM's signature."""
        import aiohttp  # noqa: PLC0415  (0.1 s of a start that a key file does without)

        email, token = await self.account()
        url = f"https://{_IAM}/v1/projects/-/serviceAccounts/{email}:signBlob"
        headers = {"Authorization": f"Bearer {token}"}
        blob = {"payload": base64.b64encode(message).decode()}
        if self._http is None:
            proxy = None if proxy_bypass(_IAM) else getproxies().get("https")  # once, not each time
            kept = aiohttp.TCPConnector(limit=0, keepalive_timeout=60)  # saves TLS handshakes
            self._http = aiohttp.ClientSession(connector=kept, proxy=proxy)
        http = self._http
        try:
            async with http.post(url, json=blob, headers=headers, allow_redirects=False) as answer:
                await answer.read()
        except asyncio.CancelledError:  # for want of an answer: other connections may be dead, too
            if http is self._http:
                self._http, loop = None, asyncio.get_running_loop()  # closed when nobody uses them
                loop.call_later(SIGN_SECONDS, lambda: loop.create_task(http.close()))
            raise
        except (aiohttp.ClientError, OSError) as error:
            raise SigningUnavailable(f"signBlob: {type(error).__name__}") from error
        said = f"signBlob answered {answer.status}"
        if answer.status in _PASSES:
            raise SigningUnavailable(said)
        if answer.status == HTTPStatus.UNAUTHORIZED:
            self._credentials.token = None  # refused before its time: the next request gets another
        if answer.status != HTTPStatus.OK:
            raise Internal(said + _HINT.get(answer.status, ""))
        if signed := (await answer.json(content_type=None))["signedBlob"]:
            return base64.b64decode(signed, validate=True)
        raise Internal("signBlob answered no signature")
