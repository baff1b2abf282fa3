"""What Cloud Logging and Cloud Monitoring make of the function's log: metrics, and who is alerted.

Of their languages as much as ops/ uses; anything else is refused, so that no filter passes unread.
"""

import json
import re
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from typing import Any, NamedTuple

import yaml

from tests.support.serving import ROOT

POLICIES = {path.stem: json.loads(path.read_text()) for path in (ROOT / "ops/alerts").iterdir()}
METRICS = {path.stem: yaml.safe_load(path.read_text()) for path in (ROOT / "ops/metrics").iterdir()}

Predicate = Callable[[Mapping[str, Any]], bool]
Group = tuple[object, ...]

_TOKEN = re.compile(r'\s*("(?:[^"\\]|\\.)*"|!=|=~|>=|=|>|:|[()]|[^\s()"=!~<>:]+)')
_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "=": lambda value, operand: bool(value == operand),
    "!=": lambda value, operand: bool(value != operand),
    "=~": lambda value, operand: re.search(operand, value) is not None,
    ">=": lambda value, operand: bool(value >= operand),
    ">": lambda value, operand: bool(value > operand),
}


@cache
def parsed(text: str) -> Predicate:
    """Return the test that a filter makes of a log entry, or of a time series."""
    tokens: deque[str] = deque()
    at = 0
    while at < len(text.rstrip()):
        token = _TOKEN.match(text, at)
        assert token, f"not understood: {text[at:]}"
        tokens.append(token[1])
        at = token.end()
    test = _all_of(tokens)
    assert not tokens, f"not understood from {tokens[0]} on: {text}"
    return test


def _all_of(tokens: deque[str]) -> Predicate:
    """In Cloud Logging, unlike most languages, OR binds more tightly than AND."""
    tests = [_any_of(tokens)]
    while tokens and tokens[0] == "AND":
        tokens.popleft()
        tests.append(_any_of(tokens))
    return lambda subject: all(test(subject) for test in tests)


def _any_of(tokens: deque[str]) -> Predicate:
    tests = [_one(tokens)]
    while tokens and tokens[0] == "OR":
        tokens.popleft()
        tests.append(_one(tokens))
    return lambda subject: any(test(subject) for test in tests)


def _one(tokens: deque[str]) -> Predicate:
    first = tokens.popleft()
    if first == "(":
        test = _all_of(tokens)
        assert tokens.popleft() == ")"
        return test
    operator = tokens.popleft()
    operand = tokens.popleft()
    if (operator, operand) == (":", "*"):
        return lambda subject: value_at(subject, first) is not None
    if (operator, operand) == ("=", "monitoring.regex.full_match"):
        _, pattern, _ = tokens.popleft(), json.loads(tokens.popleft()), tokens.popleft()
        return lambda subject: re.fullmatch(pattern, str(value_at(subject, first))) is not None
    compare, expected = _COMPARISONS[operator], json.loads(operand)  # a text or a number

    def test_of_value(subject: Mapping[str, Any]) -> bool:
        value = value_at(subject, first)
        return value is not None and compare(value, expected)

    return test_of_value


def value_at(subject: Mapping[str, Any], path: str) -> Any:
    """Return the value at a path such as `resource.labels.host`, or None."""
    value: Any = subject
    for name in path.replace(".label.", ".labels.").split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


class Point(NamedTuple):
    """A value of a time series in a minute, and how many times it was measured there."""

    series: Mapping[str, Any]
    minute: int
    value: float
    times: int = 1


def points_of(
    entry: Mapping[str, Any], minute: int, count: int, service: str = "get-call"
) -> Iterator[Point]:
    """Yield what requests with this line add: to log-based metrics, and to Cloud Run's own."""
    resource = {"type": "cloud_run_revision", "labels": {"service_name": service}}
    for name, metric in METRICS.items():
        if parsed(metric["filter"])({"resource": resource, "jsonPayload": entry}):
            kind = {"type": f"logging.googleapis.com/user/get-call-{name}"}
            yield Point({"resource": resource, "metric": kind}, minute, 1, count)
    status = entry["status"]
    labels = {"response_code": str(status), "response_code_class": f"{status // 100}xx"}
    for kind_of_run, value in (("request_count", 1), ("request_latencies", entry["total_ms"])):
        of_run = {"type": f"run.googleapis.com/{kind_of_run}", "labels": labels}
        yield Point({"resource": resource, "metric": of_run}, minute, value, count)


