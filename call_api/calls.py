"""The rules: who asks, which call, and whether that org may see it."""

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import NamedTuple, NewType, Protocol

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from call_api.errors import (
    CallNotFound,
    Forbidden,
    KeyRecordInvalid,
    OwnerMissing,
    Problem,
    StoredCallInvalid,
    Unauthenticated,
)
from call_api.schema import Call

# Part of every ETag. Raise it when the same document renders differently: clients that hold the
# old rendering would otherwise be told that it is current.
RENDERING = 1
ETAG_WINDOW_SECONDS = 600  # of a link's 3,600, so a 304 leaves at least 50 minutes on it
MAX_CALL_ID = 2**63 - 1

OrgId = NewType("OrgId", str)  # made by authenticate() alone: to hold one is to have shown a key


class Document(NamedTuple):
    """A stored document; `updated_ns` counts from the epoch.

    Decoding `fields` takes the longer the more there are. So it waits until the key is known: a
    stranger shall not cause that work, nor read a call's length from the time that it takes.
    """

    fields: Callable[[], Mapping[str, object]]
    updated_ns: int


class CallStore(Protocol):
    """Where keys and calls are stored."""

    async def read(self, key: str, call_id: int | None) -> tuple[Document | None, Document | None]:
        """Return the key's record and the call (None for each that does not exist).

        Raises:
            Unavailable: the store cannot be read right now, or not in time.
            Internal: it cannot be read until a role or a setting is mended.
        """


class ApiKey(BaseModel):
    """The record of an API key."""

    model_config = ConfigDict(strict=True, extra="ignore")

    org_id: str = Field(min_length=1)
    created_at: AwareDatetime | None = None
    expires_at: AwareDatetime | None = None
    revoked_at: AwareDatetime | None = None
    name: str | None = None


class OwnedCall(NamedTuple):
    """A call and the org that owns it, which is the org that asked."""

    call: Call
    org_id: OrgId
    updated_ns: int

    @property
    def recording_to_sign(self) -> str | None:
        """The recording's object; a deleted call's is never signed."""
        return None if self.call.status == "deleted" else self.call.recording_object

    def etag(self, now: datetime) -> str:
        """Return the weak validator: document, rendering and, where a link is signed, its age."""
        window = int(now.timestamp()) // ETAG_WINDOW_SECONDS if self.recording_to_sign else 0
        return f'W/"{RENDERING}-{self.updated_ns:x}-{window:x}"'


def parse_call_id(segment: str) -> int | None:
    """Return the ID that a path segment spells in canonical form, else None."""
    # By pattern, since `int` and `isdigit` accept signs, underscores and every script's digits.
    canonical = re.fullmatch(r"[1-9][0-9]{0,18}", segment)
    return int(segment) if canonical and int(segment) <= MAX_CALL_ID else None


async def get_call(store: CallStore, key: str, call_id: int | None, now: datetime) -> OwnedCall:
    """Return the call if the key's org owns it.

    There is no other way to a call, so none without this check. `call_id` is None where the path
    spells no ID: the key is checked all the same, so that strangers learn nothing from a 404.

    Raises:
        Problem: every refusal, with the org that asked once its key is known.
    """
    record, document = await store.read(key, call_id)
    org_id = authenticate(record, now)
    try:
        if document is None or call_id is None:
            raise CallNotFound
        fields = document.fields()
        require_owner(fields, org_id)
        return OwnedCall(validated(fields, call_id), org_id, document.updated_ns)
    except Problem as problem:
        problem.org_id = org_id
        raise


def authenticate(record: Document | None, now: datetime) -> OrgId:
    """Return the org that the key speaks for; `expires_at` and `revoked_at` end that."""
    if record is None:
        raise Unauthenticated("unknown key")
    try:
        key = ApiKey.model_validate(record.fields())
    except ValidationError as error:
        raise KeyRecordInvalid(f"key record: {_fields_at_fault(error)}") from None
    if key.expires_at is not None and key.expires_at <= now:
        raise Unauthenticated("expired key", org_id=key.org_id)
    if key.revoked_at is not None and key.revoked_at <= now:
        raise Unauthenticated("revoked key", org_id=key.org_id)
    return OrgId(key.org_id)


def require_owner(fields: Mapping[str, object], org_id: OrgId) -> None:
    """Refuse every org but the call's owner; a call without one belongs to nobody."""
    owner = fields.get("org_id")
    if not isinstance(owner, str) or not owner:
        raise OwnerMissing("call document: org_id")
    if owner != org_id:
        raise Forbidden


def validated(fields: Mapping[str, object], call_id: int) -> Call:
    """Return the document as a call, if it keeps the published schema."""
    try:
        call = Call.model_validate(fields)
    except ValidationError as error:
        raise StoredCallInvalid(f"call document: {_fields_at_fault(error)}") from None
    if call.id != call_id:
        raise StoredCallInvalid("call document: id")
    return call


def _fields_at_fault(error: ValidationError) -> str:
    """Name the fields, never their values: they hold what people said and their numbers."""
    faults = error.errors(include_input=False, include_url=False)
    return ", ".join(".".join(map(str, fault["loc"])) for fault in faults)
