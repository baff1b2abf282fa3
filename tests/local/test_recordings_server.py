"""The recordings server: what Cloud Storage's own library signs is served, and nothing else is."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud.storage import Client  # type: ignore[import-untyped]
from google.oauth2.service_account import Credentials
from starlette.testclient import TestClient

from local.recordings import recordings_server
from local.signer import new_signer

ENDPOINT = "http://recordings.test"
BUCKET = "recordings-bucket"
NAME = "2026/03/25/call-77.wav"
OTHER_NAME = "2026/03/25/call-78.wav"
SOUND = bytes(range(256)) * 4
EMAIL = "signer@demo-call-api.iam.gserviceaccount.com"
KEY_FILE, PUBLIC_KEY = new_signer(EMAIL)
ODD_NAMES = [
    "with space.wav",
    "plus+and%percent&amp=#hash?.wav",
    "encoded already: %2F%20.wav",
    "नमस्ते/कॉल 77.wav",
    "emoji 📞.wav",
    "quotes '\" and (brackets) [x] {y} <z>.wav",
    "double//slash.wav",
    "tilde~ and -_.!*,;:@$|^`.wav",
]
# What a signature covers, and one way to change each: a pattern and its replacement.
TAMPERINGS: dict[str, tuple[str, str | Callable[[re.Match[str]], str]]] = {
    "signature": ("[0-9a-f]$", lambda last: "0" if last[0] != "0" else "1"),
    "signature that is no hex": (r"Signature=..", "Signature=zz"),
    "object": (NAME, OTHER_NAME),
    "bucket": (BUCKET, "other-bucket"),
    "expiry": ("Expires=3600", "Expires=3601"),
    "disposition": ("call-77", "call-99"),
    "parameter more": ("$", "&x=1"),
    "host": ("recordings.test", "elsewhere.test"),
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "sound.wav"
    file.write_bytes(SOUND)
    return file


@pytest.fixture
def client(file: Path) -> TestClient:
    return client_at(file)


def client_at(file: Path, later: timedelta = timedelta(0)) -> TestClient:
    """Return a client of the server, whose clock differs from the signer's."""
    objects = {f"/{BUCKET}/{name}": file for name in [NAME, OTHER_NAME, *ODD_NAMES]}
    objects[f"/other-bucket/{NAME}"] = file
    app = recordings_server(objects, {EMAIL: PUBLIC_KEY}, lambda: datetime.now(UTC) + later)
    return TestClient(app)


def signed(name: str = NAME, key_file: dict[str, str] = KEY_FILE, method: str = "GET") -> str:
    """Return a URL as the library signs it, which shares no code with the server."""
    bucket = Client("demo", credentials=AnonymousCredentials()).bucket(BUCKET)
    url: str = bucket.blob(name).generate_signed_url(
        version="v4",
        expiration=3600,
        method=method,
        response_disposition='inline; filename="call-77.wav"',
        api_access_endpoint=ENDPOINT,
        credentials=Credentials.from_service_account_info(key_file),
    )
    return url


def code_of(xml: str) -> str:
    found = re.search("<Error><Code>(.*)</Code>", xml)
    assert found, xml
    return found[1]


@pytest.mark.parametrize("name", [NAME, *ODD_NAMES])
def test_a_signed_link_is_served(client: TestClient, name: str) -> None:
    answer = client.get(signed(name))
    assert answer.status_code == 200, answer.text
    assert answer.content == SOUND
    assert answer.headers["Content-Type"] == "audio/wav"
    assert answer.headers["Content-Disposition"] == 'inline; filename="call-77.wav"'
    assert answer.headers["Accept-Ranges"] == "bytes"


def test_a_range_is_served_in_part(client: TestClient) -> None:
    answer = client.get(signed(), headers={"Range": "bytes=10-19"})
    assert answer.status_code == 206
    assert answer.content == SOUND[10:20]
    assert answer.headers["Content-Range"] == f"bytes 10-19/{len(SOUND)}"


def test_an_object_that_does_not_exist_is_not_found(client: TestClient) -> None:
    answer = client.get(signed("missing.wav"))
    assert answer.status_code == 404
    assert code_of(answer.text) == "NoSuchKey"


@pytest.mark.parametrize("what", TAMPERINGS)
def test_a_tampered_link_is_refused(client: TestClient, what: str) -> None:
    pattern, replacement = TAMPERINGS[what]
    answer = client.get(re.sub(pattern, replacement, signed(), count=1))
    assert answer.status_code == 403
    assert answer.headers["Content-Type"] == "application/xml; charset=UTF-8"
    assert code_of(answer.text) == "SignatureDoesNotMatch"
    assert "<CanonicalRequest>GET\n/" in answer.text


def test_another_method_than_the_signed_one_is_refused(client: TestClient) -> None:
    assert client.head(signed()).status_code == 403
    assert client.head(signed(method="HEAD")).status_code == 200


@pytest.mark.parametrize("email", ["stranger@demo-call-api.iam.gserviceaccount.com", EMAIL])
def test_another_signers_key_is_refused(client: TestClient, email: str) -> None:
    """Also under a name that is known."""
    key_file, _ = new_signer(email)
    assert code_of(client.get(signed(key_file=key_file)).text) == "SignatureDoesNotMatch"


@pytest.mark.parametrize(
    ("later", "code"),
    [
        (timedelta(minutes=59), None),
        (timedelta(minutes=60), "ExpiredToken"),
        (timedelta(minutes=-14), None),
        (timedelta(minutes=-16), "AccessDenied"),
    ],
)
def test_a_link_is_good_in_its_time_only(file: Path, later: timedelta, code: str | None) -> None:
    answer = client_at(file, later).get(signed())
    if code is None:
        assert answer.status_code == 200
    else:
        assert (answer.status_code, code_of(answer.text)) == (403, code)


def test_no_signature_is_refused(client: TestClient) -> None:
    answer = client.get(signed().split("?", maxsplit=1)[0])
    assert (answer.status_code, code_of(answer.text)) == (403, "AccessDenied")


@pytest.mark.parametrize(
    "name", ["Algorithm", "Credential", "Date", "Expires", "SignedHeaders", "Signature"]
)
def test_a_parameter_missing_or_twice_is_refused(client: TestClient, name: str) -> None:
    url = signed()
    without = re.sub(rf"X-Goog-{name}=[^&]*&?", "", url)
    for wrong in (without, f"{url}&X-Goog-{name}=x"):
        answer = client.get(wrong)
        assert (answer.status_code, code_of(answer.text)) == (403, "AccessDenied")


@pytest.mark.parametrize(
    ("pattern", "replacement"),
    [
        ("GOOG4-RSA-SHA256", "GOOG4-HMAC-SHA256"),
        ("%2Fauto%2F", "%2Fmars%2F"),
        (r"%2F\d{8}%2F", "%2F20200101%2F"),
        (r"Date=(\d{8})T\d{6}Z", r"Date=\1T999999Z"),
        ("Expires=3600", "Expires=0"),
        ("Expires=3600", "Expires=604801"),
        ("Expires=3600", "Expires=-1"),
        ("Expires=3600", "Expires=1e3"),
        ("SignedHeaders=host", "SignedHeaders=accept"),
    ],
)
def test_a_malformed_parameter_is_refused(
    client: TestClient, pattern: str, replacement: str
) -> None:
    answer = client.get(re.sub(pattern, replacement, signed(), count=1))
    assert (answer.status_code, code_of(answer.text)) == (403, "MalformedSecurityHeader")
