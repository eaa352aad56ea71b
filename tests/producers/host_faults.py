"""Instances of one tool that die, on a real broker: what became of each call, counted by its effects.

`round` is one seeded trial from founding to tally, for the long soak. A `Stage` plays several trials at once, because
most of a trial is waiting: for the group to notice a death, and for the deadline after which a call is `unknown`.
"""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from concurrent.futures import Future, wait
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from unittest import mock

from macaw.installation.instances import instance_home
from macaw.installation.tenancy import publish_policies, register_agent
from producers.client import Client
from producers.kafka.answers import Answer
from producers.tools import collect_tools
from producers.tools.registration import register_tool
from schemas import limits
from streams.local.choose import BrokerInfo
from tests.installation import Installation, installed
from tests.producers.host_main import Gate, Journal, Point, Till
from tests.waiting import PATIENCE_SECONDS, wait_until

ROOT = Path(__file__).parents[2]
EXECUTE_WITHIN_MS = 18_000  # enough for a group to notice a death and for the next owner to execute
UNKNOWN_GRACE_MS = 1000
WAVE = 8
POINTS = (
    Point.BEFORE_COMMIT,
    Point.BEFORE_NOTE,
    Point.BEFORE_EXECUTE,
    Point.IN_EXECUTE,
    Point.BEFORE_REPORT,
    Point.AFTER_REPORT,
    Point.IN_REBALANCE,
)
UNKNOWN = ("unknown", "NO_REPORT")
POLICY = {"policy_id": "role:payer", "resources": ["tool:*"]}


@dataclass(frozen=True, slots=True)
class Tally:
    """What became of the calls of one trial: none may be executed twice, silent or lost.

    Lost is what ended without its effect although no dead instance had begun it, and what is idempotent and was not
    executed again. `unknown` and `redelivered` are the others that a dead instance had begun: what a death may cost.
    """

    kill_point: str
    calls: int
    executed_twice: int
    silent: int
    lost: int
    unknown: int = 0
    redelivered: int = 0


@contextmanager
def short_deadlines() -> Iterator[None]:
    """Let the monitor of this process give calls less time than the product does."""
    with (
        mock.patch.object(limits, "EXECUTE_WITHIN_MS", EXECUTE_WITHIN_MS),
        mock.patch.object(limits, "UNKNOWN_GRACE_MS", UNKNOWN_GRACE_MS),
    ):
        yield


