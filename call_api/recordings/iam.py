"""IAM's signBlob over one gRPC channel: request, retry, errors."""

import asyncio
from collections.abc import Callable

import grpc
from google.api_core import gapic_v1
from google.api_core.exceptions import RetryError
from google.api_core.retry import AsyncRetry, if_exception_type
from google.protobuf.message import DecodeError
from grpc import ChannelConnectivity, StatusCode

from call_api.cloud.channels import channel_options, is_oversized
from call_api.cloud.tokens import AccessTokens, TokenUnavailable
from call_api.errors import Internal, Problem, SigningUnavailable
from call_api.protobuf_messages import message_classes
from call_api.recordings.key_file import SERVICE_ACCOUNT_EMAIL

MAX_ANSWER_BYTES = 64 * 1024  # a signature's answer has about 300
# A request that is cancelled after this long without an answer drops its channel.
SILENCE_SECONDS = 1.0
RETRY_BUDGET_SECONDS = 3.0
TRANSIENT_STATUSES = frozenset(
    {
        StatusCode.ABORTED,
        StatusCode.CANCELLED,
        StatusCode.DATA_LOSS,
        StatusCode.DEADLINE_EXCEEDED,
        StatusCode.INTERNAL,
        StatusCode.RESOURCE_EXHAUSTED,
        StatusCode.UNAVAILABLE,
        StatusCode.UNKNOWN,
    }
)
CHANNEL_OPTIONS = [
    *channel_options(MAX_ANSWER_BYTES),
    # Else gRPC widens its window for a fast sender, and holds 16 MiB of an answer that it refuses.
    ("grpc.http2.bdp_probe", 0),
]
_HOST = "iamcredentials.googleapis.com:443"
_METHOD = "/google.iam.credentials.v1.IAMCredentials/SignBlob"
_HINTS = {
    StatusCode.UNAUTHENTICATED: " to a new access token, too: is the service account disabled?",
    StatusCode.PERMISSION_DENIED: ": has it roles/iam.serviceAccountTokenCreator on itself?",
}
_RETRY = AsyncRetry(
    if_exception_type(SigningUnavailable), initial=0.05, timeout=RETRY_BUDGET_SECONDS
)

# https://github.com/googleapis/googleapis/blob/master/google/iam/credentials/v1/common.proto
SignBlobRequest, SignBlobResponse = message_classes(
    "sign_blob",
    {
        "SignBlobRequest": {"name": (1, "string"), "payload": (5, "bytes")},
        "SignBlobResponse": {"signed_blob": (4, "bytes")},
    },
)


def iam_channel() -> grpc.aio.Channel:
    """Return a new channel to IAM; it belongs to the running event loop."""
    return grpc.aio.secure_channel(_HOST, grpc.ssl_channel_credentials(), CHANNEL_OPTIONS)


class IamSigner:
    """Signs as the service account of the default credentials.

    It sets no time limit of its own: the caller cancels what takes too long.
    """

    def __init__(
        self, tokens: AccessTokens, open_channel: Callable[[], grpc.aio.Channel] = iam_channel
    ) -> None:
        self._tokens = tokens
        self._open_channel = open_channel
        self._channel: grpc.aio.Channel | None = None

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
        raise Internal(_reason(StatusCode.UNAUTHENTICATED))

    async def _token(self) -> str:
        try:
            return await self._tokens.get()
        except TokenUnavailable as error:
            raise SigningUnavailable(f"no access token for signBlob: {error}") from error

    @_RETRY
    async def _signature(self, email: str, message: bytes, token: str) -> bytes:
        if self._channel is None:  # in a request, since no channel survives a fork
            self._channel = self._open_channel()
        channel = self._channel  # gRPC closes one that is garbage-collected
        name = f"projects/-/serviceAccounts/{email}"
        metadata = [
            gapic_v1.routing_header.to_grpc_metadata([("name", name)]),
            ("authorization", f"Bearer {token}"),
        ]
        request = SignBlobRequest(name=name, payload=message).SerializeToString()
        loop = asyncio.get_running_loop()
        started = loop.time()
        try:
            return signature_in(await channel.unary_unary(_METHOD)(request, metadata=metadata))
        except asyncio.CancelledError:
            if loop.time() - started >= SILENCE_SECONDS:
                self._drop(channel)  # it may be dead, which gRPC would notice much later
            raise
        except grpc.RpcError as error:
            if channel.get_state() is ChannelConnectivity.TRANSIENT_FAILURE:
                self._drop(channel)  # gRPC's backoff would add to the retry's
            if error.code() is StatusCode.UNAUTHENTICATED:
                raise _TokenRefusedError from error
            raise _problem(error) from error

    def _drop(self, channel: grpc.aio.Channel) -> None:
        """Let the next request open another one, unless that has happened already."""
        if channel is self._channel:
            self._channel = None


class _TokenRefusedError(Exception):
    """IAM answered UNAUTHENTICATED."""


def signature_in(answer: bytes) -> bytes:
    """Return the signature that the answer has.

    Raises:
        Internal: it has none, or is not what IAM publishes. Not SigningUnavailable: whatever stands
            between here and IAM would answer a retry in the same way.
    """
    try:
        signature: bytes = SignBlobResponse.FromString(answer).signed_blob
    except DecodeError:
        raise Internal("signBlob answered no message of its type") from None
    if not signature:
        raise Internal("signBlob answered no signature")
    return signature


def _problem(error: grpc.RpcError) -> Problem:
    """Return what a failure is to the client."""
    if is_oversized(error):  # RESOURCE_EXHAUSTED by gRPC, not by IAM: each retry may cost 64 KiB
        return Internal(f"signBlob answered more than {MAX_ANSWER_BYTES} bytes")
    kind = SigningUnavailable if error.code() in TRANSIENT_STATUSES else Internal
    return kind(_reason(error.code()))


def _reason(status: StatusCode) -> str:
    return f"signBlob answered {status.name}{_HINTS.get(status, '')}"
