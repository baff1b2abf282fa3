"""The report: the targets, and what was measured, in Markdown."""

import os
import platform
import statistics
import subprocess
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from bench.servers import SERVERS
from ops.pages import table

OURS = "function"
Results = dict[str, Any]


class Target(NamedTuple):
    """A bound on a figure of the function, or on its ratio to the figure of another server."""

    what: str
    figure: str
    bound: str  # such as "≤ 1.4"
    server: str = ""

    def measured(self, results: Results) -> list[float]:
        """Return the figure or the ratio in each round."""
        ours = figures(results, OURS, self.figure)
        if not self.server:
            return ours
        others = figures(results, self.server, self.figure)
        return [one / other for one, other in zip(ours, others, strict=True)]

    def holds(self, results: Results) -> bool:
        """Tell whether the median keeps to the bound."""
        sign, bound = self.bound.split()
        median = statistics.median(self.measured(results))
        return median >= float(bound) if sign == "≥" else median <= float(bound)


RPS, CPU, HOUR_CPU = "small/16/requests_per_second", "small/16/cpu_ms", "hour/4/cpu_ms"
TURNS_P99, HOUR_P99 = "neighbour/turns/p99_ms", "neighbour/hour/p99_ms"
TARGETS = [
    Target("requests/s at 16 clients, to the tutorial", RPS, "≥ 2.7", "tutorial"),
    Target("requests/s at 16 clients, to Node.js", RPS, "≥ 5.5", "node"),
    Target("requests/s at 16 clients, to the limit", RPS, "≥ 0.75", "limit"),
    Target("p50 at one client, to the limit", "small/1/p50_ms", "≤ 1.4", "limit"),
    Target("CPU of a one-hour call, to the tutorial", HOUR_CPU, "≤ 0.25", "tutorial"),
    Target(
        "CPU of a one-hour call, compressed, to the tutorial",
        "hour_gzip/4/cpu_ms",
        "≤ 0.30",
        "tutorial",
    ),
    Target("cold start with a key file, to the tutorial", "cold_start/key_s", "≤ 1.05", "tutorial"),
    Target("cold start without, to the tutorial", "cold_start/keyless_s", "≤ 1.2", "tutorial"),
    Target("memory after the load, to the tutorial", "memory/load_mib", "≤ 1.0", "tutorial"),
    Target("another org's p99 beside 40 clients of 15,500 turns, ms", TURNS_P99, "≤ 50"),
    Target("another org's p99 beside 40 clients of a one-hour call, ms", HOUR_P99, "≤ 40"),
    Target("another org's errors beside them", "neighbour/turns/errors", "≤ 0"),
    Target("upstream calls, keyless", "upstream_calls/keyless", "≤ 2"),
    Target("upstream calls, with a signing key", "upstream_calls/key", "≤ 1"),
    Target("upstream calls of a 304, with a signing key", "upstream_calls/unchanged", "≤ 1"),
]

