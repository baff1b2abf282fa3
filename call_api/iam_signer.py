"""IAM's signBlob over one pool of HTTP connections: request, retry, errors."""

import asyncio
import base64
import json
from http import HTTPStatus
from typing import Any, NamedTuple
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from google.api_core.exceptions import RetryError
from google.api_core.retry import AsyncRetry, if_exception_type

from call_api.access_token import AccessTokens, TokenUnavailable
from call_api.errors import Internal, SigningUnavailable
from call_api.signer_key import SERVICE_ACCOUNT_EMAIL

IAM_ENDPOINT = "https://iamcredentials.googleapis.com"
MAX_ANSWER_BYTES = 64 * 1024  # a signature's answer has about 500
KEEPALIVE_SECONDS = 60  # an idle connection saves the next signature a TLS handshake
SILENCE_SECONDS = 1.0  # without an answer, after which a cancelled request's pool is distrusted
DRAIN_SECONDS = 5.0  # longer than any signature may take: until a distrusted pool is closed
TRANSIENT_STATUSES = frozenset({429, *range(500, 600)})
_HINTS = {
    401: " to a new access token, too: is the service account disabled?",
    403: ": has it roles/iam.serviceAccountTokenCreator on itself?",
}
_RETRY = AsyncRetry(if_exception_type(SigningUnavailable), initial=0.05, timeout=3.0)


class IamSigner:
    """Signs as the service account that the access tokens are of.

    It sets no time limit of its own: the caller cancels what takes too long.
    """

    def __init__(self, tokens: AccessTokens, endpoint: str = IAM_ENDPOINT) -> None:
        self._tokens = tokens
        self._endpoint = endpoint
        self._http: Any = None  # an aiohttp.ClientSession, made in the running event loop
        self._closing: set[asyncio.Task[None]] = set()

    async def account(self) -> str:
        """Return the service account's e-mail address.

        The metadata server's credentials learn it with their first token.

        Raises:
            SigningUnavailable: there is no access token right now.
            Internal: the credentials name no service account.
        """
        await self._token()
        credentials, _ = await self._tokens.credentials()
        email = getattr(credentials, "service_account_email", None)
        if not isinstance(email, str) or not SERVICE_ACCOUNT_EMAIL.fullmatch(email):
            raise Internal("the default credentials are not a service account's")
        return email

    async def sign(self, email: str, message: bytes) -> bytes:
        """Return the signature of the service account `email` under the message.

        Transient failures are retried with backoff and jitter. A token that IAM refuses is replaced
        once.

        Raises:
            SigningUnavailable: IAM fails in a transient way, or there is no access token right now.
            Internal: IAM refuses, or its answer has no signature; a retry would not change that.
        """
        for _ in range(2):
            token = await self._token()
            try:
                return await self._signature(email, message, token)
            except _TokenRefusedError:
                self._tokens.reject(token)
            except RetryError as error:
                raise error.cause from None  # the failure of the last attempt
        raise Internal(_refusal(HTTPStatus.UNAUTHORIZED))

    async def _token(self) -> str:
        try:
            return await self._tokens.get()
        except TokenUnavailable as error:
            raise SigningUnavailable(f"no access token for signBlob: {error}") from error

    @_RETRY
    async def _signature(self, email: str, message: bytes, token: str) -> bytes:
        answer = await self._post(email, message, token)
        if answer.status in TRANSIENT_STATUSES:
            raise SigningUnavailable(_refusal(answer.status))
        if answer.status == HTTPStatus.UNAUTHORIZED:
            raise _TokenRefusedError
        if answer.status != HTTPStatus.OK:
            raise Internal(_refusal(answer.status))
        return signature_in(answer)

    async def _post(self, email: str, message: bytes, token: str) -> "Answer":
        import aiohttp  # noqa: PLC0415  (0.1 s of a start, which a key file saves)

        http = self._http = self._http or self._pool()
        loop = asyncio.get_running_loop()
        started = loop.time()
        try:
            async with http.post(
                f"{self._endpoint}/v1/projects/-/serviceAccounts/{email}:signBlob",
                json={"payload": base64.b64encode(message).decode()},
                headers={"Authorization": f"Bearer {token}"},
                allow_redirects=False,
            ) as response:
                encoding = response.headers.get("Content-Encoding", "identity")
                try:
                    body = await response.content.readexactly(MAX_ANSWER_BYTES + 1)
                except asyncio.IncompleteReadError as end:
                    body = end.partial
                return Answer(response.status, encoding, body)
        except asyncio.CancelledError:
            if loop.time() - started >= SILENCE_SECONDS:
                self._abandon(http)
            raise
        except (aiohttp.ClientError, OSError) as error:
            raise SigningUnavailable(f"signBlob: {type(error).__name__}") from error

    def _pool(self) -> Any:
        import aiohttp  # noqa: PLC0415  (as above)

        host = urlsplit(self._endpoint)
        # Read once, since both scan the environment.
        proxy = None if proxy_bypass(host.netloc) else getproxies().get(host.scheme)
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEPALIVE_SECONDS),
            proxy=proxy,
            headers={"Accept-Encoding": "identity"},
            auto_decompress=False,
        )

    def _abandon(self, http: Any) -> None:
        """Use new connections from now on: where one died in silence, others may have, too.

        The old ones are closed later, since requests may be waiting on those that live.
        """
        if http is self._http:
            self._http = None
            task = asyncio.create_task(_close_later(http))
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)


class Answer(NamedTuple):
    """What IAM answered; the body is one byte longer than MAX_ANSWER_BYTES if there is more."""

    status: int
    encoding: str
    body: bytes


class _TokenRefusedError(Exception):
    """IAM answered 401."""


def signature_in(answer: Answer) -> bytes:
    """Return the signature that the answer has.

    Raises:
        Internal: it has none, or is not what IAM publishes. Not SigningUnavailable: whatever stands
            between here and IAM would answer a retry in the same way, and each may cost 64 KiB.
    """
    if answer.encoding.lower() != "identity":
        raise Internal("signBlob answered compressed data, which was not asked for")
    if len(answer.body) > MAX_ANSWER_BYTES:
        raise Internal(f"signBlob answered more than {MAX_ANSWER_BYTES} bytes")
    try:
        document = json.loads(answer.body)
    except (ValueError, RecursionError):
        raise Internal("signBlob answered no JSON") from None
    blob = document.get("signedBlob") if isinstance(document, dict) else None
    if not isinstance(blob, str) or not blob:
        raise Internal("signBlob answered no signature")
    try:
        return base64.b64decode(blob, validate=True)
    except ValueError:
        raise Internal("signBlob answered a signature that is not base64") from None


def _refusal(status: int) -> str:
    return f"signBlob answered {status}{_HINTS.get(status, '')}"


async def _close_later(http: Any) -> None:
    try:
        await asyncio.sleep(DRAIN_SECONDS)
    finally:
        await http.close()
