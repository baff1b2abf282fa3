"""What the channels to Firestore and to IAM have in common."""

import grpc

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


def is_oversized(error: Exception) -> bool:
    """Tell whether the answer was larger than its channel takes, or would be when unpacked."""
    return isinstance(error, grpc.RpcError) and _OVERSIZED in (error.details() or "")
