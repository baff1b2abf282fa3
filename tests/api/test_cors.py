"""CORS through the running function; `tests/unit/test_cors.py` has the table of origins."""

import json
from collections.abc import Iterator

import pytest

from tests.support.contract import constant, headers_of
from tests.support.project import PutCall
from tests.support.serving import Reply, Service, bearer, served

APP = "https://app.example.com"
CORS = [name for name in headers_of("OPTIONS", 204) if name.startswith("Access-Control-")]
ALLOWED = [
    "Access-Control-Allow-Methods",
    "Access-Control-Allow-Headers",
    "Access-Control-Max-Age",
]
PREFLIGHT = [
    ("Origin", APP),
    ("Access-Control-Request-Method", "GET"),
    ("Access-Control-Request-Headers", "authorization,if-none-match"),
]


@pytest.fixture(scope="module")
def browsers(settings: dict[str, str], keys: dict[str, str]) -> Iterator[Service]:
    assert keys
    with served(settings | {"ALLOWED_ORIGINS": f"https://other.example,{APP}"}) as running:
        yield running


def cors_headers(reply: Reply) -> dict[str, str]:
    """Return the reply's CORS headers; none of them may be there twice, and one never."""
    assert "Access-Control-Allow-Credentials" not in reply.headers
    found = {name: reply.headers.get_all(name, []) for name in CORS}
    assert all(len(values) <= 1 for values in found.values())
    return {name: values[0] for name, values in found.items() if values}


def varies(reply: Reply) -> set[str]:
    fields = ", ".join(reply.headers.get_all("Vary", []))
    return {name for field in fields.split(",") if (name := field.strip())}


def test_a_preflight_needs_no_key_and_reads_nothing(browsers: Service) -> None:
    before = len(browsers.log())
    reply = browsers.request("OPTIONS", headers=PREFLIGHT)

    assert (reply.status, reply.body) == (204, b"")
    assert reply.headers["Allow"] == "GET, HEAD, OPTIONS"
    assert varies(reply) == {"Origin"}
    assert cors_headers(reply) == {
        "Access-Control-Allow-Origin": APP,
        **{name: constant(name) for name in ALLOWED},
    }
    (entry,) = [json.loads(line) for line in browsers.log(before).splitlines()]
    assert entry["read_ms"] is None


def test_every_answer_can_be_read_by_a_listed_origin_alone(
    browsers: Service, acme_key: str, put_call: PutCall
) -> None:
    call, broken = "/v2/calls/77", f"/v2/calls/{put_call({'status': 'unheard of'})}"
    mine = bearer(acme_key)
    for method, target, headers, status in (
        ("GET", call, mine, 200),
        ("GET", call, [*mine, ("If-None-Match", "*")], 304),
        ("GET", broken, mine, 500),
        ("GET", call, [], 401),
        ("HEAD", call, [], 401),
        ("POST", call, [], 405),
        ("GET", "/v2/other", [], 404),
        ("OPTIONS", "/v2/other", [], 404),
    ):
        reply = browsers.request(method, target, [("Origin", APP), *headers])
        assert reply.status == status
        assert cors_headers(reply) == {
            "Access-Control-Allow-Origin": APP,
            "Access-Control-Expose-Headers": constant("Access-Control-Expose-Headers"),
        }
        assert "Origin" in varies(reply)
    for origin in ([("Origin", "null")], []):
        reply = browsers.request(headers=origin, key=acme_key)
        assert reply.status == 200
        assert cors_headers(reply) == {}
        assert varies(reply) == {"Origin", "Accept-Encoding"}


@pytest.mark.parametrize("origin", [APP, "https://evil.example", "null"])
def test_an_origin_changes_no_answer(
    origin: str, browsers: Service, acme_key: str, globex_key: str
) -> None:
    """Who may see a call is decided by the key alone."""
    for key, status in ((acme_key, 200), (globex_key, 403), ("unknown", 401), (None, 401)):
        with_it = browsers.request(headers=[("Origin", origin)], key=key)
        without = browsers.request(key=key)

        assert with_it.status == without.status == status
        volatile = {"recording_url", "request_id"}
        assert {k: v for k, v in with_it.json().items() if k not in volatile} == {
            k: v for k, v in without.json().items() if k not in volatile
        }
