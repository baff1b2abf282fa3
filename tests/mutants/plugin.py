"""What mutmut's runs of pytest need.

Each run gets an emulator of its own, the tests of its mutant in a good order, and a bound for each of
them; it ends with a status that says how it went. Where mutmut asks which test reaches which function,
it is also told what the served functions ran, since it sees this process alone.
"""

import fcntl
import http.client
import os
import signal
import sys
from collections import defaultdict
from collections.abc import Generator, Iterator
from functools import partial
from pathlib import Path
from types import FrameType

import pytest
from mutmut.mutation.trampoline import get_mutant_under_test
from mutmut.state import state

SCRATCH = Path(os.environ["MUTANT_SCRATCH"])
RESPOND = "call_api.web.api.xǁCallsApiǁrespond"  # as mutmut names what begins a request
QUICK_SECONDS = 1.0
TEST_SECONDS = 90  # the longest test takes 10, and 50 where its server neither answers nor stops
# What needs the slow tests: the server's options, and the rooms that speak to Google.
NEEDS_SLOW_TESTS = {"app", "cloud", "firestore", "recordings"}
TIMED_OUT = 36  # the exit status that mutmut knows for it

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
    # mutmut ignores it, and processes that tests start would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for host in os.environ["MUTANT_EMULATORS"].split():
        file = os.open(SCRATCH / host, os.O_CREAT | os.O_RDWR)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
        else:
            empty(host)
            os.environ["FIRESTORE_EMULATOR_HOST"] = host
            config.add_cleanup(partial(os.close, file))
            return
    raise pytest.UsageError("there are more runs at a time than emulators")


def empty(host: str) -> None:
    """Take all documents out of an emulator."""
    connection = http.client.HTTPConnection(host, timeout=10)
    connection.request("POST", "/reset", body=b"")
    response = connection.getresponse()
    response.read()
    connection.close()
    assert response.status == http.HTTPStatus.OK


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol() -> Generator[None, object, object]:
    """Bound each test; mutmut's own bound is for all tests of a mutant, which may be minutes."""
    signal.alarm(TEST_SECONDS)
    try:
        return (yield)
    finally:
        signal.alarm(0)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> Generator[None, object, object]:
    """Return a status also where a fixture fails, or hangs, that ends after the last test.

    With -x these are all fixtures that the first failed test leaves. pytest would leave their
    exceptions to its caller, and mutmut would not know that a test failed.
    """
    try:
        return (yield)
    except (Exception, SystemExit):  # noqa: BLE001  (whatever a fixture raises)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        return None
    finally:
        if session.config.stash[timed_out]:
            session.exitstatus = TIMED_OUT


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_unconfigure(config: pytest.Config) -> Generator[None, object, object]:
    """Keep that status: what a failed test has left open is reported only now, as an exception."""
    try:
        return (yield)
    except Exception:
        session = config.pluginmanager.get_plugin("session")
        if session is None or not session.testsfailed:
            raise
        return None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Run the quick files first, and in each the quick tests: most mutants die of the first."""
    seconds = state().duration_by_test
    if config.stash[chosen]:
        items[:] = [item for item in items if item.nodeid in config.stash[chosen]]
        _, _, of_package = get_mutant_under_test().partition("call_api.")
        if of_package and of_package.partition(".")[0] not in NEEDS_SLOW_TESTS:
            quick = [item for item in items if seconds.get(item.nodeid, 0.0) < QUICK_SECONDS]
            items[:] = quick or items
    of_file: defaultdict[Path, float] = defaultdict(float)
    for item in items:
        of_file[item.path] += seconds.get(item.nodeid, 0.0)
    items.sort(key=lambda item: (of_file[item.path], item.path, seconds.get(item.nodeid, 0.0)))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Say what fails where nothing is mutated yet; mutmut keeps that to itself."""
    _say_failure(report, report.when)


def pytest_collectreport(report: pytest.CollectReport) -> None:
    """Say which file cannot be imported."""
    _say_failure(report, "collection")


def _say_failure(report: pytest.TestReport | pytest.CollectReport, when: str) -> None:
    if report.failed and sys.__stderr__ and get_mutant_under_test() in {"", "stats"}:
        sys.__stderr__.write(f"\n{report.nodeid}, {when}:\n{report.longreprtext}\n")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_teardown() -> None:
    """Where mutmut asks which test reaches what: count what a served function ran, too."""
    if get_mutant_under_test() == "stats":
        state()._stats.update(reached())  # noqa: SLF001  (what mutmut offers notes this process's calls)


def reached() -> Iterator[str]:
    """Yield what the served functions have run since the last test, as tests/support/measured reports it.

    What a function runs until its second request counts for every test that it serves: settings,
    credentials and connections are made once, and all requests use them.
    """
    for file in SCRATCH.glob("reached-*"):
        names = file.read_text("utf-8").splitlines()
        if len(names) > counted[file]:
            requests = [n for n, name in enumerate(names) if name == RESPOND]
            yield from names[: requests[1] if len(requests) > 1 else None]
            yield from names[counted[file] :]
            counted[file] = len(names)
