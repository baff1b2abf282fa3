"""What is not published never leaves Firestore: the function names the fields that it reads."""

from collections.abc import Iterator
from concurrent import futures
from datetime import UTC, datetime
from typing import Any

import grpc
import pytest

from tests.support.project import PutCall, PutKey
from tests.support.serving import served

UNPUBLISHED = {"internal_notes": "seen by nobody 8c1f", "room_token": "seen by nobody 2b7e"}


class RecordingProxy(grpc.GenericRpcHandler):
    """Leads each read to the emulator, and keeps what the emulator answers."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.channel = channel
        self.answers: list[bytes] = []

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        read = self.channel.unary_stream(details.method, bytes, bytes)

        def lead(request: bytes, _: grpc.ServicerContext) -> Iterator[bytes]:
            for answer in read(request, metadata=(("authorization", "Bearer owner"),)):
                self.answers.append(answer)
                yield answer

        return grpc.unary_stream_rpc_method_handler(lead)


@pytest.mark.google_emulator
def test_what_is_not_published_never_leaves_firestore(
    emulator_host: str, settings: dict[str, str], put_call: PutCall, put_key: PutKey
) -> None:
    """The embedded emulator ignores field masks, so that it sends every field."""
    call_id = put_call(UNPUBLISHED)
    key = put_key({"org_id": "org_acme", "created_at": datetime.now(UTC), **UNPUBLISHED})
    with grpc.insecure_channel(emulator_host) as channel:
        proxy = RecordingProxy(channel)
        server = grpc.server(futures.ThreadPoolExecutor(4), [proxy])
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        with served(settings | {"FIRESTORE_EMULATOR_HOST": f"127.0.0.1:{port}"}) as service:
            reply = service.request(target=f"/v2/calls/{call_id}", key=key)
        server.stop(None).wait()

    received = b"".join(proxy.answers)
    assert reply.status == 200
    assert "मुझे मदद चाहिए".encode() in received
    for name, value in UNPUBLISHED.items():
        assert name.encode() not in received
        assert value.encode() not in received
