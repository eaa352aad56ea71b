"""What one governed call costs, from the caller's request to its verified result: `python -m bench.calls`.

Client, host, monitor and broker are processes of their own, beside an echo over two topics with the same settings of
the same library. 1, 8 and 64 callers call again as soon as they are answered; calls and echo go by turns, so that a
ratio is of one time. With `--checkout` the same is measured with the code of another checkout, on the same broker and
by turns with this one.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from bench.call_part import ECHO
from streams.local.choose import KafkaBroker

PART = Path(__file__).with_name("call_part.py")
OUT = Path(__file__).parent / "out" / "calls.json"
TICKS = os.sysconf("SC_CLK_TCK")
END_SECONDS = 15.0
AT = (1, 8, 64)
# The goals of the project, on Apache Kafka: (lower is better, the goal).
GOALS: Mapping[str, tuple[bool, float]] = {
    "call.1.p50_ratio": (True, 13.0),  # 0.7 of 18.6, which was measured before lanes were taken in turn
    "call.8.p50_of_alone": (True, 1.5),
    "call.64.per_s": (False, 1100.0),
    "call.cpu_us.client": (True, 250.0),
    "call.cpu_us.host": (True, 300.0),
    "call.cpu_us.monitor": (True, 350.0),
    "call.cpu_us.broker": (True, 400.0),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CallPlan:
    """How long a run takes. `warm_seconds` is of load before it; a broker's second compiler needs a minute of that."""

    rounds: int
    seconds: float
    warm_seconds: float

    @property
    def stays_up(self) -> bool:
        """Whether the broker is one that `macaw up` would start."""
        return self.warm_seconds >= 60


QUICK = CallPlan(rounds=2, seconds=1.5, warm_seconds=2.0)
FULL = CallPlan(rounds=5, seconds=4.0, warm_seconds=75.0)


