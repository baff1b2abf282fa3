"""Installation into .local: one process at a time, verified by hash, in place only when complete."""

import fcntl
import hashlib
import http.client
import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

from local.process import child

HERE = Path(__file__).parent
SCRATCH = HERE.parent / ".local"
CONNECT_SECONDS = 5  # also the longest pause in a download
ATTEMPTS = 3  # in a row that bring no byte
PAUSE_SECONDS = 1
CHUNK = 2**18
MEGABYTE = 1_000_000
DOWNLOADING = re.compile(r"\s*Downloading (?:\S*/)?([^/\s]+?)(?:-py\S+|-cp\S+)? \((.+)\)")
LARGE = 5 * MEGABYTE  # where there is no terminal, smaller files are not worth a line


class LocalStackError(Exception):
    """The local stack cannot start; the message says what to do about it."""


class UnreachableError(LocalStackError):
    """Nothing can be downloaded from there, and nothing has been."""


@dataclass(frozen=True)
class Remote:
    """A file to download, pinned by its size and its hash."""

    what: str
    url: str
    size: int
    sha256: str


class Progress:
    """What has been done of what there is: a line that changes, or on no terminal a few lines."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._shown = ""

    def show(self, what: str, done: int, total: int) -> None:
        """Show a percentage: each one on a terminal, otherwise the quarters."""
        percent = 100 * done // max(total, 1)
        if not self._terminal:
            percent -= percent % 25
        line = f"  {what}: {percent} %"
        if line != self._shown:
            self._shown = line
            before, after = ("\r\033[K", "") if self._terminal else ("", "\n")
            print(f"{before}{line}", end=after, file=sys.stderr, flush=True)

    def end(self) -> None:
        """Leave the terminal's line."""
        if self._terminal and self._shown:
            print(file=sys.stderr, flush=True)


