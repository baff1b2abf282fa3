"""Faults of every kind at random moments, under eight clients."""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import trustme

from ops.published import check_reply
from tests.support.asking import check_honest
from tests.support.figures import FIGURES
from tests.support.google_cloud import IAM_HOST, GoogleCloud
from tests.support.link import Link, link_to
from tests.support.serving import Service, served

CLIENTS = 8
CALLS = (77, 78, 82, 84)  # with and without a recording
LONGEST_SECONDS = 10.0
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


class Chaos(NamedTuple):
    """A function, and the two links that it depends on."""

    service: Service
    links: tuple[Link, Link]


@pytest.fixture
def chaos(
    keyless_settings: dict[str, str],
    keys: dict[str, str],
    emulator_host: str,
    authority: trustme.CA,
    authority_file: Path,
) -> Iterator[Chaos]:
    assert keys  # the sample calls are there
    with ExitStack() as stack:
        cloud = stack.enter_context(closing(GoogleCloud(authority, str(authority_file))))
        firestore = stack.enter_context(link_to(int(emulator_host.rpartition(":")[2])))
        iam = stack.enter_context(link_to(cloud.iam.port))
        cloud.proxy.ports[IAM_HOST] = iam.port
        changes = {"FIRESTORE_EMULATOR_HOST": f"127.0.0.1:{firestore.port}"} | cloud.environment
        service = stack.enter_context(served(keyless_settings | changes))
        yield Chaos(service, (firestore, iam))
        assert "Traceback" not in service.output()


def without_link(call: dict[str, Any]) -> dict[str, Any]:
    url = call["recording_url"]
    return call | {"recording_url": url and url.partition("?")[0]}


def test_every_answer_in_chaos_is_right_or_an_honest_failure(
    chaos: Chaos, acme_key: str, soak: bool
) -> None:
    service, links = chaos
    seconds = 60.0 if soak else 15.0
    right = {
        call_id: without_link(service.request(target=f"/v2/calls/{call_id}", key=acme_key).json())
        for call_id in CALLS
    }
    over = threading.Event()

    def client(number: int) -> Counter[int]:
        chance = random.Random(number)
        answers: Counter[int] = Counter()
        while not over.is_set():
            call_id = chance.choice(CALLS)
            started = time.monotonic()
            reply = service.request(target=f"/v2/calls/{call_id}", key=acme_key, published=False)
            assert time.monotonic() - started < LONGEST_SECONDS
            if reply.status == 200:
                assert without_link(reply.json()) == right[call_id]
            else:
                check_reply("GET", reply.status, reply.headers, reply.body)
                check_honest(reply)
            answers[reply.status] += 1
        return answers

    chance = random.Random(1)
    faults: Counter[str] = Counter()
    deck: list[tuple[Link, str]] = []  # every fault of every link, before one comes again
    with ThreadPoolExecutor(CLIENTS) as pool:
        clients = [pool.submit(client, number) for number in range(CLIENTS)]
        end = time.monotonic() + seconds
        try:
            while time.monotonic() < end or faults.keys() != FAULTS.keys():
                deck = deck or chance.sample([*product(links, FAULTS)], len(links) * len(FAULTS))
                link, fault = deck.pop()
                FAULTS[fault](link, chance)
                faults[fault] += 1
                time.sleep(chance.uniform(0.05, 0.5))
                link.heal()
                time.sleep(chance.uniform(0.4, 1.6))
        finally:
            over.set()
        answers = sum((future.result() for future in clients), Counter[int]())

    share = answers[200] / answers.total()
    FIGURES.append(
        f"chaos: {faults.total()} faults in {seconds:.0f} s, {answers.total():,} answers:"
        f" {share:.2%} right, the others 503 or 504 ({dict(answers)}, {dict(faults)})"
    )
    assert share > RIGHT
    for call_id in CALLS:
        assert service.request(target=f"/v2/calls/{call_id}", key=acme_key).status == 200
