"""A tool host as a process of its own that kills itself, or stops itself, at a named point.

Its tool leaves one line per execution in a file that all instances append to: what is counted are effects, not reports.
Which calls it was about to commit, and which it had reported, stands in its journal, so that a test knows what a death
may have cost.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any

from macaw.installation.instances import instance_home
from producers.home.home import Home
from producers.kafka.connection import Connection
from producers.tools import collect_tools, idempotency_key, tool
from producers.tools.admission import AdmittedCall
from producers.tools.decision_feed import DecisionFeed, Taken
from producers.tools.execution import Ended
from producers.tools.host import HostSettings, ToolHost
from producers.tools.registration import tool_key
from tests.stopping import stop_here
from tests.waiting import wait_until

SESSION_TIMEOUT_MS = 6000  # the shortest that Apache Kafka takes
TOOL_SECONDS = 3.0
BOTH = frozenset({"pay", "put"})


class Point(StrEnum):
    """Where an instance ends."""

    NEVER = "never"
    BEFORE_COMMIT = "before the commit"
    BEFORE_NOTE = "between commit and note"
    BEFORE_EXECUTE = "between commit and execute"
    IN_EXECUTE = "during execute"
    BEFORE_REPORT = "between execute and report"
    AFTER_REPORT = "after the report"
    IN_REBALANCE = "during a rebalance"
    STOPPED = "stopped before the commit"
    REMOVED = "removed from the group before the commit"
    HELD = "held between poll and commit"


def say(*words: object) -> None:
    """Write a line that the test waits for."""
    print(*words, flush=True)


class Journal:
    """A file to which any number of threads and processes append whole lines."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def add(self, **what: object) -> None:
        os.write(self._file, (json.dumps(what) + "\n").encode())


class Gate:
    """Ends the process at its point, once a call of either kind is there: both ways to go on are then shown at once."""

    def __init__(self, point: Point, skip: int) -> None:
        self.point = point
        self._left, self._here = skip, set[str]()
        self._lock, self._forever = threading.Lock(), threading.Event()

    def reach(self, point: Point, *operations: str) -> None:
        """End the process here, wait here for the other kind of call, or go on."""
        if point is not self.point or not operations:
            return
        with self._lock:
            self._left -= len(operations)
            if self._left >= 0:
                return
            waits = not set(operations) <= self._here
            self._here.update(operations)
            if self._here >= BOTH:
                say("killed", point)
                os.kill(os.getpid(), signal.SIGKILL)
        if waits:
            self._forever.wait(TOOL_SECONDS)


class Till:
    """The tool: `pay` must not run twice, `put` may."""

    def __init__(self, effects: Journal, gate: Gate, instance: int) -> None:
        self._effects, self._gate, self._instance = effects, gate, instance

    @tool(timeout_seconds=TOOL_SECONDS)
    def pay(self, n: int) -> int:
        return self._leave("pay", n)

    @tool(timeout_seconds=TOOL_SECONDS, idempotent=True)
    def put(self, n: int) -> int:
        return self._leave("put", n)

    def _leave(self, operation: str, n: int) -> int:
        self._effects.add(op=operation, n=n, key=idempotency_key(), instance=self._instance)
        self._gate.reach(Point.IN_EXECUTE, operation)
        time.sleep(0.02)
        return n


def operation_of(call: AdmittedCall) -> str:
    return call.decision.resource.rpartition("/")[2]


class WatchedFeed:
    """A feed whose commits are written down, and may be the point."""

    def __init__(self, feed: DecisionFeed, host: MortalHost, go: Path) -> None:
        self._feed, self._host, self._go = feed, host, go

    def __getattr__(self, name: str) -> Any:
        return getattr(self._feed, name)

    def commit(self, batch: Sequence[Taken], repeatable: Sequence[Taken]) -> bool:
        calls = self._host.take_calls()
        if self._host.gate.point is Point.BEFORE_COMMIT and {operation_of(c) for c in calls} >= BOTH:
            self._host.gate.reach(Point.BEFORE_COMMIT, *map(operation_of, calls))
        if self._host.gate.point in {Point.STOPPED, Point.REMOVED} and calls:
            self._pause(self._host.gate.point)
            self._host.gate.point = Point.NEVER
        for call in calls:
            self._host.journal.add(committing=call.decision.event.hex())
        return self._feed.commit(batch, repeatable)

    def _pause(self, point: Point) -> None:
        """Go on when the client library knows that it is nobody any more, and the test lets us."""
        say("paused")
        if point is Point.STOPPED:
            stop_here()
        wait_until(lambda: not self._feed._consumer.memberid(), "still a member")
        say("excluded")
        wait_until(lambda: not self._go.exists(), "not let go")


