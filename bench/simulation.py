"""A simulation of the deployed function: its instances and their CPU, Firestore, and IAM with its quota.

Theory of operation. Requests arrive at random times (a Poisson process). Each takes a place in an
instance, which has as many as deploy.sh gives it, or waits for one until Cloud Run turns it away. In the
instance it takes turns on the one vCPU, first come, first served, and waits in between:

    CPU ── a slot, as the call is new to the instance ── Firestore ── CPU ── (IAM ── CPU)

A one-hour call is published in a thread, beside which others run: that CPU is taken in slices. Over the
quota of signBlob the function asks again, as call_api/recordings/iam.py does, and then answers 503.
Instances are started and ended as Cloud Run documents it: at once for requests that find no place, and
by averages of CPU and of concurrency. The random numbers are those of a seed, so that a run can be
repeated. Times are in milliseconds where nothing else is said.
"""

import math
import statistics
from collections import OrderedDict, deque
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any, NamedTuple, Self

import simpy

from call_api.recordings.iam import QUOTA_PAUSE_SECONDS, RETRY_BUDGET_SECONDS
from call_api.web.admission import ALL_FETCHES, WAIT_SECONDS

SLICE_MS = 1.0
EVALUATION_MS, WINDOW_MS = 5_000.0, 60_000.0  # of the averages by which Cloud Run scales
QUEUE_MS = 10_000.0  # Cloud Run's, for a place
FIRST_PAUSE_MS = QUOTA_PAUSE_SECONDS * 1000  # at most; the next one can be twice as long
NORMAL_P99 = statistics.NormalDist().inv_cdf(0.99)

Process = Generator[simpy.Event, Any, Any]  # what SimPy runs: it yields what it waits for


class Work(NamedTuple):
    """The CPU of an answer: a small call, a one-hour call, a 304; and the start of an instance."""

    small_ms: float
    hour_ms: float
    unchanged_ms: float
    start_ms: float


@dataclass(frozen=True)
class Setup:
    """The load, and the service that it meets."""

    rate: float  # requests a second
    is_keyless: bool
    work: Work
    max_instances: int
    figures: Mapping[str, float]  # of ops/capacity.py

    def part(self, parts: int) -> Self:
        """Return one of so many equal parts: of the requests, the instances and the quota."""
        return replace(
            self,
            rate=self.rate / parts,
            max_instances=self.max_instances // parts,
            figures={**self.figures, "signatures": self.figures["signatures"] / parts},
        )


