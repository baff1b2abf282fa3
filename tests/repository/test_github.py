"""GitHub's files: jobs have no more rights than they state, and nothing that is locked is forgotten."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.repository import files_called, folders_with
from tests.support.serving import ROOT

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.y*ml"))
MAKEFILE = (ROOT / "Makefile").read_text("utf-8")


def parsed(file: Path) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(file.read_text("utf-8"))
    return document


def updated(ecosystem: str) -> list[str]:
    """Return the folders in which Dependabot looks for a kind of packages."""
    updates = parsed(ROOT / ".github" / "dependabot.yml")["updates"]
    return sorted(
        folder.removeprefix("/") or "."
        for update in updates
        if update["package-ecosystem"] == ecosystem
        for folder in update.get("directories") or [update["directory"]]
    )


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_a_job_has_the_rights_that_it_states(workflow: Path) -> None:
    """To check out needs one, as the workflow grants none: a private repository is not read without."""
    document = parsed(workflow)
    assert document["permissions"] == {}
    for name, job in document["jobs"].items():
        # A job of an environment asks for a token that says so, in place of a key.
        token = {"id-token": "write"} if "environment" in job else {}
        assert job.get("permissions") == {"contents": "read"} | token, name


def test_dependabot_looks_where_packages_are_locked() -> None:
    assert updated("npm") == folders_with("package.json") == folders_with("package-lock.json")
    assert updated("pip") == folders_with("*requirements*.txt")
    assert updated("github-actions") == ["."]


def test_the_audit_looks_where_packages_are_locked() -> None:
    audited = re.findall(r"^\tnpm --prefix (\S+) audit ", MAKEFILE, re.MULTILINE)
    (locks,) = re.findall("^LOCKS := (.+)$", MAKEFILE, re.MULTILINE)

    assert sorted(audited) == folders_with("package.json")
    assert sorted(locks.split()) == files_called("*requirements*.txt")
