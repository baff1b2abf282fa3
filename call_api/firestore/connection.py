"""The connection to Firestore: opened in the first request, replaced when it has died."""

from collections.abc import AsyncIterable, Callable, Sequence
from dataclasses import dataclass
from functools import partial

import grpc
from google.api_core import gapic_v1
from google.api_core.retry import AsyncRetry
from google.cloud.firestore_v1 import types
from google.protobuf.message import DecodeError
from grpc import StatusCode

from call_api.cloud.channels import channel_options
from call_api.cloud.credentials import quota_metadata
from call_api.cloud.failures import status_of
from call_api.cloud.tokens import AccessTokens
from call_api.errors import Internal
from call_api.firestore.documents import MAX_DOCUMENT_BYTES, FirestoreDocument, read_response
from call_api.settings import Settings

RETRY_BUDGET_SECONDS = 1.0
ANSWER_SECONDS = 4.0  # longer than any read takes, so that a DEADLINE_EXCEEDED is Firestore's own
_RETRIED = frozenset({StatusCode.UNAVAILABLE, StatusCode.ABORTED, StatusCode.CANCELLED})
_HOST, _METHOD = "firestore.googleapis.com:443", "/google.firestore.v1.Firestore/BatchGetDocuments"
_Request = types.BatchGetDocumentsRequest.pb()

Documents = dict[str, FirestoreDocument | None]  # by path; None where there is no document
BatchGet = Callable[..., AsyncIterable[bytes]]


class IncompleteAnswerError(Exception):
    """The answer ended without a word on one of the documents."""


def _is_retried(error: Exception) -> bool:
    """Tell what is retried. A connection that died while idle also reports UNAVAILABLE."""
    status = status_of(error)
    if status is StatusCode.INTERNAL:
        return "RST_STREAM" in str(error)  # gRPC's word where the stream alone was reset
    return isinstance(error, IncompleteAnswerError) or status in _RETRIED


@dataclass(frozen=True)
class Connection:
    """One channel to Firestore. Its method has no deserializer: answers stay bytes for `read_response`."""

    database: str  # projects/…/databases/…
    metadata: list[tuple[str, str]]  # of every request
    batch_get: BatchGet  # keeps its channel open
    tokens: AccessTokens | None  # None for an emulator
    on_message: Callable[[], None]  # called for each message, also of an answer that never ends

    async def read(self, paths: Sequence[str], fields: Sequence[str]) -> Documents:
        """Read these fields of documents.

        Raises:
            RpcError: Firestore fails.
            RetryError: it fails in a transient way until the time for retries is over.
            Internal: the answer is not what Firestore publishes. It is not retried: whatever stands
                between here and Firestore would answer in the same way.
        """
        if self.tokens is None:
            return await self._answer(paths, fields, "owner")  # whom no rules of the emulator bind
        return await self.tokens.with_token(partial(self._answer, paths, fields))

    def lacks_token(self) -> bool:
        """Tell whether a read that is late has waited for a token, and not for Firestore."""
        return self.tokens is not None and not self.tokens.has_valid()

    @AsyncRetry(_is_retried, initial=0.05, timeout=RETRY_BUDGET_SECONDS)
    async def _answer(self, paths: Sequence[str], fields: Sequence[str], token: str) -> Documents:
        """Ask with a token, and wait for the whole answer."""
        prefix = f"{self.database}/documents/"
        request = _Request(
            database=self.database,
            documents=[prefix + path for path in paths],
            mask={"field_paths": fields},
        )
        metadata = [*self.metadata, ("authorization", f"Bearer {token}")]
        messages = []
        async for message in self.batch_get(request, metadata=metadata, timeout=ANSWER_SECONDS):
            self.on_message()
            messages.append(message)
        found: Documents = {}
        try:
            for response in map(read_response, messages):
                if response is not None:
                    name, document = response
                    found[name.removeprefix(prefix)] = document
        except DecodeError:
            raise Internal("Firestore answered no message of its type") from None
        if not found.keys() >= set(paths):
            raise IncompleteAnswerError
        return found


class FirestoreConnector:
    """Opens the connection that all requests share."""

    def __init__(
        self, settings: Settings, tokens: AccessTokens, on_message: Callable[[], None]
    ) -> None:
        self._settings = settings
        self._tokens = tokens
        self._on_message = on_message
        self._current: Connection | None = None

    async def get(self) -> Connection:
        """Return the connection. It is opened in a request, since no channel survives a fork.

        Raises:
            CredentialsError: there are no credentials, which name the project and the quota project.
        """
        connection = self._current
        if connection is None:
            project, metadata = await self._project_and_metadata()
            # Of requests that waited for the credentials together, the first opens it for all.
            connection = self._current = self._current or self._opened(project, metadata)
        return connection

    def drop(self, connection: Connection) -> None:
        """Let the next request open another one, unless that has happened already."""
        if connection is self._current:
            self._current = None

    async def _project_and_metadata(self) -> tuple[str, list[tuple[str, str]]]:
        project = self._settings.project
        if self._settings.firestore_emulator_host is not None and project is not None:
            return project, []
        credentials, project = await self._tokens.credentials()
        return project, quota_metadata(credentials)

    def _opened(self, project: str, metadata: list[tuple[str, str]]) -> Connection:
        emulator = self._settings.firestore_emulator_host
        options = channel_options(MAX_DOCUMENT_BYTES)
        if emulator is None:
            channel = grpc.aio.secure_channel(_HOST, grpc.ssl_channel_credentials(), options)
        else:
            channel = grpc.aio.insecure_channel(emulator, options)
        database = f"projects/{project}/databases/{self._settings.database}"
        return Connection(
            database,
            [*metadata, gapic_v1.routing_header.to_grpc_metadata([("database", database)])],
            channel.unary_stream(_METHOD, _Request.SerializeToString),
            self._tokens if emulator is None else None,
            self._on_message,
        )
