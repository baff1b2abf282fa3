"""HTTP: a request in, its answer out; the route, the order of checks, the catch-all."""

import asyncio
import json
import re
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Protocol

from starlette.requests import Request
from starlette.responses import Response

from call_api.calls.access import ApiKey, CallAccess, parse_call_id, require_active
from call_api.calls.keys import key_hash
from call_api.calls.publish import MIN_GZIP_BYTES, LargeCallThread, Published, gzipped, publish
from call_api.calls.schema import with_link
from call_api.errors import (
    ALLOWED_METHODS,
    Internal,
    MethodNotAllowed,
    Problem,
    RouteNotFound,
)
from call_api.log import JsonLog, RequestEntry, stack_trace
from call_api.web.admission import Admission, Place
from call_api.web.client import CancelledWhenClientLeaves, ClientLeftError, HeldResponse
from call_api.web.cors import Cors
from call_api.web.headers import (
    accepts_gzip,
    bearer_key,
    if_none_match_matches,
    request_id,
    trace_fields,
)

MAX_FAULTS = 20  # in the log
CLIENT_CLOSED_REQUEST = 499  # nginx's number, for the log alone
EVERY_ANSWER = [(b"cache-control", b"private, no-store"), (b"x-content-type-options", b"nosniff")]
VARIES = {"Vary": "Accept-Encoding"}  # of both a 200 and a 304 (RFC 9110, 15.4.5)

_ROUTE = re.compile(r"/v2/calls/([^/]+)")


class RecordingUrls(Protocol):
    """Makes the URLs of recordings."""

    async def signed_url(self, object_name: str, call_id: int) -> str:
        """Return a URL that answers GET for one hour.

        Raises:
            Unavailable: the signature cannot be had right now, or not in time.
            Internal: it cannot be had until a role or a setting is corrected.
        """


@dataclass(frozen=True)
class CallsApi:
    """Answers requests for calls.

    `key_header` is the one header that a key is read from: behind API Gateway that is not
    `Authorization`, where the gateway puts a token of its own.
    """

    access: CallAccess
    admission: Admission
    large_call_thread: LargeCallThread
    recording_urls: RecordingUrls
    cors: Cors
    log: JsonLog
    key_header: str
    project: str | None
    now: Callable[[], datetime]

    async def respond(self, request: Request) -> Response:
        """Answer a request, whatever happens, and write its line to the log."""
        entry = RequestEntry(
            request_id(request.headers.getlist("X-Request-Id")),
            trace_fields(request.headers, self.project),
        )
        try:
            async with CancelledWhenClientLeaves(request.receive):
                response = await self._answer(request, entry)
        except ClientLeftError:
            response = Response(status_code=CLIENT_CLOSED_REQUEST)
            entry.code = entry.reason = "client_closed_request"
        except Problem as problem:
            response = _refusal(problem, entry)
        except Exception as error:  # noqa: BLE001  (the catch-all error handler)
            entry.stack_trace = stack_trace(error)
            response = _refusal(Internal("unexpected exception"), entry)
        response.raw_headers += [
            (b"x-request-id", entry.request_id.encode()),
            *EVERY_ANSWER,
            *self.cors.headers(request.headers, response.status_code),
        ]
        self.log.write(
            entry.severity,
            f"{request.method} {response.status_code} {entry.reason}".rstrip(),
            entry.fields(response.status_code),
        )
        return response

    async def _answer(self, request: Request, entry: RequestEntry) -> Response:
        """Check the request, in the order that docs/decisions.md explains, and answer it.

        Raises:
            Problem: the first check that fails.
        """
        segment = _call_segment(request)
        if request.method == "OPTIONS":
            return Response(status_code=204, headers={"Allow": ALLOWED_METHODS})
        if request.method not in {"GET", "HEAD"}:
            raise MethodNotAllowed
        hashed_key = key_hash(bearer_key(request.headers.getlist(self.key_header)))
        entry.call_id = parse_call_id(segment)
        with ExitStack() as held:
            place = self.admission.enter(hashed_key, entry.call_id)
            held.callback(place.leave)
            with entry.stage("read"):
                key, published = await self._read_and_publish(request, hashed_key, entry, place)
            body, recording = published.json, published.recording
            if body is not None and recording is not None and request.method == "GET":
                with entry.stage("sign"):
                    link = await self.recording_urls.signed_url(recording, published.call_id)
                body = with_link(body, link)
            # Again, since the request may have waited: nothing is answered after the key's end.
            require_active(key, self.now())
            if body is None:
                return Response(status_code=304, headers={"ETag": published.etag, **VARIES})
            place.hold(len(body))  # in place of the document's bytes
            timing = ", ".join(f"{stage};dur={ms}" for stage, ms in entry.stages_ms.items())
            headers = {"ETag": published.etag, "Server-Timing": timing, **VARIES}
            to_gzip = len(body) >= MIN_GZIP_BYTES and accepts_gzip(
                request.headers.getlist("Accept-Encoding")
            )
            if to_gzip:
                headers["Content-Encoding"] = "gzip"
                if request.method == "GET":
                    body = await self.large_call_thread.run(len(body), partial(gzipped, body))
                    place.hold(len(body))
            if place.holds_bytes:
                # From here on the response has the place, and leaves it when it has been sent.
                response: Response = HeldResponse(body, headers, held.pop_all())
            else:
                response = Response(body, headers=headers, media_type="application/json")
        if request.method == "HEAD" and (recording is not None or to_gzip):
            # A GET's length is not known, since its body has a link, or is compressed; no other length
            # may be given (RFC 9110, 8.6).
            del response.headers["Content-Length"]
        return response

    async def _read_and_publish(
        self, request: Request, hashed_key: str, entry: RequestEntry, place: Place
    ) -> tuple[ApiKey, Published]:
        """Return the key, and the call as it is published if the key's org owns it."""
        began_at = asyncio.get_running_loop().time()
        known = await self.access.ensure_known_key(hashed_key, entry.call_id, began_at, asker=entry)
        await place.before_fetch()
        read_began_at = began_at + place.waited_seconds  # to wait here does not count as reading
        key, document = await self.access.read_call(known, read_began_at, asker=entry)
        await place.before_publishing(document.size)
        client_has = partial(if_none_match_matches, request.headers.getlist("If-None-Match"))
        work = partial(publish, document, known.call_id, self.now, client_has)
        published = await self.large_call_thread.run(document.size, work)
        place.end_turn()
        if published.faults:
            entry.severity, entry.faults = "WARNING", published.faults[:MAX_FAULTS]
            entry.reason = f"cannot be read: {', '.join(entry.faults)}"
        return key, published


def _call_segment(request: Request) -> str:
    """Return the last segment of a call's path; no other path has a route."""
    route = _ROUTE.fullmatch(request.scope["path"])
    if route is None or b"%2F" in request.scope.get("raw_path", b"").upper():
        raise RouteNotFound  # an encoded slash separates nothing (RFC 3986, 2.2)
    return route[1]


def _refusal(problem: Problem, entry: RequestEntry) -> Response:
    """Note a problem for the log, and return its answer."""
    entry.severity, entry.reason, entry.code = problem.severity, str(problem), problem.code
    document = {
        "type": "about:blank",
        "title": problem.status.phrase,
        "status": problem.status.value,
        "detail": problem.detail,
        "code": problem.code,
        "request_id": entry.request_id,
    }
    media_type = "application/problem+json"
    # Its frames hold the call, and some libraries keep an exception in a reference cycle: the call
    # would stay until the next garbage collection.
    problem.__traceback__ = None
    return Response(json.dumps(document), problem.status, dict(problem.headers), media_type)
