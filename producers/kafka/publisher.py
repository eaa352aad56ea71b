"""Publishes the events of one key: they are signed and appended, in order, by the `Intake` that the process shares."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import wait

from processors.proof.authoring import Draft
from producers.home.process import OfOneProcess
from producers.kafka.appending import Appending, EventTooLargeError, PublishError
from producers.kafka.intake import Author, Intake, Queued, UnsignableError
from producers.kafka.sending import DOUBT, SETTLE_SECONDS
from schemas.records import Body

__all__ = ["EventTooLargeError", "PublishError", "Publisher", "UnsignableError"]

CLOSE_SECONDS = 10.0


class Publisher(OfOneProcess):
    """Publishes for one key. Thread-safe. Other keys may publish through the same `Intake`."""

    def __init__(self, intake: Intake, author: Author) -> None:
        self._intake, self._author = intake, author
        self._pending: set[Queued] = set()
        self._closed, self._door = False, threading.Lock()

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
        request = Queued(self._author, body, causation_id, on_behalf_of, on_drafted)
        with self._door:
            if self._closed:
                raise PublishError("the connection is closed: nothing was sent", never_sent=True)
            self._pending.add(request)
        request.appended.add_done_callback(lambda _: self._pending.discard(request))
        try:
            self._intake.put(request)
        except PublishError:
            self._pending.discard(request)
            raise
        return request.appended

    @property
    def ahead_ms(self) -> int | None:
        """How far the newest event of this process was issued ahead of its append; None before the first."""
        return self._intake.ahead_ms

    @property
    def is_running(self) -> bool:
        """Whether events can still be published: not after `close`, nor after the thread was ended from outside."""
        return not self._closed and self._intake.is_running

    def close(self) -> None:
        """Wait for this key's events; after CLOSE_SECONDS the rest is dropped: their futures raise PublishError.

        Events of other keys go on. In another process, after a fork, there is nothing to close.
        """
        if self.is_elsewhere:
            return
        with self._door:
            self._closed = True
            pending = list(self._pending)
        wait([one.appended for one in pending], CLOSE_SECONDS)
        late = [one for one in pending if not one.drop("the connection is closed: the event was not sent")]
        for one in late:
            one.appended.given_up = True
        wait([one.appended for one in late], SETTLE_SECONDS)
        for one in late:
            one.appended.fail(PublishError(f"the connection was closed before the broker took the event{DOUBT}"))
