"""Tells failures of Google's services and libraries apart: transient ones and permanent ones.

    transient   No answer, an outage, a quota, an incomplete or malformed answer. The client may ask again.
    permanent   A refusal, or a fault in a role, a setting or a file. Somebody has to correct it.

Each failure has a reason for the log: a constant of Google's where it gives one, else the kind of the
failure. Other words of an upstream or of a library are left out, since they may quote a credential.
"""

import json
import re
from typing import NamedTuple

import grpc
from google.api_core.exceptions import GoogleAPICallError, RetryError, from_grpc_error
from google.auth.exceptions import GoogleAuthError, TransportError
from google.protobuf.message import DecodeError
from grpc import StatusCode
from requests.exceptions import InvalidSchema, InvalidURL, MissingSchema, RequestException

TRANSIENT = frozenset(
    {
        StatusCode.ABORTED,
        StatusCode.CANCELLED,
        StatusCode.DATA_LOSS,
        StatusCode.DEADLINE_EXCEEDED,
        StatusCode.INTERNAL,
        StatusCode.RESOURCE_EXHAUSTED,
        StatusCode.UNAVAILABLE,
        StatusCode.UNKNOWN,
    }
)
_REFUSING_HTTP = frozenset(range(400, 500)) - {408, 429}

# gRPC's words, for an answer as it is received and as it is unpacked; it has no status for it.
_OVERSIZED = "message larger than max"
# The constants of https://google.aip.dev/193 and of OAuth (RFC 6749, 5.2).
_CONSTANT = re.compile(r"[A-Z][A-Z0-9_]{0,62}|[a-z][a-z_]{0,62}")
# An address that no request can be sent to.
_NO_ADDRESS = (InvalidSchema, InvalidURL, MissingSchema)


class Failure(NamedTuple):
    """Whether a failure is transient, and its reason."""

    is_transient: bool
    reason: str


def status_of(error: BaseException) -> StatusCode | None:
    """Return the status of a failure, as gRPC or Google's libraries raise it; of the last attempt's.

    None: it is no answer of an upstream.
    """
    if isinstance(error, RetryError):
        error = error.cause
    if isinstance(error, grpc.RpcError):
        status: StatusCode = error.code()
        return status
    return error.grpc_status_code if isinstance(error, GoogleAPICallError) else None


def is_oversized(error: BaseException) -> bool:
    """Tell whether the answer was larger than its channel takes, or would be when unpacked."""
    return status_of(error) is StatusCode.RESOURCE_EXHAUSTED and _OVERSIZED in str(error)


def error_info_reason(error: BaseException) -> str | None:
    """Return the reason that Google gives in `google.rpc.ErrorInfo`, such as SERVICE_DISABLED."""
    if isinstance(error, RetryError):
        error = error.cause
    if isinstance(error, grpc.RpcError):
        try:
            error = from_grpc_error(error)
        except (ValueError, DecodeError):  # details that are not what they should be
            return None
    return _constant(error.reason) if isinstance(error, GoogleAPICallError) else None


def rpc_failure(error: BaseException, hints: dict[StatusCode, str]) -> Failure:
    """Classify a failed call of gRPC's.

    `hints` say what a status mostly means, for people, where Google gives no reason.
    """
    status = status_of(error) or StatusCode.UNKNOWN
    if reason := error_info_reason(error):
        return Failure(status in TRANSIENT, f"{status.name}, {reason}")
    return Failure(status in TRANSIENT, status.name + hints.get(status, ""))


def refresh_failure(error: Exception, http_status: int | None) -> Failure:
    """Classify a failure to refresh credentials; `http_status` is that of the last answer, if any.

    google-auth itself does not know the status any more, and calls most failures permanent.
    """
    name = type(error).__name__
    answer_may_change = may_change(http_status)
    if not isinstance(error, GoogleAuthError):
        what = "malformed answer" if answer_may_change else "unusable credentials"
        return Failure(answer_may_change, f"{what}: {name}")
    if isinstance(error.__cause__, _NO_ADDRESS):
        return Failure(False, f"{name}, {type(error.__cause__).__name__}")
    transient = is_transport(error) or answer_may_change or error.retryable
    reason = _oauth_reason(error)
    if reason is None and http_status is not None:
        reason = f"HTTP {http_status}"
    elif reason is None and isinstance(error.__cause__, RequestException):
        reason = type(error.__cause__).__name__
    return Failure(transient, f"{name}, {reason}" if reason else name)


def may_change(http_status: int | None) -> bool:
    """Tell whether asking again may help after a useless answer of this status."""
    return http_status is not None and http_status not in _REFUSING_HTTP


def is_transport(error: BaseException) -> bool:
    """Tell whether google-auth got no answer, or none that it takes from the metadata server."""
    return isinstance(error, TransportError) or isinstance(error.__cause__, TransportError)


def _oauth_reason(error: GoogleAuthError) -> str | None:
    """Return the `error` of an OAuth answer, such as invalid_grant, or the status of an API's."""
    answer = error.args[1] if len(error.args) > 1 else None
    if isinstance(answer, str):
        try:
            answer = json.loads(answer)
        except ValueError:
            return None
    named = answer.get("error") if isinstance(answer, dict) else None
    return _constant(named.get("status") if isinstance(named, dict) else named)


def _constant(value: object) -> str | None:
    return value if isinstance(value, str) and _CONSTANT.fullmatch(value) else None
