"""CORS: which origins' pages may read the answers in a browser.

https://fetch.spec.whatwg.org/#http-cors-protocol. Never with credentials: a key comes in a header that
the page itself sets, and no cookie exists, so a page can do nothing that its own key does not allow.
"""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from http import HTTPStatus

from starlette.datastructures import Headers

from call_api.errors import ALLOWED_METHODS

_VARY = (b"vary", b"Origin")
_EXPOSED = (
    b"access-control-expose-headers",
    b"ETag, X-Request-Id, Server-Timing, Retry-After",
)
# With what agents for monitoring add to each request of a page: the browser refuses the whole request
# for a header that is not listed. The star covers all others but Authorization.
_REQUEST_HEADERS = (
    b"Authorization, Content-Type, If-None-Match, X-Request-Id, X-Requested-With, Cache-Control, "
    b"traceparent, tracestate, baggage, *"
)
_PREFLIGHT = [
    (b"access-control-allow-methods", ALLOWED_METHODS.encode()),
    (b"access-control-allow-headers", _REQUEST_HEADERS),
    (b"access-control-max-age", b"7200"),  # seconds; Chromium's maximum
]


@dataclass(frozen=True)
class Cors:
    """The headers that let pages of `allowed_origins` read the answers; none if there are none."""

    allowed_origins: AbstractSet[str]

    def headers(self, request: Headers, status: int) -> list[tuple[bytes, bytes]]:
        """Return the headers to add to an answer.

        204 answers OPTIONS alone, and a preflight is an OPTIONS that asks for a method.
        """
        if not self.allowed_origins:
            return []
        origins = request.getlist("Origin")
        if len(origins) != 1 or origins[0] not in self.allowed_origins:
            return [_VARY]
        allowed = [_VARY, (b"access-control-allow-origin", origins[0].encode())]
        if status == HTTPStatus.NO_CONTENT and "Access-Control-Request-Method" in request:
            return allowed + _PREFLIGHT
        return [*allowed, _EXPOSED]
