"""Failures of gRPC calls: which are transient, and what the log says of them."""

import pytest
from google.api_core.exceptions import RetryError
from grpc import StatusCode
from grpc.aio import AioRpcError, Metadata

from call_api.cloud.failures import Failure, rpc_failure
from tests.support.google_cloud import with_reason

IS_TRANSIENT = {
    StatusCode.ABORTED: True,
    StatusCode.ALREADY_EXISTS: False,
    StatusCode.CANCELLED: True,
    StatusCode.DATA_LOSS: True,
    StatusCode.DEADLINE_EXCEEDED: True,
    StatusCode.FAILED_PRECONDITION: False,
    StatusCode.INTERNAL: True,
    StatusCode.INVALID_ARGUMENT: False,
    StatusCode.NOT_FOUND: False,
    StatusCode.OUT_OF_RANGE: False,
    StatusCode.PERMISSION_DENIED: False,
    StatusCode.RESOURCE_EXHAUSTED: True,
    StatusCode.UNAUTHENTICATED: False,
    StatusCode.UNAVAILABLE: True,
    StatusCode.UNIMPLEMENTED: False,
    StatusCode.UNKNOWN: True,
}
HINTS = {StatusCode.PERMISSION_DENIED: ": is a role granted?"}


def failed(status: StatusCode, *details: tuple[str, str | bytes]) -> AioRpcError:
    return AioRpcError(status, Metadata(), Metadata(*details), "s3cret of Google")


@pytest.mark.parametrize(("status", "is_transient"), IS_TRANSIENT.items())
def test_a_status_is_transient_or_permanent(status: StatusCode, is_transient: bool) -> None:
    error = failed(status)

    assert rpc_failure(error, {}) == Failure(is_transient, status.name)
    assert rpc_failure(RetryError("s3cret", cause=error), {}) == rpc_failure(error, {})


@pytest.mark.parametrize(
    ("status", "given", "logged"),
    [
        (StatusCode.PERMISSION_DENIED, "NEVER_HEARD_OF", ", NEVER_HEARD_OF"),
        (StatusCode.FAILED_PRECONDITION, "A_REASON", ", A_REASON"),
        (StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMIT_EXCEEDED", ", RATE_LIMIT_EXCEEDED"),
        (StatusCode.PERMISSION_DENIED, "", ": is a role granted?"),
        (StatusCode.PERMISSION_DENIED, "s3cret words", ": is a role granted?"),
    ],
)
def test_a_failure_is_logged_with_google_s_reason(
    status: StatusCode, given: str, logged: str
) -> None:
    """A guess at the role only where there is none: most refusals have other causes."""
    error = failed(status, *with_reason(status, given).trailing_metadata)
    failure = Failure(IS_TRANSIENT[status], f"{status.name}{logged}")

    assert rpc_failure(error, HINTS) == failure
    assert rpc_failure(RetryError("s3cret", cause=error), HINTS) == failure


def test_a_failure_whose_details_cannot_be_read_is_logged_by_its_status() -> None:
    error = failed(StatusCode.PERMISSION_DENIED, ("grpc-status-details-bin", b"s3cret"))

    assert rpc_failure(error, HINTS) == Failure(False, "PERMISSION_DENIED: is a role granted?")
