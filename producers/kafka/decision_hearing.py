"""One thread and one consumer of a process: they hear the decisions for every session of it that offers tools.

The key of an offer lives in this process alone and opens nothing of another one, so no position is committed: hearing
begins before the first offer, and a decision that comes at another time is never executed. An instance executes at
most once because it reads each record once, and remembers the calls that it began.
"""

from __future__ import annotations

import logging
import threading
from typing import Any, Protocol

from confluent_kafka import Consumer, KafkaException, TopicPartition

from producers.home.process import OfOneProcess
from producers.home.security import UNSECURED, Security
from producers.kafka.consuming import Quiet, take
from producers.kafka.hearing import Ends, live_settings
from schemas import codec
from schemas.records import Decision
from schemas.topics import DECISIONS, KEYED_PARTITIONS

log = logging.getLogger(__name__)

BATCH_MAX = 256
GONE = "the decisions end before the position that was read: the brokers came back with an older log, or deleted some"
ENDED = "the thread that hears decisions was ended, or failed"


class DecisionListener(Protocol):
    """A session that executes calls. Its methods return soon, and are called in the thread that hears."""

    def take(self, message: Any) -> None:
        """Take a record that names the session, as its writer says. It raises nothing."""

    def fail(self, why: str) -> None:
        """Take note that no further decision is heard."""


class DecisionHearing(OfOneProcess):
    """Reads `decisions` for any number of sessions, which come and go. Thread-safe. Nothing is read without one."""

    def __init__(self, bootstrap: str, tenant: str, ends: Ends, *, security: Security = UNSECURED) -> None:
        """Prepare to hear. `ends` tells the bounds of a partition. No broker is asked yet."""
        self._topic, self._ends = DECISIONS.of(tenant), ends
        self._settings = live_settings(bootstrap, tenant, security)
        self._lock = threading.Lock()
        self._executors: dict[bytes, DecisionListener] = {}
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def join(self, session_id: bytes, executor: DecisionListener) -> None:
        """Hear for a session, from now on: no decision can name it before its offer is sent.

        Raises:
            KafkaException: the brokers do not say where the decisions end. The session has not joined then.
            ForkedError: this is another process.
        """
        self.check_process()
        with self._lock:
            if self._thread is None:
                places = [
                    TopicPartition(self._topic, partition, self._ends(self._topic, partition)[1])
                    for partition in range(KEYED_PARTITIONS)
                ]
                self._stop = threading.Event()
                self._thread = threading.Thread(
                    target=self._run, args=(places, self._stop), name="decisions", daemon=True
                )
                self._thread.start()
            self._executors[session_id] = executor

    def leave(self, session_id: bytes) -> None:
        """Hear for a session no longer; after the last one nothing is read."""
        with self._lock:
            self._executors.pop(session_id, None)
            if not self._executors:
                self._stop.set()
                self._thread = None

    def close(self) -> None:
        """End the thread. In another process, after a fork, there is nothing to close."""
        if self.is_elsewhere:
            return
        with self._lock:
            self._executors.clear()
            self._stop.set()
            thread, self._thread = self._thread, None
        if thread is not None:
            thread.join(1)

    # --- the thread

    def _run(self, places: list[TopicPartition], stop: threading.Event) -> None:
        try:
            consumer = Consumer(self._settings)
            try:
                consumer.assign(places)
                self._listen(consumer, stop)
            finally:
                consumer.close()
        except KafkaException as exc:
            self._fail(f"{ENDED}: {exc.args[0]}", stop)
        finally:
            self._fail(ENDED, stop)

    def _listen(self, consumer: Consumer, stop: threading.Event) -> None:
        quiet = Quiet(consumer)
        while not stop.is_set():
            messages = take(consumer, BATCH_MAX, quiet.seconds)
            quiet.after(len(messages))
            for message in messages:
                if (error := message.error()) is None:
                    self._hear(message)
                    continue
                log.warning("decisions: %s", error)
                if error.name() == "_AUTO_OFFSET_RESET":
                    self._fail(GONE, stop)
                    return

    def _hear(self, message: Any) -> None:
        try:
            decision: Decision = codec.decode_as(Decision, message.value() or b"")
        except codec.SchemaError as exc:
            log.warning("a decision cannot be read: %s", exc)
            return
        if decision.target is None:
            return
        with self._lock:
            executor = self._executors.get(decision.target)
        if executor is not None:
            executor.take(message)

    def _fail(self, why: str, stop: threading.Event) -> None:
        """Tell every session that nothing is heard any more, unless hearing was ended in good order."""
        if stop.is_set():
            return
        stop.set()
        with self._lock:
            executors = list(self._executors.values())
            self._executors.clear()
            self._thread = None
        for executor in executors:
            executor.fail(why)
