"""Application Default Credentials, through google-auth: what is found, and which failures pass."""

import json
import re
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)
from google.auth import external_account
from google.auth.credentials import Credentials

from call_api.cloud import credentials as module
from call_api.cloud.credentials import CredentialsError, find_credentials, refreshed
from local.signer import new_signer
from tests.support.google_cloud import (
    HANG,
    PROJECT,
    Metadata,
    Raw,
    ResourceManager,
    TokenEndpoint,
)
from tests.support.project import SIGNER

KEY, _ = new_signer(SIGNER)
USER = {
    "type": "authorized_user",
    "client_id": "x",
    "client_secret": "x",
    "refresh_token": "s3cret",
}
WriteFile = Callable[[bytes | Mapping[str, Any]], None]


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GOOGLE_CLOUD_PROJECT", "GCLOUD_PROJECT", "K_SERVICE", "GCE_METADATA_HOST"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def credentials_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> WriteFile:
    """Write the file that GOOGLE_APPLICATION_CREDENTIALS names."""

    path = tmp_path / "credentials.json"
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))

    def write(contents: bytes | Mapping[str, Any]) -> None:
        path.write_bytes(contents if isinstance(contents, bytes) else json.dumps(contents).encode())

    return write


def failure(project: str | None = None) -> tuple[str, bool]:
    """Return the reason why there are no credentials, and whether that is transient."""
    with pytest.raises(CredentialsError) as failed:
        find_credentials(project)
    return str(failed.value), failed.value.is_transient


def failed_refresh(credentials: Credentials | None = None) -> tuple[str, bool]:
    """Return the same of a token."""
    with pytest.raises(CredentialsError) as failed:
        refreshed(credentials or find_credentials("demo-tests").credentials)
    return str(failed.value), failed.value.is_transient


@pytest.mark.usefixtures("metadata")
def test_the_metadata_server_names_the_project() -> None:
    assert find_credentials(None).project == PROJECT
    assert find_credentials("demo-tests").project == "demo-tests"


@pytest.mark.parametrize(
    ("project", "reason"),
    [
        (404, "the metadata server names no project"),
        (502, "the metadata server names no project"),
        ("", "the credentials name no valid project"),
        ("<html>please wait</html>", "the credentials name no valid project"),
    ],
)
def test_a_project_that_is_not_known_yet_is_asked_for_again(
    project: int | str, reason: str, metadata: Metadata
) -> None:
    metadata.projects.append(project)

    assert failure() == (reason, True)
    assert find_credentials(None).project == PROJECT


NO_ANSWER = "the metadata server does not answer"


@pytest.mark.parametrize(
    ("name", "value", "reason", "is_transient"),
    [
        ("K_SERVICE", "get-call", NO_ANSWER, True),
        ("GOOGLE_APPLICATION_CREDENTIALS", "", NO_ANSWER, True),
        ("K_SERVICE", "", "there are no Application Default Credentials", False),
    ],
    ids=["not yet", "an empty variable names no file", "there is none and will be none"],
)
def test_a_metadata_server_that_does_not_answer(
    name: str,
    value: str,
    reason: str,
    is_transient: bool,
    metadata: Metadata,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    metadata.close()
    monkeypatch.setenv(name, value)

    assert failure() == (reason, is_transient)


@pytest.mark.parametrize(
    ("universe", "is_transient"),
    [
        ("<html>please wait</html>", True),  # it is asked again
        ("example.goog", False),
        ("googleapis.com.example", False),
    ],
)
def test_another_universe_s_metadata_server_is_refused(
    universe: str, is_transient: bool, metadata: Metadata
) -> None:
    metadata.universe = universe

    assert failure() == ("the default credentials are not of googleapis.com", is_transient)


def ec_key(encryption: KeySerializationEncryption) -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption).decode()


IMPERSONATED = {
    "type": "impersonated_service_account",
    "source_credentials": USER,
    "service_account_impersonation_url": "https://iamcredentials.googleapis.com/v1/s3cret",
}
UNUSABLE = "the file of the default credentials cannot be used: "