class HostProcess:
    """`host_main` as a child process; killed at the end of `with` if it still runs."""

    def __init__(
        self,
        trial: Trial,
        instance: int,
        point: Point = Point.NEVER,
        *,
        skip: int = 0,
        forgetful: bool = False,
    ) -> None:
        self.log_path = trial.base / f"host-{instance}-{time.monotonic_ns()}.log"
        self.instance = instance
        here = trial.stage.here
        command = [
            *(sys.executable, "-m", "tests.producers.host_main", "--home", str(here.home.path.parent)),
            *("--tenant", here.folder.tenant, "--app", trial.app, "--instance", str(instance)),
            *("--effects", str(trial.effects_path), "--journal", str(trial.journal_path(instance))),
            *("--go", str(trial.go_path), "--point", point.value, "--skip", str(skip)),
            *(["--forgetful"] if forgetful else []),
        ]
        with self.log_path.open("wb") as log:
            self.child = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)

    def send(self, number: signal.Signals) -> None:
        self.child.send_signal(number)

    def stop(self) -> None:
        """Ask it to end, and wait until it has."""
        self.send(signal.SIGTERM)
        assert self.child.wait(PATIENCE_SECONDS) == 0, self.log()

    def log(self) -> str:
        return self.log_path.read_text()

    def await_word(self, word: str, times: int = 1) -> None:
        """Wait until the process has written a word so many times."""
        wait_until(lambda: self.log().count(word) >= times, lambda: f"want {word!r} in: {self.log()}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.child.poll() is None:
            self.child.kill()
        self.child.wait()


@dataclass
class Trial:
    """One tool of its own, its calls, and its instances."""

    stage: Stage
    app: str
    calls: list[tuple[str, int, Future[Answer]]] = field(default_factory=list)

    @property
    def base(self) -> Path:
        return self.stage.here.home.path.parent

    @property
    def effects_path(self) -> Path:
        return self.base / f"{self.app}.effects"

    @property
    def go_path(self) -> Path:
        return self.base / f"{self.app}.go"

    def journal_path(self, instance: int) -> Path:
        return self.base / f"{self.app}.{instance}.journal"

    def register(self, instances: int) -> None:
        """Register the instances, one after the other: the enrolment key is one process's at a time."""
        gate = Gate(Point.NEVER, 0)
        tools = collect_tools(Till(Journal(self.effects_path), gate, 0))
        here = self.stage.here
        for instance in range(instances):
            register_tool(here.home, instance_home(here.folder, instance), self.app, tools)

    def host(self, instance: int, point: Point = Point.NEVER, **how: Any) -> HostProcess:
        """Start an instance; it ends with the stage at the latest."""
        return self.stage.enter(HostProcess(self, instance, point, **how))

    def call(self, count: int) -> None:
        """Ask for payments and puts in turn."""
        for _ in range(count):
            n = len(self.calls)
            operation = "pay" if n % 2 else "put"
            self.calls.append((operation, n, self.stage.client.submit(f"tool:{self.app}/{operation}", {"n": n})))

    def settle(self, seconds: float = PATIENCE_SECONDS) -> int:
        """Wait for the answers and return how many did not come."""
        return len(wait([future for _, _, future in self.calls], seconds).not_done)

    def check_allowed(self) -> None:
        """Fail if a call did not even reach a host: nothing is shown then."""
        for _, _, future in self.calls:
            if future.done():
                result = future.result().result
                assert result.outcome not in {"denied", "refused"}, f"{result.outcome}: {result.reason} {result.detail}"

    def effects(self) -> list[dict[str, Any]]:
        return _lines(self.effects_path)

    def in_flight(self, instance: int) -> set[str]:
        """Return the calls that an instance has begun to commit, and not reported yet."""
        lines = _lines(self.journal_path(instance))
        reported = {line["reported"] for line in lines if "reported" in line}
        return {line["committing"] for line in lines if "committing" in line} - reported

    def tally(self, point: Point, in_flight: AbstractSet[str] = frozenset()) -> Tally:
        """Count. `in_flight` are the calls that an instance had begun when it died."""
        silent = self.settle()
        self.check_allowed()
        runs: dict[int, list[dict[str, Any]]] = defaultdict(list)
        for effect in self.effects():
            runs[effect["n"]].append(effect)
        count: Counter[str] = Counter()
        for operation, n, future in self.calls:
            if not future.done():
                continue
            result, mine, keys = future.result().result, runs[n], {effect["key"] for effect in runs[n]}
            was_in_flight = result.event.hex() in in_flight
            count["twice"] += len(keys) > 1 or (operation == "pay" and len(mine) > 1)
            count["again"] += was_in_flight and operation == "put" and result.outcome == "ok"
            unknown = was_in_flight and operation == "pay" and (result.outcome, result.reason) == UNKNOWN
            count["unknown"] += unknown
            count["lost"] += not unknown and not (result.outcome == "ok" and mine)
        return Tally(point, len(self.calls), count["twice"], silent, count["lost"], count["unknown"], count["again"])


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


class Stage:
    """A tenant with its monitor and one caller, on which trials are played."""

    def __init__(self, broker: BrokerInfo, base: Path, tenant: str) -> None:
        self._broker, self._base, self._tenant = broker, base, tenant
        self._stack = ExitStack()

    def enter(self, host: HostProcess) -> HostProcess:
        return self._stack.enter_context(host)

    def trial(self, app: str, instances: int = 2) -> Trial:
        """Register a tool of its own."""
        made = Trial(self, app)
        made.register(instances)
        return made

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(short_deadlines())
            self.here: Installation = stack.enter_context(installed(self._broker, self._base, self._tenant))
            register_agent(self.here.home, self.here.folder, "shopper", attributes={"roles": ["payer"]})
            publish_policies(self.here.home, self.here.folder, [json.dumps(POLICY)], {})
            self.client = stack.enter_context(Client.connect(self._tenant, "shopper", home=self.here.home))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()


@dataclass
class Death:
    """A trial in which one instance of two or three dies under load."""

    trial: Trial
    point: Point
    skip: int
    survivors: int
    restarts: bool

    def begin(self) -> None:
        """Start the instances."""
        skip = 0 if self.point is Point.IN_REBALANCE else self.skip
        self.victim = self.trial.host(0, self.point, skip=skip)
        self.others = [self.trial.host(1 + n) for n in range(self.survivors)]

    def play(self) -> None:
        """Call until the instance has died, and a little longer."""
        for host in (self.victim, *self.others):
            host.await_word("assigned")
        for _ in range(60):
            if self.victim.child.poll() is not None:
                break
            self.trial.call(WAVE)
            if self.point is Point.IN_REBALANCE and len(self.others) == self.survivors:
                self.others.append(self.trial.host(1 + self.survivors))
            time.sleep(0.25)
            self.trial.check_allowed()
        assert self.victim.child.wait(PATIENCE_SECONDS) == -signal.SIGKILL, self.victim.log()
        self.in_flight = self.trial.in_flight(0)
        if self.restarts:
            self.trial.host(0)
        self.trial.call(WAVE)

    def tally(self) -> Tally:
        return self.trial.tally(self.point, self.in_flight)


def round(seed: int, broker: BrokerInfo, base: Path) -> Tally:  # noqa: A001 - a round of the soak
    """Play one trial that the seed chooses, in a fresh folder `base`, and return what became of its calls."""
    dice = random.Random(seed)
    base.mkdir(parents=True, exist_ok=True)
    with Stage(broker, base, f"hosts-{seed}-{time.time_ns() % 10**6}") as stage:
        survivors = dice.randint(1, 2)
        trial = stage.trial("till", instances=survivors + 2)
        death = Death(trial, dice.choice(POINTS), dice.randint(0, 40), survivors, dice.random() < 0.5)
        death.begin()
        death.play()
        return death.tally()
