"""CORS: which headers an answer has, by the request's origin."""

import pytest
from starlette.datastructures import Headers

from call_api.web.cors import Cors
from tests.support.contract import constant


def published(*names: str) -> dict[str, str]:
    return {name: constant(name.title()) for name in names}


APP = "https://app.example.com"
CORS = Cors(frozenset({APP, "http://localhost:3000"}))
VARY = {"vary": "Origin"}
EXPOSED = published("access-control-expose-headers")
PREFLIGHT = published(
    *("access-control-allow-methods", "access-control-allow-headers", "access-control-max-age")
)
NOT_LISTED = {
    "none": [],
    "another": ["https://other.example.com"],
    "a prefix": ["https://app.example.co"],
    "a suffix": ["https://app.example.com.evil.example"],
    "a subdomain": ["https://x.app.example.com"],
    "the parent": ["https://example.com"],
    "another scheme": ["http://app.example.com"],
    "a port": [f"{APP}:8443"],
    "the default port": [f"{APP}:443"],
    "another port": ["http://localhost:3001"],
    "a path": [f"{APP}/"],
    "upper case": ["HTTPS://APP.EXAMPLE.COM"],
    "null": ["null"],
    "a wildcard": ["*"],
    "empty": [""],
    "user information": ["https://app.example.com@evil.example"],
    "a list": [f"{APP} http://localhost:3000"],
    "a list with a comma": [f"{APP},http://localhost:3000"],
    "spaces around": [f" {APP}"],
    "twice": [APP, APP],
    "two": ["https://evil.example", APP],
    "Cyrillic": ["https://\xd0\xb0pp.example.com"],
}


def headers(cors: Cors, status: int, origins: list[str], method: str | None) -> dict[str, str]:
    raw = [(b"origin", origin.encode("latin-1")) for origin in origins]
    if method is not None:
        raw.append((b"access-control-request-method", method.encode()))
    added = [(k.decode(), v.decode()) for k, v in cors.headers(Headers(raw=raw), status)]
    assert len(dict(added)) == len(added)
    return dict(added)


@pytest.mark.parametrize("method", [None, "GET"])
@pytest.mark.parametrize("status", [200, 204, 401, 500])
def test_without_the_setting_there_are_none(status: int, method: str | None) -> None:
    assert headers(Cors(frozenset()), status, [APP], method) == {}


@pytest.mark.parametrize("status", [200, 304, 401, 403, 404, 405, 500, 503, 504])
@pytest.mark.parametrize("method", [None, "GET"])
def test_a_listed_origin_may_read_every_answer(status: int, method: str | None) -> None:
    expected = VARY | {"access-control-allow-origin": APP} | EXPOSED
    assert headers(CORS, status, [APP], method) == expected


@pytest.mark.parametrize("method", ["GET", "PUT", ""])
def test_a_preflight_names_what_is_allowed(method: str) -> None:
    expected = VARY | {"access-control-allow-origin": APP} | PREFLIGHT
    assert headers(CORS, 204, [APP], method) == expected


def test_an_options_request_that_is_no_preflight_is_an_answer_like_others() -> None:
    assert headers(CORS, 204, [APP], None) == headers(CORS, 200, [APP], None)


@pytest.mark.parametrize("origins", NOT_LISTED.values(), ids=NOT_LISTED)
@pytest.mark.parametrize(("status", "method"), [(200, None), (204, "GET"), (401, None)])
def test_any_other_origin_gets_vary_alone(
    origins: list[str], status: int, method: str | None
) -> None:
    assert headers(CORS, status, origins, method) == VARY
