"""The connection to Firestore: opened in the first request, replaced when it has died."""

import asyncio
from collections.abc import AsyncIterable, Callable
from dataclasses import dataclass

import grpc
from google.api_core import gapic_v1
from google.cloud.firestore_v1 import types

from call_api.cloud.channels import channel_options
from call_api.cloud.tokens import AccessTokens
from call_api.errors import Internal
from call_api.firestore.documents import MAX_DOCUMENT_BYTES
from call_api.settings import Settings

BatchGetRequest = types.BatchGetDocumentsRequest.pb()
_HOST, _METHOD = "firestore.googleapis.com:443", "/google.firestore.v1.Firestore/BatchGetDocuments"
_BatchGet = Callable[..., AsyncIterable[bytes]]


@dataclass(frozen=True)
class Connection:
    """The method for reading documents, and the arguments that every call of it shares.

    The method is bare, and its answers are the bytes of `firestore_values.RawResponse`: the
    generated client would add a third to the time of a read.
    """

    database: str  # projects/…/databases/…
    metadata: list[tuple[str, str]]
    batch_get: _BatchGet  # keeps its channel open


class FirestoreConnector:
    """Opens the connection that all requests share."""

    def __init__(self, settings: Settings, tokens: AccessTokens) -> None:
        self._settings = settings
        self._tokens = tokens
        self._connect_lock = asyncio.Lock()
        self._current: Connection | None = None

    async def get(self) -> Connection:
        """Return the connection; it is opened in a request, since no channel survives a fork.

        Raises:
            GoogleAuthError: there are no Application Default Credentials.
            Internal: no project is set, and the credentials name none.
        """
        async with self._connect_lock:
            if self._current is None:
                self._current = await self._opened()
            return self._current

    def drop(self, connection: Connection) -> None:
        """Let the next request open another one, unless that has happened already."""
        if connection is self._current:
            self._current = None

    async def _opened(self) -> Connection:
        emulator, project = self._settings.firestore_emulator_host, self._settings.project
        metadata = []
        if emulator is None or project is None:
            credentials, default_project = await self._tokens.credentials()
            project = project or default_project
            if quota_project := getattr(credentials, "quota_project_id", None):
                metadata.append(("x-goog-user-project", quota_project))  # a developer's own login
        if project is None:
            raise Internal("GOOGLE_CLOUD_PROJECT is unset, and the credentials name no project")
        database = f"projects/{project}/databases/{self._settings.database}"
        metadata.append(gapic_v1.routing_header.to_grpc_metadata([("database", database)]))
        options = channel_options(MAX_DOCUMENT_BYTES)
        if emulator is None:
            channel = grpc.aio.secure_channel(_HOST, grpc.ssl_channel_credentials(), options)
        else:
            channel = grpc.aio.insecure_channel(emulator, options)
        batch_get: _BatchGet = channel.unary_stream(_METHOD, BatchGetRequest.SerializeToString)
        return Connection(database, metadata, batch_get)

    async def token(self) -> str:
        """Return the access token to send; the emulator's rules bind every token but this one.

        Raises:
            TokenUnavailable: there is no token right now.
        """
        if self._settings.firestore_emulator_host is not None:
            return "owner"
        return await self._tokens.get()

    def reject(self, token: str) -> None:
        """Have a token that Firestore refused replaced."""
        self._tokens.reject(token)
