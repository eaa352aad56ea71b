"""Transactions under way: a lane is one transactional producer, with at most one transaction at a time.

The loop's thread begins a transaction and produces its messages. The lane's own thread sends the consumed offset and
the commit, which mostly wait; meanwhile the loop folds the next records. A batch belongs to the assignment under which
it was read, and its offset carries the proof of that membership: the group refuses an outdated proof. Once the offset
is sent, the coordinator keeps it from any new owner until the transaction has ended (KIP-447), and a partition is given
up only after that. Therefore the loop may poll while a lane waits.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any, TypeVar

from confluent_kafka import KafkaError, KafkaException, Producer, TopicPartition

from schemas import limits
from schemas.errors import StoppedError
from streams.worker.fold import Message, TenantFold

T = TypeVar("T")
TRANSACTION_SECONDS = limits.TRANSACTION_TIMEOUT_MS / 1000
STUCK_SECONDS = TRANSACTION_SECONDS + 5  # per call; longer than the client's own time-out, which sometimes fails

LOST = frozenset({"_AUTO_OFFSET_RESET", "_LOG_TRUNCATION", "OFFSET_OUT_OF_RANGE"})
# Errors of group membership are not the fault of records: they neither count as a failure nor reset the count.
PASSING = frozenset({"UNKNOWN_MEMBER_ID", "ILLEGAL_GENERATION", "REBALANCE_IN_PROGRESS", "FENCED_INSTANCE_ID"})


class WorkerFencedError(StoppedError):
    """The worker must end: it is fenced, or the outcome of a commit is unknown. Its supervisor starts another."""


class WorkerStuckError(WorkerFencedError):
    """A call into the Kafka client does not return: the process must end without waiting for its threads."""


@dataclass(frozen=True, slots=True)
class Batched:
    """The records of one partition that one transaction holds, folded."""

    topic: str
    fold: TenantFold
    begin: int  # offset of its first record; after an abort the partition is read again from here
    records: int


@dataclass(frozen=True, slots=True)
class Underway:
    """A transaction that only waits for its commit."""

    batch: Batched
    outcome: Future[None]


class Lane:
    """One transactional producer with the thread on which it waits for the brokers, for one call at a time."""

    def __init__(self, settings: dict[str, Any], make: type[Producer] = Producer) -> None:
        """Connect, and fence the earlier producer with this transactional id. Raises KafkaException."""
        self._settings = settings
        self._make = make
        self.producer = self._connect()
        self.underway: Underway | None = None
        self.committed_at = 0.0  # when its last commit was begun, on the monotonic clock
        self._renewal: Future[Producer] | None = None  # the new producer, while it connects
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="lane")
        self._due = 0.0  # when the client's call must have returned, on the monotonic clock
        self._is_stuck = False

    def _connect(self) -> Producer:
        producer = self._make(self._settings)
        producer.init_transactions(TRANSACTION_SECONDS)
        return producer

    @property
    def is_free(self) -> bool:
        return self.underway is None and self._renewal is None

    @property
    def awaited(self) -> Future[Any] | None:
        """The call that must end before the lane is free; None if the lane is free."""
        return self._renewal if self.underway is None else self.underway.outcome

    def write(self, topic: str, messages: Iterable[Message]) -> None:
        """Begin a transaction for an intake and put messages into it.

        After any exception the transaction is aborted. This holds for a single message that the client refuses too,
        because a later commit would succeed without it.

        Raises:
            WorkerFencedError: the transaction could not be aborted.
        """
        producer = self.producer
        try:
            producer.begin_transaction()
            for made in messages:
                if made.headers:
                    producer.produce(made.topic, made.value, made.key, made.partition, headers=made.headers)
                else:
                    producer.produce(made.topic, made.value, made.key, made.partition)
        except Exception:
            self._abort(topic)
            raise

    def _begin(self, call: Callable[..., T], *arguments: Any) -> Future[T]:
        self._give_time()
        return self._thread.submit(call, *arguments)

    def _give_time(self) -> None:
        """Give the client's next call STUCK_SECONDS from now."""
        self._due = time.monotonic() + STUCK_SECONDS

    def _has_come_back(self, call: Future[Any], what: str) -> bool:
        """Return True once the client's call has returned.

        Raises:
            WorkerStuckError: it has not returned within STUCK_SECONDS; the message begins with `what`.
        """
        if call.done():
            return True
        if time.monotonic() >= self._due:
            self._is_stuck = True
            raise WorkerStuckError(f"{what} within {STUCK_SECONDS:g} s")
        return False

    def commit(self, batch: Batched, offset: TopicPartition, membership: Any) -> None:
        """Send the consumed offset and then the commit, on the lane's thread.

        The group refuses the offset if `membership` is outdated.
        """
        self.underway = Underway(batch, self._begin(self._commit, offset, membership))
        self.committed_at = time.monotonic()

    def take_ended(self) -> Underway | None:
        """Return the transaction that has ended, None if there is none; the lane is free again.

        A lane that waited for a new producer is free again too.

        Raises:
            WorkerFencedError: a new producer cannot connect, or a call of the client does not return.
        """
        if self._renewal is not None:
            self._take_renewed(self._renewal)
        underway = self.underway
        if underway is None or not self._has_come_back(underway.outcome, f"{underway.batch.topic}: no commit"):
            return None
        self.underway = None
        return underway

    def _commit(self, offset: TopicPartition, membership: Any) -> None:
        # While the group's coordinator is away, librdkafka 2.16 ignores the time-out of this call and may wait for
        # ever (its issue 5456). Therefore it runs on the lane's thread and not on the loop's.
        try:
            self._send_offset(offset, membership)
            self._give_time()
            self._end(offset.topic)
        except KafkaException as exc:
            if not exc.args[0].fatal():
                self._abort(offset.topic)
            raise

    def _send_offset(self, offset: TopicPartition, membership: Any) -> None:
        """Send the consumed offset. Raises KafkaException with the reason why the transaction must be aborted.

        If the broker refuses a message while the offset is on its way, the client reports only that its state is wrong.
        Asked again, it names the refusal: it keeps that until the abort, and the caller aborts after any exception.
        """
        send = functools.partial(self.producer.send_offsets_to_transaction, [offset], membership, TRANSACTION_SECONDS)
        try:
            send()
        except KafkaException as exc:
            if exc.args[0].code() != KafkaError._STATE:  # noqa: SLF001 - its public name in this library
                raise
            self._give_time()
            send()
            raise

    def _end(self, topic: str) -> None:
        try:
            self.producer.commit_transaction(TRANSACTION_SECONDS)
        except KafkaException as exc:
            if exc.args[0].txn_requires_abort():
                raise
            raise WorkerFencedError(
                f"{topic}: the outcome of a commit is unknown: {exc.args[0]}; the worker ends, and the next one reads "
                "the outcome from the log"
            ) from exc

    def _abort(self, topic: str) -> None:
        """Abort the transaction now. If this waited for the broker's time-out, the broker would fence this producer.

        Raises:
            WorkerFencedError: the transaction could not be aborted.
        """
        self._give_time()
        try:
            self.producer.abort_transaction(TRANSACTION_SECONDS)
        except KafkaException as exc:
            raise WorkerFencedError(f"{topic}: a transaction could not be aborted: {exc.args[0]}") from exc

    def renew(self) -> None:
        """Connect a new producer after an abort, on the lane's thread. It takes half a second.

        The old producer counts messages that the broker refused or the abort purged, and the broker does not count
        them (librdkafka 2.16): the next messages would have sequence numbers that the broker refuses.
        """
        self._renewal = self._begin(self._connect)

    def _take_renewed(self, renewal: Future[Producer]) -> None:
        if not self._has_come_back(renewal, "no new producer"):
            return
        try:
            self.producer = renewal.result()
        except KafkaException as exc:
            raise WorkerFencedError(f"a new producer cannot connect: {exc.args[0]}") from exc
        self._renewal = None

    def close(self) -> None:
        """Wait for the call under way, then end the thread. A call known to be stuck is not waited for again.

        Raises:
            WorkerStuckError: the call does not return.
        """
        awaited = self.awaited
        while awaited is not None and not self._is_stuck and not self._has_come_back(awaited, "the lane did not end"):
            wait([awaited], max(self._due - time.monotonic(), 0))
        self._thread.shutdown(wait=not self._is_stuck)


