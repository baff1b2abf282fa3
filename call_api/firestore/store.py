"""Firestore: the key's record and the call's document, read in one round trip."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

import grpc
from google.api_core.exceptions import RetryError
from google.api_core.retry import AsyncRetry
from google.auth.exceptions import GoogleAuthError
from google.protobuf.message import DecodeError
from grpc import StatusCode

from call_api.calls import keys as api_keys
from call_api.calls.access import ApiKey, StoredDocument
from call_api.calls.schema import STORED_CALL
from call_api.cloud.channels import is_oversized
from call_api.cloud.tokens import AccessTokens, TokenUnavailable
from call_api.errors import CallsUnavailable, Internal, Problem, UpstreamTimeout
from call_api.firestore.circuit_breaker import CircuitBreaker, CircuitOpenError
from call_api.firestore.connection import BatchGetRequest, Connection, FirestoreConnector
from call_api.firestore.documents import (
    MAX_DOCUMENT_BYTES,
    FirestoreDocument,
    OversizedDocument,
    RawResponse,
)
from call_api.settings import Settings

CALLS = "calls"
READ_SECONDS = 3.0  # for all of a request's reads: credentials, connecting, retries
PROBE_SECONDS = 2.0
RETRY_BUDGET_SECONDS = 1.0
LATE_SECONDS = 0.25  # a timer that fires later means that this process was busy or frozen

_FIELDS = sorted({"org_id", *ApiKey.model_fields, *STORED_CALL})  # no others leave Firestore
_KEY_FIELDS = sorted(ApiKey.model_fields)  # with `org_id`, which is a call's owner, too

_TRANSIENT = {StatusCode.UNAVAILABLE, StatusCode.ABORTED, StatusCode.CANCELLED}
_UNAVAILABLE = _TRANSIENT | {
    StatusCode.DATA_LOSS,
    StatusCode.INTERNAL,
    StatusCode.RESOURCE_EXHAUSTED,
    StatusCode.UNKNOWN,
}
_HINTS = {
    StatusCode.PERMISSION_DENIED: ": is roles/datastore.viewer granted?",
    StatusCode.UNAUTHENTICATED: ": it refuses the access token",
}

_Documents = dict[str, StoredDocument | None]  # by path; None where there is no document


class _IncompleteAnswerError(Exception):
    """The answer ended without a word on one of the documents."""


class _OutageError(Exception):
    """Firestore is not reached, or silent: not the fault of one request."""

    def __init__(self, problem: Problem) -> None:
        super().__init__()
        self.problem = problem


def _is_transient(error: Exception) -> bool:
    """Tell what is retried. A connection that died while idle also reports UNAVAILABLE."""
    return isinstance(error, _IncompleteAnswerError) or _status(error) in _TRANSIENT


_retry = AsyncRetry(_is_transient, initial=0.05, timeout=RETRY_BUDGET_SECONDS)


class FirestoreCalls:
    """Keys and calls in a Firestore database, or in its emulator."""

    def __init__(self, settings: Settings, tokens: AccessTokens) -> None:
        self._connector = FirestoreConnector(settings, tokens)
        self._circuit = CircuitBreaker(self._probe, lambda: asyncio.get_running_loop().time())

    async def read(
        self, hashed_key: str, call_id: int | None, began_at: float
    ) -> tuple[StoredDocument | None, StoredDocument | None]:
        """Return the key's record and the call; see `calls.CallStore`."""
        try:
            await self._circuit.wait_until_closed()
        except CircuitOpenError:
            raise CallsUnavailable(
                "circuit open: Firestore has failed, and has not answered since"
            ) from None
        key, call = f"{api_keys.COLLECTION}/{hashed_key}", f"{CALLS}/{call_id}"
        paths = [key] if call_id is None else [key, call]
        try:
            found = await self._read(paths, began_at, READ_SECONDS)
        except _OutageError as outage:
            self._circuit.record_failure(began_at)
            raise outage.problem from outage.__cause__
        return found[key], found.get(call)

    async def _probe(self) -> None:
        """Read the record of a key that nobody has, for the circuit breaker."""
        now = asyncio.get_running_loop().time()
        with suppress(Internal):  # Firestore refuses, so it is up; or the fault is in a setting
            await self._read([f"{api_keys.COLLECTION}/{api_keys.key_hash('')}"], now, PROBE_SECONDS)

    async def _read(self, paths: Sequence[str], began_at: float, seconds: float) -> _Documents:
        """Read documents within so many seconds of `began_at`.

        Raises:
            _OutageError: Firestore is down.
            Problem: this read failed.
        """
        connection = token = None
        try:
            async with asyncio.timeout_at(began_at + seconds):
                connection = await self._connector.get()
                token = await self._connector.token()
                found = await self._batch_get(connection, token, paths)
        except TimeoutError as error:
            late_seconds = asyncio.get_running_loop().time() - (began_at + seconds)
            if late_seconds > LATE_SECONDS:
                raise UpstreamTimeout("this process was busy or frozen") from error
            if connection is None or token is None:
                raise UpstreamTimeout("credentials for Firestore") from error
            if self._circuit.has_answered_since(began_at):
                raise UpstreamTimeout("Firestore: this read alone") from error
            self._connector.drop(connection)  # it may be dead, which gRPC would notice much later
            raise _OutageError(UpstreamTimeout("Firestore: silence")) from error
        except (RetryError, grpc.RpcError, GoogleAuthError, TokenUnavailable) as error:
            if _status(error) is StatusCode.UNAVAILABLE:
                raise _OutageError(_problem(error)) from error
            raise _problem(error) from error
        self._circuit.record_answer()
        return found

    async def _batch_get(
        self, connection: Connection, token: str, paths: Sequence[str]
    ) -> _Documents:
        try:
            return await self._authorized(connection, token, paths, _FIELDS)
        except grpc.RpcError as error:
            if not is_oversized(error):
                raise
        # The call is too large, which only its owner may learn. The owner is read alone.
        found = await self._authorized(connection, token, paths, _KEY_FIELDS)
        return {path: document and OversizedDocument(document) for path, document in found.items()}

    async def _authorized(
        self, connection: Connection, token: str, paths: Sequence[str], fields: Sequence[str]
    ) -> _Documents:
        """Ask with a token; one that Firestore refuses is replaced once."""
        try:
            return await _ask_once(connection, token, paths, fields)
        except grpc.RpcError as error:
            if _status(error) is not StatusCode.UNAUTHENTICATED:
                raise
        self._connector.reject(token)
        return await _ask_once(connection, await self._connector.token(), paths, fields)


