"""Where the time goes: a request's stages and its total agree, also when 64 come at once."""

import re
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import pytest

from tests.support.google_cloud import GoogleCloud
from tests.support.serving import Service

CLIENTS, REQUESTS = 64, 256
SIGN_SECONDS = 0.06
REST = 0.1  # of a request: what is no stage, such as the route, the answer's JSON and its headers


class Timed(NamedTuple):
    """What a client measured, what it was told, and what the log says; milliseconds."""

    client: float
    told: dict[str, float]
    logged: dict[str, float]

    @property
    def rest(self) -> float:
        return self.logged["total"] - self.logged["read"] - self.logged["sign"]


@pytest.fixture(scope="module")
def under_load(keyless: Service, shared_cloud: GoogleCloud, acme_key: str) -> list[Timed]:
    def ask(number: int) -> tuple[str, float, dict[str, float]]:
        started = time.perf_counter()
        given = [("X-Request-Id", f"timed-{number}")]
        reply = keyless.request(headers=given, key=acme_key, published=False)
        seconds = time.perf_counter() - started
        assert reply.status == 200
        told = re.findall(r"(\w+);dur=([\d.]+)", reply.headers["Server-Timing"])
        return given[0][1], seconds * 1000, {stage: float(ms) for stage, ms in told}

    ask(0)  # connects, and fetches the token
    shared_cloud.iam.seconds = SIGN_SECONDS
    with ThreadPoolExecutor(CLIENTS) as clients:
        asked = list(clients.map(ask, range(1, REQUESTS + 1)))
    entries = {
        entry["request_id"]: {name: entry[f"{name}_ms"] for name in ("read", "sign", "total")}
        for entry in keyless.entries()
    }
    return [Timed(client, told, entries[number]) for number, client, told in asked]


@pytest.mark.parametrize(
    ("call_id", "method", "stages"),
    [
        (77, "GET", ["read", "sign"]),
        (77, "HEAD", ["read"]),
        (84, "GET", ["read"]),
    ],
    ids=["with a link", "HEAD", "without a recording"],
)
def test_a_client_is_told_the_stages_that_there_were(
    call_id: int, method: str, stages: list[str], service: Service, acme_key: str
) -> None:
    reply = service.request(method, f"/v2/calls/{call_id}", key=acme_key)

    pattern = ", ".join(f"{stage};dur=[0-9.]+" for stage in stages)
    assert re.fullmatch(pattern, reply.headers["Server-Timing"])


def test_a_client_is_told_what_the_log_says(under_load: list[Timed]) -> None:
    for timed in under_load:
        assert timed.told == {stage: timed.logged[stage] for stage in ("read", "sign")}


def test_the_stages_add_up_to_the_total(under_load: list[Timed]) -> None:
    assert min(timed.rest for timed in under_load) > -0.05  # each is rounded to a hundredth
    assert statistics.median(timed.rest / timed.logged["total"] for timed in under_load) < REST


def test_no_stage_is_shorter_than_what_it_waits_for(under_load: list[Timed]) -> None:
    assert min(timed.logged["sign"] for timed in under_load) >= SIGN_SECONDS * 1000
    assert min(timed.logged["read"] for timed in under_load) > 0


def test_a_total_is_within_what_the_client_waited(under_load: list[Timed]) -> None:
    assert all(timed.logged["total"] < timed.client for timed in under_load)
