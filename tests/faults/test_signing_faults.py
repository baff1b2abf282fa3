"""An IAM that fails in every way that a network knows, under the function as it is served."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
import trustme

from tests.support.asking import SLACK_SECONDS, check_answered_at_once, check_honest, timed
from tests.support.google_cloud import IAM_HOST, GoogleCloud
from tests.support.link import Link, link_to
from tests.support.serving import Service, served

SIGN_SECONDS = 4.0
WITHOUT_RECORDING = "/v2/calls/84"


@pytest.fixture(scope="module")
def lasting_link(authority: trustme.CA, authority_file: Path) -> Iterator[tuple[GoogleCloud, Link]]:
    with (
        closing(GoogleCloud(authority, str(authority_file))) as cloud,
        link_to(cloud.iam.port) as link,
    ):
        cloud.proxy.ports[IAM_HOST] = link.port
        yield cloud, link


@pytest.fixture(scope="module")
def keyless(
    keyless_settings: dict[str, str], keys: dict[str, str], lasting_link: tuple[GoogleCloud, Link]
) -> Iterator[Service]:
    assert keys  # the sample calls are there
    with served(keyless_settings | lasting_link[0].environment) as service:
        yield service
        assert "Traceback" not in service.output()


@pytest.fixture
def link(lasting_link: tuple[GoogleCloud, Link], keyless: Service, acme_key: str) -> Iterator[Link]:
    """The way to IAM of the `keyless` function, which has an idle connection there."""
    cloud, link = lasting_link
    cloud.iam.seconds = 0.1
    with ThreadPoolExecutor(8) as clients:
        replies = clients.map(lambda _: keyless.request(key=acme_key), range(16))
        assert {reply.status for reply in replies} == {200}
    cloud.iam.seconds = 0.0
    yield link
    link.heal()


def test_reset_connections_cost_nothing_but_a_new_one(
    keyless: Service, link: Link, acme_key: str
) -> None:
    link.reset()
    for _ in range(8):
        check_answered_at_once(keyless, acme_key)


@pytest.mark.parametrize("after", [0, 1, 100, 300])
def test_an_answer_cut_short_is_asked_again(
    after: int, keyless: Service, link: Link, acme_key: str
) -> None:
    link.cut_after = after

    check_answered_at_once(keyless, acme_key)
    assert link.cut_after is None


def test_a_garbled_answer_is_asked_again(keyless: Service, link: Link, acme_key: str) -> None:
    """TLS notices."""
    link.garble = True

    assert timed(keyless, acme_key)[0].status == 200
    assert not link.garble


def test_connections_that_died_in_silence_fail_one_request_and_no_more(
    keyless: Service, link: Link, acme_key: str
) -> None:
    link.forget()
    reply, seconds = timed(keyless, acme_key)
    check_honest(reply)
    assert seconds < SIGN_SECONDS + SLACK_SECONDS

    for _ in range(8):
        check_answered_at_once(keyless, acme_key)


def test_silence_ends_with_the_budget_and_delays_no_other_call(
    keyless: Service, link: Link, acme_key: str
) -> None:
    link.silent = True
    with ThreadPoolExecutor(20) as pool:
        waiting = [pool.submit(timed, keyless, acme_key) for _ in range(20)]
        time.sleep(0.5)
        for _ in range(5):
            check_answered_at_once(keyless, acme_key, WITHOUT_RECORDING)
        for future in waiting:
            reply, seconds = future.result()
            check_honest(reply)
            assert seconds < SIGN_SECONDS + SLACK_SECONDS
    link.heal()

    for _ in range(8):
        check_answered_at_once(keyless, acme_key)


def test_an_iam_that_refuses_is_503_and_its_return_is_seen_at_once(
    keyless: Service, link: Link, acme_key: str
) -> None:
    link.refuse()
    reply, seconds = timed(keyless, acme_key)
    check_honest(reply)
    assert seconds < SIGN_SECONDS + SLACK_SECONDS
    link.heal()

    check_answered_at_once(keyless, acme_key)
