"""What watches the function: uptime checks, metrics, alert policies, the dashboard."""

import io
import json
import re
import shlex
from collections.abc import Iterator
from functools import cache
from time import perf_counter
from typing import Any, NamedTuple

import pytest
import yaml

from call_api.errors import CallsUnavailable, SigningUnavailable, UpstreamTimeout
from call_api.log import JsonLog, RequestEntry
from local.seed import sample_calls
from tests.support.cloud import After, Cloud, index_of
from tests.support.fakes import FakeCalls, FakeRecordingUrls
from tests.support.in_process import KEYS, MINE, asked
from tests.support.monitoring import (
    METRICS,
    POLICIES,
    Point,
    alerts,
    parsed,
    points_of,
    points_of_check,
)
from tests.support.problems import PROBLEMS
from tests.support.serving import ROOT

# Files and commands


def test_another_function_is_watched_by_files_of_its_own(cloud: Cloud) -> None:
    commands = cloud.succeed("alerts", FUNCTION="calls")

    policies, metrics = (ROOT / "ops/alerts").iterdir(), (ROOT / "ops/metrics").iterdir()
    for path in [*policies, *metrics, ROOT / "ops/dashboard.json"]:  # JSON is YAML
        name = path.relative_to(ROOT)
        written = yaml.safe_load((cloud.home / "files" / name).read_text("utf-8"))
        assert written == yaml.safe_load(path.read_text("utf-8").replace("get-call", "calls"))
        assert [c for c in commands if f"-from-file=.local/deploy/{name}" in c]


def test_policies_are_found_again_however_their_json_is_laid_out(cloud: Cloud) -> None:
    for path in [*(cloud.clone / "ops/alerts").iterdir(), cloud.clone / "ops/dashboard.json"]:
        document = json.loads(path.read_text("utf-8"))
        path.write_text(json.dumps(dict(reversed(document.items()))))
    cloud.succeed("alerts")

    commands = cloud.succeed("alerts")

    assert not [c for c in commands if " create " in c]


@pytest.mark.parametrize("command", ["alerts", "delete"])
def test_a_missing_python_is_one_sentence(command: str, cloud: Cloud) -> None:
    result = cloud.run(command, without="python")

    assert result.code == 1
    assert result.err.endswith("/python is missing: install Python 3.11 or newer.\n")
    assert len(result.err.splitlines()) == 1


# Uptime checks

CREATED = "monitoring uptime create"


def test_the_public_function_is_checked_in_each_region(after: After) -> None:
    cloud = after("function", "gateway")
    cloud.add("functions projects/my-project/locations/asia-south1/functions/get-call")
    cloud.add("functions projects/my-project/locations/asia-south1/functions/another")

    commands = [shlex.split(line) for line in cloud.succeed("alerts") if CREATED in line]

    assert [words[4] for words in commands] == [
        "get-call in europe-west1",
        "get-call in asia-south1",
    ]
    for words in commands:
        assert "--resource-labels=host=get-call-abc.a.run.app,project_id=my-project" in words
        assert "--protocol=https" in words


def test_a_check_is_created_once_and_then_updated(after: After) -> None:
    cloud = after("function", "alerts")
    first, second = cloud.commands(), cloud.succeed("alerts")

    assert len([line for line in first if CREATED in line]) == 1
    update = shlex.split(second[index_of(second, "monitoring uptime update")])
    created = shlex.split(first[index_of(first, CREATED)])
    assert not [line for line in second if CREATED in line]
    assert update[3:5] == ["update", "named/get-call in europe-west1"]
    assert {word.replace("--set-", "--") for word in update[5:]} < set(created)


def test_where_nothing_is_deployed_nothing_is_checked(after: After) -> None:
    assert not [line for line in after("alerts").commands() if CREATED in line]


def test_delete_ends_the_check_before_its_function_and_keeps_those_of_others(
    deployed: Cloud,
) -> None:
    deployed.add("functions projects/my-project/locations/asia-south1/functions/get-call")
    deployed.succeed("alerts")

    commands = deployed.succeed("delete")

    assert index_of(commands, "uptime delete") < index_of(commands, "functions delete")
    left = [line for line in deployed.resources() if line.startswith("monitoring uptime ")]
    assert left == ["monitoring uptime get-call in asia-south1\tnamed/get-call in asia-south1"]


