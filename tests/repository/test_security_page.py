"""SECURITY.md proves its claims by tests that exist, and what it says of the workflows holds."""

import ast
import re
from pathlib import Path

import pytest

from tests.support.serving import ROOT

PAGE = (ROOT / "SECURITY.md").read_text("utf-8")
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))

# The sections that make claims; each ends with a table of the words that it proves, and the tests.
SECTIONS = [*re.findall(r"^### (.*)", PAGE, re.MULTILINE), "Clocks", "Erasure", "Supply chain"]
PROOF = re.compile(r"(?s)(.*)\n\| proof of \| \|\n\|---\|---\|\n(.*)")
ROW = re.compile(r"\| (.+) \|((?: `[\w/]+\.py::test_\w+`)+) \|")


@pytest.mark.parametrize("title", SECTIONS)
def test_a_section_tells_a_story_and_proves_it_behind(title: str) -> None:
    """Each claim quotes words of the story, and each sentence with a "cannot" is quoted."""
    section = re.split(rf"^##+ {re.escape(title)}$", PAGE, flags=re.MULTILINE)[1]
    parts = PROOF.fullmatch(re.split(r"^##", section, flags=re.MULTILINE)[0].strip())
    assert parts, "it has no table of proof at its end"
    rows = {row: ROW.fullmatch(row) for row in parts[2].splitlines()}
    assert [row for row, match in rows.items() if match is None] == [], "they name no test"

    story = " ".join(parts[1].split())
    quotes = [quote for match in rows.values() if match for quote in match[1].split("; ")]
    cannot = [sentence for sentence in re.split(r"(?<=\.) ", story) if "cannot" in sentence]
    assert re.match(r"[A-Z]", story)
    assert [quote for quote in quotes if quote not in story] == []
    assert [each for each in cannot if not any(quote in each for quote in quotes)] == []


def test_every_named_test_exists() -> None:
    named = set(re.findall(r"`([\w/]+\.py)::(\w+)`", PAGE))
    files = {file: ROOT / "tests" / file for file, _ in named}
    assert [file for file, path in files.items() if not path.exists()] == []
    existing = {
        (file, node.name)
        for file, path in files.items()
        for node in ast.parse(path.read_text("utf-8")).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }

    assert PAGE.count("::") == len(re.findall(r"`[\w/]+\.py::test_\w+`", PAGE))
    assert named - existing == set()


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_every_action_of_a_workflow_is_pinned(workflow: Path) -> None:
    uses = re.findall(r"\buses: (.*)", workflow.read_text("utf-8"))

    assert uses
    for action in uses:
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v[0-9]+\.[0-9]+\.[0-9]+", action)
