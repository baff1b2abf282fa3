"""Signing without a key: through IAM, as the service account that the metadata server names."""

from urllib.parse import parse_qsl, urlsplit

import pytest
from grpc import StatusCode

from tests.support.asking import problem_of
from tests.support.google_cloud import EMAIL, GoogleCloud
from tests.support.project import PutCall
from tests.support.serving import Service
from tests.support.v4 import NAMES, check_v4


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