@dataclass
class Outcome:
    """What became of the requests that ended in some seconds."""

    seconds: float
    times_ms: list[float] = field(default_factory=list)  # of the answers, from arrival to end
    refused: int = 0  # by the function, with 503
    turned_away: int = 0  # by Cloud Run, with 429
    in_system_ms: float = 0.0  # the number of requests there were, integrated over the time
    billed_ms: float = 0.0  # of all instances

    @property
    def ended(self) -> int:
        """Return the number of the requests."""
        return len(self.times_ms) + self.refused + self.turned_away

    @property
    def instances(self) -> float:
        """Return the instances that are billed, on average."""
        return self.billed_ms / self.seconds / 1000

    def percentile(self, percent: int) -> float:
        """Return a percentile of the answers' times."""
        ordered = sorted(self.times_ms)
        return ordered[min(len(ordered) * percent // 100, len(ordered) - 1)]


class _Instance:
    def __init__(self, env: simpy.Environment) -> None:
        self.cpu = simpy.Resource(env)
        self.fetches = simpy.Resource(env, ALL_FETCHES)
        self.in_flight = 0


class Simulation:
    """A service under load, from so many warm instances on."""

    def __init__(self, setup: Setup, *, seed: int, warm: int) -> None:
        self._setup, self._figures = setup, setup.figures
        self._env = simpy.Environment()
        self._random = Random(seed)
        self._ready = [_Instance(self._env) for _ in range(warm)]
        self._starting = 0
        self._waiting: OrderedDict[simpy.Event, None] = OrderedDict()
        self._signatures, self._signatures_at = setup.figures["signatures"] / 60, 0.0
        # How many there are, and their integrals over the time.
        self._in_system = self._in_flight = self._billed = 0
        self._in_flight_ms = self._cpu_ms = self._integrated_at = 0.0
        self._outcome = Outcome(0)
        self._env.process(self._arrivals())
        self._env.process(self._autoscaling())

    def run(self, seconds: float) -> Outcome:
        """Go on for so long, and return what became of the requests that ended meanwhile."""
        self._outcome = Outcome(seconds)
        self._env.run(self._env.now + seconds * 1000)
        self._count()
        return self._outcome

    def _count(self, *, in_system: int = 0, in_flight: int = 0, billed: int = 0) -> None:
        """Integrate what there was until now, then change it by so many."""
        passed = self._env.now - self._integrated_at
        self._integrated_at = self._env.now
        self._outcome.in_system_ms += self._in_system * passed
        self._outcome.billed_ms += self._billed * passed
        self._in_flight_ms += self._in_flight * passed
        self._in_system += in_system
        self._in_flight += in_flight
        self._billed += billed

    def _arrivals(self) -> Process:
        while True:
            yield self._env.timeout(self._random.expovariate(self._setup.rate / 1000))
            self._env.process(self._request())

    def _request(self) -> Process:
        arrived_at = self._env.now
        self._count(in_system=1)
        instance = yield from self._placed()
        if instance is None:
            self._outcome.turned_away += 1
        else:
            is_answered = yield from self._answered(instance)
            self._leave(instance)
            if is_answered:
                self._outcome.times_ms.append(self._env.now - arrived_at)
            else:
                self._outcome.refused += 1
        self._count(in_system=-1)

    # Places in instances.

    def _placed(self) -> Process:
        """Take a place; return its instance, or None where there was none in time."""
        if free := [each for each in self._ready if each.in_flight < self._figures["concurrency"]]:
            instance = self._random.choice(free)
            self._enter(instance)
            return instance
        place = self._env.event()
        self._waiting[place] = None
        wanted = math.ceil(len(self._waiting) / self._figures["concurrency"])
        self._start(wanted - self._starting)
        yield place | self._env.timeout(QUEUE_MS)
        if not place.triggered:
            del self._waiting[place]
            return None
        return place.value

    def _enter(self, instance: _Instance) -> None:
        self._count(in_flight=1, billed=int(not instance.in_flight))
        instance.in_flight += 1

    def _leave(self, instance: _Instance) -> None:
        instance.in_flight -= 1
        self._count(in_flight=-1, billed=-int(not instance.in_flight))
        if instance in self._ready:
            self._fill(instance)

    def _fill(self, instance: _Instance) -> None:
        """Give the places that are free to those who wait."""
        while self._waiting and instance.in_flight < self._figures["concurrency"]:
            place, _ = self._waiting.popitem(last=False)
            self._enter(instance)
            place.succeed(instance)

    # Starting and ending instances.

    def _start(self, number: int) -> None:
        room = self._setup.max_instances - len(self._ready) - self._starting
        for _ in range(min(number, room)):
            self._starting += 1
            self._env.process(self._started())

    def _started(self) -> Process:
        self._count(billed=1)
        yield self._env.timeout(self._setup.work.start_ms)
        self._count(billed=-1)
        self._starting -= 1
        instance = _Instance(self._env)
        self._ready.append(instance)
        self._fill(instance)

    def _autoscaling(self) -> Process:
        """Keep as many instances as the averages ask for."""
        samples = deque([(0.0, 0.0, 0.0)])
        while True:
            yield self._env.timeout(EVALUATION_MS)
            self._count()
            samples.append((self._env.now, self._cpu_ms, self._in_flight_ms))
            while samples[0][0] < self._env.now - WINDOW_MS:
                samples.popleft()
            passed, cpu_ms, in_flight_ms = (
                now - before for now, before in zip(samples[-1], samples[0], strict=True)
            )
            cores, places = cpu_ms / passed, in_flight_ms / passed / self._figures["concurrency"]
            wanted = math.ceil(max(cores, places) / self._figures["target"])
            surplus = len(self._ready) + self._starting - wanted
            self._start(-surplus)
            for _ in range(min(surplus, len(self._ready) - 1)):  # the last one stays for long
                self._ready.remove(min(self._ready, key=lambda instance: instance.in_flight))

    # A request in its instance.

    def _answered(self, instance: _Instance) -> Process:
        """Tell whether the answer is the call, and not a refusal."""
        work, figures = self._setup.work, self._figures
        is_unchanged = self._random.random() < figures["unchanged"]
        is_hour = not is_unchanged and self._random.random() < figures["hours"]
        signs = self._setup.is_keyless and not is_unchanged
        # The CPU is spent in equal parts before and after each wait.
        turn_ms = (work.unchanged_ms if is_unchanged else work.small_ms) / (3 if signs else 2)
        yield from self._compute(instance, turn_ms)
        with instance.fetches.request() as slot:
            if not slot.triggered:
                yield slot | self._env.timeout(WAIT_SECONDS * 1000)
            if not slot.triggered:
                return False
            yield self._env.timeout(self._latency("read"))
        if is_hour:
            yield from self._compute(instance, work.hour_ms - work.small_ms, SLICE_MS)
        yield from self._compute(instance, turn_ms)
        return not signs or (yield from self._signed(instance, turn_ms))

    def _compute(self, instance: _Instance, cpu_ms: float, slice_ms: float = math.inf) -> Process:
        while cpu_ms > 0:
            turn_ms = min(cpu_ms, slice_ms)
            with instance.cpu.request() as turn:
                yield turn
                yield self._env.timeout(turn_ms)
            self._cpu_ms += turn_ms
            cpu_ms -= turn_ms

    def _signed(self, instance: _Instance, turn_ms: float) -> Process:
        """Ask IAM until it signs; tell whether it did."""
        gives_up_at, pause_ms = self._env.now + RETRY_BUDGET_SECONDS * 1000, FIRST_PAUSE_MS
        while True:
            is_signed = self._is_within_quota()
            yield self._env.timeout(self._latency("sign"))
            yield from self._compute(instance, turn_ms)
            paused_ms = self._random.uniform(0, pause_ms)
            if is_signed or self._env.now + paused_ms > gives_up_at:
                return is_signed
            yield self._env.timeout(paused_ms)
            pause_ms *= 2

    def _is_within_quota(self) -> bool:
        """Take a signature, of which a second's worth can have been saved up."""
        a_second = self._figures["signatures"] / 60
        passed = self._env.now - self._signatures_at
        self._signatures_at = self._env.now
        self._signatures = min(a_second, self._signatures + a_second * passed / 1000)
        if self._signatures < 1:
            return False
        self._signatures -= 1
        return True

    def _latency(self, upstream: str) -> float:
        """Return a time of an upstream: log-normal, with the median and the p99 of the figures."""
        p50, p99 = (self._figures[f"{upstream}_{percentile}"] for percentile in ("ms", "p99_ms"))
        return self._random.lognormvariate(math.log(p50), math.log(p99 / p50) / NORMAL_P99)
