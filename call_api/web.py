"""HTTP: a request in, its answer out; the route, the bearer key, the one try."""

import json
import re
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from starlette.requests import Request
from starlette.responses import Response

from call_api.calls import CallStore, get_call, parse_call_id
from call_api.errors import (
    ALLOWED_METHODS,
    CredentialsMissing,
    Internal,
    MethodNotAllowed,
    Problem,
    RouteNotFound,
    Unauthenticated,
)
from call_api.logs import JsonLog, RequestEntry, stack_trace, trace_fields

_ROUTE = re.compile(r"/v2/calls/([^/]+)")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_BEARER = re.compile(r"(?i:bearer) +(.+)")
_KEY = re.compile(r"[\x21-\x7e]{1,512}")
_OPAQUE_TAG = re.compile(r'"[^"]*"')


class Signer(Protocol):
    """Opens a recording to whoever holds the URL."""

    async def signed_url(self, object_name: str, call_id: int) -> str:
        """Return a URL that answers GET for one hour.

        Raises:
            Unavailable: the signature cannot be had right now, or not in time.
            Internal: it cannot be had until a role or a setting is mended.
        """


@dataclass(frozen=True)
class CallsApi:
    """Answers requests for calls.

    `key_header` is the one header that a key is believed from: behind API Gateway that is not
    `Authorization`, where the gateway puts a token of its own.
    """

    store: CallStore
    signer: Signer
    log: JsonLog
    key_header: str
    project: str | None
    now: Callable[[], datetime]

    async def respond(self, request: Request) -> Response:
        """Answer a request, whatever happens, and write its line to the log."""
        entry = RequestEntry(_request_id(request), trace_fields(request.headers, self.project))
        problem: Problem | None = None
        try:
            response = await self._answer(request, entry)
        except Exception as error:  # noqa: BLE001  (the one place that nothing may pass)
            if isinstance(error, Problem):
                problem = error
            else:
                problem = Internal("unexpected exception")
                entry.stack_trace = stack_trace(error)
            response = _problem_response(problem, entry.request_id)
            entry.org_id = problem.org_id or entry.org_id
        response.headers["X-Request-Id"] = entry.request_id
        response.headers["Cache-Control"] = "private, no-store"
        response.headers["X-Content-Type-Options"] = "nosniff"
        self.log.write(
            problem.severity if problem else "INFO",
            f"{request.method} {response.status_code} {problem or ''}".rstrip(),
            entry.fields(response.status_code, problem.code if problem else None),
        )
        return response

    async def _answer(self, request: Request, entry: RequestEntry) -> Response:
        route = _ROUTE.fullmatch(request.scope["path"])
        if route is None or b"%2F" in request.scope.get("raw_path", b"").upper():
            raise RouteNotFound  # an encoded slash separates nothing (RFC 3986, 2.2)
        if request.method == "OPTIONS":
            return Response(status_code=204, headers={"Allow": ALLOWED_METHODS})
        if request.method not in {"GET", "HEAD"}:
            raise MethodNotAllowed
        now = self.now()
        entry.call_id = parse_call_id(route[1])  # for the log; the key comes first
        key = _bearer_key(request.headers.getlist(self.key_header))
        with entry.stage("read"):
            owned = await get_call(self.store, key, entry.call_id, now)
        entry.org_id = owned.org_id
        etag = owned.etag(now)
        if _holds(request.headers.getlist("If-None-Match"), etag):
            return Response(status_code=304, headers={"ETag": etag})
        recording_url = None
        if owned.recording_to_sign is not None and request.method == "GET":
            with entry.stage("sign"):
                recording_url = await self.signer.signed_url(owned.recording_to_sign, owned.call.id)
        response = Response(owned.call.render(recording_url), media_type="application/json")
        response.headers["ETag"] = etag
        response.headers["Server-Timing"] = ", ".join(
            f"{stage};dur={ms}" for stage, ms in entry.stages_ms.items()
        )
        if request.method == "HEAD" and owned.recording_to_sign is not None:
            # Only GET knows its length, with the URL; another must not be told (RFC 9110, 8.6).
            del response.headers["Content-Length"]
        return response


def _request_id(request: Request) -> str:
    given = request.headers.getlist("X-Request-Id")
    if len(given) == 1 and _REQUEST_ID.fullmatch(given[0]):
        return given[0]
    return secrets.token_hex(16)


def _bearer_key(fields: Sequence[str]) -> str:
    if len(fields) > 1:  # which of them a proxy before us has checked, nobody can say
        raise Unauthenticated("more than one credentials header")
    bearer = _BEARER.fullmatch(fields[0]) if fields else None
    if bearer is None:
        raise CredentialsMissing("no bearer key")
    if not _KEY.fullmatch(bearer[1]):
        raise Unauthenticated("malformed key")
    return bearer[1]


def _holds(if_none_match: Sequence[str], etag: str) -> bool:
    """Tell whether the client holds this version; weakly compared, as RFC 9110 13.1.2 wants."""
    listed = ",".join(if_none_match)
    return listed.strip() == "*" or etag.removeprefix("W/") in _OPAQUE_TAG.findall(listed)


def _problem_response(problem: Problem, request_id: str) -> Response:
    document = {
        "type": "about:blank",
        "title": problem.status.phrase,
        "status": problem.status.value,
        "detail": problem.detail,
        "code": problem.code,
        "request_id": request_id,
    }
    media_type = "application/problem+json"
    return Response(json.dumps(document), problem.status, dict(problem.headers), media_type)
