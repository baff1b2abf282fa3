"""Failures of gRPC calls: which pass and which last, and what the log says of them."""

import pytest
from google.api_core.exceptions import RetryError
from grpc import StatusCode
from grpc.aio import AioRpcError, Metadata

from call_api.cloud.failures import Failure, of_rpc
from tests.support.google_cloud import with_reason

PASSES = {
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


@pytest.mark.parametrize(("status", "passes"), PASSES.items())
def test_a_status_passes_or_lasts(status: StatusCode, passes: bool) -> None:
    error = failed(status)

    assert of_rpc(error, {}) == Failure(passes, status.name)
    assert of_rpc(RetryError("s3cret", cause=error), {}) == of_rpc(error, {})


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
    failure = Failure(PASSES[status], f"{status.name}{logged}")

    assert of_rpc(error, HINTS) == failure
    assert of_rpc(RetryError("s3cret", cause=error), HINTS) == failure


def test_a_failure_whose_details_cannot_be_read_is_logged_by_its_status() -> None:
    error = failed(StatusCode.PERMISSION_DENIED, ("grpc-status-details-bin", b"s3cret"))

    assert of_rpc(error, HINTS) == Failure(False, "PERMISSION_DENIED: is a role granted?")
