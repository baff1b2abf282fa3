"""The two edges of the rules, in memory: where a rule is tested without Firestore or a key."""

from collections.abc import Mapping
from datetime import UTC, datetime

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
