"""`python -m ops.capacity`: where the function stops scaling, and what it costs, in Markdown."""

import argparse
import json
import math
import statistics
from collections.abc import Iterable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

from ops.pages import PAGES, table, write_tables

COMMAND = "python -m ops.capacity"
RESULTS = Path(__file__).parent.parent / "bench" / "results.json"
MONTH = 730 * 3600  # seconds
READ = "2026-11-23"  # when copies of these pages were read; a copy can be older
CLOUD, DOCS = "https://cloud.google.com/", "https://docs.cloud.google.com/"
CHECK = f"**not verified**, list price as remembered: check {CLOUD}"
LISTED = f"as transcribed on 2026-09-20 from {CLOUD}"
ASSUMED = "an assumption, not measured"
FIRESTORE = (
    "https://github.com/googleapis/nodejs-firestore/issues/1994"  # 10,000 reads of a document
)
LIMITS = 2  # rules in the policy of `deploy.sh edge`
RATES = [10, 1_000, 10_000]  # requests a second
MEASURED = {
    "IAM": "keyless/16/cpu_ms",
    "key": "small/16/cpu_ms",
    "304": "unchanged/16/cpu_ms",
    "one-hour call": "hour_gzip/4/cpu_ms",  # signed with a key
}

FIGURES: dict[str, tuple[float, str, str]] = {  # $ is US dollars, in Cloud Run's regions of tier 1
    "cpu_second": (0.000024, "$ a vCPU-second, request-based billing", CLOUD + "run/pricing"),
    "gib_second": (0.0000025, "$ a GiB-second, request-based billing", CHECK + "run/pricing"),
    "million_requests": (0.40, "$ a million, request-based billing", CHECK + "run/pricing"),
    "idle_cpu_second": (0.0000025, "$ a vCPU-second, warm and idle", CHECK + "run/pricing"),
    "steady_cpu_second": (0.000018, "$, instance-based billing", CLOUD + "run/pricing"),
    "steady_gib_second": (0.000002, "$, instance-based billing", CHECK + "run/pricing"),
    "million_reads": (0.30, "$ a million; in a multi-region 0.60", CHECK + "firestore/pricing"),
    "log_gib": (0.50, "$ a GiB", CLOUD + "stackdriver/pricing"),
    "log_free_gib": (50, "GiB a month", CLOUD + "stackdriver/pricing"),
    "egress_gib": (0.12, "$ a GiB; above 1 TiB a month less", CHECK + "vpc/network-pricing"),
    "million_calls": (3.00, "$ a million, first billion", CLOUD + "api-gateway/docs/pricing"),
    "million_calls_more": (1.50, "$ a million, above it", CLOUD + "api-gateway/docs/pricing"),
    "rule_hour": (
        0.025,
        "$ an hour, up to five forwarding rules",
        LISTED + "load-balancing/pricing",
    ),
    "balanced_gib": (0.008, "$ a GiB, in and out", LISTED + "load-balancing/pricing"),
    "policy_month": (5, "$ a month, Cloud Armor's policy", CHECK + "armor/pricing"),
    "limit_month": (1, "$ a month, a rule of it; two", CHECK + "armor/pricing"),
    "million_judged": (0.75, "$ a million requests, Cloud Armor", CHECK + "armor/pricing"),
    "signatures": (60_000, "`signBlob` a minute, a project", CLOUD + "iam/quotas"),
    "region_cpus": (1_000, "vCPUs: an example", DOCS + "run/docs/configuring/max-instances-limits"),
    "target": (0.6, "of CPU, of concurrency", DOCS + "run/docs/configuring/scaling-controls"),
    "ramp_reads": (500, "reads a second at first", DOCS + "firestore/docs/resolve-latency"),
    "max_instances": (20, "instances", "deploy.sh"),
    "concurrency": (80, "requests at a time, an instance", "deploy.sh"),
    "cpus": (1, "vCPUs, an instance", "deploy.sh"),
    "gib": (0.5, "GiB, an instance", "deploy.sh"),
    "reads": (2, "documents a request, also for a 304", "docs/deploy.md"),
    "log_bytes": (300, "bytes, the function's line", "docs/deploy.md"),
    "run_log_bytes": (1_000, "bytes, the line that Cloud Run adds", ASSUMED),
    "request_bytes": (500, "bytes, a request", ASSUMED),
    "answer_bytes": (2_900, "bytes, a 200 on average; a 304 has no body", ASSUMED),
    "unchanged": (0, "of the requests, answered 304", ASSUMED),
    "hours": (0.01, "of the calls, an hour long", ASSUMED),
    "read_ms": (17, "ms, Firestore, median", FIRESTORE),
    "read_p99_ms": (32, "ms, Firestore, p99", FIRESTORE),
    "sign_ms": (60, "ms, `signBlob`, median", ASSUMED),
    "sign_p99_ms": (300, "ms, `signBlob`, p99", ASSUMED),
    "platform_start_ms": (1_000, "ms, Cloud Run before the function's own start", ASSUMED),
}
DIVISORS = ("target", "ramp_reads", "max_instances", "concurrency", "cpus")