@pytest.mark.parametrize(
    ("contents", "reason"),
    [
        (b"", UNUSABLE),
        (b"s3cret", UNUSABLE),
        (b"[]", UNUSABLE),
        (b'["s3cret"]', UNUSABLE),
        (b"null", UNUSABLE),
        (b"\xff\xfe", UNUSABLE),
        ({}, UNUSABLE),
        ({"type": "s3cret"}, UNUSABLE),
        ({"type": "service_account"}, UNUSABLE),
        (KEY | {"private_key": "s3cret"}, UNUSABLE),
        (KEY | {"private_key": ec_key(BestAvailableEncryption(b"s3cret"))}, UNUSABLE),
        (IMPERSONATED, UNUSABLE),
        (IMPERSONATED | {"source_credentials": {}}, UNUSABLE),
        (KEY | {"universe_domain": "example.goog"}, "the default credentials are not of google"),
        (KEY | {"project_id": "S3CRET!"}, "the credentials name no valid project"),
        (KEY | {"project_id": 7}, "the credentials name no valid project"),
        (
            USER | {"quota_project_id": "s3crét"},
            "GOOGLE_CLOUD_PROJECT is unset, and the credentials name no project",
        ),
        (USER, "GOOGLE_CLOUD_PROJECT is unset, and the credentials name no project"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_file_that_cannot_be_used_is_named_and_not_quoted(
    contents: bytes | Mapping[str, Any],
    reason: str,
    credentials_file: WriteFile,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On the platform, too: it would be no better a moment later."""
    monkeypatch.setenv("K_SERVICE", "get-call")
    credentials_file(contents)
    said, is_transient = failure()

    assert said.startswith(reason)
    assert is_transient is False
    assert "s3cret" not in said.lower()


def test_a_quota_project_that_is_none_cannot_be_sent(credentials_file: WriteFile) -> None:
    credentials_file(USER | {"quota_project_id": "s3crét"})
    assert failure("demo-tests") == ("the credentials name no valid quota project", False)

    credentials_file(USER | {"quota_project_id": "demo-quota"})
    assert find_credentials("demo-tests").project == "demo-tests"


@pytest.mark.parametrize(
    ("name", "error"), [("", "IsADirectoryError"), ("missing.json", "DefaultCredentialsError")]
)
def test_a_path_without_a_file_is_a_permanent_failure(
    name: str, error: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / name))

    assert failure() == (UNUSABLE + error, False)


def external(folder: Path, url: str) -> dict[str, Any]:
    subject_token = folder / "subject-token"
    subject_token.write_text("s3cret")
    return {
        "type": "external_account",
        "audience": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": url,
        "credential_source": {"file": str(subject_token)},
    }


def oauth(error: object, status: int) -> Raw:
    body = {"error": error, "error_description": "s3cret of Google"}
    return Raw(json.dumps(body).encode(), {"Content-Type": "application/json"}, status)


@pytest.mark.usefixtures("no_pauses")
@pytest.mark.parametrize("kind", ["key", "external"])
@pytest.mark.parametrize(
    ("answer", "reason", "is_transient"),
    [
        (oauth("invalid_grant", 400), "invalid_grant", False),
        (oauth("invalid_client", 401), "invalid_client", False),
        (oauth("s3cret of Google", 403), "HTTP 403", False),
        (
            oauth({"status": "PERMISSION_DENIED", "message": "s3cret"}, 403),
            "PERMISSION_DENIED",
            False,
        ),
        (Raw(b"s3cret", status=401), "HTTP 401", False),
        (Raw(b"s3cret", status=404), "HTTP 404", False),
        (Raw(b"s3cret", status=500), "HTTP 500", True),
        (Raw(b"s3cret", status=502), "HTTP 502", True),
        (oauth("internal_failure", 503), "internal_failure", True),
        (oauth("slow_down", 429), "slow_down", True),
        (Raw(b"{}"), "HTTP 200|malformed answer: TypeError", True),
        (Raw(b"<html>s3cret"), r"malformed answer: \w+Error", True),
        (Raw(b"null"), r"malformed answer: \w+Error", True),
    ],
    ids=repr,
)
def test_a_token_endpoint_that_refuses_is_told_from_one_that_fails(
    kind: str,
    answer: Raw,
    reason: str,
    is_transient: bool,
    credentials_file: WriteFile,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "demo-tests")
    with closing(TokenEndpoint(*[answer] * 4)) as endpoint:  # google-auth tries some again
        credentials_file(
            KEY | {"token_uri": endpoint.url} if kind == "key" else external(tmp_path, endpoint.url)
        )
        credentials = find_credentials("demo-tests").credentials
        said, failed_for_now = failed_refresh(credentials)
        endpoint.answers.clear()
        assert refreshed(credentials).text == "ya29.token"

    assert re.search(f"({reason})$", said)
    assert failed_for_now == is_transient
    assert "s3cret" not in said


def test_the_project_of_a_federated_identity_takes_a_token(
    credentials_file: WriteFile, tmp_path: Path
) -> None:
    refused, failing = oauth("invalid_grant", 400), Raw(b"s3cret", status=500)
    with closing(TokenEndpoint(refused, failing)) as endpoint:
        credentials_file(external(tmp_path, endpoint.url))

        assert failure() == ("OAuthError, invalid_grant", False)
        assert failure() == ("OAuthError, HTTP 500", True)


@pytest.mark.parametrize(("status", "is_transient"), [(403, False), (503, True)])
def test_a_refusal_of_resource_manager_is_permanent_and_its_outage_transient(
    status: int,
    is_transient: bool,
    credentials_file: WriteFile,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is asked for the project of a federated identity, unless GOOGLE_CLOUD_PROJECT is set."""
    with (
        closing(TokenEndpoint()) as endpoint,
        closing(ResourceManager(status)) as manager,
    ):
        monkeypatch.setattr(external_account, "_CLOUD_RESOURCE_MANAGER", f"{manager.url}/")
        credentials_file(external(tmp_path, endpoint.url))

        reason = "GOOGLE_CLOUD_PROJECT is unset, and the credentials name no project"
        assert failure() == (reason, is_transient)


def test_a_token_endpoint_that_cannot_be_reached_is_transient(credentials_file: WriteFile) -> None:
    endpoint = TokenEndpoint()
    endpoint.close()
    credentials_file(KEY | {"token_uri": endpoint.url})

    assert failed_refresh() == ("TransportError, ConnectionError", True)


@pytest.mark.parametrize(
    ("address", "error"),
    [
        ("s3cret", "MissingSchema"),
        ("ftp://s3cret/", "InvalidSchema"),
        ("http://[s3cret/", "InvalidURL"),
    ],
)
def test_a_token_endpoint_s_address_that_is_none_is_a_permanent_failure(
    address: str, error: str, credentials_file: WriteFile
) -> None:
    credentials_file(KEY | {"token_uri": address})

    assert failed_refresh() == (f"TransportError, {error}", False)


def test_an_attempt_ends_however_often_google_auth_tries_again(
    credentials_file: WriteFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "END_SECONDS", 0.5)
    with closing(TokenEndpoint(*[Raw(b"", status=503)] * 9)) as endpoint:
        credentials_file(KEY | {"token_uri": endpoint.url})

        assert failed_refresh() == ("no usable answer within 0.5 s", True)
        assert 0 < len(endpoint.answers) < 9


def test_an_attempt_ends_at_a_silent_token_endpoint(
    credentials_file: WriteFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "END_SECONDS", 0.5)
    with closing(TokenEndpoint(HANG)) as endpoint:
        credentials_file(KEY | {"token_uri": endpoint.url})

        assert failed_refresh() == ("TransportError, ReadTimeout", True)


def test_a_search_ends_too(metadata: Metadata, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "END_SECONDS", 0.0)

    assert failure() == ("no usable answer within 0.0 s", True)
    assert metadata.tokens == 0


def test_a_key_that_is_not_rsa_is_a_permanent_failure(credentials_file: WriteFile) -> None:
    """google-auth takes it, and fails only when it signs."""
    credentials_file(KEY | {"private_key": ec_key(NoEncryption())})

    assert failed_refresh() == ("unusable credentials: TypeError", False)
