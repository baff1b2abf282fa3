"""Signing without a key: through IAM, as the service account that the metadata server names."""

import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import parse_qsl, urlsplit

import pytest
from grpc import StatusCode

from tests.support.asking import problem_of
from tests.support.google_cloud import EMAIL, HANG, NOTHING, GoogleCloud, Raw
from tests.support.project import PutCall
from tests.support.serving import Service, held, served, started, wait_until_it_listens
from tests.support.v4 import NAMES, check_v4

PATIENCE_SECONDS = 60.0


@pytest.mark.parametrize(("name", "extension"), NAMES.items())
def test_a_link_is_right_by_the_rules(
    name: str,
    extension: str,
    keyless: Service,
    cloud: GoogleCloud,
    put_call: PutCall,
    acme_key: str,
) -> None:
    call_id = put_call({"recording_object": name})
    url = keyless.request(target=f"/v2/calls/{call_id}", key=acme_key).json()["recording_url"]

    check_v4(url, name, cloud.iam.key.public_key(), EMAIL)
    query = dict(parse_qsl(urlsplit(url).query))
    assert query["response-content-disposition"] == f'inline; filename="call-{call_id}{extension}"'


@pytest.mark.parametrize("failure", [StatusCode.UNAVAILABLE, StatusCode.RESOURCE_EXHAUSTED])
def test_a_transient_failure_is_retried(
    failure: StatusCode, keyless: Service, cloud: GoogleCloud, acme_key: str
) -> None:
    before = cloud.iam.requests
    cloud.iam.planned.append(failure)

    assert keyless.request(key=acme_key).status == 200
    assert cloud.iam.requests - before == 2


def test_a_missing_role_is_an_internal_error_that_names_it(
    keyless: Service, cloud: GoogleCloud, acme_key: str
) -> None:
    before = cloud.iam.requests
    cloud.iam.lasting = StatusCode.PERMISSION_DENIED
    status, code, message = problem_of(keyless, acme_key)

    assert (status, code) == (500, "internal")
    assert "signBlob answered PERMISSION_DENIED" in message
    assert "roles/iam.serviceAccountTokenCreator" in message
    assert cloud.iam.requests - before == 1


@pytest.mark.parametrize("refusal", [StatusCode.INVALID_ARGUMENT, StatusCode.NOT_FOUND])
def test_another_refusal_is_not_retried_either(
    refusal: StatusCode, keyless: Service, cloud: GoogleCloud, acme_key: str
) -> None:
    before = cloud.iam.requests
    cloud.iam.lasting = refusal
    status, code, message = problem_of(keyless, acme_key)

    assert (status, code) == (500, "internal")
    assert message.endswith(f"signBlob answered {refusal.name}")
    assert cloud.iam.requests - before == 1


def test_an_answer_without_a_signature_is_never_a_link(
    keyless: Service, cloud: GoogleCloud, acme_key: str
) -> None:
    cloud.iam.lasting = NOTHING
    status, code, message = problem_of(keyless, acme_key)

    assert (status, code) == (500, "internal")
    assert message.endswith("signBlob answered no signature")


def test_a_malformed_answer_is_an_internal_error_without_a_stack(
    keyless: Service, cloud: GoogleCloud, acme_key: str
) -> None:
    before = cloud.iam.requests
    cloud.iam.lasting = b"s3cret"
    status, code, message = problem_of(keyless, acme_key)

    assert (status, code) == (500, "internal")
    assert message.endswith("signBlob answered no message of its type")
    assert cloud.iam.requests - before == 1


def test_an_answer_of_256_mib_is_not_read(
    new_cloud: GoogleCloud, keyless_settings: dict[str, str], acme_key: str
) -> None:
    with started(keyless_settings | new_cloud.environment) as (process, service):
        wait_until_it_listens(process, service)
        assert service.request(key=acme_key).status == 200
        _, _, before = held(process)
        new_cloud.iam.planned.extend([bytes(65 * 2**10), *[bytes(256 * 2**20)] * 4])
        problems = [problem_of(service, acme_key) for _ in range(5)]
        _, _, after = held(process)
        assert service.request(key=acme_key).status == 200

    assert {problem[:2] for problem in problems} == {(500, "internal")}
    assert all(p[2].endswith("signBlob answered more than 65536 bytes") for p in problems)
    assert after - before < 8 * 2**20


def test_a_token_that_is_refused_before_its_time_is_replaced(
    new_cloud: GoogleCloud, keyless_settings: dict[str, str], acme_key: str
) -> None:
    """Within the request, and for twenty requests at a time by one refresh."""
    with (
        served(keyless_settings | new_cloud.environment) as service,
        ThreadPoolExecutor(20) as clients,
    ):
        assert service.request(key=acme_key).status == 200
        new_cloud.metadata.revoked.add(f"Bearer {new_cloud.metadata.token()}")
        new_cloud.iam.seconds = 0.2
        replies = list(clients.map(lambda _: service.request(key=acme_key), range(20)))

    assert {reply.status for reply in replies} == {200}
    assert new_cloud.metadata.tokens == 2


