"""Publishes signed events: all that are queued at one moment are signed under one head; a single one never waits.

One key, one publisher: sequence numbers are given here, in the order in which events are appended.
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from processors.proof.authoring import RANDOM_BYTES, Draft, draft_event, sign_drafts
from producers.home.clock import clock_ms
from producers.home.keys import KeyPair
from producers.home.process import OfOneProcess
from producers.home.security import UNSECURED, Security
from producers.kafka.appending import Appending, EventTooLargeError, PublishError
from producers.kafka.sending import SETTLE_SECONDS, Sender, Sending, give_up
from schemas.records import Body
from schemas.topics import INTAKE

__all__ = ["EventTooLargeError", "PublishError", "Publisher", "UnsignableError"]

BURST_MAX = 256
CLOSE_SECONDS = 10.0


class UnsignableError(PublishError):
    """The body cannot be encoded or signed as an event; nothing was sent."""


@dataclass(frozen=True, slots=True)
class _Request:
    body: Body
    causation_id: bytes | None
    on_behalf_of: bytes | None
    on_drafted: Callable[[Draft], None]
    appended: Appending


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
        self._sender = Sender(bootstrap, INTAKE.of(tenant), name=f"publish-{principal_id}", security=security)
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

        `on_drafted` is called with the event's id and leaf before it is sent, so an answer cannot come too early. The
        future raises PublishError where the broker did not take the event. An event that is given up while it is
        queued, here or in the library, is never sent.

        Raises:
            PublishError: `close` was called; nothing is sent.
            ForkedError: this is another process.
        """
        self.check_process()
        appended = Appending()
        with self._door:
            if self._closed:
                raise PublishError("the connection is closed: nothing was sent", never_sent=True)
            if not self.is_running:
                ended = "the thread that publishes was ended: nothing was sent; connect again"
                raise PublishError(ended, never_sent=True)
            self._queue.put(_Request(body, causation_id, on_behalf_of, on_drafted, appended))
        return appended

    @property
    def ahead_ms(self) -> int | None:
        """How far the newest event was issued ahead of its append; None before the first."""
        return self._sender.ahead_ms

    @property
    def is_running(self) -> bool:
        """Whether events can still be published: not after `close`, nor after the thread was ended from outside."""
        return self._thread.is_alive()

    def close(self) -> None:
        """Send the queued events and stop; after CLOSE_SECONDS the rest is dropped: their futures raise PublishError.

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
        self._tell_queued()
        self._queue.put(None)
        self._sender.purge()
        self._thread.join(SETTLE_SECONDS)

    def _tell_queued(self) -> None:
        """Fail the future of each queued event: it is not sent."""
        with contextlib.suppress(queue.Empty):
            while True:
                request = self._queue.get_nowait()
                if request is not None and request.appended.set_running_or_notify_cancel():
                    gone = PublishError("the connection is closed: the event was not sent", never_sent=True)
                    request.appended.set_exception(gone)

    def _run(self) -> None:
        try:
            self._publish_all()
        finally:
            self._tell_queued()  # there is something only if this thread was ended from outside

    def _publish_all(self) -> None:
        self._sender.warm_up()
        while True:
            burst = self._burst()
            if burst is None:
                return
            sendings = self._signed(burst)
            try:
                self._sender.send(sendings)
            except Exception as exc:  # noqa: BLE001 - whatever it was, each waiting caller is told
                give_up(sendings, exc)

    def _burst(self) -> list[_Request] | None:
        """Wait for one request and take the others in the queue; None when asked to stop."""
        while True:
            try:
                first = self._queue.get(timeout=0.2)
                break
            except queue.Empty:
                self._sender.idle()
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

    def _signed(self, burst: list[_Request]) -> list[Sending]:
        """Return the events of a burst, signed under one head. A body that cannot be signed fails its own future."""
        sendings, drafts = [], []
        for request in burst:
            if not request.appended.set_running_or_notify_cancel():
                continue  # taken back
            try:
                draft = self._draft(request)
                request.on_drafted(draft)
            except Exception as exc:  # noqa: BLE001 - it must not cost those beside it
                request.appended.set_exception(UnsignableError(f"cannot sign the event: {exc}", never_sent=True))
                continue
            drafts.append(draft)
            sendings.append(Sending(draft.value, [], request.appended, clock_ms()))
        try:
            signed = sign_drafts(self._key.signing, drafts) if drafts else ()
        except Exception as exc:  # noqa: BLE001 - a token that was taken away: nothing is sent, each caller is told
            for sending in sendings:
                sending.appended.set_exception(UnsignableError(f"the key does not sign: {exc}", never_sent=True))
            return []
        for sending, headers in zip(sendings, signed, strict=True):
            sending.headers = list(headers)
        return sendings

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
