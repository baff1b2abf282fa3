"""The access rules: who asks, which call, and whether that org may see it."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple, NewType, Protocol

from cachetools import LRUCache
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from call_api.calls.keys import key_id
from call_api.calls.schema import Shape, field_name
from call_api.errors import (
    CallNotFound,
    Forbidden,
    KeyRecordInvalid,
    OwnerMissing,
    Unauthenticated,
)

MAX_CALL_ID = 2**63 - 1
MAX_KNOWN_KEYS = 4096

OrgId = NewType("OrgId", str)  # of a key's record alone: to hold one is to have shown a key


class StoredDocument(Protocol):
    """A document as it came from the store, not decoded yet."""

    @property
    def size(self) -> int:
        """Its bytes."""

    @property
    def updated_ns(self) -> int:
        """When it was last written, in nanoseconds since the epoch."""

    def value(self, name: str) -> object:
        """Return a field that holds a scalar, or None if there is no such field."""

    def decoded(self, shape: dict[str, Shape]) -> dict[str, object]:
        """Return the fields that `shape` names."""


class CallStore(Protocol):
    """Where keys and calls are stored."""

    async def read(
        self, hashed_key: str, call_id: int | None, began_at: float
    ) -> tuple[StoredDocument | None, StoredDocument | None]:
        """Return the key's record and the call (None for each that does not exist).

        `began_at` is the time, by the event loop's clock, from which all reads of a request share one
        budget. With `call_id` None only the key's record is read.

        Raises:
            Unavailable: the store cannot be read right now, or not in time.
            Internal: it cannot be read until a role or a setting is corrected.
        """


class Asker(Protocol):
    """Who asks, for the log alone: filled in as it becomes known, also for a request that is then refused.

    `key_id` says that this request has found the key's record. `org_id` may be what is remembered of
    the key, as where the record cannot be read right now.
    """

    org_id: str | None
    key_id: str | None


class ApiKey(BaseModel):
    """The record of an API key."""

    model_config = ConfigDict(strict=True, extra="ignore")

    org_id: OrgId = Field(min_length=1)
    created_at: AwareDatetime | None = None
    expires_at: AwareDatetime | None = None
    revoked_at: AwareDatetime | None = None
    name: str | None = None


_KEY_SHAPE: dict[str, Shape] = dict.fromkeys(ApiKey.model_fields)


def parse_call_id(segment: str) -> int | None:
    """Return the ID that a path segment spells in canonical form, else None."""
    # By pattern, since `int` and `isdigit` accept signs, underscores and every script's digits.
    canonical = re.fullmatch(r"[1-9][0-9]{0,18}", segment)
    return int(segment) if canonical and int(segment) <= MAX_CALL_ID else None


class KnownKeyRequest(NamedTuple):
    """A key that has been good on this instance, and a call's ID; made by `ensure_known_key` alone."""

    hashed_key: str
    call_id: int


@dataclass(frozen=True)
class CallAccess:
    """The only way to read a call: it checks the key, then the call's owner.

    No call is read for a key that has not been good on this instance before, so unauthenticated
    callers can neither cause the work of reading a call nor time it. A key is judged by the time at
    which its record has come, since the request may have waited for it.
    """

    store: CallStore
    now: Callable[[], datetime]
    # By hash, the keys that were good here lately. To be known grants nothing: the record is read in
    # each request, so a revocation counts from the next one on.
    known_keys: LRUCache[str, OrgId] = field(default_factory=lambda: LRUCache(MAX_KNOWN_KEYS))

    async def ensure_known_key(
        self,
        hashed_key: str,
        call_id: int | None,
        began_at: float,
        asker: Asker,
    ) -> KnownKeyRequest:
        """Let a key that is known here pass unread; read the record of any other, alone, and judge it.

        A known key is not authenticated yet: `read_call` does that, in each request. `call_id` is None
        where the path spells no ID, which only a good key is told: then the record is always read.

        Raises:
            Problem: every refusal.
        """
        asker.org_id = known_org = self.known_keys.get(hashed_key)
        if call_id is None or known_org is None:
            record, _ = await self.store.read(hashed_key, None, began_at)
            self._authenticate(hashed_key, record, asker)
            if call_id is None:
                raise CallNotFound
        return KnownKeyRequest(hashed_key, call_id)

    async def read_call(
        self, request: KnownKeyRequest, began_at: float, asker: Asker
    ) -> tuple[ApiKey, StoredDocument]:
        """Return the key, and the call's document if the key's org owns it.

        Nothing of the document but its owner is decoded here.

        Raises:
            Problem: every refusal.
        """
        record, document = await self.store.read(request.hashed_key, request.call_id, began_at)
        key = self._authenticate(request.hashed_key, record, asker)
        if document is None:
            raise CallNotFound
        require_owner(document, key.org_id)
        return key, document

    def _authenticate(self, hashed_key: str, record: StoredDocument | None, asker: Asker) -> ApiKey:
        """Return the key if it is good, and remember or forget it."""
        try:
            key = read_key(hashed_key, record, asker)
            require_active(key, self.now())
        except Unauthenticated:
            self.known_keys.pop(hashed_key, None)
            raise
        self.known_keys[hashed_key] = key.org_id
        return key


def read_key(hashed_key: str, record: StoredDocument | None, asker: Asker) -> ApiKey:
    """Return the key of a record, and note for the log whose it is."""
    if record is None:
        raise Unauthenticated("unknown key")
    asker.key_id = key_id(hashed_key)
    try:
        key = ApiKey.model_validate(record.decoded(_KEY_SHAPE))
    except ValidationError as error:
        at_fault = ", ".join(field_name(fault["loc"]) for fault in error.errors())
        raise KeyRecordInvalid(f"key record: {at_fault}") from None
    asker.org_id = key.org_id
    return key


def require_active(key: ApiKey, moment: datetime) -> None:
    """Refuse a key that has expired or was revoked."""
    if key.expires_at is not None and key.expires_at <= moment:
        raise Unauthenticated("expired key")
    if key.revoked_at is not None and key.revoked_at <= moment:
        raise Unauthenticated("revoked key")


def require_owner(document: StoredDocument, org_id: OrgId) -> None:
    """Refuse every org but the call's owner, and every org where the call has none."""
    owner = document.value("org_id")
    if not isinstance(owner, str) or not owner:
        raise OwnerMissing("call document: org_id")
    if owner != org_id:
        raise Forbidden
