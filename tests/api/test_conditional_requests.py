"""Conditional requests: what a poller holds, and for how long a 304 may tell it so."""

import json
import re
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import pytest
from starlette.responses import Response

from local.seed import sample_calls
from tests.support.fakes import FakeCalls
from tests.support.in_process import KEYS, MINE, Function
from tests.support.judge import judge
from tests.support.project import PutCall
from tests.support.serving import Service

MINUTE = timedelta(minutes=1)


class Api(Function):
    """The function over one call, whose answers are judged."""

    def __init__(self, **call: Any) -> None:
        self.document = sample_calls()[77] | call
        super().__init__(FakeCalls(keys=KEYS, calls={77: self.document}))

    def request(self, *, etags: Iterable[str] = (), method: str = "GET") -> Response:
        conditions = [("if-none-match", etag) for etag in etags]
        response = self.ask(headers=[*MINE, *conditions], method=method)
        judge(method, response.status_code, response.headers, bytes(response.body))
        return response


def test_the_held_version_is_answered_without_a_body_or_a_signature() -> None:
    api = Api()
    etag = api.request().headers["ETag"]

    again = api.request(etags=[etag])

    assert (again.status_code, again.body) == (304, b"")
    assert again.headers["ETag"] == etag
    assert len(api.urls.signed) == 1


def test_a_304_leaves_at_least_50_minutes_on_the_link() -> None:
    api = Api()
    signed_at = api.clock.time
    etag = api.request().headers["ETag"]

    held = timedelta()
    while api.request(etags=[etag]).status_code == 304:
        api.clock.time += MINUTE
        held = api.clock.time - signed_at

    assert held == 10 * MINUTE


def test_without_a_link_the_version_holds_for_ever() -> None:
    for call in ({"status": "deleted"}, {"recording_object": None}):
        api = Api(**call)
        etag = api.request().headers["ETag"]
        api.clock.time += timedelta(days=1000)

        assert api.request(etags=[etag]).status_code == 304
        assert api.urls.signed == []


def test_the_etag_is_weak_and_tells_calls_with_and_without_link_apart() -> None:
    with_link, without = (
        Api(status=status).request().headers["ETag"] for status in ("ended", "deleted")
    )

    assert re.fullmatch(r'W/"[0-9a-f]+-[0-9a-f]+-[1-9a-f][0-9a-f]*"', with_link)
    assert re.fullmatch(r'W/"[0-9a-f]+-[0-9a-f]+-0"', without)


@pytest.mark.parametrize(
    "listed",
    [
        ["{etag}"],
        ["{strong}"],
        ["*"],
        [" * "],
        ['"a", {etag}'],
        ['W/"a",{etag} , "b"'],
        ['"a"', "{etag}"],
        ['"with, comma", {strong}'],
    ],
)
def test_any_listed_version_is_held(listed: list[str]) -> None:
    api = Api()
    etag = api.request().headers["ETag"]
    etags = [text.format(etag=etag, strong=etag.removeprefix("W/")) for text in listed]

    assert api.request(etags=etags).status_code == 304
    assert api.request(etags=etags, method="HEAD").status_code == 304


@pytest.mark.parametrize(
    "text", ["", '""', '"a"', "W/", "{bare}", '"{bare}', '"*"', "{etag}x{etag}x"]
)
def test_anything_else_is_not(text: str) -> None:
    api = Api()
    etag = api.request().headers["ETag"]
    other = text.format(etag=etag[:-2], bare=etag[3:-1])

    assert api.request(etags=[other]).status_code == 200


def test_a_corrupt_call_is_never_confirmed() -> None:
    api = Api()
    api.document["type"] = "fax"

    assert api.request(etags=["*"]).status_code == 500


def test_head_answers_the_headers_of_get_and_signs_nothing() -> None:
    """But for the length and the durations: it makes no link."""
    api = Api()
    get, head = (
        {
            name: value.partition(";dur=")[0]
            for name, value in api.request(method=method).headers.items()
            if name != "x-request-id"
        }
        for method in ("GET", "HEAD")
    )

    assert get.pop("content-length")
    assert head == get
    assert len(api.urls.signed) == 1


def test_head_tells_the_length_where_get_would_have_the_same() -> None:
    api = Api(status="deleted")

    lengths = {api.request(method=method).headers["Content-Length"] for method in ("GET", "HEAD")}
    assert len(lengths) == 1


def test_a_rewritten_document_is_a_new_version(
    service: Service, put_call: PutCall, acme_key: str
) -> None:
    call_id = put_call({"recording_object": None})
    target = f"/v2/calls/{call_id}"
    etag = service.request(target=target, key=acme_key).headers["ETag"]
    held = [("If-None-Match", etag)]
    assert service.request(target=target, key=acme_key, headers=held).status == 304
    put_call({"recording_object": None, "ended_reason": "timeout"}, at=call_id)

    reply = service.request(target=target, key=acme_key, headers=held)

    assert (reply.status, json.loads(reply.body)["ended_reason"]) == (200, "timeout")
