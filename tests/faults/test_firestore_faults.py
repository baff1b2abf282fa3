"""A Firestore that fails in every way that a network knows, under the function as it is served."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.asking import SLACK_SECONDS, check_answered_at_once, check_honest, timed
from tests.support.link import Link, link_to
from tests.support.serving import Service, served

READ_SECONDS = 3.0
FAST_SECONDS = 1.0
RECOVERY_SECONDS = 3.0


@pytest.fixture(scope="module")
def lasting_link(emulator_host: str) -> Iterator[Link]:
    with link_to(int(emulator_host.rpartition(":")[2])) as link:
        yield link


@pytest.fixture(scope="module")
def linked(settings: dict[str, str], keys: dict[str, str], lasting_link: Link) -> Iterator[Service]:
    assert keys  # the sample calls are there
    with served(
        settings | {"FIRESTORE_EMULATOR_HOST": f"127.0.0.1:{lasting_link.port}"}
    ) as service:
        yield service
        assert "Traceback" not in service.output()


@pytest.fixture
def link(lasting_link: Link, linked: Service, acme_key: str) -> Iterator[Link]:
    """The way to Firestore of the `linked` function, which has worked, and works again after."""
    recovered(linked, acme_key)
    yield lasting_link
    lasting_link.heal()
    recovered(linked, acme_key)


def recovered(service: Service, key: str) -> float:
    """Ask until the call is answered, and return the seconds that this took."""
    started = time.monotonic()
    while service.request(key=key).status != 200:
        assert time.monotonic() - started < RECOVERY_SECONDS
        time.sleep(0.02)
    return time.monotonic() - started


def test_a_reset_connection_costs_nothing_but_a_new_one(
    linked: Service, link: Link, acme_key: str
) -> None:
    for _ in range(5):
        link.reset()
        check_answered_at_once(linked, acme_key)


@pytest.mark.parametrize("after", [0, 1, 9, 50, 100, 500, 1500])
def test_an_answer_cut_short_is_read_again(
    after: int, linked: Service, link: Link, acme_key: str
) -> None:
    link.cut_after = after

    check_answered_at_once(linked, acme_key)
    assert link.cut_after is None


def test_a_connection_that_died_in_silence_is_not_used_twice(
    linked: Service, link: Link, acme_key: str
) -> None:
    link.forget()
    reply, seconds = timed(linked, acme_key)
    check_honest(reply)
    assert seconds < READ_SECONDS + SLACK_SECONDS

    check_answered_at_once(linked, acme_key)


def test_silence_ends_with_the_budget_and_delays_nobody_else(
    linked: Service, link: Link, acme_key: str
) -> None:
    link.silent = True
    with ThreadPoolExecutor(20) as pool:
        waiting = [pool.submit(timed, linked, acme_key) for _ in range(20)]
        time.sleep(0.5)
        for method, target, status in (
            ("GET", "/v2/calls/77", 401),
            ("OPTIONS", "/v2/calls/77", 204),
            ("GET", "/v2", 404),
        ):
            started = time.monotonic()
            assert linked.request(method, target).status == status
            assert time.monotonic() - started < SLACK_SECONDS
        for future in waiting:
            reply, seconds = future.result()
            check_honest(reply)
            assert seconds < READ_SECONDS + SLACK_SECONDS


FAULTS: dict[str, Callable[[Link], None]] = {
    "silent": lambda link: setattr(link, "silent", True),
    "refusing": Link.refuse,
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_dead_firestore_is_told_fast_and_its_return_is_seen(
    fault: str, linked: Service, link: Link, acme_key: str
) -> None:
    """The first request may use its budget up; those after it do not rediscover what it found."""
    FAULTS[fault](link)
    reply, seconds = timed(linked, acme_key)
    check_honest(reply)
    assert seconds < READ_SECONDS + SLACK_SECONDS
    for _ in range(3):
        reply, seconds = timed(linked, acme_key)
        check_honest(reply)
        assert seconds < FAST_SECONDS
    with ThreadPoolExecutor(20) as pool:
        for reply, seconds in pool.map(lambda _: timed(linked, acme_key), range(40)):
            check_honest(reply)
            assert seconds < FAST_SECONDS
    link.heal()

    assert recovered(linked, acme_key) < RECOVERY_SECONDS
    for _ in range(20):
        assert timed(linked, acme_key)[0].status == 200


def test_a_slow_firestore_is_waited_for(linked: Service, link: Link, acme_key: str) -> None:
    link.delay = 0.4
    for _ in range(2):
        reply, seconds = timed(linked, acme_key)
        assert reply.status == 200
        assert 0.8 < seconds < READ_SECONDS


def test_a_slow_firestore_is_waited_for_after_a_failure(
    linked: Service, link: Link, acme_key: str
) -> None:
    """A probe outlasts the requests that wait for it, so a slow Firestore closes the circuit."""
    link.refuse()
    check_honest(timed(linked, acme_key)[0])
    link.heal()
    link.delay = 0.2

    assert recovered(linked, acme_key) < RECOVERY_SECONDS
