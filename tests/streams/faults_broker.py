"""Rounds that need brokers of their own, because it is they who are struck: restarted, killed, or out of disk.

Of three nodes one may be restarted or killed, and the round is judged like every other. A lone node that goes, even in
peace, can lose markers of transactions that it has answered (`streams.local.kafka`): its partitions have no leader
for a moment, and its coordinator takes them for deleted. What is behind such a marker stays behind an open transaction.
There nothing is claimed but this: no record is doubled, no log forks, and a worker that resumes has the right state or
stops loudly.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from unittest import mock

from macaw.installation.tenancy import create_tenant
from streams.local.choose import BrokerInfo
from streams.local.kafka import KafkaBroker
from tests.streams import loop_world
from tests.streams.fault_stage import RoundInvalidError, Stage
from tests.streams.fault_tally import Tally
from tests.streams.faults import INTRUDER_TIMEOUT_MS, play
from tests.streams.kafka_cluster import NODES, Cluster
from tests.waiting import PATIENCE_SECONDS

# A group must be able to notice a death within the seconds that a round has; an intruder's transaction stays open
# for as long as the round takes, on a busy machine too, where the product's brokers would end it.
SETTINGS = {"group.min.session.timeout.ms": "1000", "transaction.max.timeout.ms": str(INTRUDER_TIMEOUT_MS)}
DISK_MIB = 160
LEFT_BYTES = 1 << 20
BrokerRound = Callable[[Stage, KafkaBroker], None]


class CannotStageError(RuntimeError):
    """This machine cannot show it; the message says why."""


def play_on_own(kind: str, seed: int, base: Path) -> Tally:
    """Start what the round needs, play it, and stop it. Requires the main thread. Raises CannotStageError."""
    folder = base / f"broker-{kind}-{seed}"
    with ExitStack() as stack:
        if kind in NODE_ROUNDS:
            return play_on_cluster(kind, seed, stack.enter_context(Cluster(folder, SETTINGS)), base)
        if kind == DISK_FULL:
            stack.enter_context(small_disk(folder / "kafka"))
        broker = stack.enter_context(KafkaBroker(folder, extra=SETTINGS))
        return _play(kind, seed, broker, broker.info, base)


def play_on_cluster(kind: str, seed: int, cluster: Cluster, base: Path) -> Tally:
    """Strike one of three nodes that nobody else uses meanwhile."""
    replicated = partial(create_tenant, replication=NODES)
    with mock.patch.object(loop_world, "create_tenant", replicated):
        return _play(kind, seed, cluster.nodes[seed % NODES], cluster.info, base)


def _play(kind: str, seed: int, struck: KafkaBroker, info: BrokerInfo, base: Path) -> Tally:
    return play(kind, seed, info, base, {kind: lambda stage: BROKER_ROUNDS[kind](stage, struck)})


def restart(broker: KafkaBroker) -> None:
    """Stop it with SIGTERM and start it again."""
    broker.restart()


def kill(broker: KafkaBroker) -> None:
    """Kill it and start it again."""
    broker.kill()
    broker.restart()


def node_struck(stage: Stage, broker: KafkaBroker, strike: Callable[[KafkaBroker], None]) -> None:
    """Strike one node of three under load; workers go on by themselves, or are started again."""
    _begin(stage)
    seconds = stage.rng.uniform(0, 0.4)
    with stage.feeding():
        time.sleep(seconds)
        strike(broker)
    stage.feed_some()
    stage.finish()


def lone_struck(stage: Stage, broker: KafkaBroker, strike: Callable[[KafkaBroker], None]) -> None:
    """Strike the only node under load, and have a new worker resume."""
    _begin(stage)
    seconds = stage.rng.uniform(0, 0.4)
    with stage.feeding():
        time.sleep(seconds)
        strike(broker)
    _resume(stage)


def out_of_disk(stage: Stage, broker: KafkaBroker) -> None:
    """Let the disk run full under load until the broker ends; make room, start it again, have a new worker resume."""
    _begin(stage)
    ballast = broker.store / "ballast"
    with stage.feeding():
        free = os.statvfs(broker.store)
        with ballast.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, free.f_bavail * free.f_frsize - LEFT_BYTES)
        until = time.monotonic() + PATIENCE_SECONDS
        while broker.is_running and time.monotonic() < until:
            time.sleep(0.1)
        is_ended = not broker.is_running
        ballast.unlink()
        broker.restart()
    if not is_ended:
        raise RoundInvalidError(f"the broker did without disk for {PATIENCE_SECONDS:g} s")
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
NODE_ROUNDS: Mapping[str, BrokerRound] = {
    "node-restart": partial(node_struck, strike=restart),
    "node-killed": partial(node_struck, strike=kill),
}
BROKER_ROUNDS: Mapping[str, BrokerRound] = {
    **NODE_ROUNDS,
    "lone-restart": partial(lone_struck, strike=restart),
    "lone-killed": partial(lone_struck, strike=kill),
    DISK_FULL: out_of_disk,
}
