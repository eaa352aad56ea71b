"""A worker as a process of its own, for tests that kill it, or that have it stop itself at a chosen moment.

The keys of its tenants are read from an installation's folder. `--freeze` names the moment of its first transaction
at which the process stops itself (SIGSTOP) until the test lets it go on.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from macaw.installation.monitored import monitored
from producers.home.home import Home
from streams.worker.lanes import WorkerFencedError
from streams.worker.loop import Loop
from streams.worker.monitor import Monitor, build_fold
from streams.worker.partition import Partition
from tests.stopping import stop_here
from tests.streams.loop_workers import ShortTransactions
from tests.waiting import PATIENCE_SECONDS, wait_until

FENCED = 3


class Frozen(Loop):
    """A loop that stops itself once, when it holds records of a call."""

    moment = ""

    def _freeze(self) -> None:
        type(self).moment = ""
        print("frozen", flush=True)
        stop_here()
        print("thawed", flush=True)

    def _await_exclusion(self) -> None:
        """Wait until the group has told the consumer, though not yet the loop, that it is no member."""
        wait_until(lambda: not self._consumer.memberid(), "still a member")
        print("excluded", flush=True)


class FrozenAtProof(Frozen):
    """Stops where the proof of membership is made: this process has one loop, so the hook is every partition's."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        made = Partition.membership
        Partition.membership = lambda partition, consumer: self._proof(lambda: made(partition, consumer))  # type: ignore[method-assign]

    def _proof(self, make: Callable[[], Any]) -> Any:
        raise NotImplementedError


class FrozenWithProof(FrozenAtProof):
    """Stops after the proof of membership was made."""

    def _proof(self, make: Callable[[], Any]) -> Any:
        proof = make()
        if self.moment == "with-proof":
            self._freeze()
        return proof


class FrozenBeforeProof(FrozenAtProof):
    """Stops before, and goes on when the consumer knows of its exclusion."""

    def _proof(self, make: Callable[[], Any]) -> Any:
        if self.moment == "before-proof":
            self._freeze()
            self._await_exclusion()
        return make()


class CommitLate:
    """A producer that stops its process between the last record of a transaction and the commit."""

    def __init__(self, producer: Any, loop: Frozen) -> None:
        self._producer = producer
        self._loop = loop

    def __getattr__(self, name: str) -> Any:
        return getattr(self._producer, name)

    def commit_transaction(self, seconds: float) -> None:
        if self._loop.moment == "before-commit":
            self._producer.flush(PATIENCE_SECONDS)
            self._loop._freeze()
        self._producer.commit_transaction(seconds)


class FrozenBeforeCommit(Frozen):
    """Stops with everything written and sent, the commit excepted."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        for lane in self._lanes:
            lane.producer = CommitLate(lane.producer, self)  # type: ignore[assignment]


LOOPS = {
    "with-proof": FrozenWithProof,
    "before-proof": FrozenBeforeProof,
    "before-commit": FrozenBeforeCommit,
}


def run_frozen(settings: ShortTransactions, home: Home, freeze: str) -> None:
    """Fold what is there; then, with the first record that comes later, stop."""

    def open_fold(name: str) -> Any:
        found = monitored(home, name)
        return build_fold(found) if found else None

    loop = LOOPS[freeze](settings, open_fold)
    idle = 0
    while idle < 10:
        idle = idle + 1 if loop.folds and not loop.turn(0.05) else 0
        if not loop.folds:
            loop.turn(0.05)
    type(loop).moment = freeze
    print("armed", flush=True)
    while True:
        loop.turn(0.05)


def main() -> int:
    """Run until the process is killed or fenced."""
    parser = argparse.ArgumentParser()
    for name in ("home", "group", "pattern", "transactional-id", "freeze"):
        parser.add_argument(f"--{name}", required=True)
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, stream=sys.stdout)
    home = Home.open(Path(given.home))
    settings = ShortTransactions(
        bootstrap=home.bootstrap,
        group=given.group,
        pattern=given.pattern,
        transactional_id=given.transactional_id,
        session_timeout_ms=6000,
    )
    try:
        if given.freeze:
            run_frozen(settings, home, given.freeze)
        else:
            Monitor(settings, lambda name: monitored(home, name)).run()
    except WorkerFencedError as exc:
        print(f"fenced: {exc}", flush=True)
        os._exit(FENCED)
    return 0


if __name__ == "__main__":
    sys.exit(main())
