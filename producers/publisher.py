"""Publishes signed events: whatever the outgoing queue holds at once is signed under one head; a lone call never waits.

One key, one publisher: sequence numbers are given here, in the order in which events are appended.

A producer of the library can die: of a broker that came back with an older log, of another that took its id, of an
error that it calls fatal. It never sends again then. A publisher makes a new one and sends what is not settled once
more, the same bytes: an event that stands on the log already has no second effect there.
"""

from __future__ import annotations

import contextlib
import logging
import operator
import os
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from processors.authoring import RANDOM_BYTES, Draft, draft_event, sign_drafts
from producers.appending import Appending, EventTooLargeError, PublishError
from producers.keys import KeyPair
from producers.process import OfOneProcess
from producers.security import UNSECURED, Security
from schemas import limits
from schemas.records import Body
from schemas.topics import INTAKE

__all__ = ["EventTooLargeError", "PublishError", "Publisher"]

log = logging.getLogger(__name__)

BURST_MAX = 256
SEND_SECONDS = 15.0  # then the library itself gives an event up
LOOK_SECONDS = 0.1  # for so long what was given up may stay in the library's queue
SETTLE_SECONDS = 2.0  # for it to say so
CLOSE_SECONDS = 10.0
WARM_UP_SECONDS = 5.0
PRODUCERS_PER_EVENT_MAX = 3  # that may die over one event before it is given up

# Errors of an event that say nothing about it: its producer has died, or will send nothing any more.
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

# After a fatal error the library calls back with that error still set, and whatever is called first raises it. Through
# a method caller that is seen every time; a direct call is specialised by the interpreter once it is hot, and then it
# is not (`consuming` has the same).
_offset = operator.methodcaller("offset")


# The library does not say whether an event that it gives up had left it.
_DOUBT = "; it may stand on the log all the same: look whether it had its effect before you ask again"


@dataclass(frozen=True, slots=True)
class _Request:
    body: Body
    causation_id: bytes | None
    on_behalf_of: bytes | None
    on_drafted: Callable[[Draft], None]
    appended: Appending


@dataclass(slots=True)
class _Sending:
    """An event that is signed, until the broker has answered for it."""

    value: bytes
    headers: list[tuple[str, str | bytes | None]]
    appended: Appending
    error: KafkaError | None = None


class Publisher(OfOneProcess):
    """Signs events with one key and appends them to one tenant's intake, in order."""

    def __init__(
        self,
        bootstrap: str,
        *,
        tenant: str,
        genesis: bytes,
        key: KeyPair,
        principal_id: str,
        session_id: bytes | None = None,
        security: Security = UNSECURED,
    ) -> None:
        self._tenant, self._genesis, self._key = tenant, genesis, key
        self._principal_id, self._session_id = principal_id, session_id
        self._seq = 0
        self._queue: queue.SimpleQueue[_Request | None] = queue.SimpleQueue()
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
        self._closed, self._door = False, threading.Lock()
        self._thread = threading.Thread(target=self._run, name=f"publish-{principal_id}", daemon=True)
        self._thread.start()

    def publish(
        self,
        body: Body,
        *,
        causation_id: bytes | None = None,
        on_behalf_of: bytes | None = None,
        on_drafted: Callable[[Draft], None] = lambda _: None,
    ) -> Appending:
        """Queue an event and return the future of its offset.

        `on_drafted` is called with the event's id and leaf before it is sent, so an answer cannot come too early.
        The future raises PublishError where the broker did not take it. What is given up while it is queued, here or
        in the library, is never sent.

        Raises:
            PublishError: `close` was called; nothing is sent.
            ForkedError: this is another process.
        """
        self.check_process()
        appended = Appending()
        with self._door:
            if self._closed:
                raise PublishError("the connection is closed: nothing was sent", never_sent=True)
            self._queue.put(_Request(body, causation_id, on_behalf_of, on_drafted, appended))
        return appended

    def close(self) -> None:
        """Send what is queued and stop; what cannot be sent in CLOSE_SECONDS is dropped, and its caller is told.

        In another process, after a fork, there is nothing to close.
        """
        if self.is_elsewhere:
            return
        with self._door:
            self._closed = True
            self._queue.put(None)
        self._thread.join(CLOSE_SECONDS)
        if not self._thread.is_alive():
            return
        with contextlib.suppress(queue.Empty):
            while True:
                request = self._queue.get_nowait()
                if request is not None and request.appended.set_running_or_notify_cancel():
                    gone = PublishError("the connection is closed: the event was not sent", never_sent=True)
                    request.appended.set_exception(gone)
        self._queue.put(None)
        self._producer.purge()
        self._thread.join(SETTLE_SECONDS)

    def _warm_up(self) -> None:
        """Connect before the first event, or it would wait a second.

        An idempotent producer without a connection to the cluster tries only twice a second to get its id; asking for
        metadata makes the connection at once. What goes wrong here is told to the caller of the first event.
        """
        with contextlib.suppress(KafkaException):
            # Twice: the first answer may still come over the connection to the bootstrap address, which is dropped.
            for _ in range(2):
                self._producer.list_topics(INTAKE.of(self._tenant), timeout=WARM_UP_SECONDS)

    def _run(self) -> None:
        self._warm_up()
        while True:
            burst = self._burst()
            if burst is None:
                return
            sendings = self._signed(burst)
            try:
                self._send(sendings)
            except Exception as exc:  # noqa: BLE001 - whatever it was, each waiting caller is told
                _give_up(sendings, exc)

    def _burst(self) -> list[_Request] | None:
        """Wait for one request and take what else is queued; None when asked to stop."""
        while True:
            try:
                first = self._queue.get(timeout=0.2)
                break
            except queue.Empty:
                self._idle()
        if first is None:
            return None
        burst = [first]
        while len(burst) < BURST_MAX:
            try:
                more = self._queue.get_nowait()
            except queue.Empty:
                break
            if more is None:
                self._queue.put(None)
                break
            burst.append(more)
        return burst

    def _idle(self) -> None:
        """Hear what the library has to say while there is nothing to send, its producer's death included."""
        try:
            self._producer.poll(0)
        except (KafkaException, SystemError) as exc:
            self._renew(exc)

    def _signed(self, burst: list[_Request]) -> list[_Sending]:
        """Return the events of a burst, signed under one head; whoever asked for what is no event is told."""
        sendings, drafts = [], []
        for request in burst:
            if not request.appended.set_running_or_notify_cancel():
                continue  # taken back
            try:
                draft = self._draft(request)
                request.on_drafted(draft)
            except Exception as exc:  # noqa: BLE001 - it must not cost those beside it
                request.appended.set_exception(PublishError(f"cannot sign the event: {exc}", never_sent=True))
                continue
            drafts.append(draft)
            sendings.append(_Sending(draft.value, [], request.appended))
        for sending, headers in zip(sendings, sign_drafts(self._key.signing, drafts) if drafts else (), strict=True):
            sending.headers = list(headers)
        return sendings

    def _send(self, sendings: list[_Sending]) -> None:
        """Have events appended; those over which the producer dies, by a new one."""
        for attempt in range(PRODUCERS_PER_EVENT_MAX):
            for sending in sendings:
                if sending.appended.given_up:
                    _taken_back(sending, never_sent=attempt == 0)
                else:
                    self._produce(sending)
            _drain(self._producer, SEND_SECONDS + SETTLE_SECONDS, sendings)
            sendings = [one for one in sendings if not one.appended.done()]
            if not sendings:
                return
            if self._closed or _nobody_waits(sendings):
                break
            self._renew(sendings[0].error)
            sendings = [one for one in sendings if not one.appended.done()]
        _give_up(sendings, None)

    def _produce(self, sending: _Sending) -> None:
        try:
            self._producer.produce(
                INTAKE.of(self._tenant),
                sending.value,
                partition=0,
                headers=sending.headers,
                on_delivery=_settle(sending),
            )
        except (KafkaException, BufferError) as exc:
            _fail(sending, exc.args[0])

    def _renew(self, why: object) -> None:
        """Go on with a new producer. What the old one had in hand is settled, or is for the new one to send."""
        log.warning(
            "%s goes on with a new producer, because the old one sends nothing more: %s", self._thread.name, why
        )
        old, self._producer = self._producer, Producer(self._settings)
        with contextlib.suppress(KafkaException, SystemError):
            old.purge()
        _drain(old, SETTLE_SECONDS)
        self._warm_up()

    def _draft(self, request: _Request) -> Draft:
        now_us = time.time_ns() // 1000
        self._seq = max(self._seq + 1, now_us)
        return draft_event(
            self._tenant,
            self._genesis,
            request.body,
            principal_id=self._principal_id,
            session_id=self._session_id,
            seq=self._seq,
            now_ms=now_us // 1000,
            random=os.urandom(RANDOM_BYTES),
            causation_id=request.causation_id,
            on_behalf_of=request.on_behalf_of,
        )


