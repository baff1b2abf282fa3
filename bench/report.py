"""The page on performance: three numbers, the targets, and what was measured, in Markdown."""

import json
import os
import platform
import statistics
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from bench.capacity import Row
from bench.servers import SERVERS
from local.stack import ROOT
from ops.pages import table

OURS = "function"
Results = dict[str, Any]


class Target(NamedTuple):
    """A bound on a figure of the function, or on its ratio to the figure of another server."""

    what: str
    figure: str
    bound: str  # such as "≤ 1.4"
    server: str = ""
    why_missed: str = ""  # where it is

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


RPS, ONE_P50 = "small/16/requests_per_second", "small/1/p50_ms"
TURNS_P99, HOUR_P99 = "neighbour/turns/p99_ms", "neighbour/hour/p99_ms"
UPSTREAMS = "the server, the read and the RSA signature, which the limit has too"
PUBLISHING = "decoding, validation, rendering and the link, which the limit does not have"
TURNS = "protobuf makes six objects of each turn"
IMPORTS = "the imports of pydantic, uvicorn and gRPC's asyncio, and the models that pydantic builds"
THREAD = "beside large calls, the event loop often waits for the GIL for a switch interval"
TARGETS = [
    Target("requests/s at 16 clients, to the tutorial", RPS, "≥ 2.7", "tutorial", UPSTREAMS),
    Target("requests/s at 16 clients, to the limit", RPS, "≥ 0.72", "limit", PUBLISHING),
    Target("p50 at one client, to the limit", ONE_P50, "≤ 1.3", "limit", PUBLISHING),
    Target("CPU of a one-hour call, to the tutorial", "hour/4/cpu_ms", "≤ 0.25", "tutorial", TURNS),
    Target(
        "CPU of a one-hour call, compressed, to the tutorial",
        "hour_gzip/4/cpu_ms",
        "≤ 0.28",
        "tutorial",
        TURNS,
    ),
    Target(
        "cold start with a key file, to the tutorial",
        "cold_start/key_s",
        "≤ 1.05",
        "tutorial",
        IMPORTS,
    ),
    Target(
        "cold start without, to the tutorial", "cold_start/keyless_s", "≤ 1.1", "tutorial", IMPORTS
    ),
    Target("memory after the load, to the tutorial", "memory/load_mib", "≤ 1.0", "tutorial"),
    Target(
        "another org's p99 beside 40 clients of 15,500 turns, ms",
        TURNS_P99,
        "≤ 40",
        why_missed=THREAD,
    ),
    Target(
        "another org's p99 beside 40 clients of a one-hour call, ms",
        HOUR_P99,
        "≤ 40",
        why_missed=THREAD,
    ),
    Target("another org's errors beside 15,500 turns", "neighbour/turns/errors", "≤ 0"),
    Target("another org's errors beside a one-hour call", "neighbour/hour/errors", "≤ 0"),
    Target("upstream calls, keyless", "upstream_calls/keyless", "≤ 2"),
    Target("upstream calls, with a signing key", "upstream_calls/key", "≤ 1"),
    Target("upstream calls of a 304, with a signing key", "upstream_calls/unchanged", "≤ 1"),
]

LOAD = {  # of each case: what it is, the figure, and its format
    "requests/s": ("requests_per_second", "{:,.0f}"),
    "CPU of a request, ms": ("cpu_ms", "{:.2f}"),
    "p50, ms": ("p50_ms", "{:.1f}"),
    "p99, ms": ("p99_ms", "{:.1f}"),
}
NEIGHBOUR = {
    "p50, ms": ("p50_ms", "{:.1f}"),
    "p99, ms": ("p99_ms", "{:.1f}"),
    "errors": ("errors", "{:.0f}"),
    "the crowd's requests that are refused with 503": ("crowd_refused", "{:.0%}"),
}


def _rows(case: str, named: Mapping[str, tuple[str, str]]) -> list[tuple[str, str, str]]:
    return [(what, f"{case}/{figure}", form) for what, (figure, form) in named.items()]


def _neighbour(crowd: str) -> list[tuple[str, str, str]]:
    return [
        *_rows(f"neighbour/{crowd}", NEIGHBOUR),
        (
            "p50 at a second function, which does nothing else, ms",
            f"apart/{crowd}/p50_ms",
            "{:.1f}",
        ),
        (
            "p99 at a second function, which does nothing else, ms",
            f"apart/{crowd}/p99_ms",
            "{:.1f}",
        ),
    ]


GROUPS = {  # what it is, the figure, and its format
    "A small call, one client": _rows("small/1", {what: LOAD[what] for what in ("p50, ms", "p99, ms")}),
    "A small call, 16 clients": [
        *_rows("small/16", LOAD),
        ("cores that the server uses", "small/16/server_cores", "{:.2f}"),
        ("cores that wrk uses", "small/16/wrk_cores", "{:.2f}"),
        ("keyless: CPU of a request, ms", "keyless/16/cpu_ms", "{:.2f}"),
        ("a 304: requests/s", "unchanged/16/requests_per_second", "{:,.0f}"),
        ("a 304: CPU of a request, ms", "unchanged/16/cpu_ms", "{:.2f}"),
    ],
    "A one-hour call, four clients": [
        *_rows("hour/4", LOAD),
        ("size, KiB", "hour/4/kib", "{:.0f}"),
        *((f"gzip: {what}", figure, form) for what, figure, form in _rows("hour_gzip/4", LOAD)),
        ("gzip: size, KiB", "hour_gzip/4/kib", "{:.0f}"),
    ],
    "Another org beside 40 clients of 15,500 turns": _neighbour("turns"),
    "Another org beside 40 clients of a one-hour call": _neighbour("hour"),
    "Start and memory": [
        ("cold start with a key file, s", "cold_start/key_s", "{:.2f}"),
        ("cold start without, s", "cold_start/keyless_s", "{:.2f}"),
        ("memory after the load, MiB", "memory/load_mib", "{:.0f}"),
        ("memory with 40 slow readers of a one-hour call, MiB", "memory/slow_readers_mib", "{:.0f}"),
    ],
    "Upstream calls of a request": [
        ("first request of an API key", "upstream_calls/key_first", "{:g}"),
        ("with a signing key", "upstream_calls/key", "{:g}"),
        ("keyless", "upstream_calls/keyless", "{:g}"),
        ("a 304", "upstream_calls/unchanged", "{:g}"),
    ],
}  # fmt: skip

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


