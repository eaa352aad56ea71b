"""A monitor as a process of its own, with one fault set: for tests that end, stop or starve it at a chosen moment.

It is the product's monitor but for its clients (`fault_points`) and its settings, which are shortened so that a group
and a broker notice a death within seconds.
"""

from __future__ import annotations

import argparse
import faulthandler
import logging
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any, ClassVar

from confluent_kafka import KafkaException

from macaw.installation.monitored import monitored
from producers.home.home import Home
from streams.worker.lanes import WorkerFencedError
from streams.worker.monitor import Monitor
from tests.streams.fault_points import Fault, install, say
from tests.streams.loop_workers import ShortTransactions

FENCED = 3
UNREACHED = 5
SESSION_TIMEOUT_MS = 2000  # the broker must be told that it may be so short
ORPHANED = 4


class FaultSettings(ShortTransactions):
    """Short times; `message_bytes_max` is what the client lets pass, 0 for the product's own bound."""

    message_bytes_max: ClassVar[int] = 0

    def producer(self, lane: int = 0) -> dict[str, Any]:
        given = super().producer(lane)
        return given | ({"message.max.bytes": self.message_bytes_max} if self.message_bytes_max else {})


def end_with(parent: int) -> None:
    """End this process once its parent is gone."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(ORPHANED)


def main() -> int:
    """Run until SIGTERM, the fault, or another worker ends this one."""
    parser = argparse.ArgumentParser()
    for name in ("home", "group", "pattern", "transactional-id", "release"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--fault", default="")
    parser.add_argument("--message-bytes-max", type=int, default=0)
    parser.add_argument("--deaf", action="store_true")
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, stream=sys.stdout)
    faulthandler.register(signal.SIGUSR1)  # a worker that is stuck says where
    threading.Thread(target=end_with, args=(os.getppid(),), daemon=True).start()
    install(Fault.parse(given.fault) if given.fault else None, Path(given.release), deaf=given.deaf)
    home = Home.open(Path(given.home))
    settings = FaultSettings(
        bootstrap=home.bootstrap,
        group=given.group,
        pattern=given.pattern,
        transactional_id=given.transactional_id,
        session_timeout_ms=SESSION_TIMEOUT_MS,
    )
    FaultSettings.message_bytes_max = given.message_bytes_max
    try:
        monitor = Monitor(settings, lambda name: monitored(home, name))
    except KafkaException as exc:  # a broker that is away for longer than a worker waits when it starts
        say(f"unreached: {exc}")
        os._exit(UNREACHED)
    try:
        signal.signal(signal.SIGTERM, lambda *_: monitor.stop())
        say("serving")
        monitor.run()
    except WorkerFencedError as exc:
        say(f"fenced: {exc}")
        os._exit(FENCED)
    return 0


if __name__ == "__main__":
    sys.exit(main())
