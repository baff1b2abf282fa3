"""The edges of the function, in memory: where Firestore, signatures or a client are not the point."""

import asyncio
import copy
import threading
from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from starlette.requests import Request

from call_api.calls.access import CallAccess, CallStore, StoredDocument
from call_api.calls.keys import key_hash
from call_api.calls.schema import Shape
from call_api.cloud.credentials import CredentialsError, DefaultCredentials
from call_api.cloud.failures import Failure
from call_api.log import RequestEntry

WRITTEN_NS = 1_774_434_158_000_000_000


class FakeDocument:
    """A stored document whose values are as given."""

    def __init__(self, fields: Mapping[str, object], size: int = 2_000) -> None:
        self.fields = fields
        self.size = size
        self.updated_ns = WRITTEN_NS

    def value(self, name: str) -> object:
        return self.fields.get(name)

    def decoded(self, _shape: dict[str, Shape]) -> dict[str, object]:
        return copy.deepcopy(dict(self.fields))


class FakeCalls:
    """Keys and calls as given; a failure, if there is one, instead of any answer.

    `reads` are the call IDs that were read, None for a read of the key's record alone.
    """

    def __init__(
        self,
        *,
        keys: Mapping[str, Mapping[str, object]] | None = None,
        calls: Mapping[int, Mapping[str, object]] | None = None,
        failure: Exception | None = None,
    ) -> None:
        self.keys = {key_hash(key): record for key, record in (keys or {}).items()}
        self.calls = calls or {}
        self.failure = failure
        self.reads: list[int | None] = []

    async def read(
        self, hashed_key: str, call_id: int | None, began_at: float
    ) -> tuple[FakeDocument | None, FakeDocument | None]:
        assert began_at <= asyncio.get_running_loop().time()
        self.reads.append(call_id)
        if self.failure is not None:
            raise self.failure
        record = self.keys.get(hashed_key)
        call = None if call_id is None else self.calls.get(call_id)
        return (
            None if record is None else FakeDocument(record),
            None if call is None else FakeDocument(call),
        )


class FakeRecordingUrls:
    """Counts what it is asked to sign."""

    def __init__(self) -> None:
        self.signed: list[tuple[str, int]] = []

    async def signed_url(self, object_name: str, call_id: int) -> str:
        self.signed.append((object_name, call_id))
        return f"https://storage.googleapis.com/bucket/{len(self.signed)}"


class Clock:
    """A time that stands until it is set."""

    def __init__(self) -> None:
        self.time = datetime(2026, 3, 25, 12, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.time


async def read_call(
    store: CallStore, key: str, call_id: int | None, now: datetime
) -> StoredDocument:
    """Read a call as a request does: the key first."""
    access, asker = CallAccess(store, lambda: now), RequestEntry("r-1", {})
    began_at = asyncio.get_running_loop().time()
    known = await access.ensure_known_key(key_hash(key), call_id, began_at, asker)
    _, document = await access.read_call(known, began_at, asker)
    return document


def request_in(scope: dict[str, Any]) -> Request:
    """Return a request whose client waits for the answer."""

    async def stay_connected() -> Any:
        await asyncio.Event().wait()

    return Request({"type": "http", **scope}, stay_connected)


class Issued(NamedTuple):
    """What a refresh gives: a token, or anything else in its place, and its life in seconds."""

    token: object
    seconds: float | None = 3600.0


class FakeCredentials:
    """Credentials whose refreshes give what is listed, one after another: a token or a failure.

    While `may_end` is clear, a refresh blocks as a slow metadata server would have it block.
    """

    def __init__(self, *refreshes: Issued | str | Exception, clock: Clock | None = None) -> None:
        self.token: object = None
        self.expiry: datetime | None = None
        self.service_account_email: object = "function@demo-tests.iam.gserviceaccount.com"
        self.quota_project_id: str | None = None
        self.refreshes = 0
        self.started, self.may_end = threading.Event(), threading.Event()
        self.may_end.set()
        self._results = deque(refreshes)
        self._now: Callable[[], datetime] = clock or (lambda: datetime.now(UTC))

    def refresh(self, _request: object) -> None:
        self.refreshes += 1
        self.started.set()
        assert self.may_end.wait(10)
        result = self._results.popleft()
        if isinstance(result, Exception):
            raise result
        token, seconds = Issued(result) if isinstance(result, str) else result
        self.token, self.expiry = token, None
        if seconds is not None:  # naive, in UTC, as the library has it
            self.expiry = self._now().replace(tzinfo=None) + timedelta(seconds=seconds)


def finder_of(credentials: Any, project: str = "demo-tests") -> Callable[[], DefaultCredentials]:
    """Return what finds these credentials."""
    return lambda: DefaultCredentials(credentials, project)


def no_credentials() -> DefaultCredentials:
    raise CredentialsError(Failure(False, "there are no Application Default Credentials"))
