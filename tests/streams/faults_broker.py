"""Rounds that need a broker of their own, because it is what is struck: restarted, killed, or out of disk.

With one node a clean restart loses nothing and is judged like every other round. A node that is killed, or whose disk
is full, can lose the marker of a commit that it has answered (`streams.brokers.kafka`). Then nothing is claimed but
this: no record is doubled, no log forks, and a worker that resumes has the right state or stops loudly.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from streams.brokers.kafka import KafkaBroker
from tests.streams.fault_stage import RoundInvalidError, Stage
from tests.streams.fault_tally import Tally
from tests.streams.faults import play

# A group must be able to notice a death within the seconds that a round has.
SETTINGS = {"group.min.session.timeout.ms": "1000"}
DISK_MIB = 160
LEFT_BYTES = 1 << 20
FULL_SECONDS = 60.0
BrokerRound = Callable[[Stage, KafkaBroker], None]


class CannotStageError(RuntimeError):
    """This machine cannot show it; the message says why."""


def play_on_own(kind: str, seed: int, base: Path) -> Tally:
    """Start a broker, play one round on it, and stop it. Requires the main thread. Raises CannotStageError."""
    folder = base / f"broker-{kind}-{seed}"
    store = small_disk(folder / "kafka") if kind == DISK_FULL else None
    if store is None:
        with KafkaBroker(folder, extra=SETTINGS) as broker:
            return play_with(kind, seed, broker, base)
    with store, KafkaBroker(folder, extra=SETTINGS) as broker:
        return play_with(kind, seed, broker, base)


def play_with(kind: str, seed: int, broker: KafkaBroker, base: Path) -> Tally:
    """Play one round on a broker that nobody else uses meanwhile."""
    return play(kind, seed, broker.info, base, {kind: lambda stage: BROKER_ROUNDS[kind](stage, broker)})


def restarted(stage: Stage, broker: KafkaBroker) -> None:
    """Stop the broker with SIGTERM under load and start it again; workers go on by themselves or are started again."""
    _begin(stage)
    seconds = stage.rng.uniform(0, 0.4)
    with stage.feeding():
        time.sleep(seconds)
        broker.restart()
    stage.feed_some()
    stage.finish()


def killed(stage: Stage, broker: KafkaBroker) -> None:
    """Kill the broker under load, start it again, and have a new worker resume."""
    _begin(stage)
    seconds = stage.rng.uniform(0, 0.4)
    with stage.feeding():
        time.sleep(seconds)
        broker.kill()
        broker.restart()
    _resume(stage)


def out_of_disk(stage: Stage, broker: KafkaBroker) -> None:
    """Let the disk run full under load until the broker ends; make room, start it again, have a new worker resume."""
    _begin(stage)
    ballast = broker.store / "ballast"
    with stage.feeding():
        free = os.statvfs(broker.store)
        with ballast.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, free.f_bavail * free.f_frsize - LEFT_BYTES)
        until = time.monotonic() + FULL_SECONDS
        while broker.is_running and time.monotonic() < until:
            time.sleep(0.1)
        is_ended = not broker.is_running
        ballast.unlink()
        broker.restart()
    if not is_ended:
        raise RoundInvalidError(f"the broker did without disk for {FULL_SECONDS:g} s")
    _resume(stage)


def _begin(stage: Stage) -> None:
    tenants = stage.found(2)
    for name in ("a", "b")[: stage.rng.randint(1, 2)]:
        stage.start(name)
    stage.feed_until(lambda: all(stage.watch.count(t) for t in tenants), "a first commit")


def _resume(stage: Stage) -> None:
    """Let the workers end their work or stop, and start one that knows only what the broker kept."""
    stage.is_folded_in_time()
    stage.stop()
    stage.start("next")
    stage.feed_some()
    stage.finish_or_stop_loudly()


@contextmanager
def small_disk(path: Path) -> Iterator[None]:
    """Mount a small file system in memory. Raises CannotStageError."""
    if os.geteuid() != 0:
        raise CannotStageError("a small disk can be mounted by root only")
    path.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "tmpfs", str(path)]
    try:
        subprocess.run(mount, check=True, capture_output=True, timeout=10)
    except (OSError, subprocess.SubprocessError) as exc:
        raise CannotStageError(f"no small disk can be mounted: {exc}") from exc
    try:
        yield
    finally:
        subprocess.run(["umount", str(path)], check=True, timeout=10)


DISK_FULL = "disk-full"
BROKER_ROUNDS: Mapping[str, BrokerRound] = {
    "broker-restart": restarted,
    "broker-killed": killed,
    DISK_FULL: out_of_disk,
}