def _drain(producer: Producer, seconds: float, sendings: Sequence[_Sending] = ()) -> None:
    """Wait until a producer has answered for all that it was given, but not longer than this.

    What nobody waits for any more it need not send: what is under way already may arrive all the same.
    """
    until = time.monotonic() + seconds
    while len(producer) and (left := until - time.monotonic()) > 0:
        # A fatal error comes out of here, or an error without one: the answers say the rest.
        with contextlib.suppress(KafkaException, SystemError):
            producer.flush(min(left, LOOK_SECONDS))
            if _nobody_waits(sendings):
                producer.purge(in_queue=True, in_flight=False)


def _nobody_waits(sendings: Sequence[_Sending]) -> bool:
    left = [one for one in sendings if not one.appended.done()]
    return bool(left) and all(one.appended.given_up for one in left)


def _settle(sending: _Sending) -> Callable[[KafkaError | None, Message], None]:
    def on_delivery(error: KafkaError | None, message: Message) -> None:
        offset = _offset_in(message)
        if sending.appended.done():
            return
        if error is None:
            sending.appended.set_result(offset)
        else:
            _fail(sending, error)

    return on_delivery


def _offset_in(message: Message) -> int:
    try:
        return _offset(message) or 0
    except SystemError:  # the fatal error; it is not set any more
        return _offset(message) or 0


def _fail(sending: _Sending, error: object) -> None:
    """Tell a caller that an event was not taken, unless a new producer may send it."""
    if isinstance(error, KafkaError) and error.name() == "_PURGE_QUEUE" and sending.appended.given_up:
        _taken_back(sending, never_sent=False)  # it may have been sent before, and waited for another attempt
    elif isinstance(error, KafkaError) and (error.fatal() or error.name() in _OF_THE_PRODUCER):
        sending.error = error
    else:
        sending.appended.set_exception(_publish_error(error, len(sending.value)))


def _taken_back(sending: _Sending, *, never_sent: bool) -> None:
    text = "the event was taken back"
    sending.appended.set_exception(PublishError(text if never_sent else f"{text}{_DOUBT}", never_sent=never_sent))


def _give_up(sendings: list[_Sending], why: Exception | None) -> None:
    for sending in sendings:
        if not sending.appended.done():
            cause = why or sending.error or "it did not answer"
            sending.appended.set_exception(PublishError(f"the broker did not take the event: {cause}{_DOUBT}"))


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
    return PublishError(f"the broker did not take the event: {error}{_DOUBT}")
