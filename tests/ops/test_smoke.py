"""The smoke test: what it says of the served function, of its recordings, and of anything else."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from typing import NamedTuple

import pytest

from call_api.calls.keys import new_key
from local.seed import sample_calls
from local.stack import recordings
from ops.openapi import published_call
from ops.smoke import CHECKS, main
from tests.support.contract import example_headers
from tests.support.google_cloud import Handler, Raw, Server
from tests.support.project import PROJECT, PutCall
from tests.support.serving import ROOT, Service, free_port, served

EXAMPLE = json.dumps(published_call(sample_calls()[77], recording_url=None)).encode()
HEADERS = {"Content-Type": "application/json", **example_headers("GET", 200)}

Answer = Callable[[str, Mapping[str, str]], tuple[int, Mapping[str, str], bytes]]
Smoke = Callable[..., tuple[int, list[str]]]

# One of each scheme and form.
ALLOWED_ORIGINS = ("https://app.example", "http://[::1]:3000", "capacitor://localhost")


@pytest.fixture
def smoke(capsys: pytest.CaptureFixture[str]) -> Smoke:
    """Run the smoke test in this process; return its exit status and its lines."""

    def run(url: str, key: str, call: object = 77, origin: str = "") -> tuple[int, list[str]]:
        capsys.readouterr()
        status = main({"URL": url, "KEY": key, "CALL": str(call), "ORIGIN": origin})
        output = capsys.readouterr().out
        assert key not in output
        assert "X-Goog-" not in output
        return status, output.splitlines()

    return run


@contextmanager
def server_that(answers: Answer, port: int = 0) -> Iterator[str]:
    """Serve GET so, at a free port or at this one."""

    class Answering(Handler):
        def do_GET(self) -> None:  # noqa: N802  (http.server names it)
            status, headers, body = answers(self.path, dict(self.headers.items()))
            self.answer_raw(Raw(body, dict(headers), status))

    with closing(Server(Answering, port)) as server:
        yield server.url


@pytest.fixture(scope="module")
def function(
    settings: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    """Serve the function, and the recordings to which its links lead."""
    mine = {"ALLOWED_ORIGINS": ",".join(ALLOWED_ORIGINS), "GOOGLE_CLOUD_PROJECT": PROJECT}
    with (
        recordings(tmp_path_factory.mktemp("recordings")) as recorded,
        served(settings | recorded | mine) as function,
    ):
        yield function


@pytest.fixture
def url(function: Service) -> str:
    return f"http://127.0.0.1:{function.port}"


class Leading(NamedTuple):
    """A function, and the port to which its links lead: nothing listens there but what a test starts."""

    url: str
    port: int


@pytest.fixture(scope="module")
def leading(settings: dict[str, str]) -> Iterator[Leading]:
    port = free_port()
    with served(settings | {"STORAGE_EMULATOR_HOST": f"http://127.0.0.1:{port}"}) as function:
        yield Leading(f"http://127.0.0.1:{function.port}", port)


def test_a_right_function_passes(smoke: Smoke, url: str, acme_key: str) -> None:
    status, (head, *rows, end) = smoke(url, acme_key)

    assert (status, head, end) == (0, f"{url}, call 77", f"{len(CHECKS)} of {len(CHECKS)} passed.")
    expected = [
        r"the call, as openapi.yaml publishes it +200, \d+ ms",
        r"no key is refused +401 unauthenticated, \d+ ms",
        r"an unknown key is refused +401 unauthenticated, \d+ ms",
        r"a call that does not exist is not found +404 call_not_found, \d+ ms",
        r"another route is not found +404 route_not_found, \d+ ms",
        r"the link gives the recording's first bytes +206, bytes 0-3/\d+, \d+ ms",
        r"10 requests, one after another +min \d+ ms, median \d+ ms, max \d+ ms",
    ]
    assert len(rows) == len(expected)
    for row, pattern in zip(rows, expected, strict=True):
        assert re.fullmatch(f"ok    {pattern}", row)


@pytest.mark.parametrize(
    ("origin", "row"),
    [
        *(
            (origin, rf"ok    pages of {re.escape(origin)} may call it +204, \d+ ms")
            for origin in ALLOWED_ORIGINS
        ),
        (
            "https://evil.example",
            r"FAIL  pages of https://evil.example may call it +204 without Access-Control-Allow-Origin: .*",
        ),
    ],
)
def test_pages_of_an_origin_may_call_it_if_the_function_allows_them(
    origin: str, row: str, smoke: Smoke, url: str, acme_key: str
) -> None:
    _, lines = smoke(url, acme_key, origin=origin)

    assert re.fullmatch(row, lines[-2])


def test_it_runs_as_a_program_with_the_key_in_its_environment(url: str, acme_key: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ops.smoke"],
        cwd=ROOT,
        env=os.environ | {"URL": f"{url}/", "KEY": acme_key, "CALL": "77"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("7 of 7 passed.\n")


def test_an_issued_key_that_is_unknown_fails(smoke: Smoke, url: str) -> None:
    status, (_, call, no_key, *others, end) = smoke(url, new_key())

    assert status == 1
    assert call.startswith("FAIL  the call, as")
    assert call.endswith("  401 unauthenticated, not 200")
    assert no_key.startswith("ok    no key is refused")
    assert [row[:4] for row in others] == ["ok  ", "FAIL", "ok  ", "FAIL", "FAIL"]
    assert end == "3 of 7 passed."


def test_another_url_of_the_function_fails(smoke: Smoke, url: str, acme_key: str) -> None:
    status, lines = smoke(f"{url}/v3", acme_key)

    assert status == 1
    assert lines[1].endswith("404 route_not_found, not 200")


def test_where_nobody_listens_it_fails_once(smoke: Smoke, acme_key: str) -> None:
    status, lines = smoke(f"http://127.0.0.1:{free_port()}", acme_key)

    assert (status, len(lines)) == (1, 3)
    assert re.search("FAIL .* no answer: ConnectError .*refused", lines[1])
    assert lines[2] == "The rest is not checked."


@pytest.mark.parametrize(
    ("status", "headers", "body", "said"),
    [
        (200, {"Content-Type": "text/html"}, b"<h1>Hi</h1>", "200, but not as published: "),
        (200, {}, b"", "200, but not as published: MissingData"),
        (200, {"Content-Encoding": "gzip"}, b"no gzip", "no answer: DecodingError"),
        (200, {}, b"[]", "200, but not as published: $ (type)"),
        (200, {}, b"{", "200, but not as published: MediaTypeDeserializeError"),
        (200, {}, b"\xff\xfe", "200, but not as published: MediaTypeDeserializeError"),
        (
            200,
            {},
            EXAMPLE.replace(b'"ended"', b'"s3cret"'),
            "200, but not as published: $.status (enum)",
        ),
        (200, {"ETag": "s3cret"}, EXAMPLE, "200, but not as published: header ETag: $ (pattern)"),
        (302, {"Location": "https://s3cret.example"}, b"", "302, not 200"),
        (500, {}, b'{"code": "s3cret <b>"}', "500, not 200"),
        (503, {}, b'{"code": "calls_unavailable"}', "503 calls_unavailable, not 200"),
        (404, {}, b'{"code": 404, "message": "s3cret"}', "404, not 200"),
    ],
)
def test_an_answer_that_is_not_published_fails_by_what_is_wrong_with_it(
    smoke: Smoke, acme_key: str, status: int, headers: dict[str, str], body: bytes, said: str
) -> None:
    with server_that(lambda *_: (status, HEADERS | headers, body)) as url:
        code, lines = smoke(url, acme_key)

    assert code == 1
    assert lines[1].startswith(f"FAIL  {'the call, as openapi.yaml publishes it':<42}  {said}")
    assert "s3cret" not in "".join(lines)
    assert not any(line.startswith("ok") for line in lines[1:4])


def test_the_gateways_own_404_is_another_routes(
    smoke: Smoke, function: Service, acme_key: str
) -> None:
    def gateway(path: str, headers: Mapping[str, str]) -> tuple[int, Mapping[str, str], bytes]:
        if not re.fullmatch("/v2/calls/[^/]+", path):
            refusal = {"code": 404, "message": "The current request is not defined by this API."}
            return 404, {"Content-Type": "application/json"}, json.dumps(refusal).encode()
        sent = [(name, headers[name]) for name in headers if name.lower() == "authorization"]
        reply = function.request(target=path, headers=sent)
        kept = {n: v for n, v in reply.headers.items() if n.lower() != "content-length"}
        return reply.status, kept, reply.body

    with server_that(gateway) as url:
        status, lines = smoke(url, acme_key)

    assert status == 0
    assert "404 of the gateway, " in lines[5]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"recording_object": None}, "the call has no recording: choose one that has"),
        ({"recording_object": "recordings/none.wav"}, "404 NoSuchKey, not 206 with bytes 0-3"),
    ],
)
def test_a_recording_that_is_not_there_fails(
    smoke: Smoke,
    url: str,
    acme_key: str,
    put_call: PutCall,
    changes: dict[str, str | None],
    said: str,
) -> None:
    status, lines = smoke(url, acme_key, put_call(changes))

    assert status == 1
    assert [line for line in lines if line.startswith("FAIL")] == [lines[6]]
    assert lines[6].endswith(f"  {said}")


def test_a_link_that_leads_nowhere_fails(smoke: Smoke, leading: Leading, acme_key: str) -> None:
    status, lines = smoke(leading.url, acme_key)

    assert status == 1
    assert lines[6].endswith("the link cannot be followed: ConnectError")


def test_a_recording_comes_in_part_and_without_the_key(
    smoke: Smoke, leading: Leading, acme_key: str
) -> None:
    seen: list[Mapping[str, str]] = []

    def whole(_: str, headers: Mapping[str, str]) -> tuple[int, Mapping[str, str], bytes]:
        seen.append(headers)
        return 200, {"Content-Type": "audio/wav"}, b"RIFF" * 10_000

    with server_that(whole, leading.port):
        status, lines = smoke(leading.url, acme_key)

    assert status == 1
    assert lines[6].endswith("200, not 206 with bytes 0-3")
    assert [headers["Range"] for headers in seen] == ["bytes=0-3"]
    assert acme_key not in str(seen)


def test_a_header_of_the_recording_controls_no_terminal(
    smoke: Smoke, leading: Leading, acme_key: str
) -> None:
    def part(*_: object) -> tuple[int, Mapping[str, str], bytes]:
        return 206, {"Content-Range": "bytes 0-3/9\x1b[2J\x9b31m"}, b"RIFF"

    with server_that(part, leading.port):
        _, lines = smoke(leading.url, acme_key)

    assert r"206, bytes 0-3/9\x1b[2J\x9b31m, " in lines[6]


KEY = new_key()
RIGHT = {"URL": "http://127.0.0.1:1", "KEY": KEY, "CALL": "77"}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"URL": ""}, "URL is missing: KEY=… make smoke URL=https://… CALL=77"),
        ({"KEY": ""}, "KEY is missing: "),
        ({"CALL": ""}, "CALL is missing: "),
        ({"URL": "", "KEY": "", "CALL": ""}, "URL, KEY and CALL are missing: "),
        *(
            ({"URL": text}, "URL is where ")
            for text in ("get-call.a.run.app", "ftp://a", "https://", "http://a/?b", "http://a b")
        ),
        *(({"KEY": text}, "KEY is 1 to 512 visible") for text in ("a b", "a\n", "ключ", "k" * 513)),
        ({"KEY": KEY[:-1]}, "KEY is mistyped: its checksum does not fit"),
        *(({"CALL": text}, "CALL is the ID of a call") for text in ("0", "077", "x", "77/x", "٣٣")),
        *(
            ({"ORIGIN": text}, "ORIGIN is scheme://host[:port], as browsers send it")
            for text in ("app.example", "https://app.example/", "https://APP.example")
        ),
    ],
)
def test_malformed_arguments_are_one_sentence_and_no_request(
    changes: dict[str, str], said: str
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(RIGHT | changes)

    assert str(stopped.value.code).startswith(said)
