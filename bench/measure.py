"""What is measured of each server: its start, the load in each case, memory, upstream calls."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import NamedTuple

from bench.calls import HOUR, LARGE, OTHER_ORGS, SMALL
from bench.load import Wrk, load, memory_under_slow_readers
from bench.servers import SERVERS, Request, Running, running

COMPLETE = ("function", "tutorial", "node")  # those that answer in full


class Case(NamedTuple):
    """A call, the numbers of clients that ask for it, and the servers that they ask."""

    call_id: int
    clients: tuple[int, ...]
    servers: Sequence[str]
    headers: Mapping[str, str] = {}
    status: HTTPStatus = HTTPStatus.OK


UNCHANGED = Case(SMALL, (16,), ("function",), {"If-None-Match": "*"}, HTTPStatus.NOT_MODIFIED)
CASES = {
    "small": Case(SMALL, (1, 16), tuple(SERVERS)),
    "hour": Case(HOUR, (4,), (*COMPLETE, "limit")),
    "hour_gzip": Case(HOUR, (4,), COMPLETE, {"Accept-Encoding": "gzip"}),
}
OWN_CASES = {"unchanged": UNCHANGED}  # for later, so that all have had the same load until then
KEYLESS_CASES = {"keyless": Case(SMALL, (16,), COMPLETE)}
COUNTED = 5  # requests
STARTS = 3  # of each server in a round: the time of a single one varies by a third
CROWD = SLOW_READERS = 40

# A figure in each round, by server and by name, such as "small/16/p50_ms".
Figures = dict[str, dict[str, list[float]]]


@dataclass
class Bench:
    """Measures servers, started with settings that let them sign in one way or the other."""

    seconds: int  # of each measurement
    folder: Path
    keys: Mapping[str, str]  # by org
    key_file: Mapping[str, str]
    keyless: Mapping[str, str]
    figures: Figures = field(default_factory=lambda: defaultdict(lambda: defaultdict(list)))

    def count_upstream_calls(self, proxy: str, counted: Callable[[], int]) -> None:
        """Count what each server asks of others for a request; `proxy` leads to the emulator."""

        def calls(server: Running, case: Case, times: int) -> float:
            before = counted()
            for _ in range(times):
                server.ask(self._request(case))
            return (counted() - before) / times

        small = CASES["small"]
        for way, settings in (("key", self.key_file), ("keyless", self.keyless)):
            through_proxy = {**settings, "FIRESTORE_EMULATOR_HOST": proxy}
            for name in COMPLETE:
                with running(name, through_proxy, self.folder) as server:
                    server.wait_until_it_listens()
                    self._add(name, f"upstream_calls/{way}_first", calls(server, small, 1))
                    self._add(name, f"upstream_calls/{way}", calls(server, small, COUNTED))
                    if name in UNCHANGED.servers and way == "key":
                        unchanged = calls(server, UNCHANGED, COUNTED)
                        self._add(name, "upstream_calls/unchanged", unchanged)

    def warm_up_emulator(self, seconds: int) -> None:
        """Load the emulator: Java gets faster for many seconds, at the cost of who comes first."""
        with self._started(["limit"], self.key_file) as servers:
            for case in (CASES["hour"], CASES["small"]):
                load(servers["limit"], self._request(case), clients=16, seconds=2 * seconds)

    def measure_round(self, names: Sequence[str]) -> None:
        """Add the figures of one round, in which the servers take turns in this order.

        They do so in each case, because a machine's speed may change within half a minute: the
        figures that are compared are from the same seconds.
        """
        complete = [name for name in names if name in COMPLETE]
        self._measure_starts(names, self.key_file, "cold_start/key_s")
        self._measure_starts(complete, self.keyless, "cold_start/keyless_s")
        with self._started(names, self.key_file) as servers:
            self._take_turns(servers, CASES)
            for name, server in servers.items():
                self._add(name, "memory/load_mib", server.memory_mib())
            for name in complete:
                most = memory_under_slow_readers(
                    servers[name],
                    self._request(CASES["hour"]),
                    clients=SLOW_READERS,
                    seconds=self.seconds,
                )
                self._add(name, "memory/slow_readers_mib", most)
            self._take_turns(servers, OWN_CASES)
            with self._started(["function"], self.key_file) as second:
                self._measure_neighbour("function", servers["function"], second["function"])
        with self._started(complete, self.keyless) as servers:
            self._take_turns(servers, KEYLESS_CASES)

    def _measure_starts(
        self, names: Sequence[str], settings: Mapping[str, str], figure: str
    ) -> None:
        """Add the times from a server's start to its first answer."""
        for _ in range(STARTS):
            for name in names:
                with self._started([name], settings) as servers:
                    self._add(name, figure, servers[name].age())

    @contextmanager
    def _started(
        self, names: Sequence[str], settings: Mapping[str, str]
    ) -> Iterator[dict[str, Running]]:
        """Start servers one after another; each has answered once."""
        servers: dict[str, Running] = {}
        with ExitStack() as stack:
            for name in names:
                servers[name] = stack.enter_context(running(name, settings, self.folder))
                servers[name].wait_until_it_listens()
                servers[name].ask(self._request(CASES["small"]))
            yield servers

    def _take_turns(self, servers: Mapping[str, Running], cases: Mapping[str, Case]) -> None:
        for case_name, case in cases.items():
            request = self._request(case)
            measured = {name: server for name, server in servers.items() if name in case.servers}
            if warm_up := self.seconds // 2:
                for server in measured.values():
                    load(server, request, clients=max(case.clients), seconds=warm_up)
            for clients in case.clients:
                for name, server in measured.items():
                    found = load(server, request, clients=clients, seconds=self.seconds)
                    for figure, value in found.items():
                        self._add(name, f"{case_name}/{clients}/{figure}", value)

    def _measure_neighbour(self, name: str, server: Running, apart: Running) -> None:
        """Let one client of another org ask while a crowd asks for a large call.

        It asks the crowd's server, and then a second one that nobody else asks, whose times are what the
        machine and the emulator cost beside the crowd.
        """
        small = self._request(Case(OTHER_ORGS, (1,), ()), "org_globex")
        seconds = 2 * self.seconds
        for crowd_s, call_id in (("turns", LARGE), ("hour", HOUR)):
            large = self._request(Case(call_id, (CROWD,), ()))
            for figures, asked in ((f"neighbour/{crowd_s}", server), (f"apart/{crowd_s}", apart)):
                with (
                    Wrk(server, large, clients=CROWD, seconds=seconds) as crowd,
                    Wrk(asked, small, clients=1, seconds=seconds) as one,
                ):
                    neighbour, answered = one.counted(), crowd.counted()
                for figure in ("p50_ms", "p99_ms"):
                    self._add(name, f"{figures}/{figure}", neighbour[figure])
                self._add(name, f"{figures}/errors", neighbour["refused"])
                refused = answered["refused"] / answered["requests"]
                self._add(name, f"{figures}/crowd_refused", refused)

    def _request(self, case: Case, org_id: str = "org_acme") -> Request:
        headers = {"Authorization": f"Bearer {self.keys[org_id]}", **case.headers}
        return Request(f"/v2/calls/{case.call_id}", headers, case.status)

    def _add(self, name: str, figure: str, value: float) -> None:
        self.figures[name][figure].append(value)
