"""Signing without a key within its budget: what fails, hangs or waits for a token delays nobody else."""

import statistics
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from grpc import StatusCode

from tests.support.asking import problem_of
from tests.support.google_cloud import HANG, GoogleCloud
from tests.support.serving import Service, served

BUDGET_SECONDS = 4.0
SLACK_SECONDS = 2.0
PATIENCE_SECONDS = 60.0


@pytest.mark.parametrize("failure", [StatusCode.UNAVAILABLE, StatusCode.RESOURCE_EXHAUSTED])
def test_a_lasting_failure_is_503_within_the_budget(
    failure: StatusCode, keyless: Service, cloud: GoogleCloud, acme_key: str
) -> None:
    before = cloud.iam.requests
    cloud.iam.lasting = failure
    started = time.monotonic()
    status, code, message = problem_of(keyless, acme_key)
    seconds = time.monotonic() - started

    assert (status, code) == (503, "signing_unavailable")
    assert message.endswith(f"signBlob answered {failure.name}")
    assert seconds < BUDGET_SECONDS + SLACK_SECONDS
    assert cloud.iam.requests - before > 2


def test_without_a_token_nothing_is_signed_until_there_is_one(
    new_cloud: GoogleCloud, keyless_settings: dict[str, str], acme_key: str
) -> None:
    new_cloud.metadata.failures.extend([404, HANG, HANG])  # the library tries again after 3 s
    with served(keyless_settings | new_cloud.environment) as service:
        refused = problem_of(service, acme_key)
        started = time.monotonic()
        hanging = problem_of(service, acme_key)
        seconds = time.monotonic() - started
        deadline = time.monotonic() + PATIENCE_SECONDS
        while service.request(key=acme_key).status != 200:
            assert time.monotonic() < deadline

    assert refused[:2] == (503, "signing_unavailable")
    assert refused[2].endswith(" signing_unavailable: no access token for signBlob: RefreshError")
    assert hanging[:2] == (504, "upstream_timeout")
    assert hanging[2].endswith(" upstream_timeout: signing")
    assert seconds < BUDGET_SECONDS + SLACK_SECONDS
    assert new_cloud.metadata.tokens == 1


def test_signatures_overlap(keyless: Service, cloud: GoogleCloud, acme_key: str) -> None:
    """64 requests that wait 100 ms each: 6.4 s in a row, and here at most 2 s."""
    cloud.iam.seconds = 0.1

    def timed_round() -> float:
        with ThreadPoolExecutor(64) as clients:
            started = time.monotonic()
            replies = list(
                clients.map(lambda _: keyless.request(key=acme_key, published=False), range(64))
            )
            seconds = time.monotonic() - started
        assert {reply.status for reply in replies} == {200}
        return seconds

    assert any(timed_round() < 2.0 for _ in range(3))


def test_others_go_on_while_a_signature_hangs(
    keyless: Service, cloud: GoogleCloud, acme_key: str
) -> None:
    cloud.iam.planned.extend([HANG] * 8)
    started = time.monotonic()
    with ThreadPoolExecutor(8) as clients:
        hanging = [clients.submit(keyless.request, key=acme_key) for _ in range(8)]
        while cloud.iam.planned:
            time.sleep(0.01)
        others = []
        for _ in range(10):
            begun = time.monotonic()
            assert keyless.request(key=acme_key).status == 200
            others.append(time.monotonic() - begun)
        assert not any(one.done() for one in hanging)
        replies = [one.result() for one in hanging]

    assert statistics.median(others) < 0.5
    assert time.monotonic() - started < BUDGET_SECONDS + SLACK_SECONDS
    for reply in replies:
        assert (reply.status, reply.json()["code"]) == (504, "upstream_timeout")
        assert reply.headers["Retry-After"] == "1"
