"""Redocly and Spectral find nothing in openapi.yaml, with the rules of redocly.yaml and spectral.yaml."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from ops.openapi import OPENAPI
from tests.openapi import tools

HERE = Path(__file__).parent


def redocly(document: Path, home: Path) -> list[str]:
    """Return the rules that the document breaks, as Redocly finds them."""
    config = f"--config={HERE / 'redocly.yaml'}"
    said = output([*tools.command("redocly"), "lint", config, "--format=json", str(document)], home)
    report = json.loads(said)
    assert report["totals"]["ignored"] == 0
    return [problem["ruleId"] for problem in report["problems"]]


def spectral(document: Path, home: Path) -> list[str]:
    """Return the rules that the document breaks, as Spectral finds them."""
    rules = f"--ruleset={HERE / 'spectral.yaml'}"
    options = ["--format=json", "--quiet", "--fail-severity=hint"]
    said = output([*tools.command("spectral"), "lint", rules, *options, str(document)], home)
    return [problem["code"] for problem in json.loads(said)]


def output(command: list[str], home: Path) -> str:
    done = subprocess.run(
        command, env=tools.environment(home), capture_output=True, text=True, check=False
    )
    assert done.stdout, done.stderr
    return done.stdout


@pytest.mark.parametrize("lint", [redocly, spectral])
def test_a_linter_reports_nothing(lint: Callable[[Path, Path], list[str]], tmp_path: Path) -> None:
    assert lint(OPENAPI, tmp_path) == []


@pytest.mark.parametrize(
    ("lint", "rule", "missing"),
    [(redocly, "info-license", "license"), (spectral, "info-contact", "contact")],
)
def test_a_linter_reports_what_is_missing(
    lint: Callable[[Path, Path], list[str]], rule: str, missing: str, tmp_path: Path
) -> None:
    document = yaml.safe_load(OPENAPI.read_text("utf-8"))
    del document["info"][missing]
    incomplete = tmp_path / "openapi.yaml"
    incomplete.write_text(yaml.safe_dump(document, sort_keys=False))

    assert lint(incomplete, tmp_path) == [rule]
