"""A fake of Google's storage, from which the emulator is downloaded."""

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from local.install import Remote

CONTENT = bytes(range(256)) * 4_000  # 1 MB


class Storage(ThreadingHTTPServer):
    """Google's storage: serves one file, with the faults that it is given."""

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), StorageHandler)
        self.content = CONTENT
        self.cuts: list[int] = []  # how many bytes each of the next answers has
        self.knows_ranges = True
        self.status = 0
        self.ranges: list[str] = []
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def remote(self, sha256: str = hashlib.sha256(CONTENT).hexdigest()) -> Remote:
        url = f"http://127.0.0.1:{self.server_address[1]}/emulator.jar"
        return Remote("emulator 1.0", url, len(CONTENT), sha256)


class StorageHandler(BaseHTTPRequestHandler):
    server: Storage

    def do_GET(self) -> None:
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

    def log_message(self, *_: object) -> None:
        """Say nothing."""
