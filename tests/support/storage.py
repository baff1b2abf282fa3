"""A fake of Google's storage, from which the emulator is downloaded."""

import hashlib

from local.install import Remote
from tests.support.google_cloud import Handler, Server

CONTENT = bytes(range(256)) * 4_000  # 1 MB


class Storage(Server):
    """Google's storage: serves one file, with the faults that it is given."""

    def __init__(self) -> None:
        self.content = CONTENT
        self.cuts: list[int] = []  # how many bytes each of the next answers has
        self.knows_ranges = True
        self.status = 0
        self.ranges: list[str] = []
        super().__init__(StorageHandler)

    def remote(self, sha256: str = hashlib.sha256(CONTENT).hexdigest()) -> Remote:
        return Remote("emulator 1.0", f"{self.url}/emulator.jar", len(CONTENT), sha256)


class StorageHandler(Handler):
    server: Storage
    protocol_version = "HTTP/1.0"  # so the connection ends with an answer, even one that is cut

    def do_GET(self) -> None:  # noqa: N802  (http.server names it)
        self.server.ranges.append(asked := self.headers["Range"])
        start = (
            int(asked.removeprefix("bytes=").removesuffix("-")) if self.server.knows_ranges else 0
        )
        body = self.server.content[start:]
        if self.server.status or not body:
            self.send_error(self.server.status or 416)
            return
        self.send_response(206 if self.server.knows_ranges else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: self.server.cuts.pop(0)] if self.server.cuts else body)