def report(results: Results, rows: Sequence[Row]) -> str:
    """Return the three numbers, the picture, the targets and the figures."""
    on, deployed = results["machine"], deployed_python()
    other = "" if is_deployed(on["python"]) else f" (the function is deployed on {deployed})"
    targets = ["target", "bound", "median (least to most)", ""]
    held = sum(target.holds(results) for target in TARGETS)
    return (
        f"{_three_numbers(results, rows)}\n{PICTURE}\n\n"
        f"Medians of {results['rounds']} rounds, least to most in parentheses, on {results['date']}:"
        f" {on['cpu']}, {on['cores']} cores, {on['memory_gib']} GiB, {on['system']}, Python"
        f" {on['python']}{other}, Node.js {on['node']}. The load average was"
        f" {results['load_average']} before.\n\n## Targets\n\n{held} of {len(TARGETS)} hold."
        f"\n\n{table(targets, _target_rows(results))}"
        f"\n## Figures\n\n{''.join(_groups(results))}### Worst documents\n\n"
        + table(["ms of CPU", *DOCUMENT_COLUMNS], _document_rows(results))
    )


PICTURE = (
    "![Requests a second of the function, the tutorial, the same in Node.js and the limit]"
    "(performance.svg)"
)


def _three_numbers(results: Results, rows: Sequence[Row]) -> str:
    """Return what a user asks for first."""

    def ours(figure: str, form: str) -> str:
        return form.format(statistics.median(figures(results, OURS, figure)))

    tutorial = statistics.median(TARGETS[0].measured(results))
    keyless = {row.rate: row.dollars_million for row in rows if row.signer == "IAM"}
    crowds = ("turns", "hour")
    errors = sum(sum(figures(results, OURS, f"neighbour/{crowd}/errors")) for crowd in crowds)
    fast = (
        f"of a small call on one core, {tutorial:.1f} times as many as the tutorial; one client"
        f" waits {ours(ONE_P50, '{:.1f}')} ms"
    )
    cost = (
        f"simulated, signed by IAM, with Firestore, log and network, at 100 requests/s; ${keyless[10]:.2f} at 10, and"
        f" ${keyless[1_000]:.2f} at 1,000 ([Capacity](capacity.md))"
    )
    beside = (
        "p99 of small calls, while 40 clients of another org ask for calls of 15,500 turns;"
        f" {ours(HOUR_P99, '{:.0f}')} ms while they ask for one-hour calls,"
        f" {ours('small/1/p99_ms', '{:.0f}')} ms alone; {errors:.0f} errors"
    )
    answers = [
        ("How fast is it?", f"**{ours(RPS, '{:,.0f}')} requests/s**", fast),
        ("What do a million calls cost?", f"**${keyless[100]:.2f}**", cost),
        ("Beside a noisy neighbour?", f"**{ours(TURNS_P99, '{:.0f}')} ms**", beside),
    ]
    return table(["", "", ""], answers)


def deployed_python() -> str:
    """Return the version of Python that the function is deployed on, such as 3.13."""
    runtime = json.loads((ROOT / "firebase.json").read_text("utf-8"))["functions"][0]["runtime"]
    return f"3.{runtime.removeprefix('python3')}"


def is_deployed(python: str) -> bool:
    """Tell whether a version is the one that the function is deployed on."""
    return python.startswith(f"{deployed_python()}.")


def _target_rows(results: Results) -> Iterator[Sequence[str]]:
    for target in TARGETS:
        why = f": {target.why_missed}" if target.why_missed else ""
        holds = "holds" if target.holds(results) else f"**missed**{why}"
        yield target.what, target.bound, _spread(target.measured(results), "{:.4g}"), holds


def _groups(results: Results) -> Iterator[str]:
    for heading, named in GROUPS.items():
        measured = {
            server: [figures(results, server, figure) for _, figure, _ in named]
            for server in SERVERS
        }
        servers = [server for server, found in measured.items() if any(found)]
        rows = (
            (what, *(_spread(measured[server][place], form) for server in servers))
            for place, (what, _, form) in enumerate(named)
        )
        yield f"### {heading}\n\n{table(['', *map(title, servers)], rows)}\n"


def title(server: str) -> str:
    """Return a server's name as people write it."""
    return {"node": "Node.js"}.get(server, server)


def _document_rows(results: Results) -> Iterator[Sequence[str]]:
    for what, cost in results["documents"].items():
        kib, *times = (cost[name] for name in DOCUMENT_COLUMNS.values())
        yield what, f"{kib:,.0f}", *("refused" if ms is None else f"{ms:.1f}" for ms in times)


def _spread(measured: Sequence[float], form: str) -> str:
    """Return the median, and where they differ the least and the most."""
    if not measured:
        return ""
    median, least, most = (form.format(f(measured)) for f in (statistics.median, min, max))
    return median if least == most else f"{median} ({least} to {most})"
