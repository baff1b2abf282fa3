"""Credentials that come late or not at all, as the served function meets them."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
import trustme

from tests.support.firestore_reads import KEY, both_documents
from tests.support.google_cloud import FIRESTORE_HOST, HANG, GoogleCloud, fake_firestore
from tests.support.project import BUCKET
from tests.support.serving import Reply, Service, served

NO_METADATA = dict.fromkeys(("GCE_METADATA_HOST", "GCE_METADATA_IP"), "127.0.0.1:1")
TRANSIENT = {(503, "calls_unavailable"), (504, "upstream_timeout")}

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


def until_200(service: Service) -> list[Reply]:
    """Ask until the answer is 200; return the answers before."""
    began_at, before = time.monotonic(), list[Reply]()
    while (reply := service.request(key=KEY)).status != 200:
        assert time.monotonic() - began_at < 30, before
        before.append(reply)
        time.sleep(0.05)  # as a client that waits a little
    return before


def assert_transient(replies: list[Reply]) -> None:
    assert replies
    for reply in replies:
        assert (reply.status, reply.json()["code"]) in TRANSIENT
        assert reply.headers["Retry-After"]


@pytest.mark.parametrize("project", [404, HANG])
def test_a_project_that_is_named_late_costs_no_instance(
    project: int | str, cloud: GoogleCloud, serve: Serve
) -> None:
    cloud.metadata.projects.extend([project] * 2)
    service = serve({})

    assert_transient(until_200(service))
    assert {service.request(key=KEY).status for _ in range(3)} == {200}


def test_a_late_metadata_server_is_one_outage_and_no_line_of_google_auth_s(
    cloud: GoogleCloud, serve: Serve
) -> None:
    """It has one name, whether it is credentials that are not found yet or a token.

    google-auth writes no lines of its own, not with LOG_EXECUTION_ID either, which the platform sets: the
    framework then has a handler for all. And the function's own lines are there.
    """
    service = serve(NO_METADATA | {"LOG_EXECUTION_ID": "true"})

    assert_transient([service.request(key=KEY) for _ in range(2)])
    assert cloud.metadata.tokens == 0
    assert len(service.entries()) == 2
    assert service.stderr.read_text() == ""