def test_the_check_expects_what_the_function_answers(after: After) -> None:
    commands = after("function", "alerts").commands()
    words = shlex.split(commands[index_of(commands, CREATED)])
    flags = dict(word[2:].split("=", 1) for word in words if word.startswith("--"))

    reply = asked(FakeCalls(), flags["path"], []).reply

    assert flags["status-codes"] == str(reply.status)
    assert flags["matcher-type"] == "contains-string"
    assert flags["matcher-content"] in reply.body.decode()
    assert reply.json()["code"] == "unauthenticated"


# Metrics and policies


def test_what_is_watched_is_measured() -> None:
    watching = json.dumps(POLICIES) + (ROOT / "ops/dashboard.json").read_text()
    used = set(re.findall(r"logging\.googleapis\.com/user/get-call-([a-z-]+)", watching))

    assert used == set(METRICS)


def test_what_is_measured_is_what_the_function_logs() -> None:
    """By the fields of an entry. A message is prose: a reworded one would silence its alert."""
    filters = " ".join(metric["filter"] for metric in METRICS.values())
    fields = set(re.findall(r"jsonPayload\.(\w+)", filters))
    codes = set(re.findall(r'jsonPayload\.code="(\w+)"', filters))

    entry = RequestEntry("id", {}, faults=["latency_ms"])
    assert {"code", "faults", "sign_ms", "status", "total_ms"} == fields <= set(entry.fields(200))
    assert codes
    assert codes <= {problem.code for problem in PROBLEMS}


def test_a_failure_while_signing_is_counted_and_another_is_not() -> None:
    """The metric tells them apart by `sign_ms`."""
    reading, signing = RequestEntry("id", {}), RequestEntry("id", {})
    for entry, stage in ((reading, "read"), (signing, "sign")):
        with pytest.raises(UpstreamTimeout), entry.stage(stage):
            raise UpstreamTimeout

    assert reading.fields(504)["sign_ms"] is None
    assert isinstance(signing.fields(504)["sign_ms"], float)


# Who is alerted, by lines that the function writes


@cache
def lines() -> dict[str, dict[str, Any]]:
    """Return a line of each kind that a situation consists of."""
    call = sample_calls()[77]
    store = FakeCalls(keys=KEYS, calls={77: call})
    written = {
        "answered": asked(store, "/v2/calls/77", MINE),
        "refused": asked(store, "/v2/calls/77", []),
        "unavailable": asked(FakeCalls(failure=CallsUnavailable()), "/v2/calls/77", MINE),
    }
    for kind, field in (("unreadable", "started_at"), ("faulty", "latency_ms")):
        bad = FakeCalls(keys=KEYS, calls={77: call | {field: {}}})
        written[kind] = asked(bad, "/v2/calls/77", MINE)

    async def fail(*_: object) -> str:
        raise SigningUnavailable

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FakeRecordingUrls, "signed_url", fail)
        written["unsigned"] = asked(store, "/v2/calls/77", MINE)
    assert {kind: answered.what for kind, answered in written.items()} == {
        "answered": "200",
        "refused": "401 unauthenticated",
        "unavailable": "503 calls_unavailable",
        "unreadable": "500 stored_call_invalid",
        "faulty": "200",
        "unsigned": "503 signing_unavailable",
    }
    entries = {kind: answered.entry for kind, answered in written.items()}
    return entries | {
        "slow": line_after(1.2),
        "very_slow": line_after(2.5),
        "slowly_refused": line_after(1.2, 401),
    }


def line_after(seconds: float, status: int = 200) -> dict[str, Any]:
    stream = io.StringIO()
    entry = RequestEntry("r-1", {}, started=perf_counter() - seconds)
    JsonLog(stream, "INFO").write(entry.severity, f"GET {status}", entry.fields(status))
    line: dict[str, Any] = json.loads(stream.getvalue())
    return line


