"""The upload of firestore.rules, against a fake of the rules API."""

from contextlib import AbstractContextManager
from typing import Any

from tests.support.cloud import Result
from tests.support.rest import TOKEN, rest_server, run_tool
from tests.support.serving import ROOT


def rules_server(releases: dict[str, Any]) -> AbstractContextManager[str]:
    """Serve the part of the rules API that is asked, from a dictionary of its resources."""

    def answers(method: str, path: str, body: dict[str, Any]) -> tuple[int, object]:
        if method == "GET":
            found = releases.get(path.removeprefix("/v1/"))
            return (200, found) if found else (404, "none")
        made = body["release"] if method == "PATCH" else body
        if path.endswith("/rulesets"):
            made["name"] = f"projects/p/rulesets/{len(releases)}"
        releases[made["name"]] = made
        return 200, made

    return rest_server(answers)


def upload(endpoint: str, *arguments: str) -> Result:
    tool = ("ops.firestore_rules", "--project=p", *arguments)
    return run_tool(*tool, token=TOKEN, FIREBASERULES_ENDPOINT=endpoint)


def in_force(releases: dict[str, Any], release: str) -> str:
    content = releases[releases[release]["rulesetName"]]["source"]["files"][0]["content"]
    assert isinstance(content, str)
    return content


def test_rules_are_uploaded_once() -> None:
    rules = (ROOT / "firestore.rules").read_text()
    releases: dict[str, Any] = {}
    with rules_server(releases) as endpoint:
        first = upload(endpoint)
        after_first = dict(releases)
        second = upload(endpoint)
        named = upload(endpoint, "--database=calls")

    assert (first.code, second.code, named.code) == (0, 0, 0), first.err + second.err + named.err
    assert after_first.items() <= releases.items()
    assert len(after_first) == 2
    assert in_force(releases, "projects/p/releases/cloud.firestore") == rules
    assert in_force(releases, "projects/p/releases/cloud.firestore/calls") == rules


def test_rules_of_somebody_else_are_replaced_only_on_demand() -> None:
    name = "projects/p/releases/cloud.firestore"
    releases: dict[str, Any] = {
        name: {"name": name, "rulesetName": "projects/p/rulesets/x"},
        "projects/p/rulesets/x": {"source": {"files": [{"content": "allow all"}]}},
    }
    with rules_server(releases) as endpoint:
        refused = upload(endpoint)
        kept = in_force(releases, name)
        replaced = upload(endpoint, "--replace")

    assert refused.code == 1
    assert refused.err.startswith("firestore.rules: the database (default) has security rules ")
    assert "FIRESTORE_RULES=keep or FIRESTORE_RULES=replace" in refused.err
    assert len(refused.err.splitlines()) == 1
    assert kept == "allow all"
    assert replaced.code == 0, replaced.err
    assert in_force(releases, name) == (ROOT / "firestore.rules").read_text()
