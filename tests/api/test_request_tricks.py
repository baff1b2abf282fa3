"""Requests as an attacker writes them: each row says what is sent and what comes back.

The server's parser (h11) and router (starlette) are part of what is tested, since they decide what
the function is asked at all. `plain` is an answer of theirs. After each trick the server must live,
and everything that the function was asked must have one line in the log. What needs no trick to be sent
is elsewhere: keys in test_access_matrix.py, IDs and paths in test_contract.py. How long a request may
be is in tests/unit/test_protocol.py; that the served function counts is shown by a few that are too long.
"""

import socket
from typing import NamedTuple

import pytest

from tests.support.raw_http import RawReply, exchange
from tests.support.serving import Service

KEY = b"Authorization: Bearer {acme}\r\n"
CALL_77 = b"GET /v2/calls/77 HTTP/1.1\r\nHost: x\r\n" + KEY
CALL_87 = b"GET /v2/calls/87 HTTP/1.1\r\nHost: x\r\n" + KEY  # another org's
CALL, REFUSED, FOREIGN = "200 the call", "401 unauthenticated", "403 forbidden"
NO_CALL, NO_ROUTE = "404 call_not_found", "404 route_not_found"
NOT_ALLOWED = "405 method_not_allowed"
BAD_REQUEST, NOT_ROUTED, UNKNOWN_METHOD = "400 plain", "404 plain", "405 plain"


class Trick(NamedTuple):
    """What is sent, and the answers; {acme} stands for the key of call 77's org."""

    what: str
    sent: bytes
    answers: tuple[str, ...]


def trick(
    what: str,
    *answers: str,
    line: bytes = b"GET /v2/calls/77 HTTP/1.1",
    host: bytes = b"Host: x\r\n",
    key: bytes = KEY,
    more: bytes = b"",
    connection: bytes = b"close",
    body: bytes = b"",
) -> Trick:
    """Make a request that closes its connection and is right but for what is given."""
    headers = host + key + more + b"Connection: " + connection + b"\r\n"
    return Trick(what, line + b"\r\n" + headers + b"\r\n" + body, answers)


def path(target: bytes, answer: str, what: str | None = None) -> Trick:
    return trick(what or repr(target[:60])[2:-1], answer, line=b"GET " + target + b" HTTP/1.1")


def method(name: bytes, answer: str, what: str | None = None) -> Trick:
    return trick(what or repr(name)[2:-1], answer, line=name + b" /v2/calls/77 HTTP/1.1")


def authorization(what: str, value: bytes, answer: str) -> Trick:
    return trick(what, answer, key=b"Authorization:" + value + b"\r\n")


WHITESPACE = [
    authorization("no space before the value", b"Bearer {acme}", CALL),
    authorization("a tab before the value", b"\tBearer {acme}", CALL),
    authorization("blanks around the value", b"  \t Bearer {acme} \t ", CALL),
    authorization("a tab before the key", b" Bearer\t{acme}", REFUSED),
    authorization("a no-break space before the key", b" Bearer \xa0{acme}", REFUSED),
    authorization("a no-break space after the key", b" Bearer {acme}\xa0", REFUSED),
    authorization("a vertical tab before the key", b" Bearer \x0b{acme}", BAD_REQUEST),
    authorization("a form feed before the key", b" Bearer \x0c{acme}", BAD_REQUEST),
    authorization("NUL after the key", b" Bearer {acme}\x00", BAD_REQUEST),
    authorization("a carriage return after the key", b" Bearer {acme}\rX", BAD_REQUEST),
    authorization(
        "a key in two folded lines (RFC 9112, 5.2: a fold is a blank)", b" Bearer\r\n {acme}", CALL
    ),
    authorization("a key folded in the middle", b" Bearer {acme}\r\n x", REFUSED),
    trick("a blank before the colon", BAD_REQUEST, key=b"Authorization : Bearer {acme}\r\n"),
    trick("a folded first header", BAD_REQUEST, host=b" X: y\r\nHost: x\r\n"),
    trick("a key folded into another header", REFUSED, key=b"X-A: b\r\n " + KEY),
    trick(
        "a header that a bare line feed ends (RFC 9112, 2.2: a line ends so too)",
        CALL,
        key=b"X-A: b\n" + KEY,
    ),
    Trick(
        "bare line feeds alone",
        b"GET /v2/calls/77 HTTP/1.1\nHost: x\nConnection: close\nAuthorization: Bearer {acme}\n\n",
        (CALL,),
    ),
    trick("a bare carriage return", BAD_REQUEST, more=b"X-A: b\rX-B: c\r\n"),
]

