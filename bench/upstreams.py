"""What is upstream of the functions besides the emulator, and a count of what they ask of it."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import grpc
import trustme

from tests.support.google_cloud import GoogleCloud


@contextmanager
def google_cloud(folder: Path) -> Iterator[tuple[GoogleCloud, dict[str, str]]]:
    """Fake the metadata server and IAM; yield them, and the settings that lead to them."""
    authority, certificates = trustme.CA(), folder / "ca.pem"
    authority.cert_pem.write_to_path(str(certificates))
    trust = dict.fromkeys(("REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"), str(certificates))
    with closing(GoogleCloud(authority, str(certificates))) as cloud:
        yield cloud, cloud.environment | trust


class CountingProxy(grpc.GenericRpcHandler):
    """Passes gRPC calls on to an emulator, and counts them."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._channel = channel
        self.calls = 0

    def service(self, details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[bytes, bytes]":
        """Return what answers this call."""
        self.calls += 1
        method: Any = self._channel.unary_stream(details.method)
        return grpc.unary_stream_rpc_method_handler(
            lambda request, _: method(request, metadata=[("authorization", "Bearer owner")])
        )


@contextmanager
def counting_proxy(emulator: str) -> Iterator[tuple[CountingProxy, str]]:
    """Serve a proxy to an emulator until the block ends; yield it, and its host:port."""
    server = grpc.server(ThreadPoolExecutor(16))
    with grpc.insecure_channel(emulator, [("grpc.enable_http_proxy", 0)]) as channel:
        proxy = CountingProxy(channel)
        server.add_generic_rpc_handlers([proxy])
        host = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        server.start()
        try:
            yield proxy, host
        finally:
            server.stop(None).wait()
