"""What watches the function: uptime checks, metrics, alert policies, the dashboard."""

import json
import re
import shlex

import pytest
import yaml

from call_api.errors import UpstreamTimeout
from call_api.log import RequestEntry
from tests.support.cloud import Cloud, index_of
from tests.support.fakes import FakeCalls
from tests.support.in_process import asked
from tests.support.problems import PROBLEMS
from tests.support.serving import ROOT

# Files and commands


def test_another_function_is_watched_by_files_of_its_own(cloud: Cloud) -> None:
    commands = cloud.succeed("alerts", FUNCTION="calls")

    for path in [*(ROOT / "ops/alerts").iterdir(), ROOT / "ops/dashboard.json"]:
        name = path.relative_to(ROOT)
        written = json.loads((cloud.clone / ".local/deploy" / name).read_text("utf-8"))
        assert written == json.loads(path.read_text("utf-8").replace("get-call", "calls"))
        assert [c for c in commands if f"-from-file=.local/deploy/{name}" in c]
    for path in (ROOT / "ops/metrics").iterdir():
        name = path.relative_to(ROOT)
        written = yaml.safe_load((cloud.clone / ".local/deploy" / name).read_text("utf-8"))
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
    result = cloud.run(command, answer="get-call\n", without="python")

    assert result.code == 1
    assert result.err == "deploy.sh: python3 is missing: install Python 3.\n"


# Uptime checks

CREATED = "monitoring uptime create"


def test_the_public_function_is_checked_in_each_region(cloud: Cloud) -> None:
    for command in ("function", "gateway"):
        cloud.succeed(command)
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


def test_a_check_is_created_once_and_then_updated(cloud: Cloud) -> None:
    cloud.succeed("function")
    first = cloud.succeed("alerts")
    second = cloud.succeed("alerts")

    assert len([line for line in first if CREATED in line]) == 1
    update = shlex.split(second[index_of(second, "monitoring uptime update")])
    created = shlex.split(first[index_of(first, CREATED)])
    assert not [line for line in second if CREATED in line]
    assert update[3:5] == ["update", "named/get-call in europe-west1"]
    assert {word.replace("--set-", "--") for word in update[5:]} < set(created)


def test_where_nothing_is_deployed_nothing_is_checked(cloud: Cloud) -> None:
    assert not [line for line in cloud.succeed("alerts") if CREATED in line]


def test_delete_ends_the_check_before_its_function_and_keeps_those_of_others(cloud: Cloud) -> None:
    cloud.succeed("function")
    cloud.add("functions projects/my-project/locations/asia-south1/functions/get-call")
    cloud.succeed("alerts")

    commands = cloud.succeed("delete", answer="get-call\n")

    assert index_of(commands, "uptime delete") < index_of(commands, "functions delete")
    left = [line for line in cloud.resources() if line.startswith("monitoring uptime ")]
    assert left == ["monitoring uptime get-call in asia-south1\tnamed/get-call in asia-south1"]


def test_the_check_expects_what_the_function_answers(cloud: Cloud) -> None:
    cloud.succeed("function")
    commands = cloud.succeed("alerts")
    words = shlex.split(commands[index_of(commands, CREATED)])
    flags = dict(word[2:].split("=", 1) for word in words if word.startswith("--"))

    reply = asked(FakeCalls(), flags["path"], []).reply

    assert flags["status-codes"] == str(reply.status)
    assert flags["matcher-type"] == "contains-string"
    assert flags["matcher-content"] in reply.body.decode()
    assert reply.json()["code"] == "unauthenticated"


# Metrics and policies

POLICIES = {path.stem: json.loads(path.read_text()) for path in (ROOT / "ops/alerts").iterdir()}
METRICS = {path.stem: yaml.safe_load(path.read_text()) for path in (ROOT / "ops/metrics").iterdir()}


def test_there_is_a_policy_for_each_thing_to_watch() -> None:
    assert set(POLICIES) == {
        "5xx-ratio",
        "p99-latency",
        "signatures-refused",
        "stored-call-invalid",
    }
    names = [policy["displayName"] for policy in POLICIES.values()]
    assert len(set(names)) == len(names)
    assert all("First:" in policy["documentation"]["content"] for policy in POLICIES.values())


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
    assert {"code", "faults", "sign_ms"} == fields <= set(entry.fields(200))
    assert codes
    assert codes <= {problem.code for problem in PROBLEMS}


def test_a_call_without_faults_is_not_counted() -> None:
    """The metric asks whether the field is there."""
    assert "faults" not in RequestEntry("id", {}).fields(200)


def test_a_failure_while_signing_is_counted_and_another_is_not() -> None:
    """The metric tells them apart by `sign_ms`."""
    reading, signing = RequestEntry("id", {}), RequestEntry("id", {})
    for entry, stage in ((reading, "read"), (signing, "sign")):
        with pytest.raises(UpstreamTimeout), entry.stage(stage):
            raise UpstreamTimeout

    assert reading.fields(504)["sign_ms"] is None
    assert isinstance(signing.fields(504)["sign_ms"], float)