def points_of_check(host: str, place: str, minute: int, *, passed: bool) -> Point:
    """Return what a run of an uptime check adds."""
    resource = {"type": "uptime_url", "labels": {"host": host}}
    kind = "monitoring.googleapis.com/uptime_check/check_passed"
    metric = {"type": kind, "labels": {"checker_location": place}}
    return Point({"resource": resource, "metric": metric}, minute, passed)


def alerts(policy: Mapping[str, Any], points: Iterable[Point], minute: int) -> bool:
    """Say whether a policy alerts at the end of a minute."""
    points = list(points)
    met = [_met(one["conditionThreshold"], points, minute) for one in policy["conditions"]]
    if policy["combiner"] == "OR":
        return any(met)
    assert policy["combiner"] == "AND_WITH_MATCHING_RESOURCE"
    return bool(set.intersection(*met))


def _met(condition: Mapping[str, Any], points: list[Point], minute: int) -> set[Group]:
    """Return the groups for which a condition holds, and has held for its duration."""
    assert condition["comparison"] == "COMPARISON_GT"
    assert condition["trigger"] == {"count": 1}
    since = minute - _minutes(condition["duration"])
    return set.intersection(
        *(
            {
                group
                for group, value in _values(condition, points, at).items()
                if value > condition["thresholdValue"]
            }
            for at in range(since, minute + 1)
        )
    )


def _values(condition: Mapping[str, Any], points: list[Point], at: int) -> dict[Group, float]:
    (aggregation,) = condition["aggregations"]
    values = _aggregated(condition["filter"], aggregation, points, at)
    if "denominatorFilter" not in condition:
        return values
    (below,) = condition["denominatorAggregations"]
    assert below == aggregation
    whole = _aggregated(condition["denominatorFilter"], below, points, at)
    return {group: value / whole[group] for group, value in values.items() if group in whole}


def _aggregated(
    text: str, aggregation: Mapping[str, Any], points: list[Point], at: int
) -> dict[Group, float]:
    reduce = _REDUCERS[aggregation["perSeriesAligner"], aggregation["crossSeriesReducer"]]
    after, matches = at - _minutes(aggregation["alignmentPeriod"]), parsed(text)
    groups: dict[Group, list[Point]] = defaultdict(list)
    for point in points:
        if after < point.minute <= at and matches(point.series):
            fields = aggregation["groupByFields"]
            groups[tuple(value_at(point.series, field) for field in fields)].append(point)
    return {group: reduce(found) for group, found in groups.items()}


def _minutes(duration: str) -> int:
    seconds = int(duration.removesuffix("s"))
    assert seconds % 60 == 0
    assert seconds <= 90_000, "the longest window of an alert is 25 hours"
    return seconds // 60


def _sum(points: list[Point]) -> float:
    return sum(point.value * point.times for point in points)


def _p99(points: list[Point]) -> float:
    """Return the value that 1 % exceed. Cloud Monitoring knows it as exactly as its buckets are."""
    left = sum(point.times for point in points) * 0.01
    for point in sorted(points, key=lambda point: -point.value):
        left -= point.times
        if left < 0:
            return point.value
    return 0.0


def _failing(points: list[Point]) -> float:
    """Count the series whose last value is false."""
    latest = {json.dumps(point.series): point for point in sorted(points, key=lambda p: p.minute)}
    return sum(not point.value for point in latest.values())


_REDUCERS = {
    ("ALIGN_DELTA", "REDUCE_SUM"): _sum,
    ("ALIGN_DELTA", "REDUCE_PERCENTILE_99"): _p99,
    ("ALIGN_NEXT_OLDER", "REDUCE_COUNT_FALSE"): _failing,
}