ROWS = [  # what it is, the figure, and its format
    ("cold start with a key file, s", "cold_start/key_s", "{:.2f}"),
    ("cold start without, s", "cold_start/keyless_s", "{:.2f}"),
    ("memory after the load, MiB", "memory/load_mib", "{:.0f}"),
    ("memory with 40 slow readers of a one-hour call, MiB", "memory/slow_readers_mib", "{:.0f}"),
    ("**another org beside 40 clients of 15,500 turns:** p50, ms", "neighbour/turns/p50_ms", "{:.1f}"),
    ("p99, ms", TURNS_P99, "{:.0f}"),
    ("errors", "neighbour/turns/errors", "{:.0f}"),
    ("requests of the crowd that are refused with 503", "neighbour/turns/crowd_refused", "{:.0%}"),
    ("**beside 40 clients of a one-hour call:** p50, ms", "neighbour/hour/p50_ms", "{:.1f}"),
    ("p99, ms", HOUR_P99, "{:.0f}"),
    ("errors", "neighbour/hour/errors", "{:.0f}"),
    ("requests of the crowd that are refused with 503", "neighbour/hour/crowd_refused", "{:.0%}"),
    ("upstream calls, first request of an API key", "upstream_calls/key_first", "{:g}"),
    ("upstream calls, with a signing key", "upstream_calls/key", "{:g}"),
    ("upstream calls, keyless", "upstream_calls/keyless", "{:g}"),
    ("upstream calls of a 304", "upstream_calls/unchanged", "{:g}"),
    ("**small call, 1 client:** p50, ms", "small/1/p50_ms", "{:.2f}"),
    ("p99, ms", "small/1/p99_ms", "{:.1f}"),
    ("**small call, 16 clients:** requests/s", RPS, "{:,.0f}"),
    ("CPU, ms a request", CPU, "{:.2f}"),
    ("p50, ms", "small/16/p50_ms", "{:.1f}"),
    ("p99, ms", "small/16/p99_ms", "{:.1f}"),
    ("cores that the server uses", "small/16/server_cores", "{:.2f}"),
    ("cores that wrk uses", "small/16/wrk_cores", "{:.2f}"),
    ("**small call, keyless, 16 clients:** CPU, ms a request", "keyless/16/cpu_ms", "{:.2f}"),
    ("**304, 16 clients:** requests/s", "unchanged/16/requests_per_second", "{:,.0f}"),
    ("CPU, ms a request", "unchanged/16/cpu_ms", "{:.2f}"),
    ("**one-hour call, 4 clients:** requests/s", "hour/4/requests_per_second", "{:,.0f}"),
    ("CPU, ms a request", HOUR_CPU, "{:.1f}"),
    ("p50, ms", "hour/4/p50_ms", "{:.1f}"),
    ("size, KiB", "hour/4/kib", "{:.0f}"),
    ("**one-hour call, gzip, 4 clients:** requests/s", "hour_gzip/4/requests_per_second", "{:,.0f}"),
    ("CPU, ms a request", "hour_gzip/4/cpu_ms", "{:.1f}"),
    ("p50, ms", "hour_gzip/4/p50_ms", "{:.1f}"),
    ("size, KiB", "hour_gzip/4/kib", "{:.0f}"),
]  # fmt: skip

DOCUMENT_COLUMNS = {
    "KiB on the wire": "kib",
    "owner": "owner_ms",
    "decode": "decode_ms",
    "validate": "validate_ms",
    "render": "render_ms",
}


def figures(results: Results, server: str, figure: str) -> list[float]:
    """Return a figure in each round, or nothing where it was not measured."""
    found: list[float] = results["figures"][server].get(figure, [])
    return found


def machine() -> Results:
    """Return when and on what this runs."""
    cpus = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    models = [line.partition(": ")[2] for line in cpus if line.startswith("model name")]
    node = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True)
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "load_average": round(os.getloadavg()[0], 1),
        "machine": {
            "cpu": models[0] if models else platform.processor(),
            "cores": os.cpu_count(),
            "memory_gib": round(psutil.virtual_memory().total / 2**30),
            "system": f"{platform.system()} {platform.release()}",
            "python": platform.python_version(),
            "node": node.stdout.strip().removeprefix("v"),
        },
    }


def report(results: Results) -> str:
    """Return the targets and the figures."""
    on = results["machine"]
    return (
        f"Medians of {results['rounds']} rounds on {results['date']}: {on['cpu']}, {on['cores']}"
        f" cores, {on['memory_gib']} GiB, {on['system']}, Python {on['python']}, Node.js"
        f" {on['node']}. The load average was {results['load_average']} before.\n\n### Targets\n\n"
        + table(["target", "bound", "measured (least to most)", "holds"], _target_rows(results))
        + "\n### Figures\n\n"
        + table(["", *SERVERS], _figure_rows(results))
        + "\n### Worst documents\n\n"
        + table(["ms of CPU", *DOCUMENT_COLUMNS], _document_rows(results))
    )


def _target_rows(results: Results) -> Iterator[Sequence[str]]:
    for target in TARGETS:
        holds = "yes" if target.holds(results) else "no"
        yield target.what, target.bound, _spread(target.measured(results)), holds


def _figure_rows(results: Results) -> Iterator[Sequence[str]]:
    for what, figure, form in ROWS:
        measured = (figures(results, server, figure) for server in SERVERS)
        yield what, *(form.format(statistics.median(each)) if each else "" for each in measured)


def _document_rows(results: Results) -> Iterator[Sequence[str]]:
    for what, cost in results["documents"].items():
        kib, *times = (cost[name] for name in DOCUMENT_COLUMNS.values())
        yield what, f"{kib:,.0f}", *("refused" if ms is None else f"{ms:.1f}" for ms in times)


def _spread(measured: Sequence[float]) -> str:
    if len(measured) == 1:
        return f"{measured[0]:g}"
    return f"{statistics.median(measured):.3f} ({min(measured):.3f} to {max(measured):.3f})"
