"""Compression through the running function: who gets it, what stays the same, what it reveals."""

import itertools
import json
from typing import Any

import pytest

from call_api.calls.publish import MIN_GZIP_BYTES
from tests.support.project import PutCall
from tests.support.serving import Service

GZIP = [("Accept-Encoding", "gzip")]


def turns(number: int) -> dict[str, Any]:
    """Return the change that gives a call so many turns, in words that do not repeat at once."""
    words = [
        f"{a} {b}"
        for a, b in itertools.product(("refund", "order", "phone", "बिल", "मदद"), range(97))
    ]
    picked = itertools.islice(itertools.cycle(words), 0, number * 41, 41)
    return {
        "transcript": [
            {"role": "user", "content": f"{text} {n * n}", "timestamp": n}
            for n, text in enumerate(picked)
        ]
    }


@pytest.fixture(scope="module", params=[90, 9000], ids=["inline", "in a thread"])
def long_call(put_call: PutCall, request: pytest.FixtureRequest) -> int:
    """Without a recording: a link, and with it the ETag, changes with the time of day."""
    return put_call({"recording_object": None} | turns(request.param))


def test_a_large_call_is_compressed_for_who_accepts_it(
    long_call: int, service: Service, acme_key: str
) -> None:
    target = f"/v2/calls/{long_call}"
    plain = service.request(target=target, key=acme_key)
    packed = service.request(target=target, headers=GZIP, key=acme_key)
    declined = service.request(
        target=target, headers=[("Accept-Encoding", "gzip;q=0")], key=acme_key
    )

    assert packed.headers["Content-Encoding"] == "gzip"
    assert int(packed.headers["Content-Length"]) == len(packed.body) < len(plain.body) / 2
    assert packed.json() == plain.json()
    assert packed.headers["Content-Type"] == "application/json"
    assert packed.headers["ETag"] == plain.headers["ETag"]
    for reply in (plain, packed, declined):
        assert reply.headers["Vary"] == "Accept-Encoding"
    for reply in (plain, declined):
        assert reply.headers["Content-Encoding"] is None
        assert int(reply.headers["Content-Length"]) == len(reply.body)


def test_4_kib_of_json_are_compressed_and_a_byte_less_is_not(
    service: Service, acme_key: str, put_call: PutCall
) -> None:
    shortest = put_call({"recording_object": None, "agent_name": "x"})
    length = len(service.request(target=f"/v2/calls/{shortest}", key=acme_key).body) - 1
    for missing, encoding in ((0, "gzip"), (1, None)):
        name = "x" * (MIN_GZIP_BYTES - length - missing)
        call_id = put_call({"recording_object": None, "agent_name": name})
        reply = service.request(target=f"/v2/calls/{call_id}", headers=GZIP, key=acme_key)

        assert len(reply.content()) == MIN_GZIP_BYTES - missing
        assert reply.headers["Content-Encoding"] == encoding


@pytest.mark.parametrize("number", [90, 9000], ids=["inline", "in a thread"])
def test_head_tells_what_get_would(
    number: int, service: Service, acme_key: str, put_call: PutCall
) -> None:
    target = f"/v2/calls/{put_call(turns(number))}"
    plain = service.request("HEAD", target, key=acme_key)
    packed = service.request("HEAD", target, GZIP, key=acme_key)

    assert (plain.headers["Content-Encoding"], packed.headers["Content-Encoding"]) == (None, "gzip")
    for reply in (plain, packed):
        assert reply.status == 200
        assert reply.headers["Vary"] == "Accept-Encoding"
        assert reply.headers["Content-Length"] is None  # GET alone knows it


def test_head_does_not_count_the_link_that_only_get_has(
    service: Service, acme_key: str, put_call: PutCall
) -> None:
    target = f"/v2/calls/{put_call({'agent_name': 'x' * (MIN_GZIP_BYTES // 2)})}"
    get = service.request(target=target, headers=GZIP, key=acme_key)
    head = service.request("HEAD", target, GZIP, key=acme_key)

    length = len(get.content())
    assert length - len(json.loads(get.content())["recording_url"]) < MIN_GZIP_BYTES <= length
    assert get.headers["Content-Encoding"] == "gzip"
    assert (head.headers["Content-Encoding"], head.headers["Content-Length"]) == (None, None)


def test_head_of_what_is_compressed_has_no_length_without_a_link_either(
    service: Service, acme_key: str, put_call: PutCall
) -> None:
    target = f"/v2/calls/{put_call({'recording_object': None} | turns(90))}"

    assert service.request("HEAD", target, key=acme_key).headers["Content-Length"]
    assert service.request("HEAD", target, GZIP, key=acme_key).headers["Content-Length"] is None


def test_an_unchanged_call_is_304_whatever_form_the_client_holds(
    long_call: int, service: Service, acme_key: str
) -> None:
    target = f"/v2/calls/{long_call}"
    etag = service.request(target=target, headers=GZIP, key=acme_key).headers["ETag"]
    for headers in ([], GZIP):
        held = [*headers, ("If-None-Match", etag)]
        reply = service.request(target=target, headers=held, key=acme_key)

        assert reply.status == 304
        assert reply.headers["Vary"] == "Accept-Encoding"
        assert reply.headers["Content-Encoding"] is None


def test_refusals_are_not_compressed(service: Service) -> None:
    reply = service.request(headers=GZIP)

    assert reply.status == 401
    assert reply.headers["Content-Encoding"] is None
    assert reply.headers["Vary"] is None


def test_nothing_of_the_request_is_in_a_compressed_body(
    long_call: int, service: Service, acme_key: str
) -> None:
    """BREACH guesses a secret by text of the attacker's in the same compressed body."""
    marker = "guessed-secret-7f3a"
    reply = service.request(
        target=f"/v2/calls/{long_call}?q={marker}",
        headers=[
            *GZIP,
            ("X-Request-Id", marker),
            ("Cookie", marker),
            ("Origin", f"https://{marker}"),
            ("Referer", f"https://{marker}/"),
            ("User-Agent", marker),
            ("traceparent", marker),
            ("X-Forwarded-For", marker),
        ],
        key=acme_key,
    )

    assert reply.headers["X-Request-Id"] == marker
    assert marker.encode() not in reply.content()
    assert acme_key.encode() not in reply.content()