def defaults() -> dict[str, float]:
    """Return the value of each figure."""
    return {name: value for name, (value, *_) in FIGURES.items()}


def figure(text: str) -> tuple[str, float]:
    """Return a figure's name and value from NAME=VALUE."""
    name, _, value = text.partition("=")
    if name not in FIGURES:
        raise argparse.ArgumentTypeError(f"no figure is called {name}: {', '.join(FIGURES)}")
    if (number := float(value)) < 0 or (not number and name in DIVISORS):
        raise argparse.ArgumentTypeError(f"{name} cannot be {value}")
    return name, number


def needs(
    rate: float, signer: str, cpu: Mapping[str, float], f: Mapping[str, float]
) -> tuple[int, int, list[tuple[float, str, str]]]:
    """Return the instances by CPU and by concurrency, and each limit with the rate it allows."""
    signed = 1 - f["unchanged"]
    call_ms = cpu[signer] + f["hours"] * (cpu["one-hour call"] - cpu["key"])
    busy_ms = signed * call_ms + f["unchanged"] * cpu["304"]
    open_ms = busy_ms + f["read_ms"] + (signed * f["sign_ms"] if signer == "IAM" else 0)
    # Instances for one request a second; whole ones are counted below, and 4.0000000001 is four.
    # More than one vCPU is paid for, but the function's one process has one event loop.
    shares = (
        busy_ms / min(1, f["cpus"]) / f["target"] / 1e3,
        open_ms / f["concurrency"] / f["target"] / 1e3,
    )
    by_cpu, by_concurrency = (math.ceil(rate * share - 1e-6) for share in shares)
    needed = f"`MAX_INSTANCES={max(by_cpu, by_concurrency)}`"
    limits = [
        (f["max_instances"] / max(shares), "`MAX_INSTANCES`", needed),
        (f["region_cpus"] / f["cpus"] / max(shares), "the region's vCPUs", "a larger quota"),
    ]
    if signer == "IAM" and signed:
        limits.append((f["signatures"] / 60 / signed, "`signBlob`", "`SIGNER_SECRET`"))
    return by_cpu, by_concurrency, sorted(limits)


def costs(rate: float, instances: float, f: Mapping[str, float]) -> dict[str, float]:
    """Return the dollars of a month in which so many instances have requests in hand all the time."""
    seconds, millions = instances * MONTH, rate * MONTH / 1e6
    gib = {name: millions * 1e6 * f[name] / 2**30 for name in f if name.endswith("_bytes")}
    steady = f["cpus"] * f["steady_cpu_second"] + f["gib"] * f["steady_gib_second"]
    more = max(0, millions - 1000)
    spare_gib = max(0, f["log_free_gib"] - gib["log_bytes"])
    parts = {
        "Cloud Run": seconds * (f["cpus"] * f["cpu_second"] + f["gib"] * f["gib_second"]),
        "request fee": millions * f["million_requests"],
        "Firestore": millions * f["reads"] * f["million_reads"],
        "log": max(0, gib["log_bytes"] - f["log_free_gib"]) * f["log_gib"],
        "Cloud Run's log": max(0, gib["run_log_bytes"] - spare_gib) * f["log_gib"],
        "egress": gib["answer_bytes"] * (1 - f["unchanged"]) * f["egress_gib"],
    }
    return parts | {
        "sum": sum(parts.values()),
        "the first two, instance-based": seconds * steady,
        "API Gateway on top": (millions - more) * f["million_calls"]
        + more * f["million_calls_more"],
        "the edge on top": MONTH / 3600 * f["rule_hour"]
        + f["policy_month"]
        + LIMITS * f["limit_month"]
        + millions * f["million_judged"]
        + (gib["request_bytes"] + gib["answer_bytes"] * (1 - f["unchanged"])) * f["balanced_gib"],
    }


