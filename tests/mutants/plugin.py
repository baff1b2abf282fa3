"""What mutmut's runs of pytest need: served functions that are seen, and an emulator of their own."""

import fcntl
import http.client
import os
import signal
import sys
from collections import defaultdict
from collections.abc import Generator, Iterator
from pathlib import Path
from types import FrameType

import pytest
from mutmut.mutation.trampoline import get_mutant_under_test
from mutmut.state import state

SCRATCH = Path(os.environ["MUTANT_SCRATCH"])
REQUEST = "call_api.web.xǁCallsApiǁrespond"  # as mutmut names what begins a request
QUICK_SECONDS = 1.0
TEST_SECONDS = 90  # the longest test takes 10, and 50 where its server neither answers nor stops
ADAPTERS = {
    "access_token",
    "circuit_breaker",
    "firestore",
    "firestore_connection",
    "grpc_channels",
    "iam_signer",
    "signed_urls",
}
TIMED_OUT = 36  # mutmut's exit status for it

lock = pytest.StashKey[int]()
chosen = pytest.StashKey[set[str]]()
timed_out = pytest.StashKey[bool]()
counted: defaultdict[Path, int] = defaultdict(int)


def pytest_configure(config: pytest.Config) -> None:
    """Choose the tests by their names, and take an emulator that no other run uses now."""
    # As arguments, names with some thousand letters or with "::" in a parameter are not found.
    config.stash[chosen] = {name for name in config.args if "::" in name}
    config.args = sorted({name.partition("::")[0] for name in config.args})
    config.stash[timed_out] = False

    def out_of_time(_number: int, _frame: FrameType | None) -> None:
        config.stash[timed_out] = True
        # It fails the test, so that the fixtures stop their servers. A task that hangs would keep
        # any other exception to itself; asyncio lets this one through.
        raise SystemExit

    signal.signal(signal.SIGXCPU, out_of_time)
    signal.signal(signal.SIGALRM, out_of_time)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # mutmut has it ignored
    for host in os.environ["MUTANT_EMULATORS"].split():
        config.stash[lock] = os.open(SCRATCH / host, os.O_CREAT | os.O_RDWR)
        try:
            fcntl.flock(config.stash[lock], fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(config.stash[lock])
        else:
            emptied = http.client.HTTPConnection(host, timeout=10)
            emptied.request("POST", "/reset", body=b"")
            emptied.getresponse().read()
            emptied.close()
            os.environ["FIRESTORE_EMULATOR_HOST"] = host
            return
    raise pytest.UsageError("there are more runs at a time than emulators")


def pytest_unconfigure(config: pytest.Config) -> None:
    os.close(config.stash[lock])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol() -> Generator[None, object, object]:
    """Bound each test: mutmut's own bound, for all tests of a mutant, is minutes where one hangs."""
    signal.alarm(TEST_SECONDS)
    try:
        return (yield)
    finally:
        signal.alarm(0)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> Generator[None, object, object]:
    """Return a status also where a fixture fails that ends after the first failed test.

    pytest would leave its exception to the caller, and mutmut would call the mutant not run.
    """
    if session.config.stash[timed_out]:
        session.exitstatus = TIMED_OUT
    try:
        return (yield)
    except Exception:
        if not session.testsfailed:
            raise
        return None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Run the quick files first, and in each the quick tests: most mutants die of the first."""
    seconds = state().duration_by_test
    if config.stash[chosen]:
        items[:] = [item for item in items if item.nodeid in config.stash[chosen]]
        # The slow tests are of the budgets and retries of the adapters, and of those alone.
        module = get_mutant_under_test().split(".")[1:2]
        if module and module[0] not in ADAPTERS:
            quick = [item for item in items if seconds.get(item.nodeid, 0.0) < QUICK_SECONDS]
            items[:] = quick or items
    of_file: defaultdict[Path, float] = defaultdict(float)
    for item in items:
        of_file[item.path] += seconds.get(item.nodeid, 0.0)
    items.sort(key=lambda item: (of_file[item.path], item.path, seconds.get(item.nodeid, 0.0)))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Say what fails where nothing is mutated yet; mutmut keeps that to itself."""
    if report.failed and sys.__stderr__ and get_mutant_under_test() in {"", "stats"}:
        sys.__stderr__.write(f"\n{report.nodeid}, {report.when}:\n{report.longreprtext}\n")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_teardown() -> None:
    """Where mutmut asks which test reaches what: count what a served function ran, too."""
    if get_mutant_under_test() == "stats":
        state()._stats.update(reached())  # noqa: SLF001  (a process of the server is no caller)


def reached() -> Iterator[str]:
    """Yield what the served functions have run since the last test, as tests/support/measured reports it.

    What a function runs until its second request counts for every test that it serves: settings,
    credentials and connections are made once, and all requests use them.
    """
    for file in SCRATCH.glob("reached-*"):
        names = file.read_text("utf-8").splitlines()
        if len(names) > counted[file]:
            requests = [n for n, name in enumerate(names) if name == REQUEST]
            yield from names[: requests[1] if len(requests) > 1 else None]
            yield from names[counted[file] :]
            counted[file] = len(names)
