"""A function behind links that fail as they are told, one to Firestore and one to IAM."""

import subprocess
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

from tests.support.google_cloud import IAM_HOST, GoogleCloud
from tests.support.link import Link, link_to
from tests.support.project import Emulator
from tests.support.serving import Reply, Service, held, started, wait_until_it_listens

PATIENCE_SECONDS = 60.0  # until something hangs for good, on a machine that is busy otherwise


class Linked(NamedTuple):
    """A function that signs through IAM, and the links to what it calls."""

    service: Service
    process: "subprocess.Popen[bytes]"
    cloud: GoogleCloud
    links: dict[str, Link]
    key: str

    def ask(self, target: str = "/v2/calls/77") -> Reply:
        return self.service.request(target=target, key=self.key)

    def ask_together(self, pool: ThreadPoolExecutor, clients: int) -> list[Future[Reply]]:
        return [pool.submit(self.ask) for _ in range(clients)]

    def healed(self) -> "Linked":
        """Lead on all links again, and return once a call is answered."""
        for link in self.links.values():
            link.heal()
        self.cloud.iam.seconds = 0.0
        self.wait_until_answered()
        return self

    def wait_until_answered(self) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self.ask().status != 200:
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def held(self) -> tuple[int, int, int]:
        return held(self.process)


@contextmanager
def linked_function(
    emulator: Emulator, cloud: GoogleCloud, settings: Mapping[str, str] | None = None
) -> Iterator[Linked]:
    """Serve the function with these further settings; no failure must leave a stack in its log."""
    with ExitStack() as stack:
        links = {
            "Firestore": stack.enter_context(link_to(emulator.port)),
            "IAM": stack.enter_context(link_to(cloud.iam.port)),
        }
        cloud.proxy.ports[IAM_HOST] = links["IAM"].port
        host = {"FIRESTORE_EMULATOR_HOST": f"127.0.0.1:{links['Firestore'].port}"}
        environment = emulator.settings | cloud.environment | host | dict(settings or {})
        process, service = stack.enter_context(started(environment))
        wait_until_it_listens(process, service)
        yield Linked(service, process, cloud, links, emulator.keys["org_acme"])
        assert "Traceback" not in service.output()
