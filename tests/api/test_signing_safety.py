"""A link opens the one recording that it is for, to GET, for an hour, whatever the document says.

Objects' names come from documents, so here they are what an enemy would write.
"""

import asyncio
import json
import re
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, unquote_to_bytes, urljoin, urlsplit

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from google.oauth2 import service_account
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from starlette.responses import Response

from call_api.cloud.tokens import AccessTokens
from call_api.recordings.links import SignedUrls
from call_api.settings import Settings
from local.recordings import recordings_server
from local.seed import sample_calls
from local.signer import new_signer
from tests.support.fakes import FakeCalls, finder_of
from tests.support.figures import FUZZED
from tests.support.google_cloud import EMAIL, GoogleCloud
from tests.support.in_process import KEYS, MINE, Function
from tests.support.project import BUCKET, SIGNER, PutCall
from tests.support.serving import Service
from tests.support.v4 import check_v4

HOST = "storage.googleapis.com"
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
KEY_FILE, PUBLIC_KEY = new_signer(SIGNER)
SIGNING = service_account.Credentials.from_service_account_info(KEY_FILE)
RECORDINGS = SignedUrls(
    Settings.from_environment({"RECORDINGS_BUCKET": BUCKET}), AccessTokens(finder_of(SIGNING))
)
# Pieces that end a name early for one reader or another: of URLs, of HTTP, of V4's canonical
# request, of Content-Disposition.
PIECES = [
    *["..", "../", "/..", "./", "/", "//", "\\", "//evil.test/", "\\\\evil.test\\", "@evil.test/"],
    *["http:", "gs:", "gs://other-bucket/", "https://evil.test/", ":443", BUCKET, "other-bucket"],
    *["?", "&", "=", "#", ";", "+", " ", "%", "%2F", "%2e%2e%2F", "%00", "%0d%0a", "%252F", "%zz"],
    *["?X-Goog-Expires=604800", "&X-Goog-Expires=604800", "?X-Goog-Signature=00", "&generation=1"],
    *["?response-content-disposition=attachment", "&response-content-type=text%2Fhtml", "?acl"],
    *["\r\n", "\n", "\r", "\0", "\t", "\x85", "\u2028", "\nPUT\n", "\r\nHost: evil.test\r\n\r\n"],
    *['"', "'", '"; filename="evil.exe', "<script>", "\u202e", "\ufeff", "\ud7ff", "e\u0301", "م"],
    *["a", "call-77.wav", ".wav", ".exe", ".WAV\n", ".wav.", ".wäv", "\U0010ffff", "~", "*", "{}"],
]
NAMES = st.one_of(
    st.lists(st.sampled_from(PIECES), min_size=1, max_size=6).map("".join),
    st.text(min_size=1, max_size=200),
).filter(str.strip)  # blank text is no name
LINK = re.compile(rf"https://{re.escape(HOST)}/{BUCKET}/[\w.~/%-]+\?[\w.~%&=-]+", re.ASCII)
PARAMETERS = {
    *(f"X-Goog-{p}" for p in ("Algorithm", "Credential", "Date", "Expires", "SignedHeaders")),
    *("X-Goog-Signature", "response-content-disposition"),
}
# Where a name costs a server's answer, or a dozen verifications.
FEWER = settings(max_examples=settings().max_examples // 4)


def is_url(name: str) -> bool:
    """Tell the names that the schema refuses: none of these is longer than a name may be."""
    return re.match("[A-Za-z][A-Za-z0-9+.-]*://", name) is not None


class Api(Function):
    """The function over one recording, with real signatures."""

    def __init__(self, name: str) -> None:
        store = FakeCalls(keys=KEYS, calls={77: sample_calls()[77] | {"recording_object": name}})
        super().__init__(store, signer=RECORDINGS)

    def ask_for_link(self, *, etag: str = "") -> Response:
        """Ask for the call, with whatever else a client can say about its link."""
        headers = [
            ("host", "evil.test"),
            ("x-forwarded-host", "evil.test"),
            ("x-http-method-override", "PUT"),
            ("if-none-match", etag),
        ]
        query = "X-Goog-Expires=604800&bucket=other-bucket&method=PUT"
        return self.ask(headers=[*MINE, *headers], query=query)

    def link(self) -> str:
        url: str = json.loads(bytes(self.ask_for_link().body))["recording_url"]
        return url


def check_link(url: str, name: str, call_id: int, public_key: RSAPublicKey, email: str) -> None:
    """Check that the link is for this object of our bucket, for an hour, and signed for just that."""
    assert LINK.fullmatch(url), (
        "a character that some reader of URLs takes for another part's start"
    )
    parts = urlsplit(url)
    assert unquote_to_bytes(parts.path) == f"/{BUCKET}/{name}".encode()
    query = parse_qsl(parts.query, strict_parsing=True)
    assert len(query) == len(PARAMETERS)
    said = dict(query)
    assert said.keys() == PARAMETERS
    assert (said["X-Goog-Expires"], said["X-Goog-SignedHeaders"]) == ("3600", "host")
    assert re.fullmatch(
        rf'inline; filename="call-{call_id}(\.[A-Za-z0-9]{{1,8}})?"',
        said["response-content-disposition"],
    )
    check_v4(url, name, public_key, email)


@given(name=NAMES)
def test_a_hostile_name_gets_a_link_to_just_that_object_or_none(name: str) -> None:
    FUZZED["names of recordings"] += 1
    reply = Api(name).ask_for_link()
    answer = json.loads(bytes(reply.body))

    if is_url(name):
        assert (reply.status_code, answer["code"]) == (500, "stored_call_invalid")
    else:
        assert reply.status_code == 200
        check_link(answer["recording_url"], name, 77, PUBLIC_KEY, SIGNER)


@FEWER
@given(name=NAMES, other=NAMES)
def test_a_link_is_signed_for_nothing_else(name: str, other: str) -> None:
    assume(not is_url(name) and name != other)
    FUZZED["names of recordings"] += 1
    url = Api(name).link()

    check_v4(url, name, PUBLIC_KEY, SIGNER)
    for method in ("HEAD", "PUT", "POST", "DELETE", "PATCH", "OPTIONS"):
        with pytest.raises(InvalidSignature):
            check_v4(url, name, PUBLIC_KEY, SIGNER, method=method)
    with pytest.raises(InvalidSignature):
        check_v4(url, other, PUBLIC_KEY, SIGNER)
    with pytest.raises(InvalidSignature):
        check_v4(url, name, PUBLIC_KEY, SIGNER, bucket="other-bucket")
    # Most clients resolve dots in a path before they send it: that is another object, or a bucket.
    moved = urljoin(url, url.removeprefix(f"https://{HOST}"))
    if moved != url:
        bucket, _, moved_to = unquote(urlsplit(moved).path).removeprefix("/").partition("/")
        with pytest.raises(InvalidSignature):
            check_v4(moved, moved_to, PUBLIC_KEY, SIGNER, bucket=bucket)
    for right, wrong in {
        "Expires=3600": "Expires=604800",
        "T[0-9]{6}Z": "T240000Z",
        f"//{HOST}/": "//evil.test/",
        "=inline": "=attachment",
        "[?]": "?response-content-type=text%2Fhtml&",
    }.items():
        changed = re.sub(right, wrong, url)
        assert changed != url
        with pytest.raises(InvalidSignature):
            check_v4(changed, name, PUBLIC_KEY, SIGNER)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("sound") / "call.wav"
    file.write_bytes(b"RIFF")
    return file


@FEWER
@given(name=NAMES)
def test_iam_is_asked_to_sign_the_very_request_that_the_link_is(
    name: str, keyless: Service, shared_cloud: GoogleCloud, put_call: PutCall, acme_key: str
) -> None:
    """The fake IAM signs what it is handed: were that anything else, the link would not hold."""
    FUZZED["names of recordings"] += 1
    iam = shared_cloud.iam
    before = iam.requests
    call_id = put_call({"recording_object": name}, at=999)
    reply = keyless.request(target=f"/v2/calls/{call_id}", key=acme_key)

    if is_url(name):
        assert (reply.status, iam.requests) == (500, before)
    else:
        assert iam.requests == before + 1
        url = reply.json()["recording_url"]
        check_link(url, name, call_id, iam.key.public_key(), EMAIL)


def opens(url: str, now: datetime, sound: Path) -> bool:
    """Tell whether the link to a.wav opens when it is that time by Cloud Storage's clock."""
    parts = urlsplit(url)
    scope: dict[str, Any] = {
        "type": "http",
        "method": "GET",
        "path": parts.path,
        "raw_path": parts.path.encode(),
        "query_string": parts.query.encode(),
        "headers": [(b"host", parts.netloc.encode())],
    }
    answers: list[Any] = []

    async def receive() -> Any:
        await asyncio.Event().wait()  # a client that sends no body and stays

    async def send(message: Any) -> None:
        answers.append(message)

    server = recordings_server({f"/{BUCKET}/a.wav": sound}, {SIGNER: PUBLIC_KEY}, lambda: now)
    asyncio.run(server(scope, receive, send))
    code: int = answers[0]["status"]
    assert code in {200, 403}
    return code == 200


def date_of(url: str) -> datetime:
    """Return the link's date: the time by the function's clock when it was signed."""
    (date,) = re.findall("X-Goog-Date=([0-9T]+)Z", url)
    return datetime.strptime(f"{date}+0000", "%Y%m%dT%H%M%S%z")


@pytest.mark.parametrize(
    ("ahead", "first", "end"),
    [
        (16, 1, 76),  # not yet: the server grants 15 minutes, and then it lives longer than an hour
        (15, 0, 75),
        (1, 0, 61),
        (0, 0, 60),
        (-1, 0, 59),
        (-50, 0, 10),
        (-60, 0, 0),  # never
    ],
)
def test_a_link_s_hour_moves_with_the_function_s_clock(
    ahead: int, first: int, end: int, sound: Path
) -> None:
    """In minutes: how far that clock is ahead; when, after the answer, the link opens, and ends."""
    url = Api("a.wav").link()
    answered = date_of(url) - ahead * MINUTE

    minutes = [minute for minute in range(80) if opens(url, answered + minute * MINUTE, sound)]
    assert minutes == list(range(first, end))


@pytest.mark.parametrize("behind", [0, 10, 50])
def test_a_slow_clock_shortens_what_a_304_leaves_of_a_link(behind: int, sound: Path) -> None:
    api = Api("a.wav")
    signed = api.clock.time  # at the start of a window, in which a 304 lasts longest
    first = api.ask_for_link()
    while api.ask_for_link(etag=first.headers["ETag"]).status_code == 304:
        api.clock.time += timedelta(seconds=10)
    url = json.loads(bytes(first.body))["recording_url"]
    told = date_of(url) + (api.clock.time - signed) + behind * MINUTE  # by Cloud Storage's clock

    left = [minute for minute in range(60) if opens(url, told + minute * MINUTE, sound)]
    assert left == list(range(50 - behind))
