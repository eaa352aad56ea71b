"""Sends signed events to one topic and reports the end of each, also when the library's producer dies.

A producer of the library can die: the broker came back with an older log, another producer took its id, or an error is
fatal to the library. It never sends again. The sender then makes a new one and sends the unsettled events once more,
the same bytes: an event that stands on the log already has no second effect there.
"""

from __future__ import annotations

import contextlib
import logging
import operator
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, KafkaError, KafkaException, Message, Producer

from producers.home.security import Security
from producers.kafka.appending import Appending, EventTooLargeError, PublishError
from schemas import limits

log = logging.getLogger(__name__)

SEND_SECONDS = 15.0  # then the library itself gives an event up
LOOK_SECONDS = 0.1  # an event that was given up may stay so long in the library's queue
SETTLE_SECONDS = 2.0  # for the library to report that
WARM_UP_SECONDS = 5.0
PRODUCERS_PER_EVENT_MAX = 3  # that may die over one event before it is given up

# Errors of an event that come from its producer, which has died or will send nothing any more.
_OF_THE_PRODUCER = frozenset(
    {
        "_DESTROY",
        "_FATAL",
        "_FENCED",
        "_INCONSISTENT",
        "_PURGE_INFLIGHT",
        "_PURGE_QUEUE",
        "_STATE",
        "DUPLICATE_SEQUENCE_NUMBER",
        "INVALID_PRODUCER_EPOCH",
        "INVALID_PRODUCER_ID_MAPPING",
        "OUT_OF_ORDER_SEQUENCE_NUMBER",
        "PRODUCER_FENCED",
        "UNKNOWN_PRODUCER_ID",
    }
)

# After a fatal error the library calls back, and returns, with that error still set, and the next call raises it.
# Through a method caller that is seen every time; a direct call is specialised by the interpreter once it is hot, and
# then it is not (`consuming` has the same).
_offset = operator.methodcaller("offset")
_poll = operator.methodcaller("poll", 0)


# The library does not say whether an event that it gives up had left it.
DOUBT = "; it may stand on the log all the same: look whether it had its effect before you ask again"


@dataclass(slots=True)
class Sending:
    """An event that is signed, until the broker has answered for it."""

    value: bytes
    headers: list[tuple[str, str | bytes | None]]
    appended: Appending
    issued_ms: int
    error: KafkaError | None = None


class Sender:
    """Appends events to one topic, in order. One thread calls everything here but `purge`."""

    def __init__(self, bootstrap: str, topic: str, *, name: str, security: Security) -> None:
        self._topic, self._name, self._ends = topic, name, False
        self._settings = {
            **security,
            "bootstrap.servers": bootstrap,
            "enable.idempotence": True,
            "acks": "all",
            "message.timeout.ms": int(SEND_SECONDS * 1000),
            "linger.ms": 0,
            "message.max.bytes": limits.INTAKE_MESSAGE_BYTES_MAX,
            "log_level": 2,
        }
        self._producer = Producer(self._settings)
        # How far the newest event was issued ahead of its append: beyond the log's bounds it was refused, so a clock is
        # wrong. None while nothing has been appended.
        self.ahead_ms: int | None = None

    def warm_up(self) -> None:
        """Connect before the first event, which would otherwise wait a second.

        An idempotent producer without a connection to the cluster tries only twice a second to get its id; asking for
        metadata makes the connection at once. An error here comes again with the first event.
        """
        with contextlib.suppress(KafkaException):
            # Twice: the first answer may still come over the connection to the bootstrap address, which is dropped.
            for _ in range(2):
                if self._ends:
                    return
                self._producer.list_topics(self._topic, timeout=WARM_UP_SECONDS)

    def purge(self) -> None:
        """Drop the events that are not sent yet, now and from now on; each future raises PublishError."""
        self._ends = True
        self._producer.purge()

    def idle(self) -> None:
        """Serve the library's callbacks while there is nothing to send, and renew a producer that has died."""
        try:
            _poll(self._producer)
        except (KafkaException, SystemError) as exc:
            self._renew(exc)

    def send(self, sendings: list[Sending]) -> None:
        """Have events appended; if the producer dies, a new one sends the rest."""
        for attempt in range(PRODUCERS_PER_EVENT_MAX):
            for sending in sendings:
                if sending.appended.given_up:
                    _taken_back(sending, never_sent=attempt == 0)
                else:
                    self._produce(sending)
            died = _drain(self._producer, SEND_SECONDS + SETTLE_SECONDS, sendings)
            left = [one for one in sendings if not one.appended.done()]
            if self._ends or not (left or died) or (_nobody_waits(left) and not died):
                break
            self._renew(died or left[0].error)
            sendings = [one for one in left if not one.appended.done()]
            if not sendings:
                break
        give_up(sendings)

    def _produce(self, sending: Sending) -> None:
        try:
            self._producer.produce(
                self._topic,
                sending.value,
                partition=0,
                headers=sending.headers,
                on_delivery=self._settle(sending),
            )
        except (KafkaException, BufferError) as exc:
            _fail(sending, exc.args[0])

    def _settle(self, sending: Sending) -> Callable[[KafkaError | None, Message], None]:
        def on_delivery(error: KafkaError | None, message: Message) -> None:
            offset = _offset_in(message)
            if sending.appended.done():
                return
            if error is None:
                kind, at = message.timestamp()
                self.ahead_ms = sending.issued_ms - at if kind == TIMESTAMP_LOG_APPEND_TIME else None
                sending.appended.succeed(offset)
            else:
                _fail(sending, error)

        return on_delivery

    def _renew(self, why: object) -> None:
        """Replace the producer. The events that the old one had in hand are settled, or are left for the new one."""
        log.warning("%s goes on with a new producer, because the old one sends nothing more: %s", self._name, why)
        old, self._producer = self._producer, Producer(self._settings)
        with contextlib.suppress(KafkaException, SystemError):
            old.purge()
        _drain(old, SETTLE_SECONDS)
        self.warm_up()


