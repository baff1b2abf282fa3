"""The site as `make run` serves it: its files, its headers, and calls by way of the function."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from local import site
from local.site import configuration, headers_for, site_files, site_server, stage
from local.stack import app_served
from tests.support.serving import ROOT, Service

RECORDINGS = "http://127.0.0.1:4711"
FIREBASE = json.loads((ROOT / "firebase.json").read_text("utf-8"))
COMMON = {
    "Cache-Control": "no-cache",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), display-capture=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
PAGE_POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "connect-src": "'self'",
    "img-src": "'self'",
    "media-src": "https://storage.googleapis.com",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
    "require-trusted-types-for": "'script'",
    "trusted-types": "'none'",
}
# Swagger UI draws with images of data, and writes HTML. It plays nothing.
REFERENCE_POLICY = PAGE_POLICY | {"img-src": "'self' data:"}
for without in ("media-src", "require-trusted-types-for", "trusted-types"):
    del REFERENCE_POLICY[without]
POLICIES = {
    "/": PAGE_POLICY,
    "/index.html": PAGE_POLICY,
    "/page.js": PAGE_POLICY,
    "/reference/": REFERENCE_POLICY,
    "/reference/openapi.yaml": REFERENCE_POLICY,
}


def directives(policy: str) -> dict[str, str]:
    found = (directive.strip().partition(" ") for directive in policy.split(";"))
    return {name: sources for name, _, sources in found}


@pytest.fixture(scope="module")
def served_site(service: Service) -> Iterator[str]:
    files = site_files(ROOT)  # a folder without Swagger UI, whose files are not asked for
    with app_served(site_server(f"http://127.0.0.1:{service.port}", RECORDINGS, files)) as url:
        yield url


@pytest.mark.parametrize("path", POLICIES)
def test_the_deployed_headers_are_exactly_these(path: str) -> None:
    headers = headers_for(path, FIREBASE)
    assert directives(headers.pop("Content-Security-Policy")) == POLICIES[path]
    assert headers == COMMON


@pytest.mark.parametrize("path", POLICIES)
def test_the_served_headers_are_the_deployed_ones(served_site: str, path: str) -> None:
    """But for the directive that `…_differs_in_where_recordings_come_from_alone` is about."""
    answer = httpx2.get(served_site + path, trust_env=False)
    deployed = headers_for(path, configuration(RECORDINGS))
    assert answer.status_code == 200
    assert {name: answer.headers[name] for name in deployed} == deployed


def test_the_local_configuration_differs_in_where_recordings_come_from_alone() -> None:
    text = json.dumps(configuration(RECORDINGS))
    here = f"media-src https://storage.googleapis.com {RECORDINGS};"
    assert text.count(here) == text.count(RECORDINGS) == 1
    assert json.loads(text.replace(f" {RECORDINGS}", "")) == FIREBASE


def test_no_header_is_set_on_the_functions_answers() -> None:
    assert headers_for("/v2/calls/77", FIREBASE) == {}


@pytest.mark.parametrize(
    "path", ["/nothing", "/reference", "/../main.py", "/..%2fmain.py", "/reference/index.js"]
)
def test_there_are_no_files_but_the_sites(served_site: str, path: str) -> None:
    assert httpx2.get(served_site + path, trust_env=False).status_code == 404


def test_a_call_is_the_functions_answer(served_site: str, acme_key: str) -> None:
    url = f"{served_site}/v2/calls/77"
    headers = {"Authorization": f"Bearer {acme_key}", "X-Request-Id": "site-1"}
    answer = httpx2.get(url, headers=headers, trust_env=False)
    assert answer.status_code == 200
    assert answer.headers["X-Request-Id"] == "site-1"
    assert answer.headers["Content-Type"] == "application/json"
    held = headers | {"If-None-Match": "*"}
    again = httpx2.get(url, headers=held, trust_env=False)
    assert (again.status_code, again.content) == (304, b"")
    head = httpx2.head(url, headers=headers, trust_env=False)
    assert (head.status_code, head.content) == (200, b"")
    options = httpx2.options(url, trust_env=False)
    assert (options.status_code, options.headers["Allow"]) == (204, "GET, HEAD, OPTIONS")


@pytest.mark.parametrize(
    "target", ["/v2/calls/0", "/v2/calls/a%2Fb", "/v2/calls/77/", "/v2/calls/"]
)
def test_a_path_reaches_the_function_as_it_is(
    served_site: str, service: Service, acme_key: str, target: str
) -> None:
    headers = {"Authorization": f"Bearer {acme_key}"}
    answer = httpx2.get(served_site + target, headers=headers, trust_env=False)
    direct = service.request(target=target, key=acme_key)
    assert (answer.status_code, answer.json()["code"]) == (direct.status, direct.json()["code"])


def test_a_function_that_does_not_answer_is_a_502() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with app_served(site_server(f"http://127.0.0.1:{port}", RECORDINGS, {})) as url:
        answer = httpx2.get(f"{url}/v2/calls/77", trust_env=False)
    assert (answer.status_code, answer.text) == (502, "The function does not answer")


def test_without_swagger_ui_there_is_no_reference() -> None:
    assert not any(path.startswith("/reference") for path in site_files(None))


def test_what_is_staged_for_hosting_is_what_is_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "left.html").touch()  # of a version that had it
    monkeypatch.setattr(site, "STAGED", tmp_path)
    files = site_files(None)
    stage(files)
    found = {f"/{file.relative_to(tmp_path)}" for file in tmp_path.rglob("*") if file.is_file()}
    assert found == files.keys()
    assert (tmp_path / "index.html").read_bytes() == files["/index.html"].read_bytes()