class During(NamedTuple):
    """So many requests of each kind, in each of these minutes."""

    minutes: int
    each: dict[str, int]
    until: int = 0  # minutes ago
    service: str = "get-call"

    def points(self) -> Iterator[Point]:
        for ago in range(self.until, self.until + self.minutes):
            for kind, count in self.each.items():
                yield from points_of(lines()[kind], -ago, count, self.service)


class Checks(NamedTuple):
    """Uptime checks of the last half an hour, which failed from some places in the last minutes."""

    failing: int
    minutes: int
    host: str = "get-call-a1b2c3d4e5-ew.a.run.app"

    def points(self) -> Iterator[Point]:
        for ago in range(30):
            for place in range(6):
                passed = place >= self.failing or ago >= self.minutes
                yield points_of_check(self.host, f"place-{place}", -ago, passed=passed)


WELL = {"answered": 1000}


def well_but_for(minutes: int, each: dict[str, int], until: int = 0) -> list[During | Checks]:
    """Return six hours in which all is well, but for these minutes, which ended so long ago."""
    before = During(360 - minutes - until, WELL, minutes + until)
    return [before, During(minutes, each, until), During(until, WELL)]


SITUATIONS: dict[str, tuple[list[During | Checks], set[str]]] = {
    "all is well": ([During(360, WELL), Checks(0, 0)], set()),
    # The SLO for availability
    "2 % are 503 for an hour": (
        well_but_for(60, {"answered": 980, "unavailable": 20}),
        {"slo-availability-fast", "5xx-ratio"},
    ),
    "they were until ten minutes ago": (
        well_but_for(60, {"answered": 980, "unavailable": 20}, until=10),
        set(),
    ),
    "0.8 % are 503 for six hours": (
        [During(360, {"answered": 992, "unavailable": 8})],
        {"slo-availability-slow"},
    ),
    "0.05 % are 503 for six hours": ([During(360, {"answered": 1999, "unavailable": 1})], set()),
    "all are 503 for a minute": (well_but_for(1, {"unavailable": 1000}), {"slo-availability-fast"}),
    "5 % are 503 for ten minutes": (
        well_but_for(10, {"answered": 950, "unavailable": 50}),
        {"5xx-ratio"},
    ),
    "3 % were 503 for two hours, until 40 minutes ago": (
        well_but_for(120, {"answered": 970, "unavailable": 30}, until=40),
        set(),
    ),
    "five of the few at night are 503": (
        [During(355, {"answered": 1}, until=5), During(5, {"unavailable": 1})],
        set(),
    ),
    "2 % are 503, beside the many 401 of a scanner": (
        well_but_for(60, {"answered": 980, "unavailable": 20, "refused": 9000}),
        {"slo-availability-fast"},
    ),
    "one function was ill, the other one has just become so": (
        [
            During(290, WELL, until=70),
            During(10, WELL),
            During(60, {"answered": 980, "unavailable": 20}, until=10),
            During(56, WELL, until=4, service="get-call-private"),
            During(4, {"answered": 950, "unavailable": 50}, service="get-call-private"),
        ],
        set(),
    ),
    "another function is ill": (
        [During(60, {"unavailable": 1000, "unreadable": 10}, service="get-calls")],
        set(),
    ),
    # The SLO for latency
    "a fifth takes over 1 s for an hour": (
        well_but_for(60, {"answered": 800, "slow": 200}),
        {"slo-latency-fast"},
    ),
    "8 % take over 1 s for six hours": (
        [During(360, {"answered": 920, "slow": 80})],
        {"slo-latency-slow"},
    ),
    "a fifth took over 1 s for an hour, until ten minutes ago": (
        well_but_for(60, {"answered": 800, "slow": 200}, until=10),
        set(),
    ),
    "a fifth takes over 1 s for four minutes": (
        well_but_for(4, {"answered": 800, "slow": 200}),
        set(),
    ),
    "30 % took over 1 s for two hours, until 40 minutes ago": (
        well_but_for(120, {"answered": 700, "slow": 300}, until=40),
        set(),
    ),
    "ten of the first few take over 1 s": (
        [During(80, {"answered": 1}, until=10), During(10, {"slow": 1})],
        set(),
    ),
    "0.5 % take over 1 s for six hours": ([During(360, {"answered": 995, "slow": 5})], set()),
    "keys are refused slowly for six hours": ([During(360, WELL | {"slowly_refused": 500})], set()),
    "2 % take over 2 s for ten minutes": (
        well_but_for(10, {"answered": 980, "very_slow": 20}),
        {"p99-latency"},
    ),
    # What the other metrics count
    "six recordings cannot be signed": (
        [During(5, WELL), During(2, {"unsigned": 3})],
        {"signatures-refused"},
    ),
    "five recordings cannot be signed": ([During(5, WELL), During(1, {"unsigned": 5})], set()),
    "Firestore fails while nothing is signed": (
        [During(5, WELL), During(1, {"unavailable": 6})],
        set(),
    ),
    "a call cannot be read": (
        [During(5, WELL), During(1, {"unreadable": 1})],
        {"stored-call-invalid"},
    ),
    "a value of a call cannot be read": (
        [During(5, WELL), During(1, {"faulty": 1})],
        {"stored-call-invalid"},
    ),
    # The uptime check
    "two places get no answer for four minutes": ([Checks(failing=2, minutes=4)], {"uptime"}),
    "no place gets an answer for two minutes": ([Checks(failing=6, minutes=2)], set()),
    "one place gets no answer for half an hour": ([Checks(failing=1, minutes=30)], set()),
    "the address has Cloud Run's newer form": (
        [Checks(6, 30, "get-call-123456789012.europe-west1.run.app")],
        {"uptime"},
    ),
    "the function of another deployment is down": (
        [Checks(6, 30, "get-call-staging-a1b2c3d4e5-ew.a.run.app")],
        set(),
    ),
    "the function of another deployment, at the newer form, is down": (
        [Checks(6, 30, "get-call-staging-123456789012.europe-west1.run.app")],
        set(),
    ),
}


