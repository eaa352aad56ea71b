"""One thread and one producer of a process: they sign and append the events of every key that speaks in one tenant.

All events that are queued at one moment are sent together, and those of one key are signed under one head; a single one
never waits. Sequence numbers are given here, in the order in which events are appended: each is above every earlier one
of this process, so above every earlier one of its key.
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from processors.proof.authoring import RANDOM_BYTES, Draft, draft_event, sign_drafts
from producers.home.clock import clock_ms
from producers.home.keys import KeyPair
from producers.home.process import OfOneProcess
from producers.home.security import UNSECURED, Security
from producers.kafka.appending import Appending, PublishError
from producers.kafka.sending import SETTLE_SECONDS, WARM_UP_SECONDS, Sender, Sending, give_up
from schemas.records import Body
from schemas.topics import INTAKE

BURST_MAX = 256


class UnsignableError(PublishError):
    """The body cannot be encoded or signed as an event; nothing was sent."""


@dataclass(frozen=True, slots=True)
class Author:
    """A key with its principal. `session_id` is set for the key of a session."""

    key: KeyPair
    principal_id: str
    session_id: bytes | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Queued:
    """An event that waits to be signed and sent."""

    author: Author
    body: Body
    causation_id: bytes | None
    on_behalf_of: bytes | None
    on_drafted: Callable[[Draft], None]
    appended: Appending = field(default_factory=Appending)
    _once: threading.Lock = field(default_factory=threading.Lock)

    def begin(self) -> bool:
        """Take the event out of the queue. Return False if it was taken out before, or taken back."""
        return self._once.acquire(blocking=False) and self.appended.set_running_or_notify_cancel()

    def drop(self, why: str) -> bool:
        """Fail the future of an event that is still queued: it is never sent. Return False if it is not queued."""
        if not self.begin():
            return self.appended.cancelled()
        self.appended.fail(PublishError(why, never_sent=True))
        return True


class Intake(OfOneProcess):
    """Signs events of any number of keys and appends them to one tenant's intake, those of one key in order."""

    def __init__(self, bootstrap: str, *, tenant: str, genesis: bytes, security: Security = UNSECURED) -> None:
        self._tenant, self._genesis = tenant, genesis
        self._seq = 0
        self._queue: queue.SimpleQueue[Queued | None] = queue.SimpleQueue()
        self._in_hand: list[Sending] = []
        self._sender = Sender(bootstrap, INTAKE.of(tenant), name=f"publish-{tenant}", security=security)
        self._closed, self._door = False, threading.Lock()
        self._thread = threading.Thread(target=self._run, name=f"publish-{tenant}", daemon=True)
        self._thread.start()

    def put(self, request: Queued) -> None:
        """Queue an event. Raises PublishError after `close`, or after the thread was ended from outside."""
        with self._door:
            if self._closed:
                raise PublishError("the connection is closed: nothing was sent", never_sent=True)
            if not self.is_running:
                ended = "the thread that publishes was ended: nothing was sent; connect again"
                raise PublishError(ended, never_sent=True)
            self._queue.put(request)

    @property
    def ahead_ms(self) -> int | None:
        """How far the newest event was issued ahead of its append; None before the first."""
        return self._sender.ahead_ms

    @property
    def is_running(self) -> bool:
        """Whether events can still be published: not after `close`, nor after the thread was ended from outside."""
        return self._thread.is_alive()

    def close(self) -> None:
        """Stop. An event that is still here is dropped: its future raises PublishError.

        Each publisher is closed before, and has waited for its events. In another process, after a fork, there is
        nothing to close.
        """
        if self.is_elsewhere:
            return
        with self._door:
            self._closed = True
        self._tell_queued()
        self._queue.put(None)
        self._sender.purge()
        self._thread.join(WARM_UP_SECONDS + SETTLE_SECONDS)

    def _tell_queued(self) -> None:
        """Fail the future of each queued event: it is not sent."""
        with contextlib.suppress(queue.Empty):
            while True:
                request = self._queue.get_nowait()
                if request is not None:
                    request.drop("the connection is closed: the event was not sent")

    def _run(self) -> None:
        try:
            self._publish_all()
        finally:
            give_up(self._in_hand)  # there is something only if this thread was ended from outside
            self._tell_queued()

    def _publish_all(self) -> None:
        self._sender.warm_up()
        while True:
            burst = self._burst()
            if burst is None:
                return
            self._in_hand = self._signed(burst)
            try:
                self._sender.send(self._in_hand)
            except Exception as exc:  # noqa: BLE001 - whatever it was, each waiting caller is told
                give_up(self._in_hand, exc)
            self._in_hand = []

    def _burst(self) -> list[Queued] | None:
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

    def _signed(self, burst: list[Queued]) -> list[Sending]:
        """Return the events of a burst in its order, those of one key signed under one head."""
        drafted: dict[bytes, list[tuple[Queued, Draft, Sending]]] = {}
        sendings = []
        for request in burst:
            if not request.begin():
                continue  # taken back
            try:
                draft = self._draft(request)
                request.on_drafted(draft)
            except Exception as exc:  # noqa: BLE001 - it must not cost those beside it
                request.appended.fail(UnsignableError(f"cannot sign the event: {exc}", never_sent=True))
                continue
            sending = Sending(draft.value, [], request.appended, clock_ms())
            sendings.append(sending)
            drafted.setdefault(request.author.key.kid, []).append((request, draft, sending))
        for events in drafted.values():
            _sign(events)
        return [sending for sending in sendings if sending.headers]

    def _draft(self, request: Queued) -> Draft:
        now_us = time.time_ns() // 1000
        self._seq = max(self._seq + 1, now_us)
        return draft_event(
            self._tenant,
            self._genesis,
            request.body,
            principal_id=request.author.principal_id,
            session_id=request.author.session_id,
            seq=self._seq,
            now_ms=now_us // 1000,
            random=os.urandom(RANDOM_BYTES),
            causation_id=request.causation_id,
            on_behalf_of=request.on_behalf_of,
        )


def _sign(events: list[tuple[Queued, Draft, Sending]]) -> None:
    """Give the events of one key their headers. A key that does not sign costs its own events: they have none then."""
    key = events[0][0].author.key
    try:
        signed = sign_drafts(key.signing, [draft for _, draft, _ in events])
    except Exception as exc:  # noqa: BLE001 - a token that was taken away: nothing is sent, each caller is told
        for request, _, _ in events:
            request.appended.fail(UnsignableError(f"the key does not sign: {exc}", never_sent=True))
        return
    for (_, _, sending), headers in zip(events, signed, strict=True):
        sending.headers = list(headers)
