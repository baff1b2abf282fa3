"""What the channels to Firestore and to IAM have in common: options, and the reading of failures."""

import grpc
from google.api_core.exceptions import GoogleAPICallError, RetryError
from grpc import StatusCode

# gRPC's words, for an answer as it is received and as it is unpacked; it has no status for it.
_OVERSIZED = "message larger than max"


def channel_options(max_answer_bytes: int) -> list[tuple[str, int]]:
    """Return the options of a channel that survives failures of the network.

    There are no keepalive pings. Silence is found sooner, when the time of a request is over.
    """
    return [
        ("grpc.max_receive_message_length", max_answer_bytes),
        ("grpc.max_reconnect_backoff_ms", 500),  # the default delays recovery by up to 2 minutes
        ("grpc.use_local_subchannel_pool", 1),  # else a new channel shares the old one's connection
    ]


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
