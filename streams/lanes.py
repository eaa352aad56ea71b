"""Transactions under way: a lane is one transactional producer, and has at most one of them.

Beginning, producing and sending the offset happen on the loop's thread, one after the other; the commit, which mostly
waits, runs on the lane's own. Meanwhile the loop folds what comes next. A batch belongs to the partition's assignment
under which it was read; once its offset is sent the group coordinator holds that offset back from any new owner until
the transaction has ended (KIP-447), so a commit may be waited for while the loop polls.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any, TypeVar

from confluent_kafka import KafkaError, KafkaException, Producer, TopicPartition

from schemas import limits
from streams.fold import Message, TenantFold

T = TypeVar("T")
TRANSACTION_SECONDS = limits.TRANSACTION_TIMEOUT_MS / 1000
STUCK_SECONDS = TRANSACTION_SECONDS + 5  # the client has its own time-out first, where it keeps it


class WorkerFencedError(RuntimeError):
    """The worker may not go on: fenced, or a commit whose outcome is unknown. Its supervisor starts another."""


class WorkerStuckError(WorkerFencedError):
    """A call into the client does not come back: the process has to end without waiting for its threads."""


@dataclass(frozen=True, slots=True)
class Underway:
    """A transaction that only waits for its commit."""

    topic: str
    fold: TenantFold
    begin: int  # offset of its first record: where to go on if it is aborted
    records: int
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
        self._due = 0.0  # by when the last call must have come back, on the monotonic clock
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

    def write(self, messages: Iterable[Message], offset: TopicPartition, membership: Any) -> None:
        """Begin a transaction and put everything into it.

        The consumed offset goes first: it is what the group may refuse, and then there is nothing to take back.

        Raises:
            KafkaException: the transaction is to be aborted.
            WorkerStuckError: the client does not come back.
        """
        producer = self.producer
        producer.begin_transaction()
        self._send_offset(offset, membership)
        for made in messages:
            if made.headers:
                producer.produce(made.topic, made.value, made.key, made.partition, headers=made.headers)
            else:
                producer.produce(made.topic, made.value, made.key, made.partition)

    def _send_offset(self, offset: TopicPartition, membership: Any) -> None:
        """Put the consumed offset into the transaction, in bounded time.

        The client forgets its own time-out while the group's coordinator is away, and may wait for ever (librdkafka
        2.16, its issue 5456). That is no reason for the loop to stand still unnoticed.
        """
        send = self.producer.send_offsets_to_transaction
        sending = self._begin(send, [offset], membership, TRANSACTION_SECONDS)
        while not self._has_come_back(sending, f"{offset.topic}: the offset was not sent"):
            wait([sending], STUCK_SECONDS)
        sending.result()

    def _begin(self, call: Callable[..., T], *arguments: Any) -> Future[T]:
        self._due = time.monotonic() + STUCK_SECONDS
        return self._thread.submit(call, *arguments)

    def _has_come_back(self, call: Future[Any], what: str) -> bool:
        """Whether the lane's call has ended; `what` says what did not happen if it never does."""
        if call.done():
            return True
        if time.monotonic() >= self._due:
            self._is_stuck = True
            raise WorkerStuckError(f"{what} within {STUCK_SECONDS:g} s")
        return False

    def commit(self, topic: str, fold: TenantFold, begin: int, records: int) -> None:
        """Let the commit begin."""
        self.underway = Underway(topic, fold, begin, records, self._begin(self._commit, topic))

    def take_ended(self) -> Underway | None:
        """Return the transaction whose commit has ended, and be free again, also where a new producer was waited for.

        Raises:
            WorkerFencedError: there is no new producer, or the client does not come back.
        """
        if self._renewal is not None:
            self._take_renewed(self._renewal)
        underway = self.underway
        if underway is None or not self._has_come_back(underway.outcome, f"{underway.topic}: no commit"):
            return None
        self.underway = None
        return underway

    def _commit(self, topic: str) -> None:
        try:
            self.producer.commit_transaction(TRANSACTION_SECONDS)
        except KafkaException as exc:
            if exc.args[0].txn_requires_abort():
                raise
            raise WorkerFencedError(f"{topic}: the outcome of a commit is unknown: {exc.args[0]}") from exc

    def abort(self, topic: str) -> None:
        """End the transaction without a trace, and go on with a new producer, which takes half a second.

        A producer counts the messages that the broker refused or that the abort purged, and the broker does not
        (librdkafka 2.16): it would send the next ones out of sequence.

        Raises:
            WorkerFencedError: the transaction could not be aborted.
        """
        try:
            self.producer.abort_transaction(TRANSACTION_SECONDS)
        except KafkaException as exc:
            raise WorkerFencedError(f"{topic}: {exc.args[0]}") from exc
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
        """Wait for the commit that is under way, and end the thread; not for a call that does not come back."""
        self._thread.shutdown(wait=not self._is_stuck)


class Lanes(list[Lane]):
    """A worker's lanes."""

    def free(self) -> Lane | None:
        """Return a lane without a transaction, the first there is."""
        return next((lane for lane in self if lane.is_free), None)

    def of(self, topic: str) -> Lane | None:
        """Return the lane that commits for this intake, if one does."""
        return next((lane for lane in self if lane.underway is not None and lane.underway.topic == topic), None)

    def await_any(self, seconds: float) -> None:
        """Wait until a lane has what it waits for, bounded."""
        awaited = [lane.awaited for lane in self]
        wait([one for one in awaited if one is not None], seconds, return_when=FIRST_COMPLETED)

    def await_of(self, topics: Sequence[str]) -> None:
        """Wait until the commits for these intakes have ended, bounded."""
        underway = (lane.underway for lane in self if lane.underway is not None)
        wait([u.outcome for u in underway if u.topic in topics], TRANSACTION_SECONDS)


def kafka_error(exc: Exception) -> KafkaError | None:
    """Return the client's error in an exception, None where it is of another kind."""
    return exc.args[0] if isinstance(exc, KafkaException) else None
