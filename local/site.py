"""The site: the call page and the API reference, as hosting serves them.

`firebase.json` is the only source of the headers. `make run` serves the files from where they are, so
that a change shows when the page is loaded again. Hosting serves one folder, into which they are copied.
"""

import json
import re
import shutil
from collections.abc import Mapping
from contextlib import closing
from http import HTTPMethod
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Route

from local.install import HERE, SCRATCH, installed_by_npm
from local.runtimes import npm

ROOT = HERE.parent
SITE = ROOT / "site"
CONFIGURATION = ROOT / "firebase.json"
STAGED = SCRATCH / "site"  # hosting's folder, by firebase.json
SWAGGER_UI = ("swagger-ui-bundle.js", "swagger-ui.css")
RECORDINGS = "media-src https://storage.googleapis.com"
REWRITE_SECONDS = 60  # hosting waits no longer for a function
# Headers that each server makes for its own connections.
PER_CONNECTION = {
    b"connection",
    b"date",
    b"host",
    b"keep-alive",
    b"server",
    b"transfer-encoding",
    b"upgrade",
}


def swagger_ui() -> Path:
    """Return the folder of Swagger UI, installed where missing.

    Raises:
        LocalStackError: it cannot be installed.
    """
    folder = installed_by_npm("Swagger UI", HERE / "swagger-ui", SCRATCH / "swagger-ui", npm)
    return folder / "node_modules" / "swagger-ui-dist"


def site_files(swagger_ui: Path | None) -> dict[str, Path]:
    """Return the file at each path; without Swagger UI there is no reference."""
    found = {f"/{file.relative_to(SITE)}": file for file in SITE.rglob("*") if file.is_file()}
    if swagger_ui is None:
        return {path: file for path, file in found.items() if not path.startswith("/reference/")}
    found["/reference/openapi.yaml"] = ROOT / "openapi.yaml"
    return found | {f"/reference/{name}": swagger_ui / name for name in SWAGGER_UI}


def stage(files: Mapping[str, Path]) -> None:
    """Copy the site into hosting's folder."""
    shutil.rmtree(STAGED, ignore_errors=True)
    for path, file in files.items():
        copy = STAGED / path.removeprefix("/")
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copy)


def configuration(recordings: str) -> dict[str, Any]:
    """Return firebase.json, where the page may also play recordings from this origin.

    The deployed page plays those of Cloud Storage alone. This is the only difference.
    """
    text = CONFIGURATION.read_text("utf-8").replace(RECORDINGS, f"{RECORDINGS} {recordings}")
    found: dict[str, Any] = json.loads(text)
    return found


def headers_for(path: str, configuration: Mapping[str, Any]) -> dict[str, str]:
    """Return the headers that hosting adds to the file at a path."""
    return {
        header["key"]: header["value"]
        for rule in configuration["hosting"]["headers"]
        if re.search(rule["regex"], path)
        for header in rule["headers"]
    }


def site_server(function: str, recordings: str, files: Mapping[str, Path]) -> Starlette:
    """Return a server of the site that forwards requests for calls to the function, as hosting does."""

    async def forward(request: Request) -> Response:
        return await _forwarded(request, function)

    async def serve(request: Request) -> Response:
        path = request.url.path
        file = files.get(f"{path}index.html" if path.endswith("/") else path)
        if file is None:
            return PlainTextResponse("Not Found", 404)
        return FileResponse(file, headers=headers_for(path, configuration(recordings)))

    return Starlette(
        routes=[
            Route("/v2/calls/{rest:path}", forward, methods=list(HTTPMethod)),
            Route("/{path:path}", serve),
        ]
    )


async def _forwarded(request: Request, function: str) -> Response:
    """Ask the function for the same, and answer the same."""
    body = await request.body()
    try:
        return await run_in_threadpool(_exchange, request, body, function)
    except (OSError, HTTPException):
        return PlainTextResponse("The function does not answer", 502)


def _exchange(request: Request, body: bytes, function: str) -> Response:
    target = request.scope["raw_path"].decode("ascii")
    if request.url.query:
        target += f"?{request.url.query}"
    with closing(HTTPConnection(urlsplit(function).netloc, timeout=REWRITE_SECONDS)) as connection:
        connection.putrequest(request.method, target, skip_accept_encoding=True)
        for name, value in request.headers.raw:
            if name not in PER_CONNECTION | {b"content-length"}:
                connection.putheader(name, value)
        if body:  # which may have come in chunks
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body or None)
        answer = connection.getresponse()
        response = Response(answer.read(), answer.status)
        response.raw_headers = [
            (name.lower().encode("latin-1"), value.encode("latin-1"))
            for name, value in answer.getheaders()
            if name.lower().encode("latin-1") not in PER_CONNECTION
        ]
    return response