def test_a_token_that_is_refused_again_is_an_internal_error(
    new_cloud: GoogleCloud, keyless_settings: dict[str, str], acme_key: str
) -> None:
    new_cloud.iam.planned.extend([StatusCode.UNAUTHENTICATED] * 2)
    with served(keyless_settings | new_cloud.environment) as service:
        status, code, message = problem_of(service, acme_key)
        assert service.request(key=acme_key).status == 200

    assert (status, code) == (500, "internal")
    assert "signBlob answered UNAUTHENTICATED" in message
    assert "is the service account disabled?" in message
    assert (new_cloud.iam.requests, new_cloud.metadata.tokens) == (3, 2)


def test_a_malformed_token_is_not_kept(
    new_cloud: GoogleCloud, keyless_settings: dict[str, str], acme_key: str
) -> None:
    malformed = b'{"access_token": "s3 cret", "token_type": "Bearer", "expires_in": 3600}'
    new_cloud.metadata.failures.append(Raw(malformed, {"Content-Type": "application/json"}))
    with served(keyless_settings | new_cloud.environment) as service:
        status, code, message = problem_of(service, acme_key)
        assert service.request(key=acme_key).status == 200
        output = service.output()

    assert (status, code) == (503, "signing_unavailable")
    assert message.endswith("no access token for signBlob: malformed token")
    assert "s3 cret" not in output
    assert new_cloud.metadata.tokens == 1


def test_a_token_serves_to_its_end_while_there_is_no_other(
    new_cloud: GoogleCloud, keyless_settings: dict[str, str], acme_key: str
) -> None:
    new_cloud.metadata.token_seconds = 60
    with served(keyless_settings | new_cloud.environment) as service:
        assert service.request(key=acme_key).status == 200
        new_cloud.metadata.failures.extend([HANG, 404, 404, 404])
        for _ in range(4):
            assert service.request(key=acme_key).status == 200
        output = service.output()

    assert "Traceback" not in output


def test_a_token_that_runs_out_is_replaced(
    new_cloud: GoogleCloud, keyless_settings: dict[str, str], acme_key: str
) -> None:
    new_cloud.metadata.token_seconds = 60  # less than the library's margin
    with served(keyless_settings | new_cloud.environment) as service:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while new_cloud.metadata.tokens < 3:
            assert service.request(key=acme_key).status == 200
            assert time.monotonic() < deadline


def test_requests_that_come_together_wait_for_one_token(
    new_cloud: GoogleCloud, keyless_settings: dict[str, str], acme_key: str
) -> None:
    new_cloud.metadata.seconds = 0.5
    with (
        served(keyless_settings | new_cloud.environment) as service,
        ThreadPoolExecutor(8) as clients,
    ):
        replies = list(clients.map(lambda _: service.request(key=acme_key), range(8)))

    assert {reply.status for reply in replies} == {200}
    assert new_cloud.metadata.tokens == 1


def test_one_signature_for_each_link_and_none_for_anything_else(
    keyless: Service, cloud: GoogleCloud, acme_key: str
) -> None:
    reply = keyless.request(key=acme_key)
    check_v4(
        reply.json()["recording_url"],
        "recordings/" + reply.json()["recording_url"].split("/recordings/")[1].split("?")[0],
        cloud.iam.key.public_key(),
        EMAIL,
    )
    before, signed = cloud.iam.requests, cloud.iam.signatures
    for request, status in (
        ({"headers": [("If-None-Match", "*")]}, 304),
        ({"method": "HEAD"}, 200),
        ({"method": "OPTIONS"}, 204),
        ({"target": "/v2/calls/87"}, 403),
        ({"target": "/v2/calls/99999"}, 404),
        ({"target": "/v2/calls/83"}, 200),  # deleted
        ({"target": "/v2/calls/84"}, 200),  # without a recording
    ):
        assert keyless.request(key=acme_key, **request).status == status
    assert keyless.request(key="unknown").status == 401
    assert cloud.iam.requests == before

    for _ in range(5):
        assert keyless.request(key=acme_key).status == 200
    assert (cloud.iam.requests, cloud.iam.signatures) == (before + 5, signed + 5)


def test_forty_requests_share_a_connection_and_a_token(
    keyless: Service, cloud: GoogleCloud, acme_key: str
) -> None:
    cloud.iam.connections.clear()
    for _ in range(40):
        assert keyless.request(key=acme_key).status == 200

    assert len(cloud.iam.connections) == 1
    assert cloud.metadata.tokens == 1
