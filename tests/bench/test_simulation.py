"""The simulation obeys what queueing theory and arithmetic say of it, and its outcomes are kept."""

import json
from dataclasses import replace
from statistics import mean
from typing import Any

import pytest

from bench.capacity import kept, row
from bench.simulation import Setup, Simulation, Work
from ops.capacity import RESULTS, defaults

WORK = Work(small_ms=3.0, hour_ms=20.0, unchanged_ms=2.0, start_ms=1_500.0)


def setup(rate: float, *, keyless: bool = False, instances: int = 20, **figures: float) -> Setup:
    """Return a service of small calls, as deployed but for these figures."""
    deployed = defaults()
    return Setup(rate, keyless, WORK, instances, {**deployed, "hours": 0, **figures})


STEADY: dict[str, Any] = {"read_ms": 20, "read_p99_ms": 20, "sign_ms": 60, "sign_p99_ms": 60}


@pytest.mark.parametrize(
    ("figures", "keyless", "ms"),
    [
        ({}, False, 3 + 20),
        ({}, True, 3 + 20 + 60),
        ({"hours": 1}, False, 20 + 20),
        ({"unchanged": 1}, True, 2 + 20),
    ],
)
def test_a_request_alone_takes_its_cpu_and_its_waits(
    figures: dict[str, float], keyless: bool, ms: float
) -> None:
    alone = setup(0.001, keyless=keyless, **{**STEADY, **figures})
    outcome = Simulation(alone, seed=1, warm=1).run(20_000)

    assert outcome.times_ms == pytest.approx([ms] * outcome.ended)
    assert outcome.ended > 10


def test_the_mean_number_of_requests_is_rate_times_mean_time() -> None:
    """Little's law, where requests wait for places and the CPU: one is integrated, one summed up."""
    outcome = Simulation(setup(270, instances=1, concurrency=12), seed=1, warm=1).run(60)
    mean_ms = mean(outcome.times_ms)

    assert outcome.ended / outcome.seconds == pytest.approx(270, rel=0.03)
    assert outcome.in_system_ms / outcome.seconds / 1000 == pytest.approx(
        outcome.ended / outcome.seconds * mean_ms / 1000, rel=0.01
    )
    assert mean_ms > 1.2 * (3 + 17)


def test_a_busier_cpu_makes_requests_wait_as_theory_says() -> None:
    """The mean wait of a queue with random arrivals and equal jobs (M/D/1): x / 2(1 - x) jobs."""
    jobs = setup(200, instances=1, read_ms=1e-6, read_p99_ms=1e-6)
    outcome = Simulation(jobs, seed=1, warm=1).run(60)
    # A request is two jobs of 1.5 ms, the second at the end of the queue: between first come, first
    # served (this wait) and processor sharing (3 / (1 - x) in all, which is twice this wait).
    busy = 0.2 * 3
    wait = busy / 2 / (1 - busy) * 3

    assert 3 + wait < mean(outcome.times_ms) < 3 + 2 * wait


def test_iam_signs_as_many_as_its_quota_and_the_function_refuses_the_rest() -> None:
    whole = setup(180, keyless=True, instances=3_000, signatures=3_600)
    over = Simulation(whole.part(3), seed=1, warm=10)
    over.run(10)
    outcome = over.run(60)

    assert len(outcome.times_ms) / 60 == pytest.approx(20, rel=0.02)
    assert outcome.refused / outcome.ended == pytest.approx(2 / 3, abs=0.02)
    assert outcome.turned_away == 0


def test_a_signing_key_knows_no_quota() -> None:
    outcome = Simulation(setup(300, signatures=6_000), seed=1, warm=2).run(10)

    assert len(outcome.times_ms) == outcome.ended


def test_cloud_run_turns_away_what_finds_no_place() -> None:
    """Two places, each for 103 ms at a time, are 19.4 requests a second."""
    few = setup(40, instances=1, concurrency=2, read_ms=100, read_p99_ms=100)
    full = Simulation(few, seed=1, warm=0)
    full.run(30)
    outcome = full.run(60)

    assert outcome.turned_away / outcome.ended == pytest.approx(1 - 19.4 / 40, abs=0.03)
    assert 10_000 < outcome.percentile(50) < 10_000 + 200


def test_the_function_refuses_new_calls_beyond_eight_reads_at_a_time() -> None:
    """Reads of a second leave eight answers a second."""
    slow = setup(20, instances=1, read_ms=1_000, read_p99_ms=1_000)
    full = Simulation(slow, seed=1, warm=1)
    full.run(10)
    outcome = full.run(60)

    assert outcome.refused / outcome.ended == pytest.approx(1 - 8 / 20, abs=0.03)
    assert outcome.percentile(99) < 1_000 + 2_000 + 100


@pytest.mark.parametrize("warm", [1, 12])
def test_instances_come_and_go_until_the_cpu_is_used_to_60_percent(warm: int) -> None:
    # 1.5 cores are 2.5 instances. The reads keep each of them busy all the time.
    load = setup(50, read_ms=300, read_p99_ms=300)
    slow = replace(load, work=WORK._replace(small_ms=30.0))
    service = Simulation(slow, seed=1, warm=warm)
    service.run(180)

    assert service.run(60).instances == pytest.approx(3, abs=0.3)


def test_the_first_request_waits_for_a_start() -> None:
    first, *others = Simulation(setup(0.001, **STEADY), seed=1, warm=0).run(20_000).times_ms

    assert first == pytest.approx(1_500 + 3 + 20)
    assert others == pytest.approx([3 + 20] * len(others))


def test_the_same_seed_gives_the_same_outcome() -> None:
    outcomes = [Simulation(setup(50), seed=seed, warm=1).run(10) for seed in (1, 1, 2)]

    assert outcomes[0] == outcomes[1] != outcomes[2]


@pytest.mark.parametrize("keyless", [False, True])
def test_a_part_is_like_the_whole(keyless: bool) -> None:
    """Of 1,100 requests a second and 12 instances, and of a third of both."""
    whole = setup(1_100, keyless=keyless, instances=12, signatures=80_000)
    one = Simulation(whole, seed=1, warm=6).run(6)
    third = Simulation(whole.part(3), seed=1, warm=2).run(18)

    assert third.instances * 3 == pytest.approx(one.instances, rel=0.05)
    for percent in (50, 99):
        assert third.percentile(percent) == pytest.approx(one.percentile(percent), rel=0.1)


def test_what_is_kept_is_what_is_simulated_now() -> None:
    results = json.loads(RESULTS.read_text("utf-8"))
    (before,) = (each for each in kept() if (each.rate, each.signer) == (100, "IAM"))

    now = row(results, before.rate, before.signer, before.max_instances)

    assert now[3:] == pytest.approx(before[3:], rel=0.02)
