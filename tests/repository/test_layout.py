"""How the repository is kept: one role a module, one lock, and nothing uploaded by accident."""

import ast
import json
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

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


def declared(group: str) -> list[str]:
    """Return what a group names, and the groups in it."""
    return [
        name
        for item in PYPROJECT["dependency-groups"][group]
        for name in ([item] if isinstance(item, str) else declared(item["include-group"]))
    ]


DEPENDENCIES = PYPROJECT["project"]["dependencies"]
LOCKS = {
    "requirements.txt": DEPENDENCIES,
    "ops/requirements.txt": DEPENDENCIES + declared("ops"),
    "requirements-dev.txt": DEPENDENCIES + declared("dev"),
    "local/java-requirements.txt": declared("java"),
    "local/node-requirements.txt": declared("node"),
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
    deployed, operated = locked("requirements.txt"), locked("ops/requirements.txt")

    assert deployed.items() <= operated.items() <= locked("requirements-dev.txt").items()


def modules_of(folder: str) -> list[str]:
    """Return the modules of a folder, by the names that they are imported by."""
    files = (path.relative_to(ROOT).with_suffix("") for path in (ROOT / folder).rglob("*.py"))
    return sorted(".".join(path.parts).removesuffix(".__init__") for path in files)


# Imports modules where packages are missing, and prints what each of those that fail lacks.
IMPORT_WITHOUT = """
import importlib, json, sys

class Missing:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] in missing:
            raise ModuleNotFoundError(name)

modules, missing = json.loads(sys.argv[1])
sys.meta_path.insert(0, Missing)
for module in modules:
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as error:
        print(module, "lacks", error)
"""


@pytest.mark.parametrize(
    ("lock", "modules"),
    [
        ("requirements.txt", modules_of("call_api")),
        ("ops/requirements.txt", [*modules_of("ops"), *modules_of("local")]),
    ],
    ids=["the function", "the operators' commands and the local stack"],
)
def test_what_is_imported_is_locked(lock: str, modules: list[str]) -> None:
    """All imports stand at the top of their modules, by ruff's rules."""
    installed = locked(lock).keys()
    missing = [
        name
        for name, distributions in packages_distributions().items()
        if installed.isdisjoint(map(canonicalize_name, distributions))
    ]
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_WITHOUT, json.dumps([modules, missing])],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert {"pytest", "hypothesis"} <= {*missing}
    assert done.stdout == ""


@pytest.mark.parametrize("target", ["install", "run", "emulators", "smoke"])
def test_a_target_for_operators_installs_no_tools_of_developers(target: str) -> None:
    said = subprocess.run(
        ["make", "--dry-run", "--always-make", target],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert re.findall(r"-m local\.venv (\w+)", said) == ["run"]


# Which of the folders above and beside it each folder may import, and which of the files beside the
# folders may be imported by all.
ROOMS = {
    "web": {"calls"},
    "calls": set(),
    "firestore": {"calls", "cloud"},
    "recordings": {"cloud"},
    "cloud": set(),
}
SHARED = {"errors", "log", "names", "settings"}


def imports(module: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(module.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def rooms_in(names: set[str]) -> set[str]:
    return {name.split(".")[1] for name in names if name.startswith("call_api.")}


@pytest.mark.parametrize("folder", sorted({path.parent.name for path in MODULES} - {"call_api"}))
def test_a_folder_imports_what_it_may(folder: str) -> None:
    modules = (ROOT / "call_api" / folder).glob("*.py")
    imported = {room for module in modules for room in rooms_in(imports(module))}

    assert imported - SHARED - {folder} <= ROOMS[folder]


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

    assert rules == [
        *("/*", "!/main.py", "!/requirements.txt", "!/call_api/"),
        *("/call_api/*", "!/call_api/*.py", "!/call_api/*/"),
        *("/call_api/*/*", "!/call_api/*/*.py"),
    ]


@pytest.mark.parametrize(
    "module", sorted((ROOT / "tests").rglob("test_*.py")), ids=lambda path: path.stem
)
def test_no_test_module_is_imported_by_another(module: Path) -> None:
    """What tests share lives in `tests/support` and in the fixtures of `conftest.py`."""
    of_tests = re.compile(r"(^|\.)(test_\w+|conftest)(\.|$)")

    assert [name for name in imports(module) if of_tests.search(name)] == []


def test_every_test_module_is_in_the_folder_of_its_layer() -> None:
    assert sorted((ROOT / "tests").glob("test_*.py")) == []
