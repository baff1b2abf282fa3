"""The contract of `GET /v2/calls/{call_id}`, row by row, against the served function.

Who gets what, by which credentials, is in test_access_matrix.py.
"""

import json
import re
from typing import NamedTuple

import pytest

from local.seed import sample_calls
from ops.openapi import published_call
from tests.support.contract import constant_headers
from tests.support.project import PutCall
from tests.support.serving import Service

NOBODY: tuple[tuple[str, str], ...] = ()


class Row(NamedTuple):
    """One request and its answer; {acme} in a header stands for that org's key."""

    states: str
    status: int
    code: str | None = None
    method: str = "GET"
    path: str = "/v2/calls/77"
    headers: tuple[tuple[str, str], ...] = (("Authorization", "Bearer {acme}"),)


ROUTES = [
    Row("GET reads the call", 200),
    Row("HEAD reads its headers", 200, method="HEAD"),
    Row("OPTIONS lists the methods, to anybody", 204, method="OPTIONS", headers=NOBODY),
    *(
        Row(f"{method} is not allowed", 405, "method_not_allowed", method)
        for method in ("POST", "PUT", "PATCH", "DELETE")
    ),
    Row("the method comes before the key", 405, "method_not_allowed", "POST", headers=NOBODY),
    *(
        Row(f"{path} is no route", 404, "route_not_found", path=path, headers=NOBODY)
        for path in (
            *("/", "/v2", "/v2/calls", "/v2/calls/", "/v2/calls/77/", "/v2/calls/77/x"),
            *("/v2/calls//77", "//v2/calls/77", "/v2/calls/a%2Fb", "/v2/calls/77%2Fsecret%2F1"),
            *("/v2/calls/..%2Fapi_keys%2F1", "/v1/calls/77", "/V2/calls/77", "/v2/calls/77%2F"),
        )
    ),
    Row("no route comes before the method", 404, "route_not_found", "DELETE", "/v2/calls"),
    Row("the query string is ignored", 200, path="/v2/calls/77?id=87&call_id=87"),
    *(
        Row(f"{value!r} is the key", 200, headers=(("Authorization", value),))
        for value in ("bearer {acme}", "BEARER {acme}", "Bearer   {acme}", "  Bearer {acme}  ")
    ),
]

IDS = [
    Row(f"{segment} is no call", 404, "call_not_found", path=f"/v2/calls/{segment}")
    for segment in (
        *("0", "-1", "+77", "077", "77.0", "7_7", "7e1", "0x4d", "%2077", "77%20", "77%09"),
        *("77%00", "77%0A"),
        "%D9%A7%D9%A7",  # Arabic-Indic 77
        "%EF%BC%97%EF%BC%97",  # full-width 77
        "%37%37%C2%B2",
        "99999",
        "9223372036854775808",  # 2^63
        "18446744073709551693",  # 2^64 + 77
        "9" * 4000,
        *("nan", ".", "..%20", "__77__", "%FF%FE", "77;x=1", "77%3Fid=77", "%2577"),
    )
] + [
    Row("%37%37 is 77, as every server reads it", 200, path="/v2/calls/%37%37"),
]


@pytest.mark.parametrize("row", [*ROUTES, *IDS], ids=lambda row: f"{row.status}: {row.states}")
def test_the_contract(row: Row, service: Service, acme_key: str) -> None:
    headers = [(name, value.replace("{acme}", acme_key)) for name, value in row.headers]
    reply = service.request(row.method, row.path, headers)

    assert reply.status == row.status
    constant = constant_headers(row.method, row.status)
    assert constant
    for name, value in constant.items():
        assert reply.headers.get_all(name) == [value]
    if row.code is not None:
        assert reply.headers["Content-Type"] == "application/problem+json"
        assert reply.json()["code"] == row.code
        assert reply.json()["request_id"] == reply.headers["X-Request-Id"]


def test_the_published_example_is_answered_exactly(service: Service, acme_key: str) -> None:
    """Keys, their order and values are those of the sample; the link differs in every answer."""
    reply = service.request(key=acme_key)

    assert reply.headers["Content-Type"] == "application/json"
    answered = re.sub(r'"recording_url":"[^"]+"', '"recording_url":null', reply.body.decode())
    published = published_call(sample_calls()[77], recording_url=None)
    assert answered == json.dumps(published, ensure_ascii=False, separators=(",", ":"))


@pytest.mark.parametrize(
    "call_id",
    [
        *(1, 9),
        *(pytest.param(n, marks=pytest.mark.google_emulator) for n in (2**53 + 1, 2**63 - 1)),
    ],
)
def test_ids_are_answered_up_to_the_largest_integer(
    call_id: int, service: Service, acme_key: str, put_call: PutCall
) -> None:
    put_call(at=call_id)

    assert service.request(target=f"/v2/calls/{call_id}", key=acme_key).json()["id"] == call_id


@pytest.mark.parametrize("request_id", ["a", "A-z_0.9", "x" * 128])
def test_a_sane_request_id_is_kept(request_id: str, service: Service) -> None:
    reply = service.request(headers=[("X-Request-Id", request_id)])

    assert reply.headers["X-Request-Id"] == reply.json()["request_id"] == request_id


@pytest.mark.parametrize(
    "given", [[], [""], ["x" * 129], ["a b"], ["a,b"], ["é"], ["<script>"], ["one", "two"]]
)
def test_any_other_request_id_is_replaced(given: list[str], service: Service) -> None:
    reply = service.request(headers=[("X-Request-Id", value) for value in given])

    assert re.fullmatch(r"[0-9a-f]{32}", reply.headers["X-Request-Id"])
