"""`make audit` asks pypi.org about every locked package, and fails where one is vulnerable."""

import json
import os
import re
import ssl
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import trustme
from packaging.requirements import Requirement

from tests.support.google_cloud import Proxy
from tests.support.repository import files_called
from tests.support.serving import ROOT

VULNERABLE = "starlette"
ADVISORY = {"id": "PYSEC-0000-1", "aliases": [], "fixed_in": ["999"], "summary": "", "details": ""}


def locked_here() -> dict[str, str]:
    """Return the locked versions by name, without those that are for another platform or Python."""
    locks = files_called("*requirements*.txt")
    lines = [line for lock in locks for line in (ROOT / lock).read_text().splitlines()]
    pins = [Requirement(line.rstrip(" \\")) for line in lines if re.match(r"\S+==", line)]
    here = [pin for pin in pins if pin.marker is None or pin.marker.evaluate()]
    return {pin.name: str(pin.specifier).removeprefix("==") for pin in here}


class Pypi(ThreadingHTTPServer):
    """PyPI's JSON API, where one package has a known vulnerability and one may be unknown."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, certificate: trustme.LeafCert) -> None:
        super().__init__(("127.0.0.1", 0), PypiHandler)
        self.asked: dict[str, str] = {}
        self.unknown = ""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(context)
        self.socket = context.wrap_socket(self.socket, server_side=True)
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()


class PypiHandler(BaseHTTPRequestHandler):
    server: Pypi
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        _, _, name, version, _ = self.path.split("/")
        self.server.asked[name] = version
        found = [ADVISORY] if name == VULNERABLE else []
        body = json.dumps({"vulnerabilities": found}).encode()
        self.send_response(404 if name == self.server.unknown else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def pypi(authority: trustme.CA) -> Iterator[Pypi]:
    server = Pypi(authority.issue_cert("pypi.org"))
    yield server
    server.shutdown()
    server.server_close()


def audit(pypi: Pypi, authority_file: Path, home: Path) -> tuple[int, str]:
    """Run `make audit`, which finds this PyPI alone, and never rebuilds the environment."""
    proxy = Proxy({"pypi.org": pypi.server_address[1]})
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "https_proxy": f"http://127.0.0.1:{proxy.port}",
        "REQUESTS_CA_BUNDLE": str(authority_file),
    }
    command = ["make", "audit", "--old-file=.venv/installed"]
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
        )
    finally:
        proxy.close()
    return done.returncode, done.stdout + done.stderr


def test_a_known_vulnerability_in_a_locked_package_fails_the_audit(
    pypi: Pypi, authority_file: Path, tmp_path: Path
) -> None:
    code, output = audit(pypi, authority_file, tmp_path)

    assert code != 0
    assert "Found 1 known vulnerability in 1 package" in output
    assert re.search(rf"^{VULNERABLE} +\S+ +PYSEC-0000-1 +999", output, re.MULTILINE)
    assert pypi.asked == locked_here()


def test_a_locked_package_that_nobody_knows_fails_the_audit(
    pypi: Pypi, authority_file: Path, tmp_path: Path
) -> None:
    pypi.unknown = "pydantic"
    code, output = audit(pypi, authority_file, tmp_path)

    assert code != 0
    assert "pydantic" in output
    assert "could not be audited" in output
