"""`make audit` asks pypi.org about every locked package, and fails where one is vulnerable."""

import os
import re
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import trustme
from packaging.requirements import Requirement

from tests.support.google_cloud import Handler, Proxy, Server
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


class Pypi(Server):
    """PyPI's JSON API, where one package has a known vulnerability and one may be unknown."""

    def __init__(self, certificate: trustme.LeafCert) -> None:
        self.asked: dict[str, str] = {}
        self.unknown = ""
        super().__init__(PypiHandler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(context)
        self.socket = context.wrap_socket(self.socket, server_side=True)


class PypiHandler(Handler):
    server: Pypi

    def do_GET(self) -> None:  # noqa: N802  (http.server names it)
        _, _, name, version, _ = self.path.split("/")
        self.server.asked[name] = version
        found = [ADVISORY] if name == VULNERABLE else []
        self.answer(404 if name == self.server.unknown else 200, {"vulnerabilities": found})


@pytest.fixture
def pypi(authority: trustme.CA) -> Iterator[Pypi]:
    with closing(Pypi(authority.issue_cert("pypi.org"))) as server:
        yield server


def audit(pypi: Pypi, authority_file: Path, home: Path) -> tuple[int, str]:
    """Run `make audit`, which finds this PyPI alone, and never rebuilds the environment."""
    command = ["make", "audit", "--old-file=.venv/installed"]
    with closing(Proxy({"pypi.org": pypi.port})) as proxy:
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "https_proxy": proxy.url,
            "REQUESTS_CA_BUNDLE": str(authority_file),
        }
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
        )
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
