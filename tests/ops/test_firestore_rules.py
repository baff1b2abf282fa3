"""The upload of firestore.rules, against a fake of the rules API."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.support.cloud import (
    Result,
)
from tests.support.serving import ROOT


@contextmanager
def rules_server(releases: dict[str, Any]) -> Iterator[str]:
    """Serve the part of the rules API that is asked, from a dictionary of its resources."""

    class Handler(BaseHTTPRequestHandler):
        def answer(self, status: int, body: object) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def body(self) -> dict[str, Any]:
            found: dict[str, Any] = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            return found

        def do_GET(self) -> None:
            found = releases.get(self.path.removeprefix("/v1/"))
            self.answer(200 if found else 404, found or {"error": "none"})

        def do_POST(self) -> None:
            if self.headers["Authorization"] != "Bearer the-token":
                self.answer(403, {"error": "no"})
                return
            made = self.body()
            if self.path.endswith("/rulesets"):
                made["name"] = f"projects/p/rulesets/{len(releases)}"
            releases[made["name"]] = made
            self.answer(200, made)

        def do_PATCH(self) -> None:
            made = self.body()["release"]
            releases[made["name"]] = made
            self.answer(200, made)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base's name)
            del format, args

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def upload(endpoint: str, *arguments: str, token: str = "the-token") -> Result:
    run = subprocess.run(
        [sys.executable, "-m", "ops.firestore_rules", "--project=p", *arguments],
        cwd=ROOT,
        env={**os.environ, "FIREBASERULES_ENDPOINT": endpoint},
        input=token,
        capture_output=True,
        text=True,
        check=False,
    )
    return Result(run.returncode, run.stdout, run.stderr)


def in_force(releases: dict[str, Any], release: str) -> str:
    content = releases[releases[release]["rulesetName"]]["source"]["files"][0]["content"]
    assert isinstance(content, str)
    return content


def test_rules_are_uploaded_once() -> None:
    rules = (ROOT / "firestore.rules").read_text()
    releases: dict[str, Any] = {}
    with rules_server(releases) as endpoint:
        first = upload(endpoint)
        after_first = dict(releases)
        second = upload(endpoint)
        named = upload(endpoint, "--database=calls")

    assert (first.code, second.code, named.code) == (0, 0, 0), first.err + second.err + named.err
    assert after_first.items() <= releases.items()
    assert len(after_first) == 2
    assert in_force(releases, "projects/p/releases/cloud.firestore") == rules
    assert in_force(releases, "projects/p/releases/cloud.firestore/calls") == rules


def test_rules_of_somebody_else_are_replaced_only_on_demand() -> None:
    name = "projects/p/releases/cloud.firestore"
    releases: dict[str, Any] = {
        name: {"name": name, "rulesetName": "projects/p/rulesets/x"},
        "projects/p/rulesets/x": {"source": {"files": [{"content": "allow all"}]}},
    }
    with rules_server(releases) as endpoint:
        refused = upload(endpoint)
        kept = in_force(releases, name)
        replaced = upload(endpoint, "--replace")

    assert refused.code == 1
    assert "FIRESTORE_RULES=keep or FIRESTORE_RULES=replace" in refused.err
    assert len(refused.err.splitlines()) == 1
    assert kept == "allow all"
    assert replaced.code == 0, replaced.err
    assert in_force(releases, name) == (ROOT / "firestore.rules").read_text()


def test_a_refused_upload_is_one_sentence_without_the_token() -> None:
    with rules_server({}) as endpoint:
        refused = upload(endpoint, token="another-token")
    unreachable = upload("http://127.0.0.1:9")

    for result in (refused, unreachable):
        assert result.code == 1
        assert len(result.err.splitlines()) == 1
        assert "token" not in result.err