def measured_cpu(results: Mapping[str, Any]) -> dict[str, float]:
    """Return the CPU of an answer of each kind, in milliseconds."""
    figures = results["figures"]["function"]
    return {answer: statistics.median(figures[name]) for answer, name in MEASURED.items()}


def report(results: Mapping[str, Any], f: Mapping[str, float], rates: Iterable[float]) -> str:
    """Return what each rate needs and costs, signed in both ways."""
    cpu = measured_cpu(results)
    head, scale, dollars = ("requests a second", "signed by"), [], []
    for rate, signer in ((rate, signer) for rate in rates for signer in ("IAM", "key")):
        *instances, limits = needs(rate, signer, cpu, f)
        reached = [limit for limit in limits if rate >= limit[0]]
        said = "; ".join(f"{name} at {most:,.0f}" for most, name, _ in reached or limits[:1])
        remedies = "; ".join(remedy for *_, remedy in reached) or "nothing"
        steps = math.ceil(math.log(max(1, rate * f["reads"] / f["ramp_reads"]), 1.5))
        said = said if reached else f"none; the first is {said}"
        scale.append([f"{rate:,.0f}", signer, *instances, said, remedies, f"{5 * steps} min"])
        amounts = (f"${amount:,.0f}" for amount in costs(rate, max(instances), f).values())
        dollars.append([f"{rate:,.0f}", signer, *amounts])
    measured = ", ".join(f"{answer} {ms:.2f} ms" for answer, ms in cpu.items())
    warm = MONTH * (f["cpus"] * f["idle_cpu_second"] + f["gib"] * f["gib_second"])
    columns = "instances by CPU", "by concurrency", "limits reached", "set", "Firestore's ramp"
    return (
        f"CPU of a request on {results['date']}, on one core of {results['machine']['cpu']} with Python"
        f" {results['machine']['python']}: {measured}.\n\n{table(head + columns, scale)}\n"
        f"Dollars a month; an instance kept warm and idle is ${warm:,.2f} more:\n\n"
        + table((*head, *costs(1, 1, f)), dollars)
    )


def printed(
    results: Mapping[str, Any],
    changed: Mapping[str, float] | None = None,
    rates: Iterable[float] = RATES,
) -> str:
    """Return the tables, and the figures behind them with their sources."""
    f = defaults() | dict(changed or {})
    # Decimals, since a float would print as 2.4e-05.
    rows = [(f"`{name}`", f"{Decimal(str(f[name])):,f}", *FIGURES[name][1:]) for name in FIGURES]
    figures = table(("figure", "value", "unit", "source"), rows)
    return f"{report(results, f, rates)}\nRead on {READ}, unless a row says otherwise:\n\n{figures}"


def main() -> None:
    """Print the tables; with --write also put them into docs/capacity.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--rates", type=float, nargs="+", default=RATES)
    parser.add_argument("--set", type=figure, action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--write", action="store_true", help="update docs/capacity.md")
    given = parser.parse_args()
    text = printed(json.loads(given.results.read_text("utf-8")), dict(given.set), given.rates)
    print(text)  # noqa: T201  (a command's output)
    if given.write:
        write_tables(PAGES / "capacity.md", COMMAND, text)


if __name__ == "__main__":
    main()
