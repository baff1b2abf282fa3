"""Signing without a key within its budget: what fails, hangs or waits for a token delays nobody else.

A 503 is a failure that was told before the budget of 4 s ran out; a 504 is one that used it up.
"""

import time
from concurrent.futures import ThreadPoolExecutor

from tests.support.asking import problem_of
from tests.support.google_cloud import HANG, GoogleCloud
from tests.support.serving import Service, served

CLIENTS = 64


def test_without_a_token_nothing_is_signed_until_there_is_one(
    new_cloud: GoogleCloud, keyless_settings: dict[str, str], acme_key: str
) -> None:
    new_cloud.metadata.failures.append(404)
    with served(keyless_settings | new_cloud.environment) as service:
        refused = problem_of(service, acme_key)
        assert service.request(key=acme_key).status == 200

    assert refused[:2] == (503, "signing_unavailable")
    assert refused[2].endswith(
        " signing_unavailable: no access token for signBlob: RefreshError, HTTP 404"
    )
    assert new_cloud.metadata.tokens == 1


def test_signatures_overlap(keyless: Service, cloud: GoogleCloud, acme_key: str) -> None:
    """All 64 are asked for before the first one is there."""
    before = cloud.iam.requests
    cloud.iam.seconds = 3.0
    with ThreadPoolExecutor(CLIENTS) as clients:
        replies = [
            clients.submit(keyless.request, key=acme_key, published=False) for _ in range(CLIENTS)
        ]
        while cloud.iam.requests < before + CLIENTS and not any(one.done() for one in replies):
            time.sleep(0.01)
        asked = cloud.iam.requests - before

    assert asked == CLIENTS
    assert {one.result().status for one in replies} == {200}


def test_others_go_on_while_a_signature_hangs(
    keyless: Service, cloud: GoogleCloud, acme_key: str
) -> None:
    cloud.iam.planned.extend([HANG] * 8)
    with ThreadPoolExecutor(8) as clients:
        hanging = [clients.submit(keyless.request, key=acme_key) for _ in range(8)]
        while cloud.iam.planned:
            time.sleep(0.01)
        for _ in range(10):
            assert keyless.request(key=acme_key).status == 200
        assert not any(one.done() for one in hanging)
        replies = [one.result() for one in hanging]

    for reply in replies:
        assert (reply.status, reply.json()["code"]) == (504, "upstream_timeout")
        assert reply.headers["Retry-After"] == "1"