def _drain(producer: Producer, seconds: float, sendings: Sequence[Sending] = ()) -> Exception | None:
    """Wait up to `seconds` until a producer has answered for all of its events; return the error of which it died.

    The library reports that error only once, so it must not be lost. Events that were all given up are purged from its
    queue; an event that is under way may arrive all the same.
    """
    until, died = time.monotonic() + seconds, None
    while len(producer) and (left := until - time.monotonic()) > 0:
        try:
            operator.methodcaller("flush", min(left, LOOK_SECONDS))(producer)
            if _nobody_waits(sendings):
                producer.purge(in_queue=True, in_flight=False)
        except (KafkaException, SystemError) as exc:  # of its death, or of an answer that was given over it
            died = exc
    return died


def _nobody_waits(sendings: Sequence[Sending]) -> bool:
    left = [one for one in sendings if not one.appended.done()]
    return bool(left) and all(one.appended.given_up for one in left)


def _offset_in(message: Message) -> int:
    try:
        return _offset(message) or 0
    except SystemError:  # the fatal error; it is not set any more
        return _offset(message) or 0


def _fail(sending: Sending, error: object) -> None:
    """Fail the future of an event that was not taken, unless a new producer may still send it."""
    if isinstance(error, KafkaError) and error.name() == "_PURGE_QUEUE" and sending.appended.given_up:
        _taken_back(sending, never_sent=False)  # it may have been sent before, and waited for another attempt
    elif isinstance(error, KafkaError) and (error.fatal() or error.name() in _OF_THE_PRODUCER):
        sending.error = error
    else:
        sending.appended.fail(_publish_error(error, len(sending.value)))


def _taken_back(sending: Sending, *, never_sent: bool) -> None:
    text = "the event was taken back"
    sending.appended.fail(PublishError(text if never_sent else f"{text}{DOUBT}", never_sent=never_sent))


def give_up(sendings: list[Sending], why: Exception | None = None) -> None:
    """Fail the future of each unsettled event: it was not taken, as far as is known."""
    for sending in sendings:
        if not sending.appended.done():
            cause = why or sending.error or "it did not answer"
            sending.appended.fail(PublishError(f"the broker did not take the event: {cause}{DOUBT}"))


def _publish_error(error: object, size: int) -> PublishError:
    if isinstance(error, KafkaError) and error.name() == "MSG_SIZE_TOO_LARGE":
        most = limits.INTAKE_MESSAGE_BYTES_MAX
        return EventTooLargeError(f"the event has {size} bytes; intake takes {most}", never_sent=True)
    if isinstance(error, KafkaError) and error.name() in {
        "UNKNOWN_TOPIC_OR_PART",
        "_UNKNOWN_TOPIC",
        "_UNKNOWN_PARTITION",
    }:
        return PublishError(
            "the tenant has no intake topic on these brokers: check the tenant and the bootstrap servers",
            never_sent=True,
        )
    return PublishError(f"the broker did not take the event: {error}{DOUBT}")
