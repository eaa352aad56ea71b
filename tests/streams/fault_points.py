"""Where a worker can be struck: its own calls to Kafka, wrapped, and a trap that ends or stops the process at one.

Only calls of the client library are wrapped, so that what is struck is the product's own loop, whatever it looks like.
A trap counts the calls of one point and springs once. SIGKILL leaves nobody time for a last word; the trap writes its
line before.
"""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar

from confluent_kafka import Consumer, Message, Producer, TopicPartition

import streams.worker.loop
import streams.worker.restart_reading
from schemas.topics import INTAKE
from tests.stopping import stop_here
from tests.waiting import PATIENCE_SECONDS

FLUSH_SECONDS = 10
EXCLUDED_NAPS_MAX = 500
SPRUNG = "fault:"


class Point(StrEnum):
    """A moment of a worker, in the order of its life."""

    ON_ASSIGN = "on-assign"
    IN_RESTORE = "in-restore"
    IN_REBUILD = "in-rebuild"
    AFTER_CONSUME = "after-consume"
    BETWEEN_PRODUCES = "between-produces"
    BEFORE_OFFSETS = "before-offsets"
    AFTER_OFFSETS = "after-offsets"
    BEFORE_COMMIT = "before-commit"
    IN_COMMIT = "in-commit"
    AFTER_COMMIT = "after-commit"
    ON_REVOKE = "on-revoke"
    HELD = "held"  # a consumer call lasts until a partition was revoked, and folded by another


