"""The report: figures, the function's ratios to the other servers, and targets, in Markdown."""

import os
import platform
import statistics
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import psutil

from bench.results import CPU, OURS, P50, P99, RPS, TARGETS, Results, figures, ratios

LOADS = {
    "small/1": "one call of 3 turns, 1 client",
    "small/16": "the same, 16 clients",
    "small/64": "the same, 64 clients",
    "hour/1": "an hour of 1,800 turns, 1 client",
    "hour/16": "the same, 16 clients",
    "unchanged/16": "304, 16 clients",
    "delayed/64": "keyless, with a data centre's delays, 64 clients",
}
COMPARED = {
    "cold_start_s": "cold start",
    "memory_mib": "memory after the load",
    f"small/1/{P50}": "p50, 1 client",
    f"small/16/{RPS}": "requests/s, 16 clients",
    f"small/16/{CPU}": "CPU a request, 16 clients",
    f"small/64/{P99}": "p99, 64 clients",
    f"hour/16/{RPS}": "requests/s, an hour, 16 clients",
    f"hour/16/{CPU}": "CPU a request, an hour, 16 clients",
    f"delayed/64/{RPS}": "requests/s, keyless with delays, 64 clients",
    f"delayed/64/{P50}": "p50, keyless with delays, 64 clients",
}


def _rows() -> Iterator[tuple[str, str, str]]:
    """Yield each row of the figures: what it is, the figure, and its format."""
    yield "cold start, s", "cold_start_s", "{:.2f}"
    yield "memory after the load, MiB", "memory_mib", "{:.0f}"
    yield "upstream calls, first request of an API key", "upstream_calls/first", "{:g}"
    yield "upstream calls, with a key", "upstream_calls/key", "{:g}"
    yield "upstream calls, keyless", "upstream_calls/keyless", "{:g}"
    yield "upstream calls, 304", "upstream_calls/unchanged", "{:g}"
    for load, what in LOADS.items():
        yield f"**{what}:** requests/s", f"{load}/{RPS}", "{:,.0f}"
        yield "CPU, ms a request", f"{load}/{CPU}", "{:.2f}"
        yield "p50, ms", f"{load}/{P50}", "{:.1f}"
        if not load.startswith("hour"):  # of fewer than a hundred answers, p99 is the slowest one
            yield "p99, ms", f"{load}/{P99}", "{:.1f}"


def machine() -> Results:
    """Return when and on what this runs."""
    cpus = Path("/proc/cpuinfo")
    models = [
        line.partition(": ")[2]
        for line in (cpus.read_text().splitlines() if cpus.exists() else [])
        if line.startswith("model name")
    ]
    node = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True)
    return {
        "date": datetime.now(UTC).date().isoformat(),
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
    """Return figures, ratios, targets, and the reason for each target that is missed."""
    servers = list(results["servers"])
    peers = [server for server in servers if server != OURS]
    ours_to = [
        [what, *(_spread(_to(results, figure, peer)) for peer in peers)]
        for figure, what in COMPARED.items()
    ]
    kept = [
        [
            what,
            f"{target.sign} {target.bound:g}",
            _spread(target.measured(results)),
            "held" if target.held(results) else "missed",
        ]
        for what, target in TARGETS.items()
    ]
    missed = [
        f"- {what}: {statistics.median(target.measured(results)):.2f} (target {target.sign}"
        f" {target.bound:g}). {target.why_missed}"
        for what, target in TARGETS.items()
        if not target.held(results)
    ]
    on = results["machine"]
    head = (
        f"Medians of {results['rounds']} rounds on {results['date']}: {on['cpu']}, {on['cores']}"
        f" cores, {on['memory_gib']} GiB, {on['system']}, Python {on['python']}, Node.js"
        f" {on['node']}."
    )
    parts = [
        head,
        _table(["", *servers], _figure_rows(results, servers)),
        "### Ratios\n\nThe function to each of the others: median of the rounds (least to most).",
        _table(["function to", *peers], ours_to),
        "### Targets",
        _table(["target", "bound", "measured", ""], kept),
    ]
    if missed:
        parts += ["Missed targets:", "\n".join(missed)]
    return "\n\n".join(parts) + "\n"


def _figure_rows(results: Results, servers: Sequence[str]) -> Iterable[list[str]]:
    for what, figure, form in _rows():
        found = [figures(results, server, figure) for server in servers]
        if any(found):
            yield [what, *(form.format(statistics.median(each)) if each else "" for each in found)]


def _to(results: Results, figure: str, peer: str) -> list[float]:
    others = figures(results, peer, figure)
    return ratios(figures(results, OURS, figure), others) if others else []


def _spread(measured: Sequence[float]) -> str:
    if not measured:
        return ""
    median, least, most = statistics.median(measured), min(measured), max(measured)
    return f"{median:.2f}" + (f" ({least:.2f} to {most:.2f})" if len(measured) > 1 else "")


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table that also reads well as it is."""
    cells = [head, *rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "| " + " | ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) + " |"
        for line in cells
    ]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])