HEADERS = [
    trick("another key after it, in other letters", REFUSED, more=b"aUTHORIZATION: Bearer x\r\n"),
    trick("an empty one after it", REFUSED, more=b"Authorization:\r\n"),
    trick("the key 90 times", REFUSED, key=KEY * 90),
    trick("the key under a name with _", REFUSED, key=b"HTTP_AUTHORIZATION: Bearer {acme}\r\n"),
    trick("the key for the proxy", REFUSED, key=b"Proxy-Authorization: Bearer {acme}\r\n"),
    trick("the key in a cookie", REFUSED, key=b"Cookie: Authorization=Bearer {acme}\r\n"),
    trick("the header's name in capitals", CALL, key=b"AUTHORIZATION: Bearer {acme}\r\n"),
    trick("the key's header named as the connection's own", CALL,
          more=b"Connection: Authorization\r\n"),
    trick("a header that is not ASCII", CALL, more=b"X-A: \xff\xfe \xe2\x80\xa8\r\n"),
    trick("a header's name that is not ASCII", BAD_REQUEST, more=b"X-\xc3\xa9: b\r\n"),
    trick("NUL in a header", BAD_REQUEST, more=b"X-A: \x00\r\n"),
    trick("NUL in a header's name", BAD_REQUEST, more=b"X\x00A: b\r\n"),
    trick("a header without a name", BAD_REQUEST, more=b": b\r\n"),
    trick("a header without a colon", BAD_REQUEST, more=b"Authorization\r\n"),
    trick("a header of 15,000 bytes", CALL, more=b"X-A: " + b"a" * 15_000 + b"\r\n"),
    trick("a key of 15,000 bytes", REFUSED,
          key=b"Authorization: Bearer " + b"k" * 15_000 + b"\r\n"),
    trick("98 more headers", BAD_REQUEST, more=b"".join(b"X-%d: a\r\n" % n for n in range(98))),
    trick("90 conditions", CALL, more=b'If-None-Match: "a"\r\n' * 90),
    trick("a condition of quotes alone", CALL, more=b"If-None-Match: " + b'"' * 15_000 + b"\r\n"),
    trick("no host", BAD_REQUEST, host=b""),
    trick("two hosts", BAD_REQUEST, more=b"Host: y\r\n"),
    trick("another's host", CALL, host=b"Host: evil.example\r\n"),
    trick("a host that is none", CALL, host=b"Host: <script>@:99999999\r\n"),
    trick("another path for proxies", CALL,
          more=b"X-Original-URL: /v2/calls/87\r\nX-Rewrite-URL: /v2/calls/87\r\n"),
    trick("a forged origin", CALL,
          more=b"X-Forwarded-For: ::1\r\nForwarded: for=::1\r\nX-Forwarded-Proto: \xff\r\n"),
    trick("a trace that is none", CALL,
          more=b"traceparent: \xff\r\nX-Cloud-Trace-Context: " + b"f" * 5000 + b"/1;o=1\r\n"),
    trick("an execution's ID that is none", CALL,
          more=b"Function-Execution-Id: \xff" + b"a" * 5000 + b"\r\n"),
    trick("parts of the answer", CALL, more=b"Range: bytes=0-9\r\nIf-Range: x\r\n"),
    trick("another form of the answer", CALL, more=b"Accept: image/png\r\nTE: trailers\r\n"),
]  # fmt: skip

