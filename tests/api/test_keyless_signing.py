"""Signing without a key: through IAM, as the service account that the metadata server names."""

import time
from concurrent.futures import ThreadPoolExecutor

from call_api.recordings.iam import MAX_ANSWER_BYTES
from local.seed import sample_calls
from tests.support.asking import problem_of
from tests.support.google_cloud import EMAIL, GoogleCloud
from tests.support.serving import Service
from tests.support.v4 import check_v4

CLIENTS = 64


def test_forty_requests_have_forty_signatures_a_connection_and_a_token(
    keyless: Service, cloud: GoogleCloud, acme_key: str
) -> None:
    cloud.iam.forget()
    name = str(sample_calls()[77]["recording_object"])
    for _ in range(40):
        url = keyless.request(key=acme_key).json()["recording_url"]
        check_v4(url, name, cloud.iam.key.public_key(), EMAIL)
        assert "filename%3D%22call-77" in url

    assert (cloud.iam.requests, cloud.iam.signatures) == (40, 40)
    assert len(cloud.iam.connections) == 1
    assert cloud.metadata.tokens == 1


def test_signatures_overlap(keyless: Service, cloud: GoogleCloud, acme_key: str) -> None:
    """All 64 are asked for before the first one is there."""
    before = cloud.iam.requests
    cloud.iam.seconds = 3.0
    with ThreadPoolExecutor(CLIENTS) as clients:
        replies = [
            clients.submit(keyless.request, key=acme_key, published=False) for _ in range(CLIENTS)
        ]
        while cloud.iam.requests < before + CLIENTS and not any(one.done() for one in replies):
            time.sleep(0.01)  # the fake, which counts, runs in threads of its own
        asked = cloud.iam.requests - before

    assert asked == CLIENTS
    assert {one.result().status for one in replies} == {200}


def test_the_channel_to_iam_is_bounded(keyless: Service, cloud: GoogleCloud, acme_key: str) -> None:
    """What is larger than a signature is refused; tests/adapters have the rest."""
    cloud.iam.forget()
    cloud.iam.planned.append(bytes(MAX_ANSWER_BYTES + 1))
    status, code, message = problem_of(keyless, acme_key)

    assert (status, code) == (500, "internal")
    assert message.endswith(f"signBlob answered more than {MAX_ANSWER_BYTES} bytes")