@pytest.mark.parametrize("situation", SITUATIONS)
def test_a_situation_alerts_whom_it_concerns(situation: str) -> None:
    shares, expected = SITUATIONS[situation]
    points = [point for share in shares for point in share.points()]

    assert {name for name, policy in POLICIES.items() if alerts(policy, points, 0)} == expected


def test_each_policy_has_a_situation_that_trips_it() -> None:
    assert set.union(*(expected for _, expected in SITUATIONS.values())) == set(POLICIES)


@pytest.mark.parametrize(
    ("policy", "burn", "hours", "minutes"),
    [
        ("slo-availability-fast", 14.4, 1, 5),
        ("slo-availability-slow", 6, 6, 30),
        ("slo-latency-fast", 14.4, 1, 5),
        ("slo-latency-slow", 6, 6, 30),
    ],
)
def test_burn_rates_follow_from_the_documented_objectives(
    policy: str, burn: float, hours: int, minutes: int
) -> None:
    """https://sre.google/workbook/alerting-on-slos/: a long window, and one of its twelfth."""
    page = (ROOT / "docs/operate.md").read_text("utf-8")
    objectives = dict(re.findall(r"^\| (availability|latency) \| ([\d.]+) % ", page, re.MULTILINE))
    budget = 1 - float(objectives[policy.split("-")[1]]) / 100
    conditions = [one["conditionThreshold"] for one in POLICIES[policy]["conditions"]]

    long, short, enough = conditions
    for condition, seconds in ((long, hours * 3600), (short, minutes * 60)):
        assert condition["thresholdValue"] == pytest.approx(burn * budget)
        assert condition["aggregations"][0]["alignmentPeriod"] == f"{seconds}s"
    assert (enough["aggregations"], enough["thresholdValue"]) == (long["aggregations"], 10)
    assert {condition["filter"] for condition in conditions} == {long["filter"]}


def test_or_binds_more_tightly_than_and_as_in_cloud_logging() -> None:
    holds = parsed('a="x" OR a="y" AND b>2')

    assert not holds({"a": "x", "b": 2})
    assert holds({"a": "x", "b": 3})
