"""Firestore and IAM that fail in every way that a network knows, under the function as it is served.

No clock is judged here, for this machine may be busy. The statuses tell as much: a budget that ran
out is a 504, and what is refused before is a 503. `test_promised_times.py` holds the seconds.
"""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from typing import Any

import pytest

from ops.published import check_reply
from tests.support.asking import check_honest
from tests.support.figures import FIGURES
from tests.support.link import Link
from tests.support.linked import Linked
from tests.support.serving import bearer

UPSTREAMS = ("Firestore", "IAM")
CUTS = [("Firestore", after) for after in (0, 1, 9, 50, 100, 500, 1500)]
CUTS += [("IAM", after) for after in (0, 1, 100, 300)]


@pytest.mark.parametrize("upstream", UPSTREAMS)
def test_a_reset_connection_costs_nothing_but_a_new_one(upstream: str, linked: Linked) -> None:
    link = linked.healed().links[upstream]
    for _ in range(5):
        link.reset()
        assert linked.ask().status == 200


@pytest.mark.parametrize(("upstream", "after"), CUTS)
def test_an_answer_cut_short_is_asked_again(upstream: str, after: int, linked: Linked) -> None:
    link = linked.healed().links[upstream]
    link.cut_after = after

    assert linked.ask().status == 200
    assert link.cut_after is None


def test_a_garbled_answer_is_asked_again(linked: Linked) -> None:
    """TLS notices."""
    link = linked.healed().links["IAM"]
    link.garble = True

    assert linked.ask().status == 200
    assert not link.garble


# What needs nothing of the upstream: method, path, whether with a key, status
OTHERS = {
    "Firestore": [
        ("GET", "/v2/calls/77", False, 401),
        ("OPTIONS", "/v2/calls/77", False, 204),
        ("GET", "/v2", False, 404),
    ],
    "IAM": [("GET", "/v2/calls/84", True, 200)] * 5,  # a call without a recording
}


@pytest.mark.parametrize("upstream", UPSTREAMS)
def test_silence_ends_with_the_budget_and_delays_nobody_else(upstream: str, linked: Linked) -> None:
    """And no connection that has died in silence is used again."""
    link = linked.healed().links[upstream]
    link.silent = True
    with ThreadPoolExecutor(20) as pool:
        waiting = linked.ask_together(pool, 20)
        time.sleep(0.5)  # until they wait
        for method, target, with_key, status in OTHERS[upstream]:
            headers = bearer(linked.key) if with_key else []
            assert linked.service.request(method, target, headers).status == status
        assert not any(one.done() for one in waiting)
        replies = [one.result() for one in waiting]
    link.heal()
    linked.wait_until_answered()

    assert {(reply.status, reply.json()["code"]) for reply in replies} == {
        (504, "upstream_timeout")
    }
    assert [linked.ask().status for _ in range(8)] == [200] * 8


OUTAGES: dict[str, tuple[Callable[[Link], None], int]] = {  # and how the first request ends
    "silent": (lambda link: setattr(link, "silent", True), 504),
    "refusing": (Link.refuse, 503),
}


@pytest.mark.parametrize("outage", OUTAGES)
def test_a_dead_firestore_is_told_by_the_circuit_and_its_return_is_seen(
    outage: str, linked: Linked
) -> None:
    """The first request may use its budget up; those after it do not rediscover what it found."""
    link = linked.healed().links["Firestore"]
    fail, status = OUTAGES[outage]
    fail(link)
    assert linked.ask().status == status
    begun = len(linked.service.log())
    with ThreadPoolExecutor(20) as pool:
        replies = [one.result() for one in linked.ask_together(pool, 40)]
    told = {entry["message"] for entry in linked.service.entries(begun)}
    link.heal()
    linked.wait_until_answered()

    assert {reply.status for reply in replies} == {503}
    assert len(told) == 1
    assert told.pop().endswith("circuit open: Firestore has failed, and has not answered since")
    assert [linked.ask().status for _ in range(8)] == [200] * 8


def test_an_iam_that_refuses_is_503_and_its_return_is_seen_at_once(linked: Linked) -> None:
    link = linked.healed().links["IAM"]
    link.refuse()
    refused = linked.ask()
    link.heal()

    assert (refused.status, refused.json()["code"]) == (503, "signing_unavailable")
    assert linked.ask().status == 200


CLIENTS = 8
CALLS = (77, 78, 82, 84)  # with and without a recording
RIGHT = 0.95
FAULTS: dict[str, Callable[[Link, random.Random], None]] = {
    "reset": lambda link, _: link.reset(),
    "forget": lambda link, _: link.forget(),
    "refuse": lambda link, _: link.refuse(),
    "silence": lambda link, _: setattr(link, "silent", True),
    "garble": lambda link, _: setattr(link, "garble", True),
    "delay": lambda link, chance: setattr(link, "delay", chance.uniform(0.01, 0.2)),
    "cut": lambda link, chance: setattr(link, "cut_after", chance.randrange(3000)),
}


def without_link(call: dict[str, Any]) -> dict[str, Any]:
    url = call["recording_url"]
    return call | {"recording_url": url and url.partition("?")[0]}


def test_every_answer_in_chaos_is_right_or_an_honest_failure(linked: Linked, soak: bool) -> None:
    """Every fault of every link at a random moment; in `make soak` again and again for a minute."""
    service = linked.healed().service
    right = {call_id: without_link(linked.ask(f"/v2/calls/{call_id}").json()) for call_id in CALLS}
    over = threading.Event()

    def client(number: int) -> Counter[int]:
        chance = random.Random(number)
        answers: Counter[int] = Counter()
        while not over.is_set():
            call_id = chance.choice(CALLS)
            target = f"/v2/calls/{call_id}"
            reply = service.request(target=target, key=linked.key, published=False)
            if reply.status == 200:
                assert without_link(reply.json()) == right[call_id]
            else:
                check_reply("GET", reply.status, reply.headers, reply.body)
                check_honest(reply)
            answers[reply.status] += 1
        return answers

    chance = random.Random(1)
    every = list(product(linked.links.values(), FAULTS))
    faults: Counter[str] = Counter()
    with ThreadPoolExecutor(CLIENTS) as pool:
        clients = [pool.submit(client, number) for number in range(CLIENTS)]
        begun = time.monotonic()
        try:
            while not faults or (soak and time.monotonic() - begun < 60):
                for link, fault in chance.sample(every, len(every)):
                    FAULTS[fault](link, chance)
                    faults[fault] += 1
                    time.sleep(chance.uniform(0.05, 0.5))
                    link.heal()
                    time.sleep(chance.uniform(0.4, 1.6) if soak else 0.2)
        finally:
            seconds = time.monotonic() - begun
            over.set()
        answers = sum((future.result() for future in clients), Counter[int]())

    share = answers[200] / answers.total()
    FIGURES.append(
        f"chaos: {faults.total()} faults in {seconds:.0f} s, {answers.total():,} answers:"
        f" {share:.2%} right, the others 503 or 504 ({dict(answers)}, {dict(faults)})"
    )
    assert share > (RIGHT if soak else 0.0)  # it depends on how fast this machine is
    linked.wait_until_answered()
    assert [linked.ask(f"/v2/calls/{call_id}").status for call_id in CALLS] == [200] * len(CALLS)