class Lanes(list[Lane]):
    """A worker's lanes."""

    def free(self) -> Lane | None:
        """Return the lane without a transaction whose last one is longest ago, None if all are busy.

        The brokers answer a commit before its markers stand in the partitions. Until then they refuse the producer's
        next transaction, and the client asks again only after 20 ms.
        """
        return min((lane for lane in self if lane.is_free), key=lambda lane: lane.committed_at, default=None)

    def of(self, topic: str) -> Lane | None:
        """Return the lane that commits for this intake, None if there is none."""
        return next((lane for lane in self if lane.underway is not None and lane.underway.batch.topic == topic), None)

    def await_any(self, seconds: float) -> None:
        """Wait at most `seconds` until the call of one lane has ended."""
        awaited = [lane.awaited for lane in self]
        wait([one for one in awaited if one is not None], seconds, return_when=FIRST_COMPLETED)

    def await_of(self, topics: Sequence[str]) -> None:
        """Wait at most TRANSACTION_SECONDS until the commits for these intakes have ended."""
        underway = (lane.underway for lane in self if lane.underway is not None)
        wait([u.outcome for u in underway if u.batch.topic in topics], TRANSACTION_SECONDS)


def kafka_error(exc: Exception) -> KafkaError | None:
    """Return the Kafka client's error in an exception, None for an exception of another kind."""
    return exc.args[0] if isinstance(exc, KafkaException) else None
