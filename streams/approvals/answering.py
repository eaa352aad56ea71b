"""The answers of people in Slack, signed by the approver's service in their words and told to them.

Slack waits three seconds for its answer, and the log may take longer: presses that are believed wait in a short queue.
The calls are listed anew for each press. An answer is signed for a call only if the button names its event and its
digest, and the log has the last word on each of them.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

from producers.client.approvals import Answered
from producers.kafka.outcomes import explain
from schemas.errors import EvidenceError, MacawError, UnavailableError
from schemas.words import Status
from streams.approvals.channels import SlackChannel, terms_digest
from streams.approvals.desk import QuestionDesk
from streams.approvals.log_side import LogSide
from streams.approvals.posting import PostError
from streams.approvals.pressed import Pressed
from streams.approvals.proofs import Bound
from streams.approvals.questions import Choice, ListedCall, choice_of
from streams.approvals.settings import SlackPerson
from streams.approvals.showing import code
from streams.approvals.slack_messages import APPROVE

log = logging.getLogger(__name__)

QUEUE_MAX = 64
PRESSES_MAX = 20  # of one person in RATE_SECONDS; strangers together count as one
RATE_SECONDS = 60.0
JOIN_SECONDS = 6.0
STRANGER = "you are not among the people who may answer here: ask the operator of this app to name you in its file"
OWN_CALL = "this call is made in your own name, so another person must answer it"
OLD_COPY = "this is an older copy of the question: answer the newer message"
NOTHING = "none of these calls waits any more on these terms; nothing was signed"
NO_SCOPE = "this choice is not offered for these calls; nothing was signed: answer with the newest message"
_WITHOUT_ANSWER = {"", "NO_ANSWER"}
SILENT = "the log does not answer, so it is not known whether anything was signed: look at the message in a minute"


class TooManyPressesError(UnavailableError):
    """The queue is full, or one person presses too often. Nothing was signed."""


class Answering:
    """Takes presses that Slack has signed, and answers the calls that they name."""

    def __init__(
        self,
        desk: QuestionDesk,
        log_side: LogSide,
        channel: SlackChannel,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._desk, self._log, self._channel, self._clock = desk, log_side, channel, clock
        self._waiting: queue.Queue[tuple[Pressed, Bound] | None] = queue.Queue(QUEUE_MAX)
        self._pressed: dict[str, deque[float]] = {}
        self._thread = threading.Thread(target=self._run, name="answering", daemon=True)

    def start(self) -> None:
        """Answer from now on, on a thread of its own."""
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether presses are answered."""
        return self._thread.is_alive()

    def take(self, pressed: Pressed, bound: Bound) -> None:
        """Have a press answered soon. Called by one thread. Raises TooManyPressesError."""
        who = pressed.user if pressed.user in self._channel.settings.people else ""
        now, times = self._clock(), self._pressed.setdefault(who, deque(maxlen=PRESSES_MAX))
        if len(times) == PRESSES_MAX and now - times[0] < RATE_SECONDS:
            raise TooManyPressesError(f"more than {PRESSES_MAX} presses within {RATE_SECONDS:g} s")
        times.append(now)
        try:
            self._waiting.put_nowait((pressed, bound))
        except queue.Full:
            raise TooManyPressesError("too many presses wait for the log") from None

    def close(self) -> None:
        """Answer no more. Presses that wait are dropped: nothing was signed for them."""
        while True:
            try:
                self._waiting.put_nowait(None)
                break
            except queue.Full:
                self._waiting.get_nowait()
        if self._thread.ident is not None:
            self._thread.join(JOIN_SECONDS)

    def _run(self) -> None:
        while (one := self._waiting.get()) is not None:
            pressed, bound = one
            try:
                told = self.answer(pressed, bound)
            except EvidenceError as exc:
                log.error("a press was not answered: %s", exc)  # noqa: TRY400 - the sentence is whole
                told = "the log's answer is not believed, and nothing was signed: ask the operator"
            except MacawError as exc:  # of the log, the key's file or the request: the next press may be answered
                log.warning("a press could not be answered: %s", exc)
                told = SILENT
            try:
                self._channel.tell(pressed.response_url, told)
            except PostError as exc:
                log.warning("a person could not be told the outcome of a press: %s", exc)

    def answer(self, pressed: Pressed, bound: Bound) -> str:
        """Answer the calls of a press, and return the sentence for its person. Raises as `LogSide`."""
        person = self._channel.settings.people.get(pressed.user)
        if person is None:
            return STRANGER
        if person.is_link:
            return _with_own_key(person, bound, "approve" if pressed.action == APPROVE else "deny")
        calls = self._named(bound)
        if not calls:
            self._look()
            return NOTHING
        is_yes = pressed.action == APPROVE
        choice = choice_of(calls[0].group, pressed.scope) if is_yes else Choice("", "", {})
        if choice is None:
            return NO_SCOPE
        return self._fault(pressed, bound, person, calls) or self._sign(calls, person, choice, is_yes=is_yes)

    def _fault(self, pressed: Pressed, bound: Bound, person: SlackPerson, calls: Sequence[ListedCall]) -> str:
        """Return the reason for which a person cannot answer calls by this message, empty if there is none."""
        shown = self._desk.place_of(bound.calls, calls[0].group.key)
        if shown is not None and shown != pressed.message:
            return OLD_COPY
        return OWN_CALL if any(person.principal in one.group[:2] for one in calls) else ""

    def _sign(self, calls: Sequence[ListedCall], person: SlackPerson, choice: Choice, *, is_yes: bool) -> str:
        rows = [one.row for one in calls]
        reason = "answered in Slack"
        if is_yes:
            answered = self._log.approve(rows, choice, person.principal, reason)
        else:
            answered = self._log.deny(rows, person.principal, reason)
        scope = f", {choice.words}" if choice.words else ""
        done = str(Status.APPROVED if is_yes else Status.DENIED)
        words = f"{done} by {code(person.principal)}{scope}"
        accepted = {one.call: words for one, said in zip(calls, answered, strict=True) if said.is_on_log}
        self._desk.note(accepted)
        self._look()
        return _outcome(answered, done)

    def _named(self, bound: Bound) -> list[ListedCall]:
        """Return the calls that wait now and that a button names, with the very digests and on the very terms."""
        named = set(bound.calls)
        return [
            one
            for one in self._log.waiting()
            if (one.call.request, one.call.parameters_sha256) in named and terms_digest(one.group) == bound.terms_sha256
        ]

    def _look(self) -> None:
        try:
            self._desk.look()
        except MacawError as exc:
            log.warning("the questions could not be compared with the log after an answer: %s", exc)


def _with_own_key(person: SlackPerson, bound: Bound, verb: str) -> str:
    """Return the commands for a person with a key of their own."""
    lines = [f"`macaw approvals {verb} {request} --as` {code(person.principal)}" for request, _ in bound.calls]
    return "\n".join(("you answer with a key of your own; the command shows the exact parameters first:", *lines))


def _outcome(answered: Sequence[Answered], done: str) -> str:
    """Return how the log took each answer. The reasons are codes of ours with their meanings."""
    count = sum(one.is_on_log for one in answered)
    reasons = {one.reason for one in answered if not one.is_on_log}
    parts = [f"{done}: {count} of {len(answered)}; the log has the answer"] if count else []
    parts += [f"refused {one}: {explain(one)}" for one in sorted(reasons - _WITHOUT_ANSWER)]
    if reasons & _WITHOUT_ANSWER:
        parts.append(SILENT)
    return "; ".join(parts)
