"""Firestore: the key's record and the call's document, read in one round trip."""

import asyncio
import hashlib
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC
from functools import partial

import grpc
from google.api_core import exceptions
from google.api_core.retry import AsyncRetry, if_exception_type
from google.auth.exceptions import GoogleAuthError
from google.cloud.firestore_v1 import types
from google.cloud.firestore_v1.services.firestore import FirestoreAsyncClient, transports

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
# Nothing else leaves Firestore, however much a document holds; and nothing is decoded in vain.
_MASK = {"field_paths": sorted({"org_id", *ApiKey.model_fields, *Call.model_fields})}
_AS_THEY_ARE = {"string_value", "integer_value", "double_value", "boolean_value"}


def key_document_id(key: str) -> str:
    """Return the ID of a key's record: its SHA-256, so that the key itself is stored nowhere."""
    return hashlib.sha256(key.encode()).hexdigest()


class FirestoreCalls:
    """Keys and calls in a Firestore database, or in its emulator."""

    def __init__(self, settings: Settings, default_credentials: DefaultCredentials) -> None:
        self._settings = settings
        self._default_credentials = default_credentials
        owner = [("authorization", "Bearer owner")]  # the emulator's rules bind others
        self._metadata = owner if settings.firestore_emulator_host else []
        self._connecting = asyncio.Lock()
        self._connection: tuple[FirestoreAsyncClient, str] | None = None
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
        client, database = await self._connected()
        key_name = f"{database}/documents/{KEYS}/{key_document_id(key)}"
        call_name = f"{database}/documents/{CALLS}/{call_id}"
        names = [key_name] if call_id is None else [key_name, call_name]
        request = types.BatchGetDocumentsRequest(database=database, documents=names, mask=_MASK)
        found: dict[str, Document] = {}
        async for response in await client.batch_get_documents(
            request, retry=None, timeout=READ_SECONDS, metadata=self._metadata
        ):
            if response is None:
                raise Internal("Firestore: an answer nested too deep for protobuf")
            document = types.BatchGetDocumentsResponse.pb(response).found
            if document.name:  # empty in the answer for a document that does not exist
                fields = partial(_decoded_map, document.fields)
                found[document.name] = Document(fields, document.update_time.ToNanoseconds())
        self._failing = False
        return found.get(key_name), found.get(call_name)

    async def _connected(self) -> tuple[FirestoreAsyncClient, str]:
        async with self._connecting:  # in a request: a channel survives no fork, and has one loop
            if self._connection is not None:
                return self._connection
            emulator, project = self._settings.firestore_emulator_host, self._settings.project
            if emulator is None or project is None:
                credentials, default_project = await asyncio.to_thread(self._default_credentials)
                project = project or default_project
            if project is None:
                raise Internal("GOOGLE_CLOUD_PROJECT is unset, and the credentials name no project")
            transport = transports.FirestoreGrpcAsyncIOTransport
            if emulator is None:
                channel = transport.create_channel(credentials=credentials, options=_OPTIONS)
            else:
                channel = grpc.aio.insecure_channel(emulator, _OPTIONS)
            client = FirestoreAsyncClient(transport=transport(channel=channel))
            self._connection = client, f"projects/{project}/databases/{self._settings.database}"
            return self._connection


def _problem(error: Exception) -> Problem:
    match error:
        case TimeoutError() | exceptions.DeadlineExceeded():
            return UpstreamTimeout("Firestore")
        case exceptions.Forbidden() | exceptions.Unauthorized():
            return Internal("Firestore refuses: is roles/datastore.viewer granted?")
        case exceptions.RetryError() | exceptions.ServerError() | exceptions.TooManyRequests():
            return CallsUnavailable(f"Firestore: {type(error).__name__}")
        case _:
            return Internal(f"Firestore: {type(error).__name__}")


def _decoded_map(fields: Mapping[str, types.Value]) -> dict[str, object]:
    return {name: _decoded(value) for name, value in fields.items()}


def _decoded(value: types.Value) -> object:
    """Return a value as Python has it; one of another type stays, an object that no field takes."""
    kind = value.WhichOneof("value_type")
    if kind in _AS_THEY_ARE:
        return getattr(value, kind)
    if kind == "map_value":
        return _decoded_map(value.map_value.fields)
    if kind == "array_value":
        return [_decoded(part) for part in value.array_value.values]
    if kind == "timestamp_value":
        with suppress(ValueError):  # for a time that Python does not have
            return value.timestamp_value.ToDatetime(tzinfo=UTC)
    return None if kind == "null_value" else value
