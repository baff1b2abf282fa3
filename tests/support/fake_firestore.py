"""A Firestore that refuses, or whatever else a handler of gRPC makes of one."""

from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager
from typing import Any

import grpc


@contextmanager
def fake_firestore_that_refuses(code: grpc.StatusCode) -> Iterator[str]:
    """Serve every method of Firestore with this refusal."""

    class Refusing(grpc.GenericRpcHandler):
        def service(self, _: grpc.HandlerCallDetails) -> Any:
            return grpc.unary_unary_rpc_method_handler(
                lambda _, context: context.abort(code, "not\nhere")
            )

    with serving(Refusing()) as host:
        yield host


@contextmanager
def serving(handler: grpc.GenericRpcHandler) -> Iterator[str]:
    server = grpc.server(futures.ThreadPoolExecutor(1))
    server.add_generic_rpc_handlers([handler])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()
