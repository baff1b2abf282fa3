"""Firestore: the key's record and the call's document, read in one round trip."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

import grpc
from google.api_core.exceptions import RetryError
from grpc import StatusCode

from call_api.calls import keys
from call_api.calls.access import ApiKey, StoredDocument
from call_api.calls.schema import STORED_CALL_SHAPE
from call_api.cloud.credentials import CredentialsError
from call_api.cloud.failures import is_oversized, rpc_failure, status_of
from call_api.cloud.tokens import AccessTokens
from call_api.errors import CallsUnavailable, Internal, Problem, UpstreamTimeout
from call_api.firestore.circuit_breaker import CircuitBreaker, CircuitOpenError
from call_api.firestore.connection import Connection, Documents, FirestoreConnector
from call_api.firestore.documents import MAX_DOCUMENT_BYTES
from call_api.settings import Settings

CALLS = "calls"
READ_SECONDS = 3.0  # for all of a request's reads: credentials, connecting, retries
PROBE_SECONDS = 2.0
LATE_SECONDS = 0.25  # a timer that fires later means that this process was busy or frozen

_FIELDS = sorted({*ApiKey.model_fields, *STORED_CALL_SHAPE})  # no others leave Firestore
_KEY_FIELDS = sorted(ApiKey.model_fields)  # `org_id` among them, which also names a call's owner

_HINTS = {
    StatusCode.FAILED_PRECONDITION: ": is the database in Native mode?",
    StatusCode.INVALID_ARGUMENT: ": is FIRESTORE_DATABASE right?",
    StatusCode.NOT_FOUND: ": does the database exist?",
    StatusCode.PERMISSION_DENIED: ": is roles/datastore.viewer granted?",
    StatusCode.UNAUTHENTICATED: ": it refuses the access token",
}


class FirestoreCalls:
    """Keys and calls in a Firestore database, or in its emulator."""

    def __init__(self, settings: Settings, tokens: AccessTokens) -> None:
        self._circuit = CircuitBreaker(self._probe, lambda: asyncio.get_running_loop().time())
        self._connector = FirestoreConnector(settings, tokens, self._circuit.record_answer)

    async def read(
        self, hashed_key: str, call_id: int | None, began_at: float
    ) -> tuple[StoredDocument | None, StoredDocument | None]:
        """Return the key's record and the call; see `calls.access.CallStore`."""
        try:
            await self._circuit.wait_until_closed()
        except CircuitOpenError:
            raise CallsUnavailable(
                "circuit open: Firestore has failed, and has not answered since"
            ) from None
        key, call = f"{keys.COLLECTION}/{hashed_key}", f"{CALLS}/{call_id}"
        paths = [key] if call_id is None else [key, call]
        found = await self._read(paths, began_at, READ_SECONDS)
        return found[key], found.get(call)

    async def _probe(self) -> None:
        """Read the record of a key that nobody has, for the circuit breaker."""
        now = asyncio.get_running_loop().time()
        with suppress(Internal):  # Firestore refuses, so it is up; or the fault is in a setting
            await self._read([f"{keys.COLLECTION}/{keys.key_hash('')}"], now, PROBE_SECONDS)

    async def _read(self, paths: Sequence[str], began_at: float, seconds: float) -> Documents:
        """Read documents within so many seconds of `began_at`, and tell the circuit of a failure.

        Raises:
            Problem: the read failed.
        """
        connection = None
        try:
            async with asyncio.timeout_at(began_at + seconds):
                connection = await self._connector.get()
                return await _documents(connection, paths)
        except TimeoutError as error:
            late_seconds = asyncio.get_running_loop().time() - (began_at + seconds)
            if late_seconds > LATE_SECONDS:
                raise UpstreamTimeout("this process was busy or frozen") from error
            if connection is None or connection.lacks_token():
                raise UpstreamTimeout("credentials for Firestore") from error
            if self._circuit.has_answered_since(began_at):
                raise UpstreamTimeout(
                    "Firestore: silence, though it has answered meanwhile"
                ) from error
            self._connector.drop(connection)  # it may be dead, which gRPC would notice much later
            self._circuit.record_failure(began_at)
            raise UpstreamTimeout("Firestore: silence") from error
        except (RetryError, grpc.RpcError, CredentialsError) as error:
            if status_of(error) is StatusCode.UNAVAILABLE:
                self._circuit.record_failure(began_at)
            raise _problem(error) from error


async def _documents(connection: Connection, paths: Sequence[str]) -> Documents:
    """Read documents; where the answer is too large to receive, read them again with a key's fields alone.

    These include a call's `org_id`, so another org still gets 403. The call is marked by its size: its
    `decoded` refuses it, so only its owner learns that it is too large.
    """
    try:
        return await connection.read(paths, _FIELDS)
    except grpc.RpcError as error:
        if not is_oversized(error):
            raise
    found = await connection.read(paths, _KEY_FIELDS)
    for path, document in found.items():
        if document is not None and path.startswith(f"{CALLS}/"):
            found[path] = replace(document, size=MAX_DOCUMENT_BYTES + 1)  # or more
    return found


def _problem(error: Exception) -> Problem:
    """Return what a failure is to the client."""
    if isinstance(error, CredentialsError):
        kind = CallsUnavailable if error.is_transient else Internal
        return kind(f"no access token for Firestore: {error}")
    if is_oversized(error):  # also with a key's fields alone; gRPC reports it as RESOURCE_EXHAUSTED
        return Internal(f"Firestore answered more than {MAX_DOCUMENT_BYTES} bytes")
    if isinstance(error, RetryError) and status_of(error) is None:
        return CallsUnavailable("Firestore: incomplete answers")
    if status_of(error) is StatusCode.DEADLINE_EXCEEDED:
        return UpstreamTimeout("Firestore: DEADLINE_EXCEEDED")
    failure = rpc_failure(error, _HINTS)
    return (CallsUnavailable if failure.is_transient else Internal)(f"Firestore: {failure.reason}")
