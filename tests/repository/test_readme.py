"""README.md and the pages under docs/ say what the code does."""

import json
import re
from pathlib import Path

import pytest

from bench import capacity as simulated
from bench import plots
from bench.report import GROUPS, OURS, report
from call_api.calls.access import ApiKey
from call_api.calls.schema import Call
from call_api.settings import Settings
from ops import capacity
from ops.pages import with_tables
from tests.support.problems import PROBLEMS
from tests.support.serving import ROOT

DOCS = ROOT / "docs"
README = (ROOT / "README.md").read_text("utf-8")
PAGES = {
    page: page.read_text("utf-8")
    for page in [ROOT / "README.md", ROOT / "SECURITY.md", *sorted(DOCS.glob("*.md"))]
}
RESULTS = json.loads(capacity.RESULTS.read_text("utf-8"))


def table(page: str, heading: str) -> list[list[str]]:
    """Return the cells of the first table under a heading, without its head."""
    section = page.split(f"\n## {heading}\n")[1].split("\n## ", maxsplit=1)[0]
    rows = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip().strip("`") for cell in row.split("|")[1:-1]] for row in rows[2:]]


def anchors(page: str) -> set[str]:
    """Return what a link can name in a page, as GitHub makes it of the headings."""
    prose = re.sub(r"```.*?```", "", page, flags=re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_refusal_is_in_the_table() -> None:
    documented = {tuple(row[:3]) for row in table(README, "Refusals")}

    assert documented == {(str(p.status.value), p.code, p.detail) for p in PROBLEMS}


WRITTEN = {
    "None": "unset",
    "frozenset()": "unset",
    "False": "false",
}  # what the table says for them


def test_every_setting_is_in_the_table_with_its_default() -> None:
    rows = table(PAGES[DOCS / "deploy.md"], "Settings")
    documented = {name: default for name, default, _ in rows}

    assert documented.keys() == {field.alias for field in Settings.model_fields.values()}
    assert documented.pop("RECORDINGS_BUCKET") == "required"
    assert documented.pop("GOOGLE_CLOUD_PROJECT") == "from the credentials"
    defaults = {field.alias: field.default for field in Settings.model_fields.values()}
    for name, default in documented.items():
        written = str(defaults[name])
        assert default == WRITTEN.get(written, written)


def test_every_room_is_on_the_map() -> None:
    package = ROOT / "call_api"
    rooms = {f"call_api/{room.parent.name}/" for room in package.glob("*/__init__.py")}
    files = {f"call_api/{file.name}" for file in package.glob("[!_]*.py")}
    code_map = README.split("## Map of the code")[1].split("```")[1]

    assert {line.split()[0] for line in code_map.strip().splitlines()} == rooms | files | {
        "main.py"
    }


def test_every_stored_field_is_documented() -> None:
    fields = (
        PAGES[DOCS / "stored-calls.md"].split("| field | value | meaning |\n")[1].split("\n\n")[0]
    )
    in_call = {
        name for row in fields.splitlines() for name in re.findall(r"`(\w+)`", row.split("|")[1])
    }
    record = table(PAGES[DOCS / "keys.md"], "The stored record")
    in_record = {name for row in record for name in re.findall(r"\w+", row[0])}

    assert in_call == set(Call.model_fields)
    assert in_record == set(ApiKey.model_fields)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\((?!http)([^)]+)\)", PAGES[page]):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target.read_text("utf-8")), link


def test_the_readme_links_every_page() -> None:
    linked = set(re.findall(r"\]\(([^)#]+)\)", README))

    assert {str(page.relative_to(ROOT)) for page in PAGES} - {"README.md"} <= linked


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_file_that_a_page_names_exists(page: Path) -> None:
    named = re.findall(r"`((?:bench|call_api|docs|local|ops|tests)/[\w./-]+)`", PAGES[page])

    assert [name for name in named if not (ROOT / name).exists()] == []


def test_the_run_that_is_kept_has_every_figure() -> None:
    named = [figure for group in GROUPS.values() for _, figure, _ in group]

    assert [figure for figure in named if figure not in RESULTS["figures"][OURS]] == []


def test_the_page_on_performance_is_of_the_run_that_is_kept() -> None:
    page = PAGES[DOCS / "performance.md"]

    assert page == with_tables(page, "make bench", report(RESULTS, simulated.kept()))


def test_the_page_on_capacity_is_what_the_commands_print() -> None:
    page = PAGES[DOCS / "capacity.md"]

    assert page == with_tables(page, simulated.COMMAND, simulated.report(simulated.kept()))
    assert page == with_tables(page, capacity.COMMAND, capacity.printed(RESULTS))


def test_the_pictures_are_of_the_figures_that_are_kept() -> None:
    drawn = {"performance": plots.throughput(RESULTS), "capacity": plots.capacity(simulated.kept())}

    assert [
        name for name in drawn if (DOCS / f"{name}.svg").read_text("utf-8") != drawn[name]
    ] == []


def modules_on_the_map() -> tuple[set[str], set[str]]:
    """Return the call page's modules that `docs/local.md` lists: those of the page, and the pure ones."""
    section = PAGES[DOCS / "local.md"].split("\n## The call page\n")[1].split("\n## ")[0]
    _, of_the_page, pure = section.split("| file | role |")
    named = [re.findall(r"^\| (.+?) \|", part, re.MULTILINE) for part in (of_the_page, pure)]
    page, without_page = (set(re.findall(r"`(\w+\.js)`", "".join(cells))) for cells in named)
    return page, without_page


def test_every_module_of_the_call_page_is_on_its_map() -> None:
    page, pure = modules_on_the_map()

    assert page | pure == {module.name for module in (ROOT / "site").glob("*.js")}
    assert page & pure == set()


def test_pure_modules_have_their_tests_and_import_pure_ones_alone() -> None:
    _, pure = modules_on_the_map()
    tests = (ROOT / "tests" / "site" / "pure").glob("*.test.mjs")
    imported = {
        name
        for module in pure
        for name in re.findall(r' from "\./(.+)";', (ROOT / "site" / module).read_text("utf-8"))
    }

    assert pure == {test.name.replace(".test.mjs", ".js") for test in tests}
    assert imported <= pure
