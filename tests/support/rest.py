"""A server for fakes of Google's REST APIs."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.support.cloud import Result
from tests.support.serving import ROOT

TOKEN = "the-token"

# From a method, a path and a body to a status and an answer.
Answers = Callable[[str, str, dict[str, Any]], tuple[int, object]]


@contextmanager
def rest_server(answers: Answers) -> Iterator[str]:
    """Serve on a free port, to requests with the token; yield the address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"] or 0)) or "{}")
            known = self.headers["Authorization"] == f"Bearer {TOKEN}"
            status, answer = answers(self.command, self.path, body) if known else (401, "unknown")
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(answer, indent=2).encode())  # in lines, as Google's

        do_POST = do_PATCH = do_GET  # noqa: N815 (the base's names)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def run_tool(*arguments: str, token: str, **environment: str) -> Result:
    """Run one of `ops`, which reads the token from its standard input."""
    run = subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        input=token,
        capture_output=True,
        text=True,
        check=False,
    )
    return Result(run.returncode, run.stdout, run.stderr)
