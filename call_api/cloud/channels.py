"""The options that the channels to Firestore and to IAM have in common."""


def channel_options(max_answer_bytes: int) -> list[tuple[str, int]]:
    """Return the options of a channel that survives failures of the network.

    There are no keepalive pings. Silence is found sooner, when the time of a request is over.
    """
    return [
        ("grpc.enable_retries", 0),  # or gRPC would retry inside the retry here
        ("grpc.max_receive_message_length", max_answer_bytes),
        ("grpc.max_reconnect_backoff_ms", 500),  # the default delays recovery by up to 2 minutes
        ("grpc.use_local_subchannel_pool", 1),  # else a new channel shares the old one's connection
    ]
