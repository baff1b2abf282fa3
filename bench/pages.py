"""`make capacity`: simulates, and writes the pages and pictures, with the figures of the last `make bench`."""

import json
from collections.abc import Sequence
from typing import Any

from bench import capacity, plots
from bench.report import report
from ops.capacity import COMMAND, RESULTS, printed
from ops.pages import PAGES, write_tables


def write(results: dict[str, Any], rows: Sequence[capacity.Row]) -> None:
    """Write what was measured and simulated into docs/."""
    write_tables(PAGES / "performance.md", "make bench", report(results, rows))
    write_tables(PAGES / "capacity.md", capacity.COMMAND, capacity.report(rows))
    write_tables(PAGES / "capacity.md", COMMAND, printed(results))
    (PAGES / "performance.svg").write_text(plots.throughput(results), "utf-8")
    (PAGES / "capacity.svg").write_text(plots.capacity(rows), "utf-8")


def simulate_and_write() -> None:
    """Simulate anew, keep the outcomes, and write the pages."""
    results = json.loads(RESULTS.read_text("utf-8"))
    rows = capacity.simulated(results)
    capacity.keep(rows)
    write(results, rows)
    print(capacity.report(rows))


if __name__ == "__main__":
    simulate_and_write()
