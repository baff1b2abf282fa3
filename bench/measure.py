"""What is measured of one server: its start, the load in each case, its upstream calls."""

import asyncio
import time
from collections.abc import Mapping
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
                self._first(server)
                calls = results[name]["upstream_calls"]
                calls["key"] = self._counted(server, "small")
                if "unchanged" in SERVERS[name].cases:
                    calls["unchanged"] = self._counted(server, "unchanged")
            # A Java server gets faster for many seconds, to the disadvantage of who comes first.
            longer = replace(self, seconds=self.seconds * EMULATOR_WARM_UPS)
            for case in ("hour", "small"):
                longer.under_load(servers["limit"], case, WARM_UP_CLIENTS)
        return results

    def measure(self, name: str, results: Results) -> None:
        """Add the figures of one round to a server's results."""
        with running(name, self.settings, self.folder) as server:
            results["cold_start_s"].append(self._first(server))
            self.under_load(server, "small", WARM_UP_CLIENTS)
            for case in SERVERS[name].cases:
                if case != "delayed":
                    self._add(server, case, results["cases"][case])
            results["memory_mib"].append(server.memory_mib())
        if "delayed" in SERVERS[name].cases:
            keyless = {k: v for k, v in self._delayed.items() if k != "RECORDING_SIGNER_KEY_FILE"}
            with running(name, keyless, self.folder) as server:
                self._first(server)
                results["upstream_calls"]["keyless"] = self._counted(server, "delayed")
                self.under_load(server, "delayed", WARM_UP_CLIENTS)
                self._add(server, "delayed", results["cases"]["delayed"])

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

    def _add(self, server: Running, case: str, results: Results) -> None:
        for clients in CLIENTS[case]:
            for figure, value in self.under_load(server, case, clients).items():
                results[str(clients)].setdefault(figure, []).append(value)

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
