"""How the repository is kept: one role a module, one lock, and nothing uploaded by accident."""

import ast
import itertools
import json
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.support.repository import folders_with
from tests.support.serving import ROOT

MODULES = sorted((ROOT / "call_api").rglob("*.py"))
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def locked(name: str) -> dict[str, tuple[str, int]]:
    """Return the version of each package that a lock pins, and the number of its hashes."""
    pins = re.split(r"\n(?=\S)", (ROOT / name).read_text())
    found = {}
    for pin in pins:
        if match := re.match(r"([a-z0-9.-]+)==(\S+)", pin):
            found[match[1]] = (match[2], pin.count("--hash=sha256:"))
    return found


LOCKS = {
    "requirements.txt": PYPROJECT["project"]["dependencies"],
    "requirements-dev.txt": PYPROJECT["project"]["dependencies"]
    + PYPROJECT["dependency-groups"]["dev"],
    "local/java-requirements.txt": PYPROJECT["dependency-groups"]["java"],
    "local/node-requirements.txt": PYPROJECT["dependency-groups"]["node"],
}


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_pins_what_is_declared_with_hashes(name: str) -> None:
    pins = locked(name)
    for requirement in map(Requirement, LOCKS[name]):
        version, _ = pins[requirement.name]
        assert requirement.specifier.contains(version), requirement
    assert all(hashes for _, hashes in pins.values())


def test_nothing_is_built_from_sources_where_the_function_is_deployed() -> None:
    assert "\n--only-binary :all:\n" in (ROOT / "requirements.txt").read_text()


@pytest.mark.parametrize("folder", folders_with("package.json"))
def test_every_package_of_npm_is_locked_by_its_hash_and_to_no_machine(folder: str) -> None:
    packages = json.loads((ROOT / folder / "package-lock.json").read_text())["packages"]
    assert [name for name in packages if name and "integrity" not in packages[name]] == []
    places = {
        package.get("resolved", "https://registry.npmjs.org/") for package in packages.values()
    }
    assert [place for place in places if not place.startswith("https://registry.npmjs.org/")] == []


def test_what_is_tested_is_what_is_deployed() -> None:
    deployed, tested = locked("requirements.txt"), locked("requirements-dev.txt")

    assert deployed.items() <= tested.items()


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt"])
def test_h11_is_the_only_parser_of_requests_that_is_locked(name: str) -> None:
    pins = locked(name)

    assert "h11" in pins
    assert "httptools" not in pins


@pytest.mark.parametrize("module", [ROOT / "main.py", *MODULES], ids=lambda path: path.stem)
def test_a_module_opens_with_one_line_that_is_its_role(module: Path) -> None:
    role, *more = (ast.get_docstring(ast.parse(module.read_text())) or "").splitlines()

    assert role.endswith(".")
    assert not more or more[0] == ""


# Which of the folders above and beside it each folder may import; the files beside the folders,
# `settings`, `errors` and `log`, may be imported by all.
ROOMS = {
    "web": {"calls"},
    "calls": set(),
    "firestore": {"calls", "cloud"},
    "recordings": {"cloud"},
    "cloud": set(),
}
SHARED = {"errors", "log", "settings"}


def imports(module: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(module.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def rooms_in(names: set[str]) -> set[str]:
    return {name.split(".")[1] for name in names if name.startswith("call_api.")}


def test_every_folder_is_a_room() -> None:
    folders = {path.parent.name for path in (ROOT / "call_api").glob("*/*.py")}

    assert folders == ROOMS.keys()


def test_the_entry_point_imports_the_app_alone() -> None:
    assert rooms_in(imports(ROOT / "main.py")) == {"app"}


def test_make_alone_lists_the_targets() -> None:
    listed = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)

    assert re.findall(r"^  make ([\w-]+)", listed, re.MULTILINE) == targets


def test_the_allow_list_of_the_upload_names_what_is_deployed() -> None:
    rules = [
        line
        for line in (ROOT / ".gcloudignore").read_text().splitlines()
        if line[:1] not in ("", "#")
    ]
    everything, allowed = rules[0], list(itertools.takewhile(lambda r: r[0] == "!", rules[1:]))

    assert everything == "/*"
    assert allowed == ["!/main.py", "!/requirements.txt", "!/call_api/"]
    assert rules[4:] == [
        *("/call_api/*", "!/call_api/*.py", "!/call_api/*/"),
        *("/call_api/*/*", "!/call_api/*/*.py"),
    ]


@pytest.mark.parametrize(
    "module", sorted((ROOT / "tests").rglob("test_*.py")), ids=lambda path: path.stem
)
def test_no_test_module_is_imported_by_another(module: Path) -> None:
    """What tests share lives in `tests/support` and in the fixtures of `conftest.py`."""
    tree = ast.parse(module.read_text("utf-8"))
    imported = [
        f"{node.module}.{alias.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    ] + [
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    ]

    assert [name for name in imported if re.search(r"(^|\.)(test_\w+|conftest)(\.|$)", name)] == []


def test_every_test_module_is_in_the_folder_of_its_layer() -> None:
    assert sorted((ROOT / "tests").glob("test_*.py")) == []
