"""The two edges of the rules, in memory: where a rule is tested without Firestore or a key."""

import threading
from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from call_api.calls import Document

WRITTEN_NS = 1_774_434_158_000_000_000


class FakeCalls:
    """Keys and calls as given; a failure, if there is one, instead of any answer."""

    def __init__(
        self,
        *,
        keys: Mapping[str, Mapping[str, object]] | None = None,
        calls: Mapping[int, Mapping[str, object]] | None = None,
        failure: Exception | None = None,
    ) -> None:
        self.keys = keys or {}
        self.calls = calls or {}
        self.failure = failure

    async def read(self, key: str, call_id: int | None) -> tuple[Document | None, Document | None]:
        if self.failure is not None:
            raise self.failure
        record = self.keys.get(key)
        call = None if call_id is None else self.calls.get(call_id)
        return (
            None if record is None else Document(lambda: record, WRITTEN_NS),
            None if call is None else Document(lambda: call, WRITTEN_NS),
        )


class FakeSigner:
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
