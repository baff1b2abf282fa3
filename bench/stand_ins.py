"""Stand-ins for the metadata server and for IAM, as lean as what shares the cores must be."""

import asyncio
import base64
import json
import ssl
from typing import cast

from bench.delay_line import TIMER_SECONDS
from local.seed import PROJECT

SIGNATURE_SECONDS = 0.060
EMAIL = f"function@{PROJECT}.iam.gserviceaccount.com"
IAM_HOST = "iamcredentials.googleapis.com"


class Counts:
    """What was asked so far."""

    def __init__(self) -> None:
        self.firestore = 0
        self.signatures = 0

    def firestore_called(self, times: int) -> None:
        """Add calls of Firestore."""
        self.firestore += times


class HttpServer(asyncio.Protocol):
    """A connection that is kept alive, for requests that come one after another."""

    transport: asyncio.Transport

    def __init__(self, counts: Counts) -> None:
        self.counts = counts
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Hand on a request that is complete."""
        self._received += data
        head, separator, body = self._received.partition(b"\r\n\r\n")
        if not separator:
            return
        _, _, length = head.lower().partition(b"\r\ncontent-length:")
        if len(body) >= int(length.partition(b"\r\n")[0] or 0):
            self._received = b""
            self.requested(head.partition(b"\r\n")[0].decode())

    def requested(self, line: str) -> None:
        """Answer the request that opens with this line."""
        raise NotImplementedError

    def answer(self, content: str, kind: str = "application/json") -> None:
        """Send a 200."""
        self.transport.write(
            f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nMetadata-Flavor: Google\r\n"
            f"Content-Length: {len(content)}\r\n\r\n{content}".encode()
        )


class Metadata(HttpServer):
    """The metadata server, which also tells the counts."""

    def requested(self, line: str) -> None:
        """Answer what Google's libraries in Python and Node.js ask."""
        path = line.split(" ")[1].partition("?")[0].rstrip("/")
        match path.rpartition("/")[2]:
            case "counts":
                self.answer(json.dumps(vars(self.counts)))
            case "token":
                token = {"access_token": "ya29.bench", "token_type": "Bearer", "expires_in": 3600}
                self.answer(json.dumps(token))
            case "default":
                self.answer(json.dumps({"email": EMAIL, "scopes": [], "aliases": ["default"]}))
            case "email":
                self.answer(EMAIL, "text/plain")
            case "project-id":
                self.answer(PROJECT, "text/plain")
            case "universe-domain":
                self.answer("googleapis.com", "text/plain")
            case _:
                self.answer("", "text/plain")


class Iam(HttpServer):
    """IAM behind a proxy, in one: after the CONNECT it speaks TLS on the same connection."""

    _signed = json.dumps({"keyId": "1", "signedBlob": base64.b64encode(b"s" * 256).decode()})

    def __init__(self, counts: Counts, context: ssl.SSLContext) -> None:
        super().__init__(counts)
        self._context = context
        self._loop = asyncio.get_running_loop()

    def requested(self, line: str) -> None:
        """Open the way to IAM, or sign after SIGNATURE_SECONDS."""
        if line.startswith(f"CONNECT {IAM_HOST}:"):
            self.transport.pause_reading()  # the handshake is not for this protocol
            self.transport.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            self._securing = self._loop.create_task(self._secure())
        elif ":signBlob" in line:
            self.counts.signatures += 1
            self._loop.call_later(SIGNATURE_SECONDS - TIMER_SECONDS, self.answer, self._signed)
        else:
            self.transport.close()  # nothing else is led anywhere

    async def _secure(self) -> None:
        secured = await self._loop.start_tls(self.transport, self, self._context, server_side=True)
        if secured is not None:
            self.transport = secured
