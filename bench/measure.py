"""What is measured: a server's start, the load in each case, its upstream calls."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from http import HTTPStatus
from pathlib import Path

import psutil
from google.cloud import firestore

from bench.load import Figures, LoadError, Request, load
from bench.results import Results
from bench.servers import SERVERS, Running, running
from bench.upstreams import counts

# The cases, and with how many clients each; `delayed` is the small call, signed without a key.
CLIENTS = {"small": (1, 16, 64), "hour": (1, 16), "unchanged": (16,), "delayed": (64,)}
SMALL, HOUR = "/v2/calls/77", "/v2/calls/1800"
WARM_UP_CLIENTS, EMULATOR_WARM_UPS = 16, 4
COUNTED = 5  # requests, one after another
ETAG_SECONDS, MARGIN_SECONDS = 600, 3.0  # the function's ETag turns after so long


def store_hour(client: firestore.Client) -> None:
    """Store the call of an hour, with the 1,800 turns of two of the sample's hours."""
    fields = client.document("calls", "86").get().to_dict() or {}
    call_id = HOUR.rpartition("/")[2]
    changes = {"id": int(call_id), "transcript": fields["transcript"] * 2}
    client.document("calls", call_id).set(fields | changes)


@dataclass(frozen=True)
class Bench:
    """Measures servers, with a key's org as the client.

    `settings` lead to the emulator and to a key file that signs; `upstream` leads to the stand-ins.
    """

    seconds: float  # of each measurement
    folder: Path
    key: str
    settings: Mapping[str, str]
    upstream: Mapping[str, str]

    def counted(self) -> dict[str, Results]:
        """Return each server's results so far: what it asks of others for a request, with a key."""
        results: dict[str, Results] = {
            name: {
                "cold_start_s": [],
                "memory_mib": [],
                "upstream_calls": {},
                "cases": {case: {str(n): {} for n in CLIENTS[case]} for case in server.cases},
            }
            for name, server in SERVERS.items()
        }
        with ExitStack() as stack:  # all at once, since no time is taken here
            servers = {
                name: stack.enter_context(running(name, self._delayed, self.folder))
                for name, server in SERVERS.items()
                if "hour" in server.cases
            }
            for name, server in servers.items():
                calls = results[name]["upstream_calls"]
                before = counts(self.upstream)
                self._first(server)
                after = counts(self.upstream)
                calls["first"] = {each: float(after[each] - before[each]) for each in after}
                calls["key"] = self._counted(server, "small")
                if "unchanged" in SERVERS[name].cases:
                    calls["unchanged"] = self._counted(server, "unchanged")
            # A Java server gets faster for many seconds, to the disadvantage of who comes first.
            longer = replace(self, seconds=self.seconds * EMULATOR_WARM_UPS)
            for case in ("hour", "small"):
                longer.under_load(servers["limit"], case, WARM_UP_CLIENTS)
        return results

    def measure(self, names: Sequence[str], results: Mapping[str, Results]) -> None:
        """Add the figures of one round, in which the servers take turns in this order.

        They do so in each case, since a machine's speed may wander within half a minute: those who
        are compared have had the same seconds of it.
        """
        keyless = {k: v for k, v in self._delayed.items() if k != "RECORDING_SIGNER_KEY_FILE"}
        with ExitStack() as stack:
            servers: dict[str, Running] = {}
            for name in names:
                servers[name] = stack.enter_context(running(name, self.settings, self.folder))
                results[name]["cold_start_s"].append(self._first(servers[name]))
            for case in ("small", "hour", "unchanged"):
                self._take_turns(servers, case, results)
            for name, server in servers.items():
                results[name]["memory_mib"].append(server.memory_mib())
        with ExitStack() as stack:
            servers = {}
            for name in names:
                if "delayed" in SERVERS[name].cases:
                    servers[name] = stack.enter_context(running(name, keyless, self.folder))
                    self._first(servers[name])
                    calls = self._counted(servers[name], "delayed")
                    results[name]["upstream_calls"]["keyless"] = calls
            self._take_turns(servers, "delayed", results)

    @property
    def _delayed(self) -> dict[str, str]:
        return {**self.settings, **self.upstream}

    def _first(self, server: Running) -> float:
        """Return the seconds from the start to the first answer."""
        server.wait_until_it_listens()
        server.ask(SMALL, self._authorization, HTTPStatus.OK)
        return server.age()

    def _counted(self, server: Running, case: str) -> dict[str, float]:
        """Return the upstream calls of a request."""
        path, headers, status = self._asking(server, case)
        before = counts(self.upstream)
        for _ in range(COUNTED):
            server.ask(path, headers, status)
        after = counts(self.upstream)
        return {name: (after[name] - before[name]) / COUNTED for name in after}

    def _take_turns(
        self, servers: Mapping[str, Running], case: str, results: Mapping[str, Results]
    ) -> None:
        measured = {name: one for name, one in servers.items() if case in SERVERS[name].cases}
        for server in measured.values():
            self.under_load(server, case, WARM_UP_CLIENTS)
        for clients in CLIENTS[case]:
            for name, server in measured.items():
                found = results[name]["cases"][case][str(clients)]
                for figure, value in self.under_load(server, case, clients).items():
                    found.setdefault(figure, []).append(value)

    def under_load(self, server: Running, case: str, clients: int) -> Figures:
        """Return what the server does under the load of so many clients."""
        path, headers, status = self._asking(server, case)
        lines = [f"GET {path} HTTP/1.1", "Host: localhost", *map(": ".join, headers.items())]
        request = Request("\r\n".join([*lines, "", ""]).encode(), status)
        seconds, used = self.seconds, server.cpu_seconds
        measuring = load(server.port, request, clients=clients, seconds=seconds, used=used)
        try:
            return asyncio.run(measuring)
        except (LoadError, OSError, psutil.Error) as error:
            raise server.failure(f"failed at {case}, {clients} clients: {error}") from error

    def _asking(self, server: Running, case: str) -> tuple[str, dict[str, str], HTTPStatus]:
        """Return the path, the headers and the status of a request and its answer."""
        if case != "unchanged":
            return HOUR if case == "hour" else SMALL, self._authorization, HTTPStatus.OK
        left = ETAG_SECONDS - time.time() % ETAG_SECONDS
        if left < MARGIN_SECONDS + 2 * self.seconds:
            time.sleep(left)  # or it would turn under way
        etag = server.ask(SMALL, self._authorization, HTTPStatus.OK).etag
        return SMALL, self._authorization | {"If-None-Match": etag}, HTTPStatus.NOT_MODIFIED

    @property
    def _authorization(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}