@contextmanager
def lock(what: str) -> Iterator[None]:
    """Keep every other process of this clone from installing anything during the block.

    Raises:
        LocalStackError: nothing can be written there.
    """
    with _writing(what):
        SCRATCH.mkdir(exist_ok=True)
        with (SCRATCH / "install.lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say(f"waiting for another process, which is installing: {what} comes next …")
                fcntl.flock(file, fcntl.LOCK_EX)
            yield  # closing the file releases the lock, as does the end of the process


def download(remote: Remote, file: Path) -> None:
    """Download to the file, unless it is there; a download that was cut is resumed.

    Raises:
        UnreachableError: the server cannot be reached, or does not have it.
        LocalStackError: what came is not what is pinned, or cannot be written.
    """
    if file.is_file():
        return
    with lock(remote.what):
        if file.is_file():
            return
        partial = file.with_name(f"{file.name}.partial")
        _fetch(remote, partial)
        with partial.open("rb") as content:
            digest = hashlib.file_digest(content, "sha256").hexdigest()
        if digest != remote.sha256:
            partial.unlink()
            raise LocalStackError(
                f"What {remote.url} sent is not the pinned {remote.what} and was removed: its"
                f" SHA-256 is {digest}. Does a proxy replace it?"
            )
        partial.rename(file)


def installed_by_pip(what: str, requirements: Path, folder: Path) -> Path:
    """Return the folder with the packages that a lock names, installed where missing.

    Raises:
        LocalStackError: they cannot be installed.
    """
    if _same(requirements, folder / requirements.name):
        return folder
    with lock(what):
        if not _same(requirements, folder / requirements.name):
            with _staged(folder) as staged:
                pip_install(what, sys.executable, requirements, ["--target", str(staged)])
                shutil.copy(requirements, staged)
    return folder


def installed_by_npm(
    what: str, locked: Path, folder: Path, npm: Callable[[], Sequence[str]]
) -> Path:
    """Return the folder with the packages that a lock names, installed where missing.

    Raises:
        LocalStackError: they cannot be installed.
    """
    if _same(locked / "package-lock.json", folder / "package-lock.json"):
        return folder
    command = npm()  # may install Node.js first, under the same lock
    with lock(what):
        if not _same(locked / "package-lock.json", folder / "package-lock.json"):
            with _staged(folder) as staged:
                shutil.copytree(locked, staged, dirs_exist_ok=True)
                _npm_install(what, command, staged)
    return folder


def pip_install(what: str, python: str, requirements: Path, options: Sequence[str] = ()) -> None:
    """Install what the lock names with the pip of this Python, and show how far it is.

    Wheels alone: to build one from sources runs their code, with tools that no lock names.

    Raises:
        LocalStackError: pip cannot install it.
    """
    command = [python, "-m", "pip", "install", "--disable-pip-version-check"]
    command += ["--require-hashes", "--only-binary=:all:", "--requirement", str(requirements)]
    measured = _pip_version(python) >= [24, 1]  # tells programs how far it is
    command += ["--progress-bar=raw"] if measured else []
    progress = Progress()
    name = ""

    def watch(line: str) -> None:
        nonlocal name
        if found := DOWNLOADING.match(line):
            name = f"{found[1]}, {found[2]}" if _bytes(found[2]) >= LARGE else ""
            if name and not measured:
                say(f"  {name}")
        elif name and (found := re.match(r"Progress (\d+) of (\d+)", line)):
            progress.show(name, int(found[1]), int(found[2]))

    said = _watched([*command, *options], watch)
    progress.end()
    if said is not None:
        raise LocalStackError(_failed(what, "pip", said, r"ERROR: "))


def say(what: str) -> None:
    """Tell what goes on, beside what the command prints."""
    print(what, file=sys.stderr, flush=True)


def _pip_version(python: str) -> list[int]:
    command = [python, "-m", "pip", "--version"]
    asked = subprocess.run(command, capture_output=True, text=True, check=False)
    return [int(number) for number in re.findall(r"\d+", asked.stdout)[:2]]


def _fetch(remote: Remote, partial: Path) -> None:
    """Download, from where a download before has ended, until everything has arrived."""
    progress = Progress()
    first = start = _size(partial)
    failures = 0
    while start < remote.size:
        request = urllib.request.Request(remote.url, headers={"Range": f"bytes={start}-"})
        said = "the connection ended"
        try:
            with urllib.request.urlopen(request, timeout=CONNECT_SECONDS) as response:
                _copy(response, partial, remote, progress)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                return  # there is no more of it: not the pinned file, as its hash will show
            said = f"the answer is {error.code} {error.reason}"
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
            said = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
        now = _size(partial)
        if now == first:
            host = urllib.parse.urlsplit(remote.url).netloc
            raise UnreachableError(f"{host} does not deliver it ({said}).")
        failures = 0 if now > start else failures + 1
        if failures == ATTEMPTS:
            raise LocalStackError(
                f"The download of the {remote.what} was cut at {now // MEGABYTE} of"
                f" {remote.size // MEGABYTE} MB ({said}): run the command again, which resumes it."
            )
        time.sleep(PAUSE_SECONDS * failures)
        start = now
    progress.end()


def _copy(
    response: http.client.HTTPResponse, partial: Path, remote: Remote, progress: Progress
) -> None:
    """Append what comes, or begin anew where the server sends the whole file."""
    what = f"{remote.what}, {remote.size // MEGABYTE} MB"
    with _opened(remote, partial, anew=response.status != HTTPStatus.PARTIAL_CONTENT) as write:
        done = _size(partial)
        while done <= remote.size and (chunk := response.read1(CHUNK)):
            write(chunk)
            done += len(chunk)
            progress.show(what, done, remote.size)


@contextmanager
def _opened(remote: Remote, partial: Path, *, anew: bool) -> Iterator[Callable[[bytes], None]]:
    """Yield what writes to the file; where that fails, the file gives back the room it takes."""
    with _writing(remote.what):
        file = partial.open("wb" if anew else "ab", buffering=0)

    def write(chunk: bytes) -> None:
        try:
            with _writing(remote.what):
                file.write(chunk)
        except LocalStackError:
            partial.unlink()
            raise

    with file:
        yield write


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def _npm_install(what: str, npm: Sequence[str], folder: Path) -> None:
    """Install what the folder's lock names, without running a package's scripts."""
    lock_file = json.loads((folder / "package-lock.json").read_text("utf-8"))
    packages = len(lock_file["packages"]) - 1  # one is the folder itself
    options = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=http"]
    # npm keeps what it has downloaded in the home directory, if it may write there.
    home = os.access(Path.home(), os.W_OK)
    options += [] if home else [f"--cache={folder / '.npm'}"]
    environment = {
        "PATH": f"{Path(npm[0]).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        "NODE_DISABLE_COMPILE_CACHE": "1",  # npm would leave one in the machine's folder for temporary files
    }
    progress = Progress()
    shown = f"{what}, {packages} npm packages"
    fetched = 0

    def watch(line: str) -> None:
        nonlocal fetched
        if re.search(r"http fetch GET 200 \S+\.tgz", line):
            fetched += 1
            progress.show(shown, min(fetched, packages), packages)

    progress.show(shown, 0, 1)
    said = _watched([*npm, *options], watch, folder=folder, environment=environment)
    if said is not None:
        errors = r"npm (?:error|ERR!) (?!code|errno|syscall|path|type|A complete)"
        raise LocalStackError(_failed(what, "npm", said, errors))
    progress.show(shown, 1, 1)
    progress.end()
    shutil.rmtree(folder / ".npm", ignore_errors=True)


def _watched(
    command: Sequence[str],
    watch: Callable[[str], None],
    *,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> list[str] | None:
    """Run a command and watch its lines; return what it said where it has failed."""
    said = []
    with child(
        command,
        environment=os.environ | (environment or {}),
        output=subprocess.PIPE,
        folder=folder,
    ) as running:
        assert running.stdout
        for printed in running.stdout:
            line = printed.decode(errors="replace")
            watch(line)
            said.append(line.strip())
        failed = running.wait() != 0
    return [line for line in said if line] if failed else None


@contextmanager
def _staged(folder: Path) -> Iterator[Path]:
    """Yield a new folder, which takes the other's place when the block has ended well."""
    staged = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(staged, ignore_errors=True)  # of a process that was killed
    try:
        staged.mkdir()
        yield staged
        if folder.exists():
            shutil.rmtree(folder)
        staged.rename(folder)
    finally:
        shutil.rmtree(staged, ignore_errors=True)


@contextmanager
def _writing(what: str) -> Iterator[None]:
    """Turn a full disk or a read-only folder into a sentence."""
    try:
        yield
    except OSError as error:
        where = error.filename or SCRATCH
        raise LocalStackError(
            f"The {what} cannot be written to {where}: {error.strerror or error}."
        ) from None


def _failed(what: str, tool: str, said: Sequence[str], errors: str) -> str:
    """Return a sentence on why a tool has failed, from the first line that tells it."""
    failed = f"The {what} cannot be installed: "
    if any(re.search("No space left|ENOSPC", line) for line in said):
        return f"{failed}the disk is full."
    lines = [line for line in said if re.match(errors, line)] or [*said, "nothing."]
    return f"{failed}is the package registry within reach? {tool} said: {lines[0]}"


def _same(one: Path, other: Path) -> bool:
    return other.is_file() and one.read_bytes() == other.read_bytes()


def _bytes(size: str) -> float:
    """Return the number of bytes of a size as pip writes it: `35.4 MB`."""
    number, unit = size.split()
    return float(number) * {"MB": MEGABYTE, "kB": 1000}.get(unit, 1)
