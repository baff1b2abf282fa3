"""SECURITY.md names tests that exist, and what it says of the workflows holds."""

import ast
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.serving import ROOT

PAGE = (ROOT / "SECURITY.md").read_text("utf-8")
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def rows() -> list[str]:
    """Return the rows of the tables that have the tests in their last column."""
    tables = re.findall(r"^\|.*\| \|\n\|[-|]+\n((?:\|.*\n)+)", PAGE, re.MULTILINE)
    return [row for table in tables for row in table.splitlines()]


def test_every_claim_names_a_test() -> None:
    assert len(rows()) > 30
    assert [row for row in rows() if "::test_" not in row and "| the same |" not in row] == []


def test_every_named_test_exists() -> None:
    named = set(re.findall(r"`([\w/]+\.py)::(\w+)`", PAGE))
    existing = {
        (file, node.name)
        for file, _ in named
        for node in ast.parse((ROOT / "tests" / file).read_text("utf-8")).body
        if isinstance(node, ast.FunctionDef)
    }

    assert PAGE.count("::") == len(re.findall(r"`[\w/]+\.py::test_\w+`", PAGE))
    assert named - existing == set()


def test_every_link_of_the_page_leads_somewhere() -> None:
    files = {link.partition("#")[0] for link in re.findall(r"\]\((?!http)([^)]+)\)", PAGE)}

    assert [file for file in files if not Path(ROOT, file).exists()] == []


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_every_workflow_is_pinned_and_may_only_read(workflow: Path) -> None:
    text = workflow.read_text("utf-8")
    uses = re.findall(r"\buses: (.*)", text)
    granted: dict[str, Any] = yaml.safe_load(text)

    assert uses
    for action in uses:
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v[0-9]+\.[0-9]+\.[0-9]+", action)
    assert granted["permissions"] == {}
    for job in granted["jobs"].values():
        assert set(job.get("permissions", {}).items()) <= {("contents", "read")}
