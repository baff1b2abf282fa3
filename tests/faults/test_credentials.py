"""Credentials that come late or not at all, as the served function meets them."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
import trustme

from local.signer import new_signer
from tests.support.firestore_reads import KEY, both_documents
from tests.support.google_cloud import (
    FIRESTORE_HOST,
    HANG,
    GoogleCloud,
    Raw,
    TokenEndpoint,
    fake_firestore,
)
from tests.support.project import BUCKET, SIGNER
from tests.support.serving import Reply, Service, served

SILENT_ENDPOINT_SECONDS = 12.0
REFUSED = Raw(
    b'{"error": "invalid_grant", "error_description": "s3cret"}',
    {"Content-Type": "application/json"},
    400,
)
NO_METADATA = dict.fromkeys(("GCE_METADATA_HOST", "GCE_METADATA_IP"), "127.0.0.1:1")
PASSING = {(503, "calls_unavailable"), (504, "upstream_timeout")}

Serve = Callable[[dict[str, str]], Service]


@pytest.fixture
def cloud(authority: trustme.CA, authority_file: Path) -> Iterator[GoogleCloud]:
    with closing(GoogleCloud(authority, str(authority_file))) as cloud:
        yield cloud


@pytest.fixture
def serve(cloud: GoogleCloud, authority: trustme.CA) -> Iterator[Serve]:
    """Serve the function against a Firestore over TLS, with these settings beside the bucket's."""
    with ExitStack() as stack:
        answers = fake_firestore(both_documents, authority.issue_cert(FIRESTORE_HOST))
        port, _ = stack.enter_context(answers)
        cloud.proxy.ports[FIRESTORE_HOST] = port
        yield lambda settings: stack.enter_context(
            served({"RECORDINGS_BUCKET": BUCKET} | cloud.environment | settings)
        )


def key_file_for(endpoint: TokenEndpoint, folder: Path) -> dict[str, str]:
    """Make a key whose tokens come from this endpoint; return the setting that names its file."""
    key, _ = new_signer(SIGNER)
    file = folder / "credentials.json"
    file.write_text(json.dumps(key | {"token_uri": endpoint.url, "project_id": "demo-tests"}))
    return {"GOOGLE_APPLICATION_CREDENTIALS": str(file)}


def until_200(service: Service) -> tuple[list[Reply], float]:
    """Ask until the answer is 200; return the answers before, and the seconds that it took."""
    began_at, before = time.monotonic(), list[Reply]()
    while (reply := service.request(key=KEY)).status != 200:
        assert time.monotonic() - began_at < 30, before
        before.append(reply)
        time.sleep(0.05)  # as a client that waits a little
    return before, time.monotonic() - began_at


def assert_passing(replies: list[Reply]) -> None:
    assert replies
    for reply in replies:
        assert (reply.status, reply.json()["code"]) in PASSING
        assert reply.headers["Retry-After"]


@pytest.mark.parametrize("project", [404, HANG])
def test_a_project_that_is_named_late_costs_no_instance(
    project: int | str, cloud: GoogleCloud, serve: Serve
) -> None:
    cloud.metadata.projects.extend([project] * 2)
    service = serve({})
    before, _ = until_200(service)

    assert_passing(before)
    assert {service.request(key=KEY).status for _ in range(3)} == {200}


def test_a_metadata_server_that_starts_late_is_one_outage(cloud: GoogleCloud, serve: Serve) -> None:
    """It has one name, whether it is credentials that are not found yet or a token."""
    service = serve(NO_METADATA)
    replies = [service.request(key=KEY) for _ in range(2)]

    assert_passing(replies)
    assert cloud.metadata.tokens == 0


def test_google_auth_writes_no_lines_of_its_own(serve: Serve) -> None:
    """Not with LOG_EXECUTION_ID either, which the platform sets: the framework then has a handler for all.

    And for the function's log no less: its line is there.
    """
    service = serve(NO_METADATA | {"LOG_EXECUTION_ID": "true"})

    assert_passing([service.request(key=KEY)])
    assert len(service.entries()) == 1
    assert service.stderr.read_text() == ""


def test_a_token_endpoint_that_is_silent_once_costs_an_attempt(
    serve: Serve, tmp_path: Path
) -> None:
    with closing(TokenEndpoint(HANG)) as endpoint:
        before, seconds = until_200(serve(key_file_for(endpoint, tmp_path)))

    assert_passing(before)
    assert seconds < SILENT_ENDPOINT_SECONDS


def test_a_refused_grant_is_no_outage(serve: Serve, tmp_path: Path) -> None:
    """A client that asks again gets nowhere, and the log has Google's constant."""
    with closing(TokenEndpoint(*[REFUSED] * 9)) as endpoint:
        service = serve(key_file_for(endpoint, tmp_path))
        reply = service.request(key=KEY)

    assert (reply.status, reply.json()["code"]) == (500, "internal")
    assert reply.headers["Retry-After"] is None
    (entry,) = service.entries()
    assert entry["message"].endswith("no access token for Firestore: RefreshError, invalid_grant")
    assert "stack_trace" not in entry
    assert "s3cret" not in service.output()
