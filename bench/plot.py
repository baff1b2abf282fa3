"""The plot: the figures that differ most, a panel each, as SVG that reads on any background."""

import statistics
from collections.abc import Iterator
from html import escape

from bench.results import CPU, OURS, P50, RPS, Results, figures

PANELS = {
    f"small/16/{RPS}": ("requests/s, 16 clients", "more is better", "{:,.0f}"),
    f"small/16/{CPU}": ("CPU a request, 16 clients, ms", "less is better", "{:.2f}"),
    f"small/1/{P50}": ("p50 latency, 1 client, ms", "less is better", "{:.1f}"),
    f"delayed/64/{P50}": ("p50, keyless with delays, 64 clients, ms", "less is better", "{:,.0f}"),
    "cold_start_s": ("cold start, s", "less is better", "{:.2f}"),
    "memory_mib": ("memory after the load, MiB", "less is better", "{:.0f}"),
}
COLUMNS, COLUMN, EDGE = 2, 400, 24
TITLE, ROW, BAR, GAP = 30, 22, 14, 26  # heights: a panel's title, a server's row and bar
LABELS, VALUES = 70, 60  # widths beside the bars
INK, QUIET, PAPER, FRAME = "#1f2328", "#59636e", "#ffffff", "#d1d9e0"
COLOURS = {OURS: "#0969da", "limit": "#c8ccd1", "floor": "#c8ccd1"}
PEER = "#8c959f"


def plot(results: Results) -> str:
    """Return the picture."""
    servers = list(results["servers"])
    panel = TITLE + ROW * len(servers) + GAP
    width = EDGE * 2 + COLUMN * COLUMNS
    height = EDGE * 2 + panel * -(-len(PANELS) // COLUMNS)
    size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    text = f'font-family="system-ui, sans-serif" font-size="13" fill="{INK}"'
    card = f'rx="6" fill="{PAPER}" stroke="{FRAME}"'
    drawn = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} {text}>',
        f"<title>What was measured of {escape(', '.join(servers))}</title>",
        f'<rect x="0.5" y="0.5" width="{width - 1}" height="{height - 1}" {card}/>',
    ]
    for number, figure in enumerate(PANELS):
        x, y = EDGE + number % COLUMNS * COLUMN, EDGE + number // COLUMNS * panel
        drawn.append(f'<g transform="translate({x} {y})">')
        drawn.extend(_panel(results, figure))
        drawn.append("</g>")
    drawn.append(
        f'<text x="{EDGE}" y="{height - EDGE}" font-size="11" fill="{QUIET}">Bars: medians of'
        f" {results['rounds']} rounds on {results['machine']['cores']} cores, {results['date']}."
        " Lines: least to most.</text>"
    )
    return "\n".join([*drawn, "</svg>", ""])


def _panel(results: Results, figure: str) -> Iterator[str]:
    title, better, form = PANELS[figure]
    measured = {server: figures(results, server, figure) for server in results["servers"]}
    scale = (COLUMN - LABELS - VALUES) / max(max(each, default=0) for each in measured.values())
    yield (
        f'<text y="13"><tspan font-weight="600">{escape(title)}</tspan>'
        f'<tspan dx="8" font-size="11" fill="{QUIET}">{escape(better)}</tspan></text>'
    )
    for row, (server, rounds) in enumerate(measured.items()):
        middle = TITLE + row * ROW + BAR / 2
        weight = 600 if server == OURS else 400
        yield (
            f'<text x="{LABELS - 8}" y="{middle + 4.5}" text-anchor="end" font-weight="{weight}">'
            f"{escape(server)}</text>"
        )
        if not rounds:
            yield f'<text x="{LABELS}" y="{middle + 4.5}" fill="{QUIET}">not measured</text>'
            continue
        median, least, most = statistics.median(rounds), min(rounds), max(rounds)
        yield (
            f'<rect x="{LABELS}" y="{middle - BAR / 2}" width="{median * scale:.1f}"'
            f' height="{BAR}" rx="2" fill="{COLOURS.get(server, PEER)}"/>'
        )
        yield (
            f'<path d="M{LABELS + least * scale:.1f} {middle}H{LABELS + most * scale:.1f}"'
            f' stroke="{INK}"/>'
        )
        yield (
            f'<text x="{LABELS + most * scale + 6:.1f}" y="{middle + 4.5}" font-weight="{weight}">'
            f"{form.format(median)}</text>"
        )
