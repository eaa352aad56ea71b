"""One event on its way to its answer: the futures of its answers, and its fate once the waiting has ended."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from concurrent.futures import Future, InvalidStateError, wait
from contextlib import suppress

from processors.proof.authoring import Draft
from producers.home.clock import clock_ms
from producers.kafka.answers import Answer, Answers, Waits
from producers.kafka.appending import Appending, Fate, PublishError
from producers.kafka.offers import Offered
from producers.kafka.publisher import Publisher
from schemas.records import Body

SETTLE_SECONDS = 0.5  # until an event that was taken back is known to be


class Sent:
    """An event, with the futures of its answers. Thread-safe.

    `answer` carries PublishError where the brokers refuse the event. Cancelling it takes the event back if it has not
    been sent yet. `pending` is set when the log says that a call waits for people or for verdicts, and its `later` when
    it says so again. `event_id` and `event` (its leaf) are empty until it is drafted; `answers_from` gives the offsets
    of `results` at which its answers begin, by partition.
    """

    def __init__(self, answers: Answers, resource: str | None = None, offered: Offered | None = None) -> None:
        """Follow an event; of a call name the resource, and the session that it names as its target."""
        self.resource, self.offered = resource, offered
        self.answer: Future[Answer] = Future()
        self.pending = Waits()
        self.event_id, self.event = b"", b""
        self.drafted: Future[bytes] = Future()  # its leaf, once there is one
        self.answers_from: Mapping[int, int] = {}
        self.sent_ms = 0  # by this machine's clock; 0: before, elsewhere
        self._answers = answers
        self._appended: Appending | None = None
        self.answer.add_done_callback(self._on_done)

    def publish(
        self, publisher: Publisher, body: Body, *, on_behalf_of: bytes | None = None, within: bytes | None = None
    ) -> Sent:
        """Publish the event and listen for its answers. Raises ForkedError; PublishError of a closed publisher."""
        self.sent_ms = clock_ms()
        self._appended = publisher.publish(
            body, causation_id=within, on_behalf_of=on_behalf_of, on_drafted=self._on_drafted
        )
        self._appended.add_done_callback(self._on_appended)
        return self

    def listen(self, event_id: bytes, event: bytes) -> Sent:
        """Listen for the answers to an event that was published before."""
        self._on_drafted(Draft(event_id, b"", event))
        return self

    @property
    def fate(self) -> Fate:
        """The fate of the event as of now; always UNKNOWN for an event that was published before."""
        return Fate.UNKNOWN if self._appended is None else self._appended.fate

    def await_first(self, seconds: float, pending: Waits | None = None) -> None:
        """Wait until the answer or `pending` (the first one, unless it is given) is done, or for `seconds`.

        With one bare lock: `concurrent.futures.wait` takes twice the CPU for two futures, and every call waits here.
        """
        heard = threading.Lock()
        heard.acquire()

        def wake(_: Future[Answer]) -> None:
            with suppress(RuntimeError):  # the other one was first
                heard.release()

        self.answer.add_done_callback(wake)
        (pending or self.pending).add_done_callback(wake)
        heard.acquire(timeout=max(seconds, 0))

    def settle(self) -> Fate:
        """Return the fate of an event that was taken back, after waiting a moment for it to be known."""
        if self._appended is not None:
            wait({self._appended}, SETTLE_SECONDS)
        return self.fate

    def give_up(self, why: Exception | None = None) -> bool:
        """Listen no longer; return True if there is no answer. Another thread that waits for it gets `why`."""
        if why is not None:
            with suppress(InvalidStateError):  # its answer came first
                self.answer.set_exception(why)
        self.answer.cancel()
        self.pending.cancel()
        self.take_back()
        return self.answer.cancelled() or self.answer.exception() is why is not None

    @property
    def is_elsewhere(self) -> bool:
        """Whether this is another process than the one that sent it."""
        return self._answers.is_elsewhere

    def check_process(self) -> None:
        """Raise ForkedError in another process than the one that sent it."""
        self._answers.check_process()

    def _on_drafted(self, draft: Draft) -> None:
        self.answers_from = self._answers.reached()
        self._answers.expect(draft.leaf, self.resource, answer=self.answer, pending=self.pending, offered=self.offered)
        self.event_id, self.event = draft.event_id, draft.leaf
        self.drafted.set_result(draft.leaf)
        if self.answer.done():  # given up meanwhile
            self._answers.forget(draft.leaf)

    def _on_appended(self, appended: Future[int]) -> None:
        if appended.cancelled() or (exc := appended.exception()) is None:
            return
        with suppress(InvalidStateError):  # it was answered all the same, or cancelled
            self.answer.set_exception(exc)

    def _on_done(self, answer: Future[Answer]) -> None:
        if self.event:
            self._answers.forget(self.event)
        if answer.cancelled():
            self.take_back()

    def take_back(self) -> None:
        """Take the event back if it has not been sent yet, and listen on; `settle` says whether that was so."""
        if self._appended is not None:
            self._appended.give_up()


def never_sent(exc: BaseException | None) -> bool:
    """Whether an error says that an event cannot come to the log any more."""
    return isinstance(exc, PublishError) and exc.never_sent
