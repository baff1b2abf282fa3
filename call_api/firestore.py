"""Firestore: the key's record and the call's document, read in one round trip."""

import asyncio
import hashlib
from contextlib import suppress
from datetime import UTC
from functools import partial
from typing import Any

import grpc
from google.api_core import exceptions, gapic_v1, grpc_helpers_async
from google.api_core.retry import AsyncRetry, if_exception_type
from google.auth.exceptions import GoogleAuthError
from google.cloud.firestore_v1 import types

from call_api.calls import ApiKey, Document
from call_api.errors import CallsUnavailable, Internal, Problem, Unavailable, UpstreamTimeout
from call_api.schema import Call
from call_api.settings import DefaultCredentials, Settings

Found = tuple[Document | None, Document | None]  # the key's record, and the call
KEYS, CALLS = "api_keys", "calls"
READ_SECONDS = 3.0  # for all of a read: credentials, connecting, retries
WAIT_SECONDS, REST_SECONDS = 0.5, 2.0  # while it fails: for it to be back; for a trial or a read
# UNAVAILABLE is also what a connection that died while idle says, so the first retry comes at once.
_RETRY = AsyncRetry(if_exception_type(exceptions.ServiceUnavailable), initial=0.05, timeout=1.0)
_OPTIONS = [
    ("grpc.max_receive_message_length", -1),  # two documents of 1 MiB; 4 MiB is for the rest
    ("grpc.max_reconnect_backoff_ms", 500),  # by default calls stay unread for 2 min too long
    ("grpc.min_reconnect_backoff_ms", 5_000),  # a vain attempt holds its socket so long, or 20 s
    ("grpc.use_local_subchannel_pool", 1),  # else a new channel gets the old one's dead connection
]
_FIELDS = sorted({"org_id", *ApiKey.model_fields, *Call.model_fields})  # no others are read
# protobuf's own messages and a bare method: the generated client would add a third to the read.
_HOST, _METHOD = "firestore.googleapis.com:443", "/google.firestore.v1.Firestore/BatchGetDocuments"
_Request, _Response = types.BatchGetDocumentsRequest.pb(), types.BatchGetDocumentsResponse.pb()


def key_document_id(key: str) -> str:
    """Return the ID of a key's record: its SHA-256, so that the key itself is stored nowhere."""
    return hashlib.sha256(key.encode()).hexdigest()


class FirestoreCalls:
    """Keys and calls in a Firestore database, or in its emulator."""

    def __init__(self, settings: Settings, default_credentials: DefaultCredentials) -> None:
        self._settings, self._default_credentials = settings, default_credentials
        self._connecting = asyncio.Lock()
        self._connection: tuple[str, Any, Any] | None = None  # database, method, channel
        self._trial: asyncio.Future[tuple[Found | BaseException]] | None = None
        self._failing = False

    async def read(self, key: str, call_id: int | None) -> Found:
        """Return the key's record and the call, or raise what `calls.CallStore` says."""
        if not self._failing:
            return await self._read(key, call_id, READ_SECONDS)
        # Not each request shall wait out its budget to learn that: one trial at a time, for all.
        if self._trial is None or self._trial.done():
            self._trial = asyncio.gather(self._read("", None, REST_SECONDS), return_exceptions=True)
        await asyncio.wait([self._trial], timeout=WAIT_SECONDS)
        if not self._trial.done() or isinstance(self._trial.result()[0], Unavailable):
            raise CallsUnavailable("Firestore has failed, and has not answered since")
        return await self._read(key, call_id, REST_SECONDS)

    async def _read(self, key: str, call_id: int | None, seconds: float) -> Found:
        used = None
        try:
            async with asyncio.timeout(seconds):
                used = await self._connected()
                return await self._documents(key, call_id)
        except (TimeoutError, exceptions.GoogleAPIError, GoogleAuthError) as error:
            problem = _problem(error)
            if used is self._connection:  # else it says nothing of the one that took its place
                self._failing = isinstance(problem, Unavailable)
                self._connection = None if isinstance(problem, UpstreamTimeout) else used
            raise problem from error

    @_RETRY
    async def _documents(self, key: str, call_id: int | None) -> Found:
        database, batch_get, _channel = await self._connected()  # which closes when nobody has it
        key_name = f"{database}/documents/{KEYS}/{key_document_id(key)}"
        call_name = f"{database}/documents/{CALLS}/{call_id}"
        names = [key_name] if call_id is None else [key_name, call_name]
        request = _Request(database=database, documents=names, mask={"field_paths": _FIELDS})
        found: dict[str, Document] = {}
        try:
            async for response in batch_get(request, timeout=READ_SECONDS):
                if response is None:
                    raise Internal("Firestore: an answer nested too deep for protobuf")
                if (document := response.found).name:  # empty where there is no such document
                    fields = partial(_decoded_map, document.fields)
                    found[document.name] = Document(fields, document.update_time.ToNanoseconds())
        except grpc.RpcError as error:
            raise exceptions.from_grpc_error(error) from error
        self._failing = False
        return found.get(key_name), found.get(call_name)

    async def _connected(self) -> tuple[str, Any, Any]:
        async with self._connecting:  # in a request: a channel survives no fork, and has one loop
            if self._connection is not None:
                return self._connection
            emulator, project = self._settings.firestore_emulator_host, self._settings.project
            if emulator is None or project is None:
                credentials, default_project = await asyncio.to_thread(self._default_credentials)
                project = project or default_project
            if project is None:
                raise Internal("GOOGLE_CLOUD_PROJECT is unset, and the credentials name no project")
            database = f"projects/{project}/databases/{self._settings.database}"
            metadata = [gapic_v1.routing_header.to_grpc_metadata([("database", database)])]
            if emulator is None:
                channel = grpc_helpers_async.create_channel(_HOST, credentials, options=_OPTIONS)
            else:
                channel = grpc.aio.insecure_channel(emulator, _OPTIONS)
                metadata.append(("authorization", "Bearer owner"))  # its rules bind others
            method = channel.unary_stream(_METHOD, _Request.SerializeToString, _Response.FromString)
            self._connection = database, partial(method, metadata=metadata), channel
            return self._connection


def _problem(error: Exception) -> Problem:
    match error:
        case TimeoutError() | exceptions.DeadlineExceeded():
            return UpstreamTimeout("Firestore")
        case exceptions.Forbidden() | exceptions.Unauthorized():
            return Internal("Firestore refuses: is roles/datastore.viewer granted?")
    passes = exceptions.RetryError | exceptions.ServerError | exceptions.TooManyRequests
    problem = CallsUnavailable if isinstance(error, passes) else Internal
    return problem(f"Firestore: {type(error).__name__}")


def _decoded_map(fields: Any) -> dict[str, object]:
    return {name: _decoded(fields[name]) for name in fields}  # `items` is Python, and slow


def _decoded(value: Any) -> object:
    """Return a value as Python has it; one of another type stays, an object that no field takes."""
    if text := value.string_value:  # first, since a long call is texts: this halves its decoding
        return text
    kind = value.WhichOneof("value_type")
    if kind in {"integer_value", "double_value", "boolean_value", "string_value"}:
        return getattr(value, kind)
    if kind == "map_value":
        return _decoded_map(value.map_value.fields)
    if kind == "array_value":
        return [_decoded(part) for part in value.array_value.values]
    if kind == "timestamp_value":
        with suppress(ValueError):  # for a time that Python does not have
            return value.timestamp_value.ToDatetime(tzinfo=UTC)
    return None if kind == "null_value" else value
