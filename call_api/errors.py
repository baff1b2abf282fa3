"""Every refusal and failure that a client can meet, with its status, code and detail."""

from http import HTTPStatus
from types import MappingProxyType
from typing import ClassVar

ALLOWED_METHODS = "GET, HEAD, OPTIONS"
RETRY_AFTER_SECONDS = "1"


class Problem(Exception):
    """An answer other than the call.

    The text of the exception (its code and the reason) is for the log alone. The client reads
    `status`, `code` and `detail`, which are constants: no text of a library and no value of a
    document or header can reach it.
    """

    status: ClassVar[HTTPStatus]
    code: ClassVar[str]
    detail: ClassVar[str]
    headers: ClassVar[MappingProxyType[str, str]] = MappingProxyType({})
    severity: ClassVar[str] = "INFO"

    def __init__(self, reason: str | None = None) -> None:
        super().__init__(f"{self.code}: {reason}" if reason else self.code)


class Unauthenticated(Problem):
    """A key was presented that is unknown, expired, revoked or malformed."""

    status = HTTPStatus.UNAUTHORIZED
    code = "unauthenticated"
    detail = "Invalid or expired authentication token"
    headers = MappingProxyType({"WWW-Authenticate": 'Bearer error="invalid_token"'})


class CredentialsMissing(Unauthenticated):
    """No bearer key was presented; RFC 6750 section 3.1 then wants no error code."""

    headers = MappingProxyType({"WWW-Authenticate": "Bearer"})


class KeyRecordInvalid(Unauthenticated):
    """The key's record is malformed: refused like any other key, but a server-side fault."""

    severity = "ERROR"


class Forbidden(Problem):
    """The call belongs to another org."""

    status = HTTPStatus.FORBIDDEN
    code = "forbidden"
    detail = "Not authorized to access this call"


class OwnerMissing(Forbidden):
    """The call's document names no owner: a server-side fault, and no org may see the call."""

    severity = "ERROR"


class CallNotFound(Problem):
    """There is no such call, or the path's last segment is not a call ID."""

    status = HTTPStatus.NOT_FOUND
    code = "call_not_found"
    detail = "Call not found"


class RouteNotFound(Problem):
    """The path is not that of a call."""

    status = HTTPStatus.NOT_FOUND
    code = "route_not_found"
    detail = "No such route"


class MethodNotAllowed(Problem):
    """The path is that of a call, and the method would do something other than read it."""

    status = HTTPStatus.METHOD_NOT_ALLOWED
    code = "method_not_allowed"
    detail = "Method not allowed"
    headers = MappingProxyType({"Allow": ALLOWED_METHODS})


class Internal(Problem):
    """Server-side fault: missing role, bad setting or bug."""

    status = HTTPStatus.INTERNAL_SERVER_ERROR
    code = "internal"
    detail = "Internal error"
    severity = "ERROR"


class StoredCallInvalid(Problem):
    """The call's document breaks the published schema."""

    status = HTTPStatus.INTERNAL_SERVER_ERROR
    code = "stored_call_invalid"
    detail = "The stored call does not match the published schema"
    severity = "ERROR"


class Unavailable(Problem):
    """A transient failure; the client may retry."""

    status = HTTPStatus.SERVICE_UNAVAILABLE
    headers = MappingProxyType({"Retry-After": RETRY_AFTER_SECONDS})
    severity = "ERROR"


class CallsUnavailable(Unavailable):
    """Firestore cannot be read, or this instance is at capacity."""

    code = "calls_unavailable"
    detail = "Calls cannot be read right now"


class SigningUnavailable(Unavailable):
    """IAM cannot sign, or the metadata server has no token to ask it with."""

    code = "signing_unavailable"
    detail = "The recording cannot be signed right now"


class UpstreamTimeout(Unavailable):
    """An upstream used up its budget without an answer."""

    status = HTTPStatus.GATEWAY_TIMEOUT
    code = "upstream_timeout"
    detail = "The request ran out of time"
