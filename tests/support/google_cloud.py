"""Fakes of the parts of Google Cloud that have no emulator, over real HTTP, TLS and gRPC."""

import json
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

import grpc
import trustme
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from google.cloud.firestore_v1 import _helpers
from google.cloud.firestore_v1.types import (
    BatchGetDocumentsRequest,
    BatchGetDocumentsResponse,
    Document,
)
from google.cloud.iam_credentials_v1 import SignBlobRequest, SignBlobResponse
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]  # nor this
from grpc_status import rpc_status  # type: ignore[import-untyped]  # it has no types

# What is no address of a service account.
NO_EMAILS = [None, "", "default", "a@b", "a@b.c/../d@e.f", "a b@c.d", "a@b.c?d", "ä@b.de", 5]
EMAIL = "function@demo-tests.iam.gserviceaccount.com"
PROJECT = "project-of-the-credentials"
IAM_HOST, FIRESTORE_HOST = "iamcredentials.googleapis.com", "firestore.googleapis.com"
HANG, NOTHING = "hang", "nothing"
HANG_SECONDS = 12.0  # longer than any request may take
WRITTEN = datetime(2026, 3, 25, 10, 22, 38, 123_456, tzinfo=UTC)


class Raw(NamedTuple):
    """An answer as it is sent."""

    body: bytes
    headers: dict[str, str] = {}  # noqa: RUF012  (never changed)
    status: int = 200


