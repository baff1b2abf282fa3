"""The times that the pages promise, on a machine that does nothing else: run by `make soak` alone."""

import statistics
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.figures import FIGURES
from tests.support.google_cloud import HANG
from tests.support.linked import Linked
from tests.support.serving import Reply

READ_SECONDS, SIGN_SECONDS, RECOVERY_SECONDS = 3.5, 4.5, 3.0
REFUSED_SECONDS = OTHERS_SECONDS = 1.0
REQUESTS = 200


def timed(linked: Linked) -> tuple[Reply, float]:
    began = time.monotonic()
    reply = linked.ask()
    return reply, time.monotonic() - began


@pytest.mark.parametrize(
    ("upstream", "seconds"), [("Firestore", READ_SECONDS), ("IAM", SIGN_SECONDS)]
)
def test_a_hanging_request_ends_in_time(upstream: str, seconds: float, linked: Linked) -> None:
    linked.healed().links[upstream].silent = True
    reply, taken = timed(linked)

    assert reply.status == 504
    assert taken < seconds


def test_a_dead_firestore_is_told_soon_and_its_return_is_seen_soon(linked: Linked) -> None:
    link = linked.healed().links["Firestore"]
    link.refuse()
    linked.ask()
    with ThreadPoolExecutor(20) as pool:
        refused = [seconds for _, seconds in pool.map(lambda _: timed(linked), range(REQUESTS))]
    link.heal()
    began = time.monotonic()
    linked.wait_until_answered()
    recovery = time.monotonic() - began
    FIGURES.append(
        f"Firestore is down: told after {statistics.median(refused):.2f} s, {max(refused):.2f} s"
        f" at most; back: answered after {recovery:.2f} s"
    )

    assert max(refused) < REFUSED_SECONDS
    assert recovery < RECOVERY_SECONDS


def test_signatures_that_hang_slow_no_other(linked: Linked) -> None:
    """Others are as fast as without them, by the medians of as many requests before and meanwhile."""
    linked.healed()
    alone = [timed(linked)[1] for _ in range(REQUESTS)]
    meanwhile: list[float] = []
    while len(meanwhile) < REQUESTS:
        linked.cloud.iam.planned.extend([HANG] * 8)
        with ThreadPoolExecutor(8) as pool:
            hanging = linked.ask_together(pool, 8)
            while not any(one.done() for one in hanging):
                if not linked.cloud.iam.planned:
                    meanwhile.append(timed(linked)[1])

    slower = statistics.median(meanwhile) - statistics.median(alone)
    FIGURES.append(f"beside eight signatures that hang, others take {slower * 1000:+.1f} ms")
    assert slower < OTHERS_SECONDS / 10
