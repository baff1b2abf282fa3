"""Keyless signatures: IAM signs as the service account of the default credentials."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import grpc
from google.api_core.exceptions import GoogleAPICallError, RetryError
from google.api_core.retry import AsyncRetry
from google.auth.compute_engine import Credentials as MetadataCredentials
from google.auth.credentials import Credentials
from google.cloud.iam_credentials_v1 import IAMCredentialsAsyncClient
from google.cloud.iam_credentials_v1.services.iam_credentials.transports import (
    IAMCredentialsGrpcAsyncIOTransport,
)
from grpc import ChannelConnectivity, StatusCode

from call_api.cloud.channels import channel_options
from call_api.cloud.credentials import CredentialsError, quota_metadata
from call_api.cloud.failures import TRANSIENT, is_oversized, rpc_failure, status_of
from call_api.cloud.tokens import AccessTokens
from call_api.errors import Internal, Problem, SigningUnavailable
from call_api.names import is_account

MAX_ANSWER_BYTES = 64 * 1024  # a signature's answer has about 300
# A request that is cancelled after this long without an answer drops its channel.
SILENCE_SECONDS = 1.0
RETRY_BUDGET_SECONDS = 3.0
QUOTA_PAUSE_SECONDS = 1.0
_HOST = "iamcredentials.googleapis.com:443"
_HINTS = {
    StatusCode.UNAUTHENTICATED: " to a new access token, too: is the service account disabled?",
    StatusCode.PERMISSION_DENIED: ": has it roles/iam.serviceAccountTokenCreator on itself?",
}


def iam_channel_options() -> list[tuple[str, int]]:
    """Return the options of a channel to IAM."""
    # Else gRPC widens its window for a fast sender, and holds 16 MiB of an answer that it refuses.
    return [*channel_options(MAX_ANSWER_BYTES), ("grpc.http2.bdp_probe", 0)]


def iam_channel() -> grpc.aio.Channel:
    """Return a new channel to IAM; it belongs to the running event loop."""
    credentials = grpc.ssl_channel_credentials()
    return grpc.aio.secure_channel(_HOST, credentials, iam_channel_options())


class _Connection(NamedTuple):
    channel: grpc.aio.Channel
    client: IAMCredentialsAsyncClient


def _is_over_quota(error: Exception) -> bool:
    # An oversized answer has this status too. It would be one again, and each may cost 64 KiB.
    return status_of(error) is StatusCode.RESOURCE_EXHAUSTED and not is_oversized(error)


def _is_retried_soon(error: Exception) -> bool:
    return status_of(error) in TRANSIENT - {StatusCode.RESOURCE_EXHAUSTED}


class IamSigner:
    """Signs as the service account of `credentials`, whose access tokens are `tokens`.

    It sets no time limit of its own: the caller cancels what takes too long.
    """

    def __init__(
        self,
        credentials: Credentials,
        tokens: AccessTokens,
        open_channel: Callable[[], grpc.aio.Channel] = iam_channel,
    ) -> None:
        self._credentials = credentials
        self._tokens = tokens
        self._open_channel = open_channel
        self._current: _Connection | None = None

    async def account(self) -> str:
        """Return the service account's e-mail address.

        The metadata server's credentials learn it with their first token.

        Raises:
            SigningUnavailable: there is no access token right now, or the metadata server names no account.
            Internal: the credentials name no service account.
        """
        try:
            token = await self._tokens.get()
        except CredentialsError as error:
            raise credentials_problem(error) from error
        email: object = getattr(self._credentials, "service_account_email", None)
        if is_account(email):
            return email
        if isinstance(self._credentials, MetadataCredentials):
            self._tokens.reject(token)  # the address is asked for with the next one
            raise SigningUnavailable("the metadata server names no service account")
        raise Internal("the default credentials are not a service account's")

    async def sign(self, email: str, message: bytes) -> bytes:
        """Return the signature of the service account `email` under the message.

        Transient failures are retried with backoff and jitter.

        Raises:
            SigningUnavailable: IAM fails in a transient way, or there is no access token right now.
            Internal: IAM refuses, or its answer has no signature; a retry would not change that.
        """
        try:
            return await self._tokens.with_token(partial(self._signature, email, message))
        except CredentialsError as error:
            raise credentials_problem(error) from error
        except (GoogleAPICallError, RetryError) as error:
            raise _problem(error) from error

    # Over the quota IAM is asked again late, since each request more keeps it used up.
    @AsyncRetry(_is_over_quota, initial=QUOTA_PAUSE_SECONDS, timeout=RETRY_BUDGET_SECONDS)
    @AsyncRetry(_is_retried_soon, initial=0.05, timeout=RETRY_BUDGET_SECONDS)
    async def _signature(self, email: str, message: bytes, token: str) -> bytes:
        connection = self._connection()
        loop = asyncio.get_running_loop()
        started = loop.time()
        try:
            answer = await connection.client.sign_blob(
                {"name": f"projects/-/serviceAccounts/{email}", "payload": message},
                metadata=[*quota_metadata(self._credentials), ("authorization", f"Bearer {token}")],
                retry=None,  # or the library would retry inside the retry here
                timeout=None,
            )
        except asyncio.CancelledError:
            if loop.time() - started >= SILENCE_SECONDS:
                self._drop(connection)  # it may be dead, which gRPC would notice much later
            raise
        except GoogleAPICallError:
            if connection.channel.get_state() is ChannelConnectivity.TRANSIENT_FAILURE:
                self._drop(connection)  # gRPC's backoff would add to the retry's
            raise
        # Neither is retried: whatever stands between here and IAM would answer in the same way.
        if answer is None:
            raise Internal("signBlob answered no message of its type")
        if not answer.signed_blob:
            raise Internal("signBlob answered no signature")
        return answer.signed_blob

    def _connection(self) -> _Connection:
        """Return the connection; it is opened in a request, since no channel survives a fork."""
        if self._current is None:
            channel = self._open_channel()
            transport = IAMCredentialsGrpcAsyncIOTransport(channel=channel)
            self._current = _Connection(channel, IAMCredentialsAsyncClient(transport=transport))
        return self._current

    def _drop(self, connection: _Connection) -> None:
        """Let the next request open another one, unless that has happened already."""
        if connection is self._current:
            self._current = None


def credentials_problem(error: CredentialsError) -> Problem:
    """Return what missing credentials are to the client."""
    kind = SigningUnavailable if error.is_transient else Internal
    return kind(f"no access token for signBlob: {error}")


def _problem(error: Exception) -> Problem:
    """Return what a failure is to the client."""
    if is_oversized(error):
        return Internal(f"signBlob answered more than {MAX_ANSWER_BYTES} bytes")
    failure = rpc_failure(error, _HINTS)
    return (SigningUnavailable if failure.is_transient else Internal)(
        f"signBlob answered {failure.reason}"
    )
