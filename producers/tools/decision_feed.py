"""The decisions of a tenant as one instance of a tool reads them: its partitions, and its commits for them.

An instance may execute only calls that it has committed. The broker refuses a commit from an instance that was put out
of the group; but from a member it takes a commit for any partition, also for one that another instance owns by now. So
records that were read before a rebalance are not committed after it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from confluent_kafka import Consumer, KafkaException, TopicPartition

from producers.home.process import OfOneProcess
from producers.home.security import Security
from producers.kafka.consuming import WAIT_SECONDS, Quiet, take, watermarks
from producers.tools.commitments import Commitment, Ownership, Share
from schemas.topics import DECISIONS, KEYED_PARTITIONS

log = logging.getLogger(__name__)

BATCH_MAX = 256
PAUSE_SECONDS = 0.2
ANSWER_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Taken:
    """One record of `decisions`, and whether it is this instance's to execute."""

    message: Any
    partition: int
    offset: int
    ownership: Ownership


class DecisionFeed(OfOneProcess):
    """Reads the decisions of one tenant for one instance. The host's loop calls everything here but `finished`.

    With `group_managed` the instances of `group` share the partitions; else this one takes all of them.
    """

    def __init__(
        self,
        bootstrap: str,
        *,
        tenant: str,
        group: str,
        group_managed: bool,
        session_timeout_ms: int,
        security: Security,
        stop: threading.Event,
    ) -> None:
        self._topic, self._group_managed, self._stop = DECISIONS.of(tenant), group_managed, stop
        self._shares = {partition: Share() for partition in range(KEYED_PARTITIONS)}
        self._epoch = 0  # changes with every rebalance
        self._quiet: Quiet | None = None
        self._consumer = Consumer(
            {
                **security,
                "bootstrap.servers": bootstrap,
                "group.id": group,
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "isolation.level": "read_committed",
                "fetch.wait.max.ms": 20,
                "session.timeout.ms": session_timeout_ms,
                "log_level": 2,
            }
        )

    def start(self) -> None:
        """Join the group, or take every partition. Raises ForkedError if it was made in another process."""
        self.check_process()
        if self._group_managed:
            self._consumer.subscribe(
                [self._topic], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
            )
        else:
            self._consumer.assign([TopicPartition(self._topic, partition) for partition in self._shares])
            self.go_back()
            self._quiet = Quiet(self._consumer)

    def close(self) -> None:
        """Commit that finished calls are finished, and leave the group."""
        if self.is_elsewhere:
            return
        self._settle()
        self._consumer.close()

    def take(self) -> list[Taken]:
        """Return records that are ours to commit, in order: none from before a rebalance."""
        before = self._epoch
        messages = take(self._consumer, BATCH_MAX, self._quiet.seconds if self._quiet else WAIT_SECONDS)
        batch = [m for m in messages if _is_record(m)]
        if self._quiet:
            self._quiet.after(len(batch))
        if self._epoch != before:
            # Another instance may own some by now and execute them; the broker would take our commit all the same.
            self.go_back()
            return []
        if not batch:
            self._settle()
        return [self._taken(message) for message in batch]

    def _taken(self, message: Any) -> Taken:
        partition, offset = message.partition(), message.offset()
        return Taken(message, partition, offset, self._shares[partition].ownership(offset))

    def go_back(self) -> None:
        """Read on from the committed offsets, in all partitions that are assigned now.

        The rebalance callback cannot do it: one `take` may serve the assignment and return records of it, and the
        position is past those then. Nor can a seek to the dropped records: another instance may have executed them
        meanwhile.
        """
        for share in self._shares.values():
            share.assigned = False
        while not self._stop.is_set():
            places = [TopicPartition(p.topic, p.partition) for p in self._consumer.assignment()]
            if not places:
                return
            try:
                found = self._consumer.committed(places, timeout=ANSWER_SECONDS)
                self._consumer.assign([self._resumed(place) for place in found])
            except KafkaException as exc:
                log.warning("the committed offsets cannot be read, so decisions wait: %s", exc.args[0])
                self._stop.wait(PAUSE_SECONDS)
            else:
                return

    def _resumed(self, place: TopicPartition) -> TopicPartition:
        if place.error is not None:
            raise KafkaException(place.error)
        commitment = Commitment.read(place.offset, place.metadata)
        _, end = watermarks(self._consumer, place.topic, place.partition)
        if commitment.offset > end:
            # The committed records are gone; callers may have been told that they were executed.
            where = f"{place.topic}[{place.partition}]"
            log.error(
                "%s: offset %d is committed, but the log ends at %d: nothing is executed until it has grown past that",
                where,
                place.offset,
                end,
            )
        start = self._shares[place.partition].resume(commitment, now=time.monotonic())
        return TopicPartition(place.topic, place.partition, start)

    # --- commits

    def commit(self, batch: Sequence[Taken], repeatable: Sequence[Taken]) -> bool:
        """Commit that a batch was read and its calls begin; return whether they may. If not, the batch is read again.

        `repeatable` are the idempotent calls among them. Requires that `finished` is called for each when it has ended.
        """
        now = time.monotonic()
        ends = {t.partition: t.offset + 1 for t in batch if t.ownership is Ownership.NEW}
        commitments = {
            partition: self._shares[partition].advance(
                end, [t.offset for t in repeatable if t.partition == partition], now=now
            )
            for partition, end in ends.items()
        }
        if not self._is_taken(commitments):
            self._stop.wait(PAUSE_SECONDS)
            self.go_back()
            return False
        for taken in repeatable:
            self._shares[taken.partition].begin(taken.offset, now=now)
        return True

    def remember(self, batch: Sequence[Taken]) -> None:
        """Take note that the decisions of a batch are in the instance's durable set."""
        for taken in batch:
            self._shares[taken.partition].remember(taken.offset + 1)

    def finished(self, taken: Taken) -> None:
        """Take note that an idempotent call has its report."""
        self._shares[taken.partition].finished(taken.offset)

    def _settle(self) -> None:
        """Commit that calls are finished, for partitions where no new batch does so."""
        now = time.monotonic()
        outdated = {p: share for p, share in self._shares.items() if share.is_outdated}
        self._is_taken({p: share.advance(share.committed, (), now=now) for p, share in outdated.items()})

    def _is_taken(self, commitments: dict[int, Commitment]) -> bool:
        """Whether the broker took the commitments."""
        if not commitments:
            return True
        places = [TopicPartition(self._topic, p, c.offset, c.metadata) for p, c in commitments.items()]
        try:
            answers = self._consumer.commit(offsets=places, asynchronous=False)
        except KafkaException as exc:
            log.warning("the offset was not committed, so nothing is executed: %s", exc.args[0])
            return False
        refused = [place.error for place in answers if place.error is not None]
        if refused:
            log.warning("the offset was not committed, so nothing is executed: %s", refused[0])
            return False
        for partition, commitment in commitments.items():
            self._shares[partition].accept(commitment, now=time.monotonic())
        return True

    # --- rebalances: callbacks run inside consumer calls; the library itself assigns and unassigns

    def _on_assign(self, _consumer: Consumer, _places: list[TopicPartition]) -> None:
        self._epoch += 1

    def _on_revoke(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        self._settle()  # or the next owner would execute reported calls again
        self._on_lost(consumer, places)

    def _on_lost(self, _consumer: Consumer, _places: list[TopicPartition]) -> None:
        self._epoch += 1
        for share in self._shares.values():
            share.assigned = False


def _is_record(message: Any) -> bool:
    if message.error() is not None:
        log.warning("decisions: %s", message.error())
    return message.error() is None
