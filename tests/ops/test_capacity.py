"""`python -m ops.capacity`: the arithmetic, worked out by hand, and what a reader may change."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ops.capacity import FIGURES, FIRESTORE
from ops.deploy_settings import SETTINGS, mib
from tests.support.serving import ROOT

MEASURED = {  # the median of the rounds counts: 2.4 ms, 1.5 ms, 0.9 ms
    "keyless/16/cpu_ms": [2.5, 2.4, 2.3],
    "small/1/cpu_ms": [9.0],
    "small/16/cpu_ms": [1.4, 1.5, 7.0],
    "unchanged/16/cpu_ms": [0.9],
    "hour_gzip/4/cpu_ms": [1.5],  # as a small one, so that its share changes nothing
}
COLUMNS = [
    *("requests a second", "signed by", "instances by CPU", "by concurrency"),
    *("limits reached", "set", "Firestore's ramp"),
]


@pytest.fixture
def results(tmp_path: Path) -> Path:
    path = tmp_path / "results.json"
    machine = {"cpu": "a core", "python": "3.11.7"}
    figures = {"function": MEASURED}
    path.write_text(json.dumps({"date": "2026-11-23", "machine": machine, "figures": figures}))
    return path


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ops.capacity", *map(str, arguments)]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )


def tables(results: Path, *rates: int, **changed: object) -> list[list[list[str]]]:
    """Return the cells of each table that is printed for these rates, with these figures changed."""
    chosen = ["--rates", *map(str, rates)] if rates else []
    settings = [word for name, value in changed.items() for word in ("--set", f"{name}={value}")]
    ran = run("--results", results, *chosen, *settings)
    assert (ran.returncode, ran.stderr) == (0, "")
    blocks = re.findall(r"(?:^\|.*\|\n)+", ran.stdout, re.MULTILINE)
    rows = [[line.strip("|").split("|") for line in block.splitlines()] for block in blocks]
    found = [[[cell.strip() for cell in row] for row in table] for table in rows]
    assert all(len(row) == len(table[0]) for table in found for row in table)
    assert all(set(table.pop(1)) == {"---"} for table in found)
    return found


def costs(results: Path, *rates: int, **changed: object) -> dict[str, str]:
    """Return the last row of the costs, by column."""
    _, dollars, _ = tables(results, *rates, **changed)
    return dict(zip(dollars[0], dollars[-1], strict=True))


def test_a_row_is_what_a_hand_works_out(results: Path) -> None:
    scale, dollars, _ = tables(results, 1_000)

    # IAM. CPU: 1,000 x 2.4 ms = 2.4 cores, at 60 % 4. In hand: 1,000 x (2.4 + 17 + 60) ms = 79.4
    # requests; at 60 % of 80, 1.7 instances. Key: 1.5 cores, 2.5 instances; 18.5 requests, 0.4.
    # Firestore: from 500 reads a second to 2,000 by 1.5 every 5 minutes takes 4 steps.
    key = "none; the first is `MAX_INSTANCES` at 8,000"
    assert scale == [
        COLUMNS,
        ["1,000", "IAM", "4", "2", "`signBlob` at 1,000", "`SIGNER_SECRET`", "20 min"],
        ["1,000", "key", "3", "1", key, "nothing", "20 min"],
    ]
    # A month is 2,628,000 s and as many thousand requests. With IAM:
    assert dict(zip(dollars[0], dollars[1], strict=True)) == {
        "requests a second": "1,000",
        "signed by": "IAM",
        "Cloud Run": "$265",  # 4 x 2.628 M s x ($0.000024 + 0.5 x $0.0000025)
        "request fee": "$1,051",  # 2,628 x $0.40
        "Firestore": "$1,577",  # 2,628 x 2 x $0.30
        "log": "$342",  # 2,628 M x 300 B = 734 GiB, less 50, x $0.50
        "Cloud Run's log": "$1,224",  # 2,628 M x 1,000 B = 2,448 GiB, x $0.50
        "egress": "$852",  # 2,628 M x 2,900 B = 7,098 GiB, x $0.12
        "sum": "$5,311",
        "the first two, instance-based": "$200",  # 4 x 2.628 M s x ($0.000018 + 0.5 x $0.000002)
        "API Gateway on top": "$5,442",  # 1,000 x $3 + 1,628 x $1.50
        # 730 x $0.025 + $5 + 2 x $1 + 2,628 x $0.75 + 2,628 M x (500 + 2,900) B x $0.008 a GiB
        "the edge on top": "$2,063",
    }


def test_the_limit_that_comes_first_at_each_rate(results: Path) -> None:
    scale, _, _ = tables(results)

    assert [(*row[:2], *row[4:6]) for row in scale[1:]] == [
        ("10", "IAM", "none; the first is `signBlob` at 1,000", "nothing"),
        ("10", "key", "none; the first is `MAX_INSTANCES` at 8,000", "nothing"),
        ("1,000", "IAM", "`signBlob` at 1,000", "`SIGNER_SECRET`"),
        ("1,000", "key", "none; the first is `MAX_INSTANCES` at 8,000", "nothing"),
        (
            "10,000",
            "IAM",
            "`signBlob` at 1,000; `MAX_INSTANCES` at 5,000",
            "`SIGNER_SECRET`; `MAX_INSTANCES=40`",
        ),
        ("10,000", "key", "`MAX_INSTANCES` at 8,000", "`MAX_INSTANCES=25`"),
    ]


def test_the_remedy_is_one(results: Path) -> None:
    scale, _, _ = tables(results, 10_000, max_instances=26)

    assert scale[2][4:6] == ["none; the first is `MAX_INSTANCES` at 10,400", "nothing"]


def test_a_region_has_an_end_too(results: Path) -> None:
    scale, _, _ = tables(results, 400_000, max_instances=1_000)

    both = "`MAX_INSTANCES` at 400,000; the region's vCPUs at 400,000"
    assert scale[2][2:6] == ["1000", "155", both, "`MAX_INSTANCES=1000`; a larger quota"]


def test_slow_upstreams_are_a_matter_of_concurrency(results: Path) -> None:
    scale, _, _ = tables(results, 1_000, read_ms=1_000)

    # 1,000 x (2.4 + 1,000 + 60) ms = 1,062.4 requests in hand, by 48; 20 instances have 960.
    reached = "`MAX_INSTANCES` at 904; `signBlob` at 1,000"
    assert scale[1][2:6] == ["4", "23", reached, "`MAX_INSTANCES=23`; `SIGNER_SECRET`"]


def test_what_comes_out_even_is_not_rounded_up(results: Path) -> None:
    scale, _, _ = tables(results, 3_500, target=0.7)

    assert scale[1][2] == "12"  # 3,500 x 2.4 ms / 0.7; as floats a little more


def test_a_304_takes_less_cpu_signs_nothing_and_is_read_all_the_same(results: Path) -> None:
    all_new, half = costs(results, 1_000), costs(results, 1_000, unchanged=0.5)
    scale, _, _ = tables(results, 1_000, unchanged=0.5)

    # 1,000 x (2.4 + 0.9) / 2 ms = 1.65 cores, at 60 % 2.75 instances.
    assert scale[1][2:5] == ["3", "2", "none; the first is `signBlob` at 2,000"]
    changed = {name for name in half if half[name] != all_new[name]}
    others = {"the first two, instance-based", "the edge on top"}
    assert changed == {"Cloud Run", "egress", "sum"} | others
    assert (half["egress"], half["Cloud Run"]) == ("$426", "$133")


def test_one_hour_calls_take_more_cpu(results: Path) -> None:
    measured = json.loads(results.read_text())
    measured["figures"]["function"]["hour_gzip/4/cpu_ms"] = [11.5]
    results.write_text(json.dumps(measured))
    scale, _, _ = tables(results, 1_000, hours=0.5)

    # Half of the calls take 10 ms more: 7.4 cores signed by IAM, 6.5 by a key.
    assert [row[2] for row in scale[1:]] == ["13", "11"]


def test_no_request_asks_iam_where_all_are_304(results: Path) -> None:
    scale, _, _ = tables(results, 5_000, unchanged=1)

    assert scale[1][2:] == scale[2][2:]


def test_prices_can_be_others(results: Path) -> None:
    dollars = costs(
        results, 1_000, cpu_second=0.00003, million_requests=0, million_reads=0.6, log_free_gib=734
    )

    assert dollars["Cloud Run"] == "$246"  # signed with a key: 3 x 2.628 M s x $0.00003125
    assert dollars["request fee"] == "$0"
    assert dollars["Firestore"] == "$3,154"
    assert dollars["log"] == "$0"


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("cpu_seconds=1", "no figure is called cpu_seconds: cpu_second, gib_second, "),
        ("cpu_second", "invalid figure value: 'cpu_second'"),
        ("cpu_second=cheap", "invalid figure value: 'cpu_second=cheap'"),
        ("cpu_second=-1", "cpu_second cannot be -1"),
        ("target=0", "target cannot be 0"),
    ],
)
def test_what_is_no_figure_is_refused(results: Path, setting: str, said: str) -> None:
    ran = run("--results", results, "--set", setting)

    assert (ran.returncode, ran.stdout) == (2, "")
    assert f"error: argument --set: {said}" in ran.stderr


def test_every_figure_is_printed_with_its_source(results: Path) -> None:
    *_, figures = tables(results, unchanged=0.25)

    assert [row[0] for row in figures[1:]] == [f"`{name}`" for name in FIGURES]
    values = {name: value for name, value, *_ in figures}
    assert (values["`cpu_second`"], values["`signatures`"]) == ("0.000024", "60,000")
    assert values["`unchanged`"] == "0.25"
    source = r"https://(docs\.)?cloud\.google\.com/\S+"
    unread = rf"\*\*not verified\*\*, list price as remembered: check {source}"
    listed = rf"as transcribed on 2026-09-20 from {source}"
    other = f"{listed}|{re.escape(FIRESTORE)}|an assumption, not measured|deploy.sh|docs/deploy.md"
    assert [
        row for row in figures[1:] if not re.fullmatch(f"{source}|{unread}|{other}", row[3])
    ] == []


def test_what_is_deployed_is_what_is_counted_with() -> None:
    defaults = {setting.name: setting.default for setting in SETTINGS}
    deployed = [str(defaults[name]) for name in ("MAX_INSTANCES", "CONCURRENCY", "CPU", "MEMORY")]
    counted = [FIGURES[name][0] for name in ("max_instances", "concurrency", "cpus", "gib")]

    assert counted == [*map(int, deployed[:3]), mib(deployed[3]) / 1024]


def test_what_is_free_of_the_log_is_free_of_both_logs(results: Path) -> None:
    """At 10 requests/s they are 32 of 50 GiB together, at 20 they are 64."""
    at_10, at_20 = costs(results, 10), costs(results, 20)

    assert at_10["Cloud Run's log"] == "$0"
    assert (at_20["log"], at_20["Cloud Run's log"]) == ("$0", "$7")


def test_a_second_vcpu_is_paid_for_and_answers_nothing(results: Path) -> None:
    one, two = (tables(results, cpus=n)[0] for n in (1, 2))

    assert [row[2] for row in one] == [row[2] for row in two]
