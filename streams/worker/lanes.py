"""Transactions under way: a lane is one transactional producer, and has at most one of them.

Beginning and producing happen on the loop's thread; the offset and the commit, which mostly wait, are sent on the
lane's own. Meanwhile the loop folds what comes next. A batch belongs to the partition's assignment under which it was
read, and its offset goes with the proof of that membership: the group refuses one that is out of date. Once it is sent
the coordinator holds it back from any new owner until the transaction has ended (KIP-447), and a partition is given up
only after that, so both may be waited for while the loop polls.
"""

from __future__ import annotations

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
STUCK_SECONDS = TRANSACTION_SECONDS + 5  # of one call: the client has its own time-out first, where it keeps it


class WorkerFencedError(StoppedError):
    """The worker may not go on: fenced, or a commit whose outcome is unknown. Its supervisor starts another."""


class WorkerStuckError(WorkerFencedError):
    """A call into the client does not come back: the process has to end without waiting for its threads."""


@dataclass(frozen=True, slots=True)
class Batched:
    """What one transaction holds: so many records of a partition, folded."""

    topic: str
    fold: TenantFold
    begin: int  # offset of its first record: where to go on if it is aborted
    records: int


@dataclass(frozen=True, slots=True)
class Underway:
    """A transaction that only waits for its commit."""

    batch: Batched
    outcome: Future[None]


class Lane:
    """One transactional producer with the thread on which it waits for the brokers, for one call at a time."""

    def __init__(self, settings: dict[str, Any], make: type[Producer] = Producer) -> None:
        """Connect and fence whoever had this transactional id. Raises KafkaException."""
        self._settings = settings
        self._make = make
        self.producer = self._connect()
        self.underway: Underway | None = None
        self._renewal: Future[Producer] | None = None  # what is to take the producer's place
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="lane")
        self._due = 0.0  # by when the client's call must have come back, on the monotonic clock
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
        """What must end before the lane is free, if anything."""
        return self._renewal if self.underway is None else self.underway.outcome

    def write(self, topic: str, messages: Iterable[Message]) -> None:
        """Begin a transaction for an intake and put messages into it.

        Whatever it raises, the transaction was aborted: also where one record was refused here, for a later commit
        would succeed without it.

        Raises:
            WorkerFencedError: it could not be aborted.
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
        """Let the client's next call take so long as one may."""
        self._due = time.monotonic() + STUCK_SECONDS

    def _has_come_back(self, call: Future[Any], what: str) -> bool:
        """Whether the lane's call has ended; `what` says what did not happen if it never does."""
        if call.done():
            return True
        if time.monotonic() >= self._due:
            self._is_stuck = True
            raise WorkerStuckError(f"{what} within {STUCK_SECONDS:g} s")
        return False

    def commit(self, batch: Batched, offset: TopicPartition, membership: Any) -> None:
        """Let the consumed offset, and then the commit, be sent. The group refuses the offset of who left it."""
        self.underway = Underway(batch, self._begin(self._commit, offset, membership))

    def take_ended(self) -> Underway | None:
        """Return the transaction whose commit has ended, and be free again, also where a new producer was waited for.

        Raises:
            WorkerFencedError: there is no new producer, or the client does not come back.
        """
        if self._renewal is not None:
            self._take_renewed(self._renewal)
        underway = self.underway
        if underway is None or not self._has_come_back(underway.outcome, f"{underway.batch.topic}: no commit"):
            return None
        self.underway = None
        return underway

    def _commit(self, offset: TopicPartition, membership: Any) -> None:
        # The client forgets the time-out of the first while the group's coordinator is away, and may wait for ever
        # (librdkafka 2.16, its issue 5456): the loop must not be the one that stands still.
        try:
            self.producer.send_offsets_to_transaction([offset], membership, TRANSACTION_SECONDS)
            self._give_time()
            self._end(offset.topic)
        except KafkaException as exc:
            if not exc.args[0].fatal():
                self._abort(offset.topic)
            raise

    def _end(self, topic: str) -> None:
        try:
            self.producer.commit_transaction(TRANSACTION_SECONDS)
        except KafkaException as exc:
            if exc.args[0].txn_requires_abort():
                raise
            raise WorkerFencedError(f"{topic}: the outcome of a commit is unknown: {exc.args[0]}") from exc

    def _abort(self, topic: str) -> None:
        """End the transaction without a trace, now: later the broker would, and would fence who aborts it then.

        Raises:
            WorkerFencedError: it could not be aborted.
        """
        self._give_time()
        try:
            self.producer.abort_transaction(TRANSACTION_SECONDS)
        except KafkaException as exc:
            raise WorkerFencedError(f"{topic}: {exc.args[0]}") from exc

    def renew(self) -> None:
        """Go on with a new producer after an abort, which takes half a second.

        A producer counts the messages that the broker refused or that the abort purged, and the broker does not
        (librdkafka 2.16): it would send the next ones out of sequence.
        """
        self._renewal = self._begin(self._connect)

    def _take_renewed(self, renewal: Future[Producer]) -> None:
        if not self._has_come_back(renewal, "no new producer"):
            return
        try:
            self.producer = renewal.result()
        except KafkaException as exc:
            raise WorkerFencedError(f"no new producer: {exc.args[0]}") from exc
        self._renewal = None

    def close(self) -> None:
        """Wait for the call that is under way, and end the thread; not once more for one that does not come back.

        Raises:
            WorkerStuckError: it does not.
        """
        awaited = self.awaited
        while awaited is not None and not self._is_stuck and not self._has_come_back(awaited, "the lane did not end"):
            wait([awaited], max(self._due - time.monotonic(), 0))
        self._thread.shutdown(wait=not self._is_stuck)


class Lanes(list[Lane]):
    """A worker's lanes."""

    def free(self) -> Lane | None:
        """Return a lane without a transaction, the first there is."""
        return next((lane for lane in self if lane.is_free), None)

    def of(self, topic: str) -> Lane | None:
        """Return the lane that commits for this intake, if one does."""
        return next((lane for lane in self if lane.underway is not None and lane.underway.batch.topic == topic), None)

    def await_any(self, seconds: float) -> None:
        """Wait until a lane has what it waits for, bounded."""
        awaited = [lane.awaited for lane in self]
        wait([one for one in awaited if one is not None], seconds, return_when=FIRST_COMPLETED)

    def await_of(self, topics: Sequence[str]) -> None:
        """Wait until the commits for these intakes have ended, bounded."""
        underway = (lane.underway for lane in self if lane.underway is not None)
        wait([u.outcome for u in underway if u.batch.topic in topics], TRANSACTION_SECONDS)


def kafka_error(exc: Exception) -> KafkaError | None:
    """Return the client's error in an exception, None where it is of another kind."""
    return exc.args[0] if isinstance(exc, KafkaException) else None
