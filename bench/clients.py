"""Many clients in one process: `python -m bench.clients [--checkout DIR] [--broker embedded|kafka]`.

A tenant with a monitor and a tool host in one process, and a process that opens COUNT clients of one agent: how long
one more client takes to open after the first, and how many round trips; threads and resident memory; and a call of a
single client. Round trips are events, questions for offsets, and questions for metadata. With `--checkout` the same is
measured with the code of another checkout, by turns with this one, and the ratio of a call's median is printed.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from macaw.installation.monitored import monitored
from macaw.installation.tenancy import create_tenant, publish_policies, register_agent, register_enrolment
from producers.home.home import Home, TenantHome
from producers.kafka.connection import Connection
from producers.tools import collect_tools, tool
from producers.tools.host import HostSettings, ToolHost
from producers.tools.registration import register_tool
from schemas.topics import INTAKE
from streams.local.choose import EmbeddedBroker, KafkaBroker
from streams.worker.monitor import Monitor
from streams.worker.settings import LoopSettings

COUNT = 100
TURNS = 3
CHILD = Path(__file__).with_name("client_start.py")
OUT = Path(__file__).parent / "out" / "clients.json"
GOALS = {"threads_100": 20.0, "rss_mb_100": 150.0, "open_trips": 1.0}
POLICY = json.dumps({"policy_id": "role:teller", "resources": ["tool:bank/*"]})


class Bank:
    """A tool that does nothing."""

    @tool
    def balance(self) -> int:
        """Return a number."""
        return 7


@contextmanager
def staged(bootstrap: str, base: Path, name: str) -> Iterator[None]:
    """Found a tenant with an agent and a tool, and serve both until the block ends."""
    home = Home.create(base, {"bootstrap": bootstrap, "deployment": "bench", "tenant": name})
    folder = create_tenant(home, name)
    home = Home.open(base)
    settings = LoopSettings(bootstrap=bootstrap, group=name, transactional_id=name, assigned=lambda: [INTAKE.of(name)])
    monitor = Monitor(settings, lambda found: monitored(home, found) if found == name else None)
    with threaded(monitor):
        register_enrolment(home, folder)
        register_agent(home, folder, "teller", attributes={"roles": ["teller"]})
        publish_policies(home, folder, [POLICY], {})
        with hosting(home, folder):
            yield


@contextmanager
def hosting(home: Home, folder: TenantHome) -> Iterator[None]:
    """Serve the bank until the block ends."""
    tools = collect_tools(Bank())
    key = register_tool(home, folder, "bank", tools)
    settings = HostSettings(bootstrap=home.bootstrap, group_managed=False, executed_path=folder.path / "bank.db")
    with Connection(home, folder, key, "bank") as connection, threaded(ToolHost(connection, "bank", tools, settings)):
        yield


@contextmanager
def threaded(worker: Monitor | ToolHost) -> Iterator[None]:
    """Run a monitor or a host in a thread until the block ends."""
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        yield
    finally:
        worker.stop()
        thread.join()


def play(bootstrap: str, count: int, checkout: Path) -> None:
    """Measure with the code of the checkout that this process runs with; print the figures as JSON."""
    name = f"c{os.getpid()}"
    with tempfile.TemporaryDirectory() as folder, staged(bootstrap, Path(folder), name):
        environment = {**os.environ, "PYTHONPATH": str(checkout), "MACAW_HOME": folder}
        told = subprocess.run(
            [sys.executable, str(CHILD), str(count)], env=environment, cwd=checkout, check=True, stdout=subprocess.PIPE
        )
    print(told.stdout.decode())


def measure(bootstrap: str, count: int, checkout: Path) -> Mapping[str, float]:
    """Return the figures of one checkout."""
    asked = ["--count", str(count), "--checkout", str(checkout)]
    command = [sys.executable, __file__, "--play", bootstrap, *asked]
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    told = subprocess.run(command, env=environment, cwd=checkout, check=True, stdout=subprocess.PIPE)
    found: Mapping[str, float] = json.loads(told.stdout)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.clients", description=__doc__)
    parser.add_argument("--broker", choices=("embedded", "kafka"), default="kafka")
    parser.add_argument("--count", type=int, default=COUNT)
    parser.add_argument("--turns", type=int, default=TURNS)
    parser.add_argument("--checkout", type=Path, help="a checkout of another version, measured by turns with this one")
    parser.add_argument("--play", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.play:
        play(chosen.play, chosen.count, chosen.checkout)
        return
    places = {"before": chosen.checkout, "now": Path(__file__).parents[1]}
    turns: dict[str, list[Mapping[str, float]]] = {name: [] for name, place in places.items() if place is not None}
    kind = KafkaBroker if chosen.broker == "kafka" else EmbeddedBroker
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, kind(Path(folder)) as broker:
        for _ in range(chosen.turns):
            for name, taken in turns.items():
                taken.append(measure(broker.info.bootstrap, chosen.count, places[name].resolve()))
                print(name, json.dumps(taken[-1]), flush=True)
    found = {name: medians(taken) for name, taken in turns.items()}
    if "before" in found:
        pairs = zip(turns["now"], turns["before"], strict=True)
        found["now"]["call_ratio"] = round(statistics.median(now["call_ms"] / old["call_ms"] for now, old in pairs), 3)
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(found, indent=2) + "\n", "utf-8")
    for name, value in found["now"].items():
        goal = GOALS.get(name)
        told = "" if goal is None else f"goal {goal:6.1f}  {'met' if value <= goal else 'MISSED'}"
        print(f"{name:14} {value:8.2f}  {told}")


def medians(taken: list[Mapping[str, float]]) -> dict[str, float]:
    """Return the median of each figure."""
    return {name: round(statistics.median(one[name] for one in taken), 3) for name in taken[0]}


if __name__ == "__main__":
    main()
