"""A key that was good on this instance is known, and its record is read together with the call."""

import hashlib
from datetime import UTC, datetime
from typing import Any

import pytest

from call_api.errors import CallsUnavailable
from local.seed import sample_calls
from tests.support.fakes import FakeCalls, FakeDocument
from tests.support.in_process import KEY, Function

GOOD: dict[str, Any] = {"org_id": "org_acme"}
KEY_ID = hashlib.sha256(KEY.encode()).hexdigest()[:12]
PAST = datetime(2026, 3, 25, tzinfo=UTC)
REVOKED, EXPIRED = GOOD | {"revoked_at": PAST}, GOOD | {"expires_at": PAST}


class KeysAlone(FakeCalls):
    """A store that fails where it is asked for a call."""

    async def read(
        self, hashed_key: str, call_id: int | None, began_at: float
    ) -> tuple[FakeDocument | None, FakeDocument | None]:
        self.failure = None if call_id is None else CallsUnavailable()
        return await super().read(hashed_key, call_id, began_at)


class Instance(Function):
    """An instance of the function, and what it reads."""

    def __init__(self, store: type[FakeCalls] = FakeCalls) -> None:
        self.store = store(keys={KEY: GOOD}, calls={77: sample_calls()[77]})
        super().__init__(self.store)

    def reads_for(self, call: str) -> list[int | None]:
        """Ask for a call, and return what was read for it: None is the key's record alone."""
        self.store.reads.clear()
        self.ask(f"/v2/calls/{call}")
        return self.store.reads

    def last_entry(self) -> tuple[Any, ...]:
        """Return status, org and key of the last line of the log."""
        entry = self.entries()[-1]
        return entry["status"], entry["org_id"], entry["key_id"]


def test_a_key_is_known_after_its_first_request() -> None:
    instance = Instance()

    assert instance.reads_for("77") == [None, 77]
    assert instance.reads_for("77") == [77]


def test_a_key_is_known_after_a_request_for_no_call() -> None:
    instance = Instance()

    assert instance.reads_for("no-id") == [None]
    assert instance.reads_for("77") == [77]


@pytest.mark.parametrize(
    ("record", "org_id"),
    [(REVOKED, "org_acme"), (EXPIRED, "org_acme"), (None, None)],
    ids=["revoked", "expired", "deleted"],
)
def test_a_key_that_has_ended_makes_the_function_read_one_call_more(
    record: dict[str, Any] | None, org_id: str | None
) -> None:
    instance = Instance()
    instance.reads_for("77")
    instance.store.keys = {} if record is None else dict.fromkeys(instance.store.keys, record)

    assert instance.reads_for("77") == [77]
    assert instance.last_entry()[:2] == (401, "org_acme")
    for call in ("77", "78", "no-id"):
        assert instance.reads_for(call) == [None]
        assert instance.last_entry()[:2] == (401, org_id)


def test_the_log_names_org_and_key_of_a_first_request_for_no_call() -> None:
    for call in ("99999", "no-id"):
        instance = Instance()
        instance.reads_for(call)
        assert instance.last_entry() == (404, "org_acme", KEY_ID)


def test_the_log_names_org_and_key_where_the_call_alone_cannot_be_read() -> None:
    instance = Instance(KeysAlone)
    instance.reads_for("77")

    assert instance.last_entry() == (503, "org_acme", KEY_ID)


def test_the_log_names_the_org_alone_of_a_known_key_whose_record_was_not_found() -> None:
    """What is remembered of a key is no proof that its record is still there."""
    instance = Instance()
    instance.reads_for("77")
    instance.store.failure = CallsUnavailable()
    instance.reads_for("77")
    assert instance.last_entry() == (503, "org_acme", None)

    instance.store.failure = None
    instance.store.keys = {}
    instance.reads_for("77")
    assert instance.last_entry() == (401, "org_acme", None)
