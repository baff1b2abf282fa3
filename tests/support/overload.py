"""Many clients at a time over kept connections, in one event loop; and the memory of a server."""

import asyncio
import os
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

CGROUPS = Path("/sys/fs/cgroup")
MIB = 2**20
ANSWER_SECONDS = 60.0  # until an answer never comes


@dataclass
class Outcome:
    """What clients got: how often each status, and after how many seconds."""

    statuses: Counter[int] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)

    def percentile(self, percent: float) -> float:
        return sorted(self.seconds)[int(len(self.seconds) * percent / 100)]


class Client:
    """One client with a connection of its own."""

    def __init__(self, port: int, call_id: int, key: str) -> None:
        self.port = port
        self.request = (
            f"GET /v2/calls/{call_id} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n\r\n"
        ).encode()
        self.streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, outcome: Outcome) -> None:
        """Ask once, and read the whole answer. A broken connection is an error."""
        started = time.monotonic()
        async with asyncio.timeout(ANSWER_SECONDS):
            status = await self._exchange()
        outcome.statuses[status] += 1
        outcome.seconds.append(time.monotonic() - started)

    async def _exchange(self) -> int:
        if self.streams is None:
            self.streams = await asyncio.open_connection("127.0.0.1", self.port)
        reader, writer = self.streams
        writer.write(self.request)
        status_line, *fields = (await reader.readuntil(b"\r\n\r\n")).lower().split(b"\r\n")
        length = next(f for f in fields if f.startswith(b"content-length:"))
        await reader.readexactly(int(length.partition(b":")[2]))
        return int(status_line.split()[1])

    def leave(self) -> None:
        if self.streams is not None:
            self.streams[1].transport.abort()


async def crowd(clients: list[Client], seconds: float, pause: float = 0.0) -> Outcome:
    """Let the clients ask, each once, and again when it has its answer, for so long."""
    outcome = Outcome()
    end = time.monotonic() + seconds

    async def ask_until_the_end(client: Client) -> None:
        await client.ask(outcome)  # on a busy machine its turn may come after the end
        while time.monotonic() < end:
            await asyncio.sleep(pause)
            await client.ask(outcome)
        client.leave()

    await asyncio.gather(*map(ask_until_the_end, clients))
    return outcome


async def ask_and_leave(clients: list[Client]) -> None:
    """Let the clients ask, and leave before they have an answer."""

    async def ask(client: Client) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", client.port)
        writer.write(client.request)
        await writer.drain()
        await asyncio.sleep(0.1)
        writer.transport.abort()

    await asyncio.gather(*map(ask, clients))


class Memory:
    """The most bytes that a process and its children have had, as sampled."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self.peak = self.now()

    def now(self) -> int:
        total = 0
        for process in [self._process, *self._process.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):
                total += process.memory_info().rss
        return total

    def watch(self, end: threading.Event) -> None:
        while not end.wait(0.02):
            self.peak = max(self.peak, self.now())


@contextmanager
def memory_of(pid: int) -> Iterator[Memory]:
    """Sample the memory of a process."""
    memory, end = Memory(pid), threading.Event()
    watcher = threading.Thread(target=memory.watch, args=(end,))
    watcher.start()
    try:
        yield memory
    finally:
        end.set()
        watcher.join()


@contextmanager
def memory_limit(pid: int, limit: int) -> Iterator[bool]:
    """Let the kernel kill a process that takes more, where this machine's cgroups allow that."""
    version_1 = (CGROUPS / "memory").is_dir()
    group = (CGROUPS / "memory" if version_1 else CGROUPS) / f"call-api-tests-{os.getpid()}"
    processes = [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]
    try:
        group.mkdir()
        (group / ("memory.limit_in_bytes" if version_1 else "memory.max")).write_text(str(limit))
        for each in processes:
            (group / "cgroup.procs").write_text(str(each))
    except OSError:
        yield False
    else:
        yield True
    finally:
        with suppress(OSError):
            for each in processes:
                (group.parent / "cgroup.procs").write_text(str(each))
        with suppress(OSError):
            group.rmdir()
