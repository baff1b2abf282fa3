"""Firestore: the key's record and the call's document, read in one round trip."""

import asyncio
import hashlib
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC
from functools import partial

import grpc
from google.api_core import exceptions
from google.api_core.retry import AsyncRetry, if_exception_type
from google.auth.credentials import Credentials
from google.auth.exceptions import GoogleAuthError
from google.cloud.firestore_v1.services.firestore import FirestoreAsyncClient
from google.cloud.firestore_v1.services.firestore.transports import FirestoreGrpcAsyncIOTransport
from google.cloud.firestore_v1.types import BatchGetDocumentsRequest, BatchGetDocumentsResponse
from google.cloud.firestore_v1.types.document import Value

from call_api.calls import ApiKey, Document
from call_api.errors import CallsUnavailable, Internal, UpstreamTimeout
from call_api.schema import Call
from call_api.settings import Settings

KEYS, CALLS = "api_keys", "calls"
READ_SECONDS = 3.0  # for all of a read: credentials, connecting, retries
# UNAVAILABLE is also what a connection that died while idle says, so the first retry comes at once.
# Well inside the budget: a Firestore that is down shall cost its callers a moment, not three seconds.
_RETRY = AsyncRetry(if_exception_type(exceptions.ServiceUnavailable), initial=0.05, timeout=1.0)
_CHANNEL_OPTIONS = [
    ("grpc.max_receive_message_length", -1),  # two documents of 1 MiB; 4 MiB is for the rest
    ("grpc.keepalive_time_ms", 30_000),  # as the library has it
    # The default grows to two minutes: so long would calls stay unread after Firestore is back.
    ("grpc.max_reconnect_backoff_ms", 1_000),
]
# Nothing else leaves Firestore, however much a document holds; and nothing is decoded in vain.
_MASK = {"field_paths": sorted({"org_id", *ApiKey.model_fields, *Call.model_fields})}
# What the emulator takes for a service account: security rules bind everybody else.
_EMULATOR_METADATA = [("authorization", "Bearer owner")]
_AS_THEY_ARE = {"string_value", "integer_value", "double_value", "boolean_value"}


def key_document_id(key: str) -> str:
    """Return the ID of a key's record: its SHA-256, so that the key itself is stored nowhere."""
    return hashlib.sha256(key.encode()).hexdigest()


class FirestoreCalls:
    """Keys and calls in a Firestore database, or in its emulator."""

    def __init__(
        self,
        settings: Settings,
        default_credentials: Callable[[], tuple[Credentials, str | None]],
    ) -> None:
        self._settings = settings
        self._default_credentials = default_credentials
        self._connecting = asyncio.Lock()
        self._connection: tuple[FirestoreAsyncClient, str] | None = None
        self._metadata = _EMULATOR_METADATA if settings.firestore_emulator_host else []

    async def read(self, key: str, call_id: int | None) -> tuple[Document | None, Document | None]:
        """Return the key's record and the call, or raise what `calls.CallStore` says."""
        try:
            async with asyncio.timeout(READ_SECONDS):
                client, database = await self._connected()
                return await _read(client, self._metadata, database, key, call_id)
        except (TimeoutError, exceptions.DeadlineExceeded) as error:
            raise UpstreamTimeout("Firestore") from error
        except (exceptions.Forbidden, exceptions.Unauthorized) as error:
            raise Internal("Firestore refuses: is roles/datastore.viewer granted?") from error
        except exceptions.RetryError as error:
            raise CallsUnavailable("Firestore stays unavailable") from error
        except (exceptions.ServerError, exceptions.TooManyRequests) as error:
            raise CallsUnavailable(f"Firestore: {type(error).__name__}") from error
        except (exceptions.GoogleAPICallError, GoogleAuthError) as error:
            raise Internal(f"Firestore: {type(error).__name__}") from error

    async def _connected(self) -> tuple[FirestoreAsyncClient, str]:
        # In the first request, since a channel survives no fork and belongs to one event loop.
        async with self._connecting:
            if self._connection is None:
                self._connection = await self._connect()
            return self._connection

    async def _connect(self) -> tuple[FirestoreAsyncClient, str]:
        emulator, project = self._settings.firestore_emulator_host, self._settings.project
        credentials = None
        if emulator is None or project is None:
            credentials, default_project = await asyncio.to_thread(self._default_credentials)
            project = project or default_project
        if project is None:
            raise Internal("GOOGLE_CLOUD_PROJECT is unset, and the credentials name no project")
        if emulator is not None:
            channel = grpc.aio.insecure_channel(emulator, _CHANNEL_OPTIONS)
        else:
            channel = FirestoreGrpcAsyncIOTransport.create_channel(
                credentials=credentials, options=_CHANNEL_OPTIONS
            )
        client = FirestoreAsyncClient(transport=FirestoreGrpcAsyncIOTransport(channel=channel))
        return client, f"projects/{project}/databases/{self._settings.database}"


@_RETRY
async def _read(
    client: FirestoreAsyncClient,
    metadata: Sequence[tuple[str, str]],
    database: str,
    key: str,
    call_id: int | None,
) -> tuple[Document | None, Document | None]:
    key_name = f"{database}/documents/{KEYS}/{key_document_id(key)}"
    call_name = f"{database}/documents/{CALLS}/{call_id}"
    names = [key_name] if call_id is None else [key_name, call_name]
    request = BatchGetDocumentsRequest(database=database, documents=names, mask=_MASK)
    found: dict[str, Document] = {}
    async for response in await client.batch_get_documents(
        request, retry=None, timeout=READ_SECONDS, metadata=metadata
    ):
        document = BatchGetDocumentsResponse.pb(response).found
        if document.name:  # empty in the answer for a document that does not exist
            fields = partial(_decoded_map, document.fields)
            found[document.name] = Document(fields, document.update_time.ToNanoseconds())
    return found.get(key_name), found.get(call_name)


def _decoded_map(fields: Mapping[str, Value]) -> dict[str, object]:
    return {name: _decoded(value) for name, value in fields.items()}


def _decoded(value: Value) -> object:
    """Return a value as Python has it.

    Not with the library's `decode_dict`, which fails on references to other databases and on types
    that it does not know, wherever in the document they stand; here those become an object that no
    published field accepts.
    """
    kind = value.WhichOneof("value_type")
    if kind in _AS_THEY_ARE:
        plain: object = getattr(value, kind)
        return plain
    if kind == "map_value":
        return _decoded_map(value.map_value.fields)
    if kind == "array_value":
        return [_decoded(part) for part in value.array_value.values]
    if kind == "timestamp_value":
        return value.timestamp_value.ToDatetime(tzinfo=UTC)
    return None if kind == "null_value" else value