@_retry
async def _ask_once(
    connection: Connection, token: str, paths: Sequence[str], fields: Sequence[str]
) -> _Documents:
    """Ask once, and wait for the whole answer.

    Raises:
        Internal: it is not what Firestore publishes. Not a transient failure: whatever stands
            between here and Firestore would answer a retry in the same way.
    """
    prefix = f"{connection.database}/documents/"
    request = BatchGetRequest(
        database=connection.database,
        documents=[prefix + path for path in paths],
        mask={"field_paths": fields},
    )
    metadata = [*connection.metadata, ("authorization", f"Bearer {token}")]
    # Firestore is given more time than this process takes, so a DEADLINE_EXCEEDED is Firestore's.
    answer = connection.batch_get(request, metadata=metadata, timeout=READ_SECONDS + 1)
    found: _Documents = {}
    try:
        for part in [part async for part in answer]:
            response = RawResponse.FromString(part)
            if response.missing:
                found[response.missing.removeprefix(prefix)] = None
            elif response.found:
                document = FirestoreDocument(response.found)
                found[document.name.removeprefix(prefix)] = document
    except DecodeError:
        raise Internal("Firestore answered no message of its type") from None
    if not found.keys() >= set(paths):
        raise _IncompleteAnswerError
    return found


def _status(error: Exception) -> StatusCode | None:
    """Return the status of a failure, or of the last attempt's."""
    failure = error.cause if isinstance(error, RetryError) else error
    return failure.code() if isinstance(failure, grpc.RpcError) else None


def _problem(error: Exception) -> Problem:
    """Return what a failure is to the client."""
    status = _status(error)
    if is_oversized(error):  # even the owner; gRPC says so, with RESOURCE_EXHAUSTED
        return Internal(f"Firestore answered more than {MAX_DOCUMENT_BYTES} bytes")
    if status is StatusCode.DEADLINE_EXCEEDED:
        return UpstreamTimeout("Firestore: DEADLINE_EXCEEDED")
    if isinstance(error, RetryError) and status is None:
        return CallsUnavailable("Firestore: incomplete answers")
    if isinstance(error, TokenUnavailable):
        return CallsUnavailable(f"no access token for Firestore: {error}")
    if status is None:
        return Internal(f"Firestore: {type(error).__name__}")
    kind = CallsUnavailable if status in _UNAVAILABLE else Internal
    return kind(f"Firestore: {status.name}{_HINTS.get(status, '')}")
