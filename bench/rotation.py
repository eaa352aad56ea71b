"""Rotation under load: how long a tenant's calls wait while its decision key is replaced. `python -m bench.rotation`.

One agent calls a tool without a pause, on Apache Kafka, with monitor, tool host and client in one process. The figure
is the longest time between two answers within two seconds around the rotation, beside the longest of the time before.
"""

from __future__ import annotations

import itertools
import json
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.table import Table

from macaw.installation.rotation import rotate_key
from macaw.installation.tenancy import publish_policies, register_agent
from producers.client import Client
from producers.tools import tool
from streams.local.choose import KafkaBroker
from tests.installation import Installation, installed

ROTATIONS = 5
QUIET_SECONDS = 3.0
AROUND_SECONDS = 2.0
GOAL_SECONDS = 2.0


class Echo:
    """A tool that does nothing."""

    @tool
    def run(self, number: int) -> int:
        """Return the number."""
        return number


def main() -> None:
    """Measure and print."""
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
        KafkaBroker(Path(folder) / "broker") as broker,
        installed(broker.info, Path(folder) / "home", "rotation") as here,
    ):
        quiet, pauses = _measure(here)
    table = Table("figure", "seconds")
    table.add_row("longest time between two answers, no rotation", f"{quiet:.3f}")
    table.add_row(f"the same around a rotation, median of {ROTATIONS}", f"{sorted(pauses)[ROTATIONS // 2]:.3f}")
    table.add_row(f"the same, worst (goal {GOAL_SECONDS:g})", f"{max(pauses):.3f}")
    Console(width=100).print(table)


def _measure(here: Installation) -> tuple[float, list[float]]:
    """Return the longest time between answers without a rotation, and around each rotation, in seconds."""
    register_agent(here.home, here.folder, "caller", attributes={"roles": ["caller"]})
    publish_policies(here.home, here.folder, [json.dumps({"policy_id": "role:caller", "resources": ["tool:**"]})], {})
    with here.hosting("echo", Echo()), _calling(here) as answers:
        time.sleep(QUIET_SECONDS)
        begin, end = time.monotonic() - QUIET_SECONDS, time.monotonic()
        quiet, pauses = _longest(answers, begin, end), []
        for _ in range(ROTATIONS):
            begin = time.monotonic()
            rotate_key(here.home, here.folder, here.folder.path / "monitor.key", reason="bench")
            time.sleep(AROUND_SECONDS)
            pauses.append(_longest(answers, begin, time.monotonic()))
    return quiet, pauses


@contextmanager
def _calling(here: Installation) -> Iterator[list[float]]:
    """Call without a pause; yield the times of the answers."""
    answers: list[float] = []
    stop = threading.Event()

    def run() -> None:
        with Client.connect(here.folder.tenant, "caller", home=here.home) as agent:
            while not stop.is_set():
                agent.invoke("tool:echo/run", {"number": len(answers)})
                answers.append(time.monotonic())

    thread = threading.Thread(target=run)
    thread.start()
    while len(answers) < 20 and thread.is_alive():
        time.sleep(0.01)
    try:
        yield answers
    finally:
        stop.set()
        thread.join(60)


def _longest(answers: list[float], begin: float, end: float) -> float:
    within = [begin, *(at for at in answers if begin <= at <= end), end]
    return max(later - earlier for earlier, later in itertools.pairwise(within))


if __name__ == "__main__":
    main()
