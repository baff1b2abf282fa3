"""Reads through the Firestore adapter, and a Firestore that answers them as it is set to."""

import asyncio
import time
from collections.abc import Iterator

import grpc
from google.cloud.firestore_v1.types import BatchGetDocumentsRequest, BatchGetDocumentsResponse

from call_api.calls.access import StoredDocument
from call_api.calls.keys import key_hash
from call_api.cloud.tokens import AccessTokens
from call_api.errors import Problem
from call_api.firestore.store import FirestoreCalls
from call_api.settings import Settings
from local.seed import sample_calls
from tests.support.fakes import no_credentials
from tests.support.google_cloud import found
from tests.support.project import BUCKET, PROJECT

KEY = "a-key"
Read = tuple[StoredDocument | None, StoredDocument | None]


def both_documents(
    request: BatchGetDocumentsRequest, _: object = None
) -> Iterator[BatchGetDocumentsResponse]:
    """Answer the key's record and call 77, the call first, as Firestore may."""
    for name in reversed(request.documents):
        fields = sample_calls()[77] if "/calls/" in name else {"org_id": "org_acme"}
        yield found(name, fields)


def environment_for(port: int) -> dict[str, str]:
    """Return what a function needs that reads from this port, but for what signs."""
    return {
        "RECORDINGS_BUCKET": BUCKET,
        "GOOGLE_CLOUD_PROJECT": PROJECT,
        "FIRESTORE_EMULATOR_HOST": f"127.0.0.1:{port}",
    }


def settings_for(port: int) -> Settings:
    return Settings.from_environment(environment_for(port))


def store_at(port: int) -> FirestoreCalls:
    return FirestoreCalls(settings_for(port), AccessTokens(no_credentials))


async def read_now(store: FirestoreCalls, call_id: int | None = 77) -> Read:
    """Read with a budget that begins now."""
    return await store.read(key_hash(KEY), call_id, asyncio.get_running_loop().time())


async def outcome(store: FirestoreCalls, call_id: int | None = 77) -> Read | Problem:
    try:
        return await read_now(store, call_id)
    except Problem as problem:
        return problem


class Firestore:
    """A Firestore that answers as it is set to, and keeps what it was asked."""

    def __init__(self) -> None:
        self.status: grpc.StatusCode | None = None
        self.hang_seconds = 0.0
        self.peers: set[str] = set()

    def __call__(
        self, request: BatchGetDocumentsRequest, context: grpc.ServicerContext
    ) -> Iterator[BatchGetDocumentsResponse]:
        self.peers.add(context.peer())
        time.sleep(self.hang_seconds)
        if self.status is not None:
            context.abort(self.status, "s3cret")
        yield from both_documents(request)
