"""Capacity: 10 to 10,000 requests a second, simulated with the times that were measured."""

import json
import math
import os
import statistics
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

from bench.simulation import Outcome, Setup, Simulation, Work
from ops.capacity import MONTH, costs, defaults, measured_cpu, needs
from ops.pages import table

COMMAND = "make capacity"
OUTCOMES = Path(__file__).with_name("capacity.json")
RATES = (10, 30, 100, 300, 1_000, 3_000, 10_000)
SEED = 1
SECONDS, REQUESTS = 10, 10_000  # at least so long, and so many requests, are counted
FIRST_SECONDS, FIRST_REQUESTS = 10, 2_000
PART_INSTANCES = 2  # at least

Results = Mapping[str, Any]


class Row(NamedTuple):
    """What a rate comes to, signed in one way."""

    rate: int
    signer: str
    max_instances: int
    instances: float  # that are billed, on average
    p50_ms: float
    p99_ms: float
    first_p99_ms: float  # of the first seconds, where no instance was there
    refused: float  # the share of the requests
    turned_away: float
    dollars_hour: float
    dollars_million: float  # of answers


def simulated(results: Results) -> list[Row]:
    """Simulate each rate, signed in both ways, with as many instances as it needs."""
    default = int(defaults()["max_instances"])
    cases = {
        (rate, signer, most)
        for rate in RATES
        for signer in ("IAM", "key")
        for most in (default, max(default, _needed(results, rate, signer)))
    }
    # Not forked: `make bench` has gRPC's threads, which survive no fork.
    with ProcessPoolExecutor(os.cpu_count(), get_context("spawn")) as processes:
        return list(processes.map(partial(row, results), *zip(*sorted(cases), strict=True)))


def _needed(results: Results, rate: float, signer: str) -> int:
    """Return the instances that a rate needs, in tens."""
    *instances, _ = needs(rate, signer, measured_cpu(results), defaults())
    return math.ceil(max(instances) / 10) * 10


def setup(results: Results, rate: float, signer: str, max_instances: int) -> Setup:
    """Return what is simulated."""
    cpu, figures = measured_cpu(results), defaults()
    way = "keyless_s" if signer == "IAM" else "key_s"
    start_s = statistics.median(results["figures"]["function"][f"cold_start/{way}"])
    work = Work(
        small_ms=cpu[signer],
        hour_ms=cpu[signer] + cpu["one-hour call"] - cpu["key"],
        unchanged_ms=cpu["304"],
        start_ms=figures["platform_start_ms"] + start_s * 1000,
    )
    return Setup(rate, signer == "IAM", work, max_instances, figures)


def row(results: Results, rate: int, signer: str, max_instances: int) -> Row:
    """Simulate one case: a steady load, and one that meets no instance."""
    whole = setup(results, rate, signer, max_instances)
    cpu, figures = measured_cpu(results), {**whole.figures, "max_instances": max_instances}
    *_, limits = needs(rate, signer, cpu, figures)
    is_overloaded = limits[0][0] <= rate
    parts = _parts(whole, 500 if is_overloaded else 2_500)
    part = whole.part(parts)
    by_cpu, by_places, _ = needs(part.rate, signer, cpu, part.figures)
    steady = Simulation(part, seed=SEED, warm=min(part.max_instances, max(by_cpu, by_places)))
    # Until the queues are as long as they get, which takes long where hardly more comes than is answered.
    steady.run(150 if is_overloaded else 2)
    outcome = steady.run(max(SECONDS, REQUESTS / part.rate))

    instances = outcome.instances * parts
    admitted = rate * (1 - outcome.turned_away / outcome.ended)
    answered = rate * len(outcome.times_ms) / outcome.ended
    # Refusals are read, logged and charged for, but carry no call.
    answer_bytes = figures["answer_bytes"] * answered / admitted
    dollars = costs(admitted, instances, {**figures, "answer_bytes": answer_bytes})["sum"]
    found = (
        instances,
        outcome.percentile(50),
        outcome.percentile(99),
        _first(part).percentile(99),
        outcome.refused / outcome.ended,
        outcome.turned_away / outcome.ended,
        dollars / MONTH * 3600,
        dollars / (answered * MONTH / 1e6),
    )
    return Row(rate, signer, max_instances, *(float(f"{figure:.4g}") for figure in found))


def _parts(whole: Setup, rate: float) -> int:
    """Return the number of equal parts that have at least this rate and PART_INSTANCES."""
    most = min(whole.rate / rate, whole.max_instances / PART_INSTANCES)
    return next(n for n in range(max(1, int(most)), 0, -1) if whole.max_instances % n == 0)


def _first(part: Setup) -> Outcome:
    """Return the outcome of the first seconds without an instance, of several times if need be."""
    times = math.ceil(FIRST_REQUESTS / part.rate / FIRST_SECONDS)
    outcomes = [Simulation(part, seed=SEED + n, warm=0).run(FIRST_SECONDS) for n in range(times)]
    return Outcome(FIRST_SECONDS * times, [ms for each in outcomes for ms in each.times_ms])


def kept() -> list[Row]:
    """Return the outcomes of the last run."""
    return [Row(**each) for each in json.loads(OUTCOMES.read_text("utf-8"))]


def keep(rows: Sequence[Row]) -> None:
    """Keep the outcomes."""
    lines = ",\n ".join(json.dumps(each._asdict()) for each in rows)
    OUTCOMES.write_text(f"[{lines}]\n", "utf-8")


def report(rows: Sequence[Row]) -> str:
    """Return the picture and the table, in Markdown."""
    cells = (
        [form.format(value) for (_, form), value in zip(COLUMNS, each, strict=True)]
        for each in rows
    )
    return f"{PICTURE}\n\n{table((head for head, _ in COLUMNS), cells)}"


PICTURE = (
    "![By the rate: the time of an answer, the requests that are refused, the instances, and the cost"
    " of a million answers, signed by IAM and by a key](capacity.svg)"
)
COLUMNS = [  # of a row: its head and its format
    ("requests a second", "{:,}"),
    ("signed by", "{}"),
    ("`MAX_INSTANCES`", "{}"),
    ("instances", "{:.1f}"),
    ("p50, ms", "{:,.0f}"),
    ("p99, ms", "{:,.0f}"),
    ("p99 from no instance on, ms", "{:,.0f}"),
    ("refused by the function (503)", "{:.1%}"),
    ("by Cloud Run (429)", "{:.1%}"),
    ("$ an hour", "{:,.2f}"),
    ("$ a million calls", "{:,.2f}"),
]