BODIES = [
    trick("a body of 1 MiB", CALL, more=b"Content-Length: 1048576\r\n", body=b"a" * 2**20),
    trick("a body that is shorter than said", CALL, more=b"Content-Length: 10\r\n", body=b"he"),
    trick("a request in the body", CALL, more=b"Content-Length: 17\r\n", body=b"GET / HTTP/1.1\r\n\r"),
    trick("the key in a trailer", REFUSED, key=b"", more=b"Transfer-Encoding: chunked\r\n",
          body=b"0\r\n" + KEY + b"\r\n"),
    trick("two lengths", BAD_REQUEST, more=b"Content-Length: 5\r\nContent-Length: 0\r\n",
          body=b"hello"),
    trick("one length twice", CALL, more=b"Content-Length: 5\r\nContent-Length: 5\r\n",
          body=b"hello"),
    *(
        trick(f"the length {value!r}", BAD_REQUEST,
              more=b"Content-Length: " + value.encode() + b"\r\n", body=b"hello")
        for value in ("-1", "+5", "0x5", "five", "5 5", "", "9" * 30)
    ),
    *(
        trick(f"the encoding {value!r}", BAD_REQUEST,
              more=b"Transfer-Encoding: " + value.encode() + b"\r\n", body=b"0\r\n\r\n")
        for value in ("xchunked", "chunked, identity", "gzip, chunked", "\x0bchunked", "identity")
    ),
    trick("a blank before the encoding's colon", BAD_REQUEST,
          more=b"Transfer-Encoding : chunked\r\n", body=b"0\r\n\r\n"),
    trick("what the body's sender would wait for", CALL,
          more=b"Expect: 100-continue\r\nContent-Length: 5\r\n", body=b"hello"),
    trick("another expectation", CALL, more=b"Expect: 200-ok\r\n"),
    trick("an upgrade to WebSocket", CALL,
          more=b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
               b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
          connection=b"close, Upgrade"),
    trick("an upgrade to HTTP/2", CALL,
          more=b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
          connection=b"close, Upgrade, HTTP2-Settings"),
]  # fmt: skip

# A second request in the same bytes is a request of its own: it needs a key of its own, and gets
# what that key may see. So there is nothing to gain from smuggling one past a proxy.
PIPELINES = [
    Trick("three requests at once",
          CALL_77 + b"\r\n" + CALL_87 + b"\r\n"
          b"GET /v2/calls/77 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
          (CALL, FOREIGN, REFUSED)),
    Trick("one after a method that is not allowed",
          b"DELETE /v2/calls/77 HTTP/1.1\r\nHost: x\r\n" + KEY + b"\r\n"
          + CALL_87 + b"Connection: close\r\n\r\n",
          (NOT_ALLOWED, FOREIGN)),
    Trick("one after a length and an encoding (RFC 9112, 6.1: the encoding counts)",
          CALL_77 + b"Content-Length: 500\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
          + CALL_87 + b"Connection: close\r\n\r\n",
          (CALL, FOREIGN)),
    Trick("one that a length hides",
          CALL_77 + b"Content-Length: 38\r\n\r\nGET /v2/calls/87 HTTP/1.1\r\nHost: x\r\n\r\n"
          + b"GET /x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
          (CALL, NO_ROUTE)),
    Trick("noise after a request", CALL_77 + b"\r\nnoise\r\n\r\n", (CALL, BAD_REQUEST)),
]  # fmt: skip