class Part:
    """A process of the bench."""

    def __init__(self, role: str, bootstrap: str, base: Path, name: str, checkout: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(PART), role, bootstrap, str(base), name],
            env={**os.environ, "PYTHONPATH": str(checkout)}, cwd=checkout, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        self._role = role
        if self._line() != "ready\n":
            raise RuntimeError(f"{role} did not start")

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    @property
    def cpu(self) -> float:
        """The CPU seconds of the process until now."""
        return cpu_seconds(self._process.pid)

    def load(self, at: int, seconds: float) -> dict[str, float]:
        """Let it call, and return what it tells."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": "load", "at": at, "seconds": seconds}) + "\n")
        self._process.stdin.flush()
        told = self._line()
        if not told:
            raise RuntimeError(f"{self._role} ended")
        found: dict[str, float] = json.loads(told)
        return found

    def end(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that a process has used, user and system, of all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def busy_seconds() -> float:
    """Return the CPU time that the whole machine has used, but for idling and waiting."""
    user, nice, system, _, _, irq, softirq, *_ = map(
        int, Path("/proc/stat").read_text("ascii").split("\n")[0].split()[1:]
    )
    return (user + nice + system + irq + softirq) / TICKS


class Stage:
    """One tenant with its processes, of one checkout."""

    def __init__(self, ends: ExitStack, bootstrap: str, base: Path, checkout: Path, broker: int) -> None:
        self._broker = broker
        self.parts: dict[str, Part] = {}
        for role in ("monitor", "host", "client"):
            part = self.parts[role] = Part(role, bootstrap, base, base.name, checkout)
            ends.callback(part.end)

    def load(self, at: int, seconds: float) -> dict[str, float]:
        """Call, and return rate, latency, and the microseconds of CPU that a call took each process.

        `others` is how many cores were busy with something else meanwhile.
        """
        before, busy = self._cpu(), busy_seconds()
        told = self.parts["client"].load(at, seconds)
        spent = {role: now - before[role] for role, now in self._cpu().items()}
        others = (busy_seconds() - busy - sum(spent.values())) / told["seconds"]
        return told | {role: one / told["calls"] * 1e6 for role, one in spent.items()} | {"others": others}

    def _cpu(self) -> dict[str, float]:
        return {role: part.cpu for role, part in self.parts.items()} | {"broker": cpu_seconds(self._broker)}


@contextmanager
def echoing(bootstrap: str, base: Path) -> Iterator[Part]:
    """Run the echo, and yield the one who asks it."""
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
    for made in admin.create_topics([NewTopic(one, 1, 1) for one in ECHO]).values():
        made.result(15)
    here = Path(__file__).parents[1]
    with ExitStack() as ends:
        for role in ("echo", "echoed"):
            part = Part(role, bootstrap, base, "-", here)
            ends.callback(part.end)
        yield part


Turn = Mapping[str, float]


def measure(broker: Any, base: Path, plan: CallPlan, checkouts: Mapping[str, Path]) -> dict[str, dict[str, float]]:
    """Return the figures of each checkout, measured by turns on a running broker."""
    bootstrap = broker.info.bootstrap
    with ExitStack() as ends:
        asking = ends.enter_context(echoing(bootstrap, base))
        stages = {
            name: Stage(ends, bootstrap, base / f"call-{name}", checkout, broker.pid)
            for name, checkout in checkouts.items()
        }
        for stage in stages.values():
            stage.load(64, plan.warm_seconds / len(stages))
        asking.load(8, 0.3)
        calls: dict[tuple[str, int], list[Turn]] = {(name, at): [] for name in stages for at in AT}
        echoes: dict[int, list[Turn]] = {at: [] for at in AT}
        for turn in range(plan.rounds):
            for at in AT:
                names = list(stages)[:: -1 if turn % 2 else 1]
                for name in names:
                    calls[name, at].append(stages[name].load(at, plan.seconds))
                echoes[at].append(asking.load(at, plan.seconds / 3))
    return {name: figures(name, calls, echoes) for name in stages}


def figures(
    name: str, calls: Mapping[tuple[str, int], Sequence[Turn]], echoes: Mapping[int, Sequence[Turn]]
) -> dict[str, float]:
    """Return the figures of one checkout: of each the median over the rounds."""

    def median(turns: Sequence[Turn], what: str) -> float:
        return statistics.median(one[what] for one in turns)

    found: dict[str, float] = {}
    for at in AT:
        turns = calls[name, at]
        found[f"call.{at}.p50_ms"] = median(turns, "p50_ms")
        found[f"call.{at}.p99_ms"] = median(turns, "p99_ms")
        pairs = zip(turns, echoes[at], strict=True)
        found[f"call.{at}.p50_ratio"] = statistics.median(one["p50_ms"] / bare["p50_ms"] for one, bare in pairs)
        found[f"call.{at}.per_s"] = statistics.median(one["calls"] / one["seconds"] for one in turns)
        found[f"call.{at}.echo_p50_ms"] = median(echoes[at], "p50_ms")
    beside = zip(calls[name, 8], calls[name, 1], strict=True)
    found["call.8.p50_of_alone"] = statistics.median(eight["p50_ms"] / one["p50_ms"] for eight, one in beside)
    for role in ("client", "host", "monitor", "broker"):
        found[f"call.cpu_us.{role}"] = median(calls[name, 64], role)
    found["call.other_cores"] = median([turn for at in AT for turn in calls[name, at]], "others")
    return found


def run(plan: CallPlan, checkouts: Mapping[str, Path] | None = None) -> dict[str, dict[str, float]]:
    """Return the figures of each checkout, on a broker of their own; without checkouts those of this one, as `now`."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        base = Path(folder)
        with KafkaBroker(base / "broker", stays_up=plan.stays_up) as broker:
            return measure(broker, base, plan, checkouts or {"now": Path(__file__).parents[1]})


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.calls", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="short rounds on a broker that has just begun")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--warm", type=float, help="seconds of load first; from 60 on the broker compiles twice")
    parser.add_argument("--checkout", type=Path, help="a checkout of another version, measured by turns with this one")
    chosen = parser.parse_args()
    base = QUICK if chosen.quick else FULL
    plan = CallPlan(
        rounds=chosen.rounds or base.rounds, seconds=base.seconds,
        warm_seconds=base.warm_seconds if chosen.warm is None else chosen.warm,
    )  # fmt: skip
    places = {"before": chosen.checkout, "now": Path(__file__).parents[1]}
    found = run(plan, {name: place.resolve() for name, place in places.items() if place is not None})
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(found, indent=2) + "\n", "utf-8")
    print(f"{'':24} {'  '.join(f'{name:>10}' for name in found)}")
    for figure, value in found["now"].items():
        lower, goal = GOALS.get(figure, (True, None))
        verdict = "" if goal is None else "met" if (value <= goal if lower else value >= goal) else "MISSED"
        told = "" if goal is None else f"   goal {goal:g} {verdict}"
        print(f"{figure:24} {'  '.join(f'{one[figure]:10.2f}' for one in found.values())}{told}")


if __name__ == "__main__":
    main()