class HeldConsumer:
    """A consumer whose next read lasts, once it has records, until a partition was revoked and the test says go."""

    def __init__(self, consumer: Any, go: Path) -> None:
        self._consumer, self._go = consumer, go
        self.held = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._consumer, name)

    def consume(self, count: int, seconds: float) -> list[Any]:
        messages = list(self._consumer.consume(count, seconds))
        if self.held:
            return messages
        self.held = True

        def read_on() -> None:
            messages.extend(self._consumer.consume(count, 0.05))

        wait_until(
            lambda: len(messages) + 1 >= int(self._go.read_text()), "too few records", pause=0, meanwhile=read_on
        )
        say("holding")
        wait_until(lambda: not self._go.exists(), "not let go", pause=0, meanwhile=read_on)
        return messages


class MortalHost(ToolHost):
    """A host that writes down what it does, and ends at its gate."""

    def __init__(self, *args: Any, gate: Gate, journal: Journal, go: Path) -> None:
        super().__init__(*args)
        self.gate, self.journal = gate, journal
        self.has_calls, self._calls = False, list[AdmittedCall]()
        self._feed: Any = WatchedFeed(self._feed, self, go)

    def take_calls(self) -> list[AdmittedCall]:
        calls, self._calls = self._calls, []
        return calls

    def _order(self, taken: Taken) -> Any:
        order = super()._order(taken)
        if order is not None and order.call is not None:
            self._calls.append(order.call)
            self.has_calls = True
        return order

    def _begin(self, orders: Any) -> list[bytes | None]:
        operations = [operation_of(o.call) for o in orders if o.call is not None]
        if set(operations) >= BOTH:
            self.gate.reach(Point.BEFORE_NOTE, *operations)
        return super()._begin(orders)

    def _execute_and_report(self, taken: Taken, call: AdmittedCall) -> None:
        self.gate.reach(Point.BEFORE_EXECUTE, operation_of(call))
        super()._execute_and_report(taken, call)

    def _report(self, call: AdmittedCall, ended: Ended) -> bool:
        self.gate.reach(Point.BEFORE_REPORT, operation_of(call))
        sent = super()._report(call, ended)
        self.journal.add(reported=call.decision.event.hex())
        self.gate.reach(Point.AFTER_REPORT, operation_of(call))
        return sent


def on_rebalance(feed: DecisionFeed, host: MortalHost) -> None:
    """Tell of assignments, and let a revocation under load be the point."""

    def told(name: str, then: Callable[..., None]) -> Callable[..., None]:
        def callback(consumer: Any, places: list[Any]) -> None:
            if name == "revoked" and host.has_calls:
                host.gate.reach(Point.IN_REBALANCE, *BOTH)
            then(consumer, places)
            say(name, *sorted(place.partition for place in places))

        return callback

    hooks: Any = feed
    hooks._on_assign = told("assigned", feed._on_assign)
    hooks._on_revoke = told("revoked", feed._on_revoke)


def forget_rebalances(feed: Any) -> None:
    """Take away what a feed does beyond the broker: to tell records apart that were read before a rebalance."""

    def forgetful(callback: Callable[..., None]) -> Callable[..., None]:
        def call(consumer: Any, places: list[Any]) -> None:
            epoch, assigned = feed._epoch, [share.assigned for share in feed._shares.values()]
            callback(consumer, places)
            if epoch > 0:
                feed._epoch = epoch
                for share, was in zip(feed._shares.values(), assigned, strict=True):
                    share.assigned = was

        return call

    feed._on_assign, feed._on_lost = forgetful(feed._on_assign), forgetful(feed._on_lost)


def main() -> int:
    """Serve until the process ends itself, is ended, or is asked to stop by SIGTERM."""
    parser = argparse.ArgumentParser()
    for name in ("home", "tenant", "app", "effects", "journal", "go"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--instance", type=int, required=True)
    parser.add_argument("--point", type=Point, required=True)
    parser.add_argument("--skip", type=int, required=True)
    parser.add_argument("--forgetful", action="store_true")
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, stream=sys.stdout)
    home = Home.open(Path(given.home))
    folder = instance_home(home.tenant(given.tenant), given.instance)
    gate = Gate(given.point, given.skip)
    tools = collect_tools(Till(Journal(Path(given.effects)), gate, given.instance))
    settings = HostSettings(
        bootstrap=home.bootstrap,
        group_managed=True,
        executed_path=folder.key_file("tool", given.app).with_suffix(".executed"),
        session_timeout_ms=SESSION_TIMEOUT_MS,
    )
    with Connection(home, folder, tool_key(folder, given.app), given.app) as connection:
        journal, go = Journal(Path(given.journal)), Path(given.go)
        host = MortalHost(connection, given.app, tools, settings, gate=gate, journal=journal, go=go)
        feed = host._feed._feed
        if given.forgetful:
            forget_rebalances(feed)
        on_rebalance(feed, host)
        if given.point is Point.HELD:
            feed._consumer = HeldConsumer(feed._consumer, go)
        signal.signal(signal.SIGTERM, lambda *_: host.stop())
        say("serving")
        host.run()
    say("ended", host.tally.executed, host.tally.redelivered, json.dumps(host.tally.refused))
    return 0


if __name__ == "__main__":
    sys.exit(main())
