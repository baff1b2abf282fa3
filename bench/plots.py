"""The pictures of the pages, as SVG: the same bytes from the same figures."""

import statistics
from collections.abc import Sequence
from io import StringIO
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.capacity import Row
from bench.report import RPS, Results, figures, title
from ops.capacity import FIGURES

STYLE: dict[Any, Any] = {
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.constrained_layout.use": True,
    "figure.facecolor": "white",  # also where the page is dark
    "font.size": 10,
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "call-api",  # else each run makes up its own IDs
}
COLOURS = {"IAM": "#c2410c", "key": "#1d4ed8"}
GREY = "#6b7280"


def throughput(results: Results) -> str:
    """Return the picture of performance.md: a server a bar, with its least and most."""
    servers = ["function", "tutorial", "node", "limit"]
    rounds = [figures(results, server, RPS) for server in servers]
    medians = [statistics.median(each) for each in rounds]
    spread = [
        [median - min(each) for median, each in zip(medians, rounds, strict=True)],
        [max(each) - median for median, each in zip(medians, rounds, strict=True)],
    ]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7, 2.4))
        axes = figure.subplots()
        colours = [COLOURS["key"], *[GREY] * 3]
        axes.barh(
            [title(server) for server in servers],
            medians,
            xerr=spread,
            color=colours,
            height=0.6,
            capsize=3,
        )
        for place, (median, each) in enumerate(zip(medians, rounds, strict=True)):
            axes.annotate(
                f"{median:,.0f}",
                (max(each), place),
                xytext=(6, 0),
                textcoords="offset points",
                va="center",
            )
        axes.margins(x=0.1)
        axes.invert_yaxis()
        axes.set_xlabel("requests a second of one process: a small call, 16 clients")
        return _svg(figure)


def capacity(rows: Sequence[Row]) -> str:
    """Return the picture of capacity.md: times, refusals, instances and cost, by the rate."""
    most = {(row.rate, row.signer): row for row in rows}  # the last one has the most instances
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(8, 5))
        (time, refused), (instances, cost) = figure.subplots(2, 2, sharex=True)
        for signer, colour in COLOURS.items():
            drawn = [row for (_, by), row in most.items() if by == signer]
            rates = [row.rate for row in drawn]
            for axes, values, line in [
                (time, [row.p99_ms for row in drawn], "o-"),
                (time, [row.p50_ms for row in drawn], "o:"),
                (refused, [row.refused + row.turned_away for row in drawn], "o-"),
                (instances, [row.instances for row in drawn], "o-"),
                (cost, [row.dollars_million for row in drawn], "o-"),
            ]:
                axes.plot(rates, values, line, color=colour, markersize=4)
        quota = FIGURES["signatures"][0] / 60
        for axes, heading, scale, form in [
            (time, "time of an answer: p99, and p50 dotted, ms", "log", "{x:,.0f}"),
            (refused, "requests that are refused", "linear", "{x:.0%}"),
            (instances, "instances", "log", "{x:g}"),
            (cost, "dollars for a million answers", "linear", "{x:.0f}"),
        ]:
            axes.axvline(quota, color=GREY, linewidth=0.8, linestyle="--")
            axes.set_title(heading, fontsize=10)
            axes.set(xscale="log", yscale=scale)
            axes.xaxis.set_major_formatter("{x:,.0f}")
            axes.yaxis.set_major_formatter(form)
        refused.set_ylim(-0.03, 1)
        cost.set_ylim(0)
        beside = {"xytext": (-4, 0), "textcoords": "offset points", "ha": "right", "va": "top"}
        refused.annotate("IAM's quota", (quota, 0.97), color=GREY, **beside)
        figure.supxlabel("requests a second", fontsize=10)
        figure.legend(
            handles=[
                Line2D([], [], color=colour, marker="o", markersize=4)
                for colour in COLOURS.values()
            ],
            labels=["signed by IAM", "signed by a key"],
            loc="outside upper center",
            ncols=2,
            frameon=False,
        )
        return _svg(figure)


def _svg(figure: Figure) -> str:
    with StringIO() as svg:
        # A date and the version of the library would change the bytes, and no line of the picture.
        figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
        return svg.getvalue()