class Action(StrEnum):
    KILL = "kill"
    STOP = "stop"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What befalls a worker: at the `nth` call of a point, at once or a little later.

    `records` says how many of a transaction are produced before BETWEEN_PRODUCES; `flush` has the broker take first
    what was produced; `late` strikes after a callback instead of before it, and AFTER_CONSUME at the last call of a
    turn only, where who was stopped goes on when the library knows that it is out of its group; `delay_ms` is the time
    since the call began.
    """

    point: Point
    nth: int = 1
    action: Action = Action.KILL
    records: int = 1
    flush: bool = False
    late: bool = False
    delay_ms: float = 0.0

    def dump(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def parse(cls, text: str) -> Fault:
        given = json.loads(text)
        return cls(**{**given, "point": Point(given["point"]), "action": Action(given["action"])})


class Trap:
    """Springs at the call that a fault names. Without a fault, never."""

    def __init__(self, fault: Fault | None) -> None:
        self.fault = fault
        self._calls = 0
        self._lock = threading.Lock()

    def is_at(self, point: Point) -> bool:
        """Count a call of this point; whether the trap springs now."""
        if self.fault is None or self.fault.point is not point:
            return False
        with self._lock:  # commits run on threads of their own
            self._calls += 1
            return self._calls == self.fault.nth

    def reach(self, point: Point, before: Callable[[], object] | None = None) -> bool:
        """Strike if this is the call, after `before`; whether it was, if there is still somebody to be told."""
        if not self.is_at(point):
            return False
        if before is not None:
            before()
        self.strike()
        return True

    def reach_soon(self, point: Point) -> None:
        """Strike a little later, from another thread, if this is the call."""
        if self.is_at(point):
            assert self.fault is not None
            timer = threading.Timer(self.fault.delay_ms / 1000, self.strike)
            timer.daemon = True
            timer.start()

    def strike(self) -> None:
        assert self.fault is not None
        say(f"{SPRUNG} {self.fault.point}")
        if self.fault.action is Action.KILL:
            os.kill(os.getpid(), signal.SIGKILL)
        else:
            stop_here()


def say(line: str) -> None:
    """Write a line at once, past every buffer."""
    os.write(1, f"{line}\n".encode())


class FaultyProducer(Producer):
    """A transactional producer with a trap."""

    trap: ClassVar[Trap] = Trap(None)

    def begin_transaction(self, *args: Any) -> None:
        self._produced = 0
        super().begin_transaction(*args)

    def produce(self, *args: Any, **named: Any) -> None:
        super().produce(*args, **named)
        self._produced += 1
        fault = self.trap.fault
        if fault is not None and self._produced == fault.records:
            self.trap.reach(Point.BETWEEN_PRODUCES, self._flushed)

    def send_offsets_to_transaction(self, *args: Any) -> None:
        self.trap.reach(Point.BEFORE_OFFSETS, self._flushed)
        super().send_offsets_to_transaction(*args)
        self.trap.reach(Point.AFTER_OFFSETS, self._flushed)

    def commit_transaction(self, *args: Any) -> None:
        self.trap.reach(Point.BEFORE_COMMIT, self._flushed)
        self.trap.reach_soon(Point.IN_COMMIT)
        super().commit_transaction(*args)
        self.trap.reach(Point.AFTER_COMMIT)

    def _flushed(self) -> None:
        assert self.trap.fault is not None
        if self.trap.fault.flush:
            self.flush(FLUSH_SECONDS)


class FaultyConsumer(Consumer):
    """The consumer of intake with a trap.

    With `deaf` the loop is never told of a revocation: the partition goes, and the loop folds what it holds.
    """

    trap: ClassVar[Trap] = Trap(None)
    release: ClassVar[Path] = Path()  # a file: what is held is let go once it is there
    deaf: ClassVar[bool] = False

    def subscribe(self, patterns: list[str], **callbacks: Any) -> None:
        on_assign, on_revoke, on_lost = (callbacks[name] for name in ("on_assign", "on_revoke", "on_lost"))
        super().subscribe(
            patterns,
            on_assign=self._struck(Point.ON_ASSIGN, on_assign),
            on_revoke=self._struck(Point.ON_REVOKE, self._unassign if self.deaf else on_revoke),
            on_lost=on_lost,
        )

    @staticmethod
    def _unassign(consumer: Consumer, places: list[TopicPartition]) -> None:
        consumer.incremental_unassign(places)

    def _struck(self, point: Point, callback: Callable[..., object]) -> Callable[..., object]:
        def struck(consumer: Consumer, places: list[TopicPartition]) -> None:
            fault = self.trap.fault
            is_late = fault is not None and fault.late
            if places and not is_late:  # a group that found its balance calls back with nothing
                self.trap.reach(point)
            callback(consumer, places)
            if places and is_late:
                self.trap.reach(point)

        return struck

    def poll(self, *args: Any) -> Message | None:
        message = super().poll(*args)
        if message is not None and message.error() is None and not (self.trap.fault and self.trap.fault.late):
            self.trap.reach(Point.AFTER_CONSUME)
        return message

    def consume(self, *args: Any) -> list[Message]:
        messages = super().consume(*args)
        if messages:
            self._consumed()
            if self.trap.is_at(Point.HELD):
                return [*messages, *self._until_released()]
        return messages

    def _consumed(self) -> None:
        if self.trap.reach(Point.AFTER_CONSUME) and self.trap.fault is not None and self.trap.fault.late:
            # Stopped, and going on: the library hears that it is no member, and tells the loop at a later call only.
            # Counted, not timed: this thread may run on for a moment before the process is stopped.
            for _ in range(EXCLUDED_NAPS_MAX):
                if not self.memberid():
                    say("excluded")
                    break
                time.sleep(0.01)

    def _until_released(self) -> list[Message]:
        """Let this call last: callbacks run in it, as they may in any, and what comes meanwhile is returned too."""
        say(f"{SPRUNG} {Point.HELD}")
        messages: list[Message] = []
        until = time.monotonic() + PATIENCE_SECONDS
        while not self.release.exists():
            assert time.monotonic() < until, "nobody let it go"
            message = super().poll(0.02)
            if message is not None:
                messages.append(message)
        return messages


class FaultyReader(Consumer):
    """A consumer of a restart, with a trap: each question and each read counts."""

    trap: ClassVar[Trap] = Trap(None)

    def committed(self, *args: Any, **named: Any) -> list[TopicPartition]:
        self.trap.reach(Point.IN_RESTORE)
        return super().committed(*args, **named)

    def get_watermark_offsets(self, *args: Any, **named: Any) -> Any:
        self.trap.reach(Point.IN_RESTORE)
        return super().get_watermark_offsets(*args, **named)

    def consume(self, *args: Any) -> list[Message]:
        messages = super().consume(*args)
        if messages:
            self.trap.reach(Point.IN_RESTORE)
            if any((m.topic() or "").endswith(f".{INTAKE.name}") for m in messages):
                self.trap.reach(Point.IN_REBUILD)
        return messages


def install(fault: Fault | None, release: Path, *, deaf: bool) -> None:
    """Have this process's workers use the wrapped clients."""
    trap = Trap(fault)
    FaultyProducer.trap = FaultyConsumer.trap = FaultyReader.trap = trap
    FaultyConsumer.release, FaultyConsumer.deaf = release, deaf
    streams.worker.loop.Producer = FaultyProducer  # type: ignore[misc,attr-defined]
    streams.worker.loop.Consumer = FaultyConsumer  # type: ignore[misc,attr-defined]
    streams.worker.restart_reading.Consumer = FaultyReader  # type: ignore[misc,attr-defined]
