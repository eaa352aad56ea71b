"""Publishes signed events: whatever the outgoing queue holds at once is signed under one head; a lone call never waits.

One key, one publisher: sequence numbers are given here, in the order in which events are appended.
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from processors.authoring import RANDOM_BYTES, Draft, draft_event, sign_drafts
from producers.keys import KeyPair
from producers.security import UNSECURED, Security
from schemas import limits
from schemas.records import Body
from schemas.topics import INTAKE

BURST_MAX = 256
FLUSH_SECONDS = 10.0
WARM_UP_SECONDS = 5.0


class PublishError(RuntimeError):
    """The broker did not take the event; it has no effect."""


class EventTooLargeError(PublishError):
    """The event exceeds what the broker takes on intake."""


@dataclass(frozen=True, slots=True)
class _Request:
    body: Body
    causation_id: bytes | None
    on_behalf_of: bytes | None
    on_drafted: Callable[[Draft], None]
    appended: Future[int]


class Publisher:
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
        self._producer = Producer(
            {
                **security,
                "bootstrap.servers": bootstrap,
                "enable.idempotence": True,
                "acks": "all",
                "message.timeout.ms": 15_000,
                "linger.ms": 0,
                "message.max.bytes": limits.INTAKE_MESSAGE_BYTES_MAX,
                "log_level": 2,
            }
        )
        self._thread = threading.Thread(target=self._run, name=f"publish-{principal_id}", daemon=True)
        self._thread.start()

    def publish(
        self,
        body: Body,
        *,
        causation_id: bytes | None = None,
        on_behalf_of: bytes | None = None,
        on_drafted: Callable[[Draft], None] = lambda _: None,
    ) -> Future[int]:
        """Queue an event and return the future of its offset.

        `on_drafted` is called with the event's id and leaf before it is sent, so an answer cannot come too early.
        The future raises PublishError where the broker did not take it.
        """
        appended: Future[int] = Future()
        self._queue.put(_Request(body, causation_id, on_behalf_of, on_drafted, appended))
        return appended

    def close(self) -> None:
        """Send what is queued and stop."""
        self._queue.put(None)
        self._thread.join(FLUSH_SECONDS)
        self._producer.flush(FLUSH_SECONDS)

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
            try:
                self._send(burst)
            except Exception as exc:  # noqa: BLE001 - whatever it was, each waiting caller is told
                for request in burst:
                    if not request.appended.done():
                        request.appended.set_exception(PublishError(f"cannot sign the event: {exc}"))

    def _burst(self) -> list[_Request] | None:
        """Wait for one request and take what else is queued; None when asked to stop."""
        while True:
            try:
                first = self._queue.get(timeout=0.2)
                break
            except queue.Empty:
                self._producer.poll(0)
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

    def _send(self, burst: list[_Request]) -> None:
        drafts = [self._draft(request) for request in burst]
        signed = sign_drafts(self._key.signing, drafts)
        for request, draft, headers in zip(burst, drafts, signed, strict=True):
            request.on_drafted(draft)
            try:
                self._producer.produce(
                    INTAKE.of(self._tenant),
                    draft.value,
                    partition=0,
                    headers=list(headers),
                    on_delivery=_settle(request.appended),
                )
            except (KafkaException, BufferError) as exc:
                request.appended.set_exception(_publish_error(exc.args[0], len(draft.value)))
        self._producer.flush(FLUSH_SECONDS)

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


def _settle(appended: Future[int]) -> Callable[[KafkaError | None, Message], None]:
    def on_delivery(error: KafkaError | None, message: Message) -> None:
        if error is None:
            appended.set_result(message.offset() or 0)
        else:
            appended.set_exception(_publish_error(error, len(message.value() or b"")))

    return on_delivery


def _publish_error(error: object, size: int) -> PublishError:
    if isinstance(error, KafkaError) and error.name() == "MSG_SIZE_TOO_LARGE":
        return EventTooLargeError(f"the event has {size} bytes; intake takes {limits.INTAKE_MESSAGE_BYTES_MAX}")
    if isinstance(error, KafkaError) and error.name() in {
        "UNKNOWN_TOPIC_OR_PART",
        "_UNKNOWN_TOPIC",
        "_UNKNOWN_PARTITION",
    }:
        return PublishError(
            "the tenant has no intake topic on these brokers: check the tenant and the bootstrap servers"
        )
    return PublishError(f"the broker did not take the event: {error}")
