"""What is upstream of the functions besides the emulator, and a count of what they ask of it."""

import base64
import json
import socket
import ssl
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import grpc
import trustme

from tests.support.google_cloud import IAM_HOST, GoogleCloud, Handler, Iam, Proxy, Server


@contextmanager
def google_cloud(folder: Path) -> Iterator[tuple[GoogleCloud, dict[str, str]]]:
    """Fake the metadata server and IAM; yield them, and the settings that lead to them.

    The function asks IAM over gRPC, the others over HTTPS: each way has a proxy of its own.
    """
    authority, certificates = trustme.CA(), folder / "ca.pem"
    authority.cert_pem.write_to_path(str(certificates))
    trust = dict.fromkeys(("REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"), str(certificates))
    with (
        closing(GoogleCloud(authority, str(certificates))) as cloud,
        closing(RestIam(cloud.iam, authority.issue_cert(IAM_HOST))) as iam,
        closing(Proxy({IAM_HOST: iam.port})) as proxy,
    ):
        ways = {
            "grpc_proxy": cloud.environment["https_proxy"],
            "https_proxy": proxy.url,
        }
        yield cloud, cloud.environment | ways | trust


class RestIam(Server):
    """IAM's signBlob over HTTPS, with the key and the count of the one over gRPC."""

    def __init__(self, iam: Iam, certificate: trustme.LeafCert) -> None:
        self.iam = iam
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(self._context)
        super().__init__(_RestIamHandler)

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection; its handshake follows in its own thread, at the first read."""
        connection, address = super().get_request()
        return self._context.wrap_socket(
            connection, server_side=True, do_handshake_on_connect=False
        ), address


class _RestIamHandler(Handler):
    server: RestIam

    def do_POST(self) -> None:  # noqa: N802  (http.server's name)
        """Sign a blob."""
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        signature = self.server.iam.signature(base64.b64decode(asked["payload"]))
        self.answer(200, {"keyId": "1", "signedBlob": base64.b64encode(signature).decode()})


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