class Server(ThreadingHTTPServer):
    """A server on a free port or on this one, in threads that end with it."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, handler: type[BaseHTTPRequestHandler], port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), handler)
        self.lock = threading.Lock()
        self.connections = 0
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: that clients leave is what some tests are about."""

    def close(self) -> None:
        self.shutdown()
        self.server_close()


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"
    wbufsize = (
        -1
    )  # an answer is one packet; two would wait for the client's delayed acknowledgement
    disable_nagle_algorithm = True

    def setup(self) -> None:
        with self.server.lock:
            self.server.connections += 1
        super().setup()

    def answer(self, status: int, body: object, headers: dict[str, str] | None = None) -> None:
        content = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        kind = "text/plain" if isinstance(body, str) else "application/json"
        self.send_response(status)
        for name, value in {"Content-Type": kind, **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def answer_raw(self, raw: Raw) -> None:
        self.send_response(raw.status)
        for name, value in raw.headers.items():
            self.send_header(name, value)
        # A length that is given is a wrong one, which the connection does not survive.
        self.close_connection = "Content-Length" in raw.headers
        if "Content-Length" not in raw.headers:
            self.send_header("Content-Length", str(len(raw.body)))
        self.end_headers()
        self.wfile.write(raw.body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Metadata(Server):
    """The metadata server: it hands out a token, which it counts."""

    def __init__(self) -> None:
        self.tokens = 0
        self.revoked: set[str] = set()
        self.failures: deque[int | Raw] = deque()  # of the next tokens
        self.accounts: deque[object] = deque()  # what is said of the e-mail before it is said right
        self.projects: deque[int | str] = (
            deque()
        )  # what is said of the project, or HANG, before its ID
        self.universe = "googleapis.com"
        super().__init__(_MetadataHandler)

    def token(self) -> str:
        return f"ya29.token-{self.tokens}"

    def accepts(self, authorization: str) -> bool:
        """Tell whether this is a token that was handed out, and not revoked since."""
        issued = {f"Bearer ya29.token-{n}" for n in range(1, self.tokens + 1)}
        return authorization in issued - self.revoked


class _MetadataHandler(Handler):
    server: Metadata

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        flavor = {"Metadata-Flavor": "Google"}
        if path.endswith("/token"):
            with self.server.lock:
                failure = self.server.failures.popleft() if self.server.failures else None
            if isinstance(failure, int):
                self.answer(failure, "no token", flavor)
                return
            if isinstance(failure, Raw):
                self.answer_raw(failure._replace(headers=flavor | failure.headers))
                return
            with self.server.lock:
                self.server.tokens += 1
            token = {"access_token": self.server.token(), "token_type": "Bearer"}
            self.answer(200, token | {"expires_in": 3600}, flavor)
        elif path.endswith("/email"):
            self.answer(200, EMAIL, flavor)
        elif path.endswith(("/service-accounts/default/", f"/service-accounts/{EMAIL}/")):
            email = self.server.accounts.popleft() if self.server.accounts else EMAIL
            self.answer(200, {"email": email, "scopes": [], "aliases": ["default"]}, flavor)
        elif path.endswith("/project-id"):
            project = self.server.projects.popleft() if self.server.projects else PROJECT
            if project == HANG:
                time.sleep(HANG_SECONDS)
            if isinstance(project, int):
                self.answer(project, "no project", flavor)
            else:
                self.answer(200, project, flavor)
        elif path.endswith("/universe-domain"):
            self.answer(200, self.server.universe, flavor)
        else:
            self.answer(200, "", flavor)


class TokenEndpoint(Server):
    """An OAuth token endpoint: it gives each answer that is listed, HANG among them, then tokens."""

    def __init__(self, *answers: Raw | str) -> None:
        self.answers = deque(answers)
        super().__init__(_TokenEndpointHandler)


class _TokenEndpointHandler(Handler):
    server: TokenEndpoint

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        with self.server.lock:
            answer = self.server.answers.popleft() if self.server.answers else None
        if answer == HANG:
            time.sleep(HANG_SECONDS)
        if isinstance(answer, Raw):
            self.answer_raw(answer)
        else:
            token = {"access_token": "ya29.token", "token_type": "Bearer", "expires_in": 3600}
            self.answer(200, token | {"issued_token_type": ACCESS_TOKEN})


class ResourceManager(Server):
    """Resource Manager, which names no project, and answers with this status."""

    def __init__(self, status: int) -> None:
        self.status = status
        super().__init__(_ResourceManagerHandler)


class _ResourceManagerHandler(Handler):
    server: ResourceManager

    def do_GET(self) -> None:
        self.answer(self.server.status, {})


ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"
Plan = grpc.StatusCode | grpc.Status | str | bytes | None


class Iam:
    """IAM Credentials: signs blobs for callers with the right token, or does what is planned.

    A plan is a status, an answer in bytes, HANG or NOTHING.
    """

    def __init__(self, metadata: Metadata, certificate: trustme.LeafCert | None) -> None:
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.asked = threading.Semaphore(0)  # released with each request
        self._metadata = metadata
        self._lock = threading.Lock()
        self.forget()
        self._server, self.port = _started(
            "google.iam.credentials.v1.IAMCredentials",
            {"SignBlob": grpc.unary_unary_rpc_method_handler(self._sign_blob)},
            certificate,
            threads=128,  # one for each request that waits here
        )

    def forget(self) -> None:
        """Be as new, but for the key."""
        self.requests = self.signatures = 0
        self.seconds = 0.0
        self.planned: deque[Plan] = deque()  # for the next requests, one each
        self.lasting: Plan = None  # for all that come after those
        self.compression = grpc.Compression.NoCompression  # of an answer in bytes
        self.headers: list[dict[str, str]] = []  # of the requests so far
        self.connections: set[str] = set()  # that the requests came through

    def _sign_blob(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        headers = {name: str(value) for name, value in context.invocation_metadata()}
        with self._lock:
            self.requests += 1
            self.headers.append(headers)
            self.connections.add(context.peer())
            plan = self.planned.popleft() if self.planned else self.lasting
        self.asked.release()
        left = threading.Event()
        context.add_callback(left.set)
        left.wait(HANG_SECONDS if plan == HANG else self.seconds)
        asked = SignBlobRequest.deserialize(request)
        if isinstance(plan, grpc.StatusCode):
            context.abort(plan, "s3cret of IAM")
        if isinstance(plan, grpc.Status):
            context.abort_with_status(plan)
        if isinstance(plan, bytes):
            context.set_compression(self.compression)
            return plan
        if not self._metadata.accepts(headers["authorization"]):
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "")
        if asked.name != f"projects/-/serviceAccounts/{EMAIL}":
            context.abort(grpc.StatusCode.NOT_FOUND, "")
        signature = b"" if plan == NOTHING else self.signature(asked.payload)
        answer: bytes = SignBlobResponse.serialize(
            SignBlobResponse(key_id="1", signed_blob=signature)
        )
        return answer

    def signature(self, blob: bytes) -> bytes:
        """Sign a blob, which counts."""
        with self._lock:
            self.signatures += 1
        return self.key.sign(blob, PKCS1v15(), SHA256())

    def close(self) -> None:
        self._server.stop(None).wait()


class Proxy(Server):
    """A proxy that leads Google's hosts to fakes on this machine, and others nowhere."""

    def __init__(self, ports: dict[str, int]) -> None:
        self.ports = ports
        super().__init__(_ProxyHandler)


class _ProxyHandler(Handler):
    server: Proxy

    def do_CONNECT(self) -> None:
        port = self.server.ports.get(self.path.partition(":")[0])
        if port is None:
            self.answer(403, "no such host here")
            return
        self.close_connection = True  # when either side leaves, in whatever way
        with socket.create_connection(("127.0.0.1", port)) as upstream, suppress(OSError):
            upstream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.send_response(200)
            self.end_headers()
            self.wfile.flush()
            both = [self.connection, upstream]
            while True:
                for readable in select.select(both, [], [])[0]:
                    data = readable.recv(65536)
                    if not data:
                        return
                    both[readable is self.connection].sendall(data)


class GoogleCloud:
    """The metadata server and IAM, as a function without a key file meets them."""

    def __init__(self, authority: trustme.CA, authority_file: str) -> None:
        self.metadata = Metadata()
        self.iam = Iam(self.metadata, authority.issue_cert(IAM_HOST))
        self.proxy = Proxy({IAM_HOST: self.iam.port})
        host = f"127.0.0.1:{self.metadata.port}"
        self.environment = {
            "GCE_METADATA_HOST": host,
            "GCE_METADATA_IP": host,
            "https_proxy": self.proxy.url,
            "no_proxy": "127.0.0.1,localhost",
            "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH": authority_file,
        }

    def close(self) -> None:
        for server in (self.proxy, self.iam, self.metadata):
            server.close()


def with_reason(status: grpc.StatusCode, reason: str) -> grpc.Status:
    """Return an error as Google's APIs send it: with a constant in `google.rpc.ErrorInfo`."""
    details = any_pb2.Any()
    details.Pack(error_details_pb2.ErrorInfo(reason=reason, domain="googleapis.com"))
    code, _ = status.value
    status_message = status_pb2.Status(code=code, message="s3cret of Google", details=[details])
    sent: grpc.Status = rpc_status.to_status(status_message)
    return sent


def found(name: str, fields: dict[str, Any]) -> BatchGetDocumentsResponse:
    document = Document(name=name, fields=_helpers.encode_dict(fields), update_time=WRITTEN)
    return BatchGetDocumentsResponse(found=document, read_time=WRITTEN)


Answers = Callable[
    [BatchGetDocumentsRequest, grpc.ServicerContext], Iterator[BatchGetDocumentsResponse | bytes]
]


class Asked(NamedTuple):
    """A request that the fake Firestore has had."""

    request: BatchGetDocumentsRequest
    metadata: dict[str, str]


@contextmanager
def fake_firestore(
    answers: Answers | grpc.StatusCode | grpc.Status, certificate: trustme.LeafCert | None = None
) -> Iterator[tuple[int, list[Asked]]]:
    """Serve BatchGetDocuments so; yield the port, and the requests so far. Bytes are sent as is."""
    asked: list[Asked] = []

    def batch_get_documents(
        request: BatchGetDocumentsRequest, context: grpc.ServicerContext
    ) -> Iterator[BatchGetDocumentsResponse | bytes]:
        metadata = {name: str(value) for name, value in context.invocation_metadata()}
        asked.append(Asked(request, metadata))
        if isinstance(answers, grpc.StatusCode):
            context.abort(answers, "s3cret of Firestore")
        elif isinstance(answers, grpc.Status):
            context.abort_with_status(answers)
        else:
            yield from answers(request, context)

    def on_the_wire(answer: BatchGetDocumentsResponse | bytes) -> bytes:
        if isinstance(answer, bytes):
            return answer
        message: bytes = BatchGetDocumentsResponse.serialize(answer)
        return message

    method = grpc.unary_stream_rpc_method_handler(
        batch_get_documents,
        request_deserializer=BatchGetDocumentsRequest.deserialize,
        response_serializer=on_the_wire,
    )
    service = "google.firestore.v1.Firestore"
    server, port = _started(service, {"BatchGetDocuments": method}, certificate, threads=4)
    try:
        yield port, asked
    finally:
        server.stop(None).wait()


def _started(
    service: str,
    methods: "dict[str, grpc.RpcMethodHandler[Any, Any]]",
    certificate: trustme.LeafCert | None,
    threads: int,
) -> tuple[grpc.Server, int]:
    """Start a gRPC server, over TLS where there is a certificate; return its port, too."""
    server = grpc.server(futures.ThreadPoolExecutor(threads))
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(service, methods)])
    if certificate is None:
        port = server.add_insecure_port("127.0.0.1:0")
    else:
        chain = b"".join(blob.bytes() for blob in certificate.cert_chain_pems)
        pair = (certificate.private_key_pem.bytes(), chain)
        port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([pair]))
    server.start()
    return server, port
