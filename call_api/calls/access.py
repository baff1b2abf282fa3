"""The access rules: who asks, which call, and whether that org may see it."""

import asyncio
import re
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, NewType, Protocol

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from call_api.calls.schema import Call, Shape
from call_api.errors import (
    CallNotFound,
    Forbidden,
    KeyRecordInvalid,
    OwnerMissing,
    StoredCallInvalid,
    Unauthenticated,
)
from call_api.recently_used import RecentlyUsed
from call_api.web.admission import Place

# Part of every ETag. Raise it when the same document renders differently, or clients that hold the
# old rendering will be answered that it is current.
RENDERING_VERSION = 1
ETAG_WINDOW_SECONDS = 600  # of a link's 3,600, so a 304 leaves at least 50 minutes on it
MAX_CALL_ID = 2**63 - 1
MAX_KNOWN_KEYS = 4096

OrgId = NewType("OrgId", str)  # made by authenticate() alone: to hold one is to have shown a key


class StoredDocument(Protocol):
    """A document as it came from the store, not decoded yet."""

    size: int  # bytes
    updated_ns: int  # since the epoch

    def value(self, name: str) -> object:
        """Return a field that holds a scalar, or None if there is no such field."""

    def decoded(self, shape: dict[str, Shape]) -> Generator[None, None, dict[str, object]]:
        """Return the fields that `shape` names; yields where the work may be interrupted."""


class CallStore(Protocol):
    """Where keys and calls are stored."""

    async def read(
        self, hashed_key: str, call_id: int | None, began_at: float
    ) -> tuple[StoredDocument | None, StoredDocument | None]:
        """Return the key's record and the call (None for each that does not exist).

        `began_at` is when the request began, by the event loop's clock: all reads of a request
        share one budget. With `call_id` None only the key's record is read.

        Raises:
            Unavailable: the store cannot be read right now, or not in time.
            Internal: it cannot be read until a role or a setting is corrected.
        """


class ApiKey(BaseModel):
    """The record of an API key."""

    model_config = ConfigDict(strict=True, extra="ignore")

    org_id: str = Field(min_length=1)
    created_at: AwareDatetime | None = None
    expires_at: AwareDatetime | None = None
    revoked_at: AwareDatetime | None = None
    name: str | None = None


def parse_call_id(segment: str) -> int | None:
    """Return the ID that a path segment spells in canonical form, else None."""
    # By pattern, since `int` and `isdigit` accept signs, underscores and every script's digits.
    canonical = re.fullmatch(r"[1-9][0-9]{0,18}", segment)
    return int(segment) if canonical and int(segment) <= MAX_CALL_ID else None


class OwnedCall(NamedTuple):
    """A call's document, and the org that owns it, which is the org that asked."""

    org_id: OrgId
    call_id: int
    document: StoredDocument


@dataclass(frozen=True)
class CallAccess:
    """The only way to read a call: it checks the key, then the call's owner."""

    store: CallStore
    known_keys: RecentlyUsed[str, OrgId]  # by hash: the keys that were good here lately

    async def read_owned_call(
        self, hashed_key: str, call_id: int | None, now: datetime, place: Place
    ) -> OwnedCall:
        """Return the call if the key's org owns it. Nothing but its owner is decoded here.

        No call is read for a key that has not been good on this instance before: that key's record
        is read alone first, so unauthenticated callers can neither cause the work of reading a call
        nor time it. `call_id` is None where the path spells no ID; the key is checked all the same.

        Raises:
            Problem: every refusal, with the org that asked once its key is known.
        """
        clock = asyncio.get_running_loop().time
        began_at = clock()
        if call_id is None or self.known_keys.get(hashed_key) is None:
            record, _ = await self.store.read(hashed_key, None, began_at)
            org_id = self._authenticate(hashed_key, record, now)
            if call_id is None:
                raise CallNotFound(org_id=org_id)
        waits_since = clock()
        await place.before_fetch()
        began_at += clock() - waits_since  # to wait for admission does not count as reading
        record, document = await self.store.read(hashed_key, call_id, began_at)
        org_id = self._authenticate(hashed_key, record, now)
        place.arrived(document.size if document else 0)
        if document is None:
            raise CallNotFound(org_id=org_id)
        require_owner(document, org_id)
        return OwnedCall(org_id, call_id, document)

    def _authenticate(self, hashed_key: str, record: StoredDocument | None, now: datetime) -> OrgId:
        """Return the key's org, and remember or forget the key.

        To be known grants nothing: the record is read in each request, so a revocation counts from
        the next one on.
        """
        try:
            org_id = authenticate(record, now)
        except Unauthenticated:
            self.known_keys.discard(hashed_key)
            raise
        self.known_keys.put(hashed_key, org_id)
        return org_id


def authenticate(record: StoredDocument | None, now: datetime) -> OrgId:
    """Return the org that the key speaks for; `expires_at` and `revoked_at` end that."""
    if record is None:
        raise Unauthenticated("unknown key")
    try:
        key = ApiKey.model_validate({name: record.value(name) for name in ApiKey.model_fields})
    except ValidationError as error:
        raise KeyRecordInvalid(f"key record: {_fields_at_fault(error)}") from None
    if key.expires_at is not None and key.expires_at <= now:
        raise Unauthenticated("expired key", org_id=key.org_id)
    if key.revoked_at is not None and key.revoked_at <= now:
        raise Unauthenticated("revoked key", org_id=key.org_id)
    return OrgId(key.org_id)


def require_owner(document: StoredDocument, org_id: OrgId) -> None:
    """Refuse every org but the call's owner, and every org where the call has none."""
    owner = document.value("org_id")
    if not isinstance(owner, str) or not owner:
        raise OwnerMissing("call document: org_id", org_id=org_id)
    if owner != org_id:
        raise Forbidden(org_id=org_id)


def validated(values: Mapping[str, object], call_id: int) -> Call:
    """Return a decoded call, if it keeps the published schema."""
    try:
        call = Call.model_validate(values)
    except ValidationError as error:
        raise StoredCallInvalid(f"call document: {_fields_at_fault(error)}") from None
    if call.id != call_id:
        raise StoredCallInvalid("call document: id")
    return call


def recording_to_sign(call: Call) -> str | None:
    """Return the recording's object; a deleted call's is never signed."""
    return None if call.status == "deleted" else call.recording_object


def etag(call: Call, updated_ns: int, now: datetime) -> str:
    """Return the weak validator: document, rendering and, where a link is signed, its age.

    `now` is the time of the answer, not of the request: a slow read must not make a 304 outlive
    its window.
    """
    window = int(now.timestamp()) // ETAG_WINDOW_SECONDS if recording_to_sign(call) else 0
    return f'W/"{RENDERING_VERSION}-{updated_ns:x}-{window:x}"'


def _fields_at_fault(error: ValidationError) -> str:
    """Name the fields, never their values: they hold what people said and their numbers."""
    faults = error.errors(include_input=False, include_url=False)
    return ", ".join(".".join(map(str, fault["loc"])) for fault in faults)