LINES = [
    trick("HTTP/1.0", CALL, line=b"GET /v2/calls/77 HTTP/1.0", host=b""),
    trick("HTTP/1.0 with chunks", CALL, line=b"GET /v2/calls/77 HTTP/1.0",
          more=b"Transfer-Encoding: chunked\r\n", body=b"0\r\n\r\n"),
    trick("HTTP/1.9", CALL, line=b"GET /v2/calls/77 HTTP/1.9"),
    trick("no version", BAD_REQUEST, line=b"GET /v2/calls/77"),
    trick("a version in small letters", BAD_REQUEST, line=b"GET /v2/calls/77 http/1.1"),
    trick("two blanks", BAD_REQUEST, line=b"GET  /v2/calls/77 HTTP/1.1"),
    trick("a tab", BAD_REQUEST, line=b"GET\t/v2/calls/77 HTTP/1.1"),
    trick("no path", BAD_REQUEST, line=b"GET  HTTP/1.1"),
    trick("an empty line before", BAD_REQUEST, line=b"\r\n\r\nGET /v2/calls/77 HTTP/1.1"),
    Trick("HTTP/2 without asking", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", (NOT_ROUTED, BAD_REQUEST)),
    Trick("TLS", b"\x16\x03\x01\x00\x5a\x01\x00\x00\x56\x03\x03" + b"a" * 80, (BAD_REQUEST,)),
    Trick("every byte once", bytes(range(256)), (BAD_REQUEST,)),
    Trick("a line without an end", b"GET /" + b"a" * 2**20, (BAD_REQUEST,)),
]  # fmt: skip

METHODS = [
    *(
        method(name, UNKNOWN_METHOD)
        for name in (b"get", b"Get", b"GETS", b"FOO", b"CONNECT", b"TRACE", b"QUERY", b"PROPFIND")
    ),
    method(b"A" * 5000, UNKNOWN_METHOD, "a method of 5,000 letters"),
    method(b"G\x00T", BAD_REQUEST),
    method(b"\xc7ET", BAD_REQUEST),
    method(b"G@T", BAD_REQUEST),
    trick("a method that a header overrides", NOT_ALLOWED, line=b"POST /v2/calls/77 HTTP/1.1",
          more=b"X-HTTP-Method-Override: GET\r\nX-HTTP-Method: GET\r\nX-Method-Override: GET\r\n"),
    trick("GET that a header overrides", CALL, more=b"X-HTTP-Method-Override: DELETE\r\n"),
    trick("a method that the query overrides", NOT_ALLOWED,
          line=b"POST /v2/calls/77?_method=GET HTTP/1.1"),
    trick("a method that the body overrides", NOT_ALLOWED, line=b"POST /v2/calls/77 HTTP/1.1",
          more=b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 11\r\n",
          body=b"_method=GET"),
]  # fmt: skip

PATHS = [
    *(
        path(target, CALL)
        for target in (
            b"/%76%32/calls/77",
            b"/v2/calls/77?",
            b"/v2/calls/77?/v2/calls/87",
            b"/v2/calls/77?call_id=87&id=87#77",
        )
    ),
    *(
        path(target, NO_CALL)
        for target in (
            b"/v2/calls/%2e%2e",
            b"/v2/calls/%C0%AF77",  # "/" in two bytes
            b"/v2/calls/%C0%B7%C0%B7",  # "77" in two bytes each
            b"/v2/calls/7%E2%80%8B7",  # a zero-width space
            b"/v2/calls/%ED%A0%80",  # half of a surrogate pair
            *(b"/v2/calls/77%0D", b"/v2/calls/77%", b"/v2/calls/%zz", b"/v2/calls/77,87"),
            *(b"/v2/calls/77#87", b"/v2/calls/77\\", b"/v2/calls/..%5C77", b"/v2/calls/77.json"),
            b"/v2/calls/%E2%81%84",  # a fraction slash
        )
    ),
    path(b"/v2/calls/" + b"7" * 15_000, NO_CALL, "an ID of 15,000 digits"),
    path(b"/v2/calls/" + b"%F0%9F%99%82" * 1_250, NO_CALL, "an ID of 1,250 faces"),
    *(
        path(target, NO_ROUTE)
        for target in (
            *(b"/v2//calls/77", b"//x/v2/calls/77", b"/v2/calls/../calls/77", b"/v2/calls/./77"),
            *(b"/v2/calls/77/..", b"/v2/calls/%2e%2e/77", b"/v2/calls/77%2f87"),
            *(b"/v2%2fcalls%2f77", b"%2Fv2/calls/77", b"/v2;a=b/calls/77", b"/v2\\calls\\77"),
            *(b"/v2/api_keys/77", b"/?/v2/calls/77"),
        )
    ),
    path(b"/" * 15_000, NO_ROUTE, "15,000 slashes"),
    path(b"/v2/calls/77" + b"/.." * 5_000, NO_ROUTE, "5,000 steps up"),
    *(
        path(target, NOT_ROUTED)
        for target in (
            *(b"http://x/v2/calls/77", b"https://evil.example/v2/calls/77", b"x:443", b"*"),
            *(b"v2/calls/77", b"\\v2\\calls\\77", b"#/v2/calls/77", b"/v2/calls/7%0A7"),
            *(b"/v2/calls/7%0D%0A7", b"/robots.txt", b"/favicon.ico"),
        )
    ),
    path(b"?", "307 plain", "a query alone, which starlette redirects to the root"),
    *(
        path(target, BAD_REQUEST)
        for target in (
            *(b"/v2/calls/77\x00", b"/v2/calls/77\x7f", b"/v2/calls/77\r", b"/v2/calls/77 87"),
            *(b"/v2/calls/\xef\xbc\x97", b"/v2/calls/77\xff"),
        )
    ),
]


def answer(reply: RawReply) -> str:
    """Put an answer as the tables do."""
    if not reply.ours:
        return f"{reply.status} plain"
    document = reply.json()
    called = reply.status == 200 and document["id"] == 77
    return CALL if called else f"{reply.status} {document['code']}"


@pytest.mark.parametrize(
    "trick",
    [*WHITESPACE, *HEADERS, *BODIES, *PIPELINES, *LINES, *METHODS, *PATHS],
    ids=lambda trick: trick.what,
)
def test_a_trick_is_answered_as_the_table_says(
    trick: Trick, service: Service, acme_key: str
) -> None:
    size = len(service.log())
    replies = service.exchange(trick.sent.replace(b"{acme}", acme_key.encode()))

    assert [answer(reply) for reply in replies] == list(trick.answers)
    ours = [reply for reply in replies if reply.ours]
    assert acme_key.encode() not in b"".join(reply.body for reply in ours)
    assert {reply.headers["X-Request-Id"] for reply in ours} <= {
        entry["request_id"] for entry in service.entries(size)
    }
    assert service.request("OPTIONS").status == 204


def test_clients_that_never_finish_hold_up_nobody(service: Service, acme_key: str) -> None:
    halves = [
        b"",
        b"GET",
        b"GET /v2/calls/77 HTTP/1.1\r\nAuthor",
        b"POST / HTTP/1.1\r\nHost: x\r\n",
    ]
    address = ("127.0.0.1", service.port)
    waiting = [socket.create_connection(address) for _ in range(25) for _ in halves]
    for connection, half in zip(waiting, halves * 25, strict=True):
        connection.sendall(half)

    assert service.request(key=acme_key).status == 200
    for connection in waiting:
        connection.close()


def test_head_has_no_body_whatever_is_asked(service: Service, acme_key: str) -> None:
    """A body after HEAD would be read as the next answer of the connection."""
    for target in (b"/v2/calls/77", b"/v2/calls/87", b"/v2/calls/0", b"/x", b"/v2/calls/7%0A7"):
        asked = trick("HEAD", line=b"HEAD " + target + b" HTTP/1.1").sent
        replies = exchange(service.port, asked.replace(b"{acme}", acme_key.encode()), method="HEAD")
        assert len(replies) == 1, target
