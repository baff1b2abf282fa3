"""HTTP: a request in, its answer out; the route, the bearer key, the one try."""

import json
import re
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from time import perf_counter
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
from call_api.logs import JsonLog, stack_trace, trace_fields

_ROUTE = re.compile(r"/v2/calls/([^/]+)")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_BEARER = re.compile(r"(?i:bearer) +(.+)")
_KEY = re.compile(r"[\x21-\x7e]{1,512}")
_ENTITY_TAG = re.compile(r'"[^"]*"')


class Signer(Protocol):
    """Opens a recording to whoever holds the URL."""

    async def signed_url(self, object_name: str, call_id: int) -> str:
        """Return a URL that answers GET for one hour.

        Raises:
            Unavailable: the signature cannot be had right now, or not in time.
            Internal: it cannot be had until a role or a setting is mended.
        """


@dataclass
class Exchange:
    """What is known of one request so far; its log line and Server-Timing are made of it."""

    request_id: str
    call_id: int | None = None
    org_id: str | None = None
    stages_ms: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage, one that fails as well."""
        started = perf_counter()
        try:
            yield
        finally:
            self.stages_ms[name] = _ms_since(started)


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
        started = perf_counter()
        exchange = Exchange(_request_id(request))
        problem: Problem | None = None
        trace = trace_fields(request.headers, self.project)
        try:
            response = await self._answer(request, exchange)
        except Exception as error:  # noqa: BLE001  (the one place where nothing may pass)
            if not isinstance(error, Problem):
                trace["stack_trace"] = stack_trace(error)
            problem = error if isinstance(error, Problem) else Internal("unexpected exception")
            exchange.org_id = exchange.org_id or problem.org_id
            response = _problem_response(problem, exchange.request_id)
        response.headers["X-Request-Id"] = exchange.request_id
        response.headers["Cache-Control"] = "private, no-store"
        response.headers["X-Content-Type-Options"] = "nosniff"
        self._log(request.method, response.status_code, problem, exchange, started, trace)
        return response

    async def _answer(self, request: Request, exchange: Exchange) -> Response:
        route = _ROUTE.fullmatch(request.scope["path"])
        if route is None:
            raise RouteNotFound
        if request.method == "OPTIONS":
            return Response(status_code=204, headers={"Allow": ALLOWED_METHODS})
        if request.method not in {"GET", "HEAD"}:
            raise MethodNotAllowed
        key = _bearer_key(request.headers.getlist(self.key_header))
        exchange.call_id = parse_call_id(route[1])
        with exchange.stage("read"):
            owned = await get_call(self.store, key, exchange.call_id, self.now())
        exchange.org_id = owned.org_id
        etag = owned.etag(self.now())
        if _holds(request.headers.getlist("If-None-Match"), etag):
            return Response(status_code=304, headers={"ETag": etag})
        recording_url = None
        if owned.recording_to_sign is not None and request.method == "GET":
            with exchange.stage("sign"):
                recording_url = await self.signer.signed_url(owned.recording_to_sign, owned.call.id)
        timing = ", ".join(f"{name};dur={ms}" for name, ms in exchange.stages_ms.items())
        headers = {"ETag": etag, "Server-Timing": timing}
        response = Response(owned.call.render(recording_url), headers=headers, media_type="application/json")
        if request.method == "HEAD" and owned.recording_to_sign is not None:
            # RFC 9110 section 8.6: a length that would differ from GET's must not be sent, and
            # GET's is known only with the signed URL.
            del response.headers["Content-Length"]
        return response
