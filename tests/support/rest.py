"""A server for fakes of Google's REST APIs."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

from tests.support.cloud import Result
from tests.support.google_cloud import Handler, Server
from tests.support.serving import ROOT

TOKEN = "the-token"

# From a method, a path and a body to a status and an answer.
Answers = Callable[[str, str, dict[str, Any]], tuple[int, object]]


@contextmanager
def rest_server(answers: Answers) -> Iterator[str]:
    """Serve on a free port, to requests with the token; yield the address."""

    class RestHandler(Handler):
        def do_GET(self) -> None:  # noqa: N802  (http.server names it)
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"] or 0)) or "{}")
            known = self.headers["Authorization"] == f"Bearer {TOKEN}"
            status, answer = answers(self.command, self.path, body) if known else (401, "unknown")
            self.answer(status, json.dumps(answer, indent=2))  # in lines, as Google's

        do_POST = do_PATCH = do_GET  # noqa: N815 (the base's names)

    with closing(Server(RestHandler)) as server:
        yield server.url


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
