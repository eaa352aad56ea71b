"""The open questions of one approver and channel: the calls that wait, the messages about them, and the end of each.

A look at the log changes the questions, and `delivery.py` brings each changed question to the channel. The desk knows
an answer that was given here; of any other end it says only that the call does not wait any more.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from producers.home.clock import clock_ms
from schemas.errors import OutcomeError, UnavailableError
from streams.approvals.log_side import LogSide
from streams.approvals.notebook import Notebook, Open
from streams.approvals.questions import CallKey, CallQuestion, ListedCall, due
from streams.approvals.showing import code
from streams.approvals.slack_messages import State

log = logging.getLogger(__name__)

EXPIRED = "expired: nobody answered in time"
GONE = "does not wait any more: answered elsewhere, or given up by its caller"
ASKS_PER_MINUTE_MAX = 12  # new messages about the calls of one requester
_MINUTE = 60.0
_PACED_MAX = 4096

Requester = tuple[str, str]


class QuestionDesk:
    """The open questions. Thread-safe; `changed` is told the id of each question that must be shown anew."""

    def __init__(
        self,
        log_side: LogSide,
        notebook: Notebook,
        changed: Callable[[str], None],
        *,
        shows_parameters: bool,
        clock_ms: Callable[[], int] = clock_ms,
    ) -> None:
        """Take up the questions that were open. Raises NotebookError."""
        self._log, self._notebook, self._changed = log_side, notebook, changed
        self._shows_parameters, self._clock_ms = shows_parameters, clock_ms
        self._lock, self._looking = threading.Lock(), threading.Lock()
        self._open = {one.question.question_id: one for one in notebook.read()}
        self._states: dict[str, State] = {}
        self._answers: dict[CallKey, str] = {}
        self._paced: dict[Requester, deque[float]] = {}

    def look(self) -> None:
        """Ask the log for the calls that wait, and change the questions accordingly.

        Raises:
            UnavailableError, OutcomeError: the log does not answer, or refuses; nothing has changed.
            EvidenceError: its answer proves a forgery.
            NotebookError: the questions cannot be kept.
        """
        with self._looking:
            waiting = {one.call: one for one in self._log.waiting()}
            with self._lock:
                asked = [one.question for one in self._open.values()]
            fresh = [self._with_parameters(one) for one in due(waiting.values(), asked) if self._has_pace(one)]
            with self._lock:
                for question in fresh:
                    self._open[question.question_id] = Open(question, None, [None] * len(question.calls))
                changed = [key for key, one in self._open.items() if self._settle(key, one, waiting)]
                self._keep(changed)
        for key in changed:
            self._changed(key)

    def note(self, answers: Mapping[CallKey, str]) -> None:
        """Take note of answers that the log has accepted, in words for people; the next look shows them."""
        with self._lock:
            known = {call.call for one in self._open.values() for call in one.question.calls}
            self._answers.update({call: words for call, words in answers.items() if call in known})

    def wanted(self, key: str) -> tuple[CallQuestion, State, str | None] | None:
        """Return a question, the state to show, and its place; None for a question that is over and forgotten."""
        with self._lock:
            one, state = self._open.get(key), self._states.get(key)
            return None if one is None or state is None else (one.question, state, one.place)

    def shown(self, key: str, state: State, place: str) -> bool:
        """Take note that a state is shown at a place; return whether another state must be shown by now."""
        with self._lock:
            one = self._open.get(key)
            if one is None:
                return False
            one.place = place
            is_stale = self._states.get(key) != state
            if state.is_over and not is_stale:
                self._forget(key)
            self._keep([key])
            return is_stale

    def give_up(self, key: str) -> None:
        """Forget a question that is over, although its end could not be shown."""
        with self._lock:
            if key in self._open and self._states[key].is_over:
                self._forget(key)
                self._keep([key])

    def place_of(self, calls: Sequence[tuple[str, str]], key: str) -> str | None:
        """Return where the open question about exactly these calls is shown, None if that is not known."""
        with self._lock:
            for one in self._open.values():
                named = [(call.call.request, call.call.parameters_sha256) for call in one.question.calls]
                if named == list(calls) and one.question.group.key == key:
                    return one.place
            return None

    def next_end(self) -> int | None:
        """Return the log time in ms at which the next call in a question is over, None without a question."""
        with self._lock:
            ends = [
                call.open_until
                for one in self._open.values()
                for call, end in zip(one.question.calls, one.ends, strict=True)
                if end is None
            ]
        return min(ends, default=None)

    # ---- under the lock

    def _settle(self, key: str, one: Open, waiting: Mapping[CallKey, ListedCall]) -> bool:
        """Note the ends of a question's calls, and return whether its state has changed."""
        notes: list[str] = []
        for place, call in enumerate(one.question.calls):
            listed = waiting.get(call.call)
            if listed is None and one.ends[place] is None:
                is_late = self._clock_ms() >= call.open_until
                one.ends[place] = self._answers.pop(call.call, EXPIRED if is_late else GONE)
            notes.append("" if listed is None or one.ends[place] is not None else _so_far(listed))
        state = State(tuple(one.ends), tuple(notes))
        was, self._states[key] = self._states.get(key), state
        return was != state

    def _forget(self, key: str) -> None:
        one = self._open.pop(key)
        self._states.pop(key, None)
        for call in one.question.calls:
            self._answers.pop(call.call, None)

    def _keep(self, changed: Sequence[str]) -> None:
        if changed:
            self._notebook.write(self._open.values())

    # ---- before it

    def _has_pace(self, question: CallQuestion) -> bool:
        """Return whether one more message about this requester may be sent now, and count it."""
        now, requester = time.monotonic(), (question.group.for_user, question.group.for_agent)
        if len(self._paced) > _PACED_MAX:
            self._paced = {who: times for who, times in self._paced.items() if now - times[-1] < _MINUTE}
        times = self._paced.setdefault(requester, deque(maxlen=ASKS_PER_MINUTE_MAX))
        if len(times) == ASKS_PER_MINUTE_MAX and now - times[0] < _MINUTE:
            return False
        times.append(now)
        return True

    def _with_parameters(self, question: CallQuestion) -> CallQuestion:
        """Return a question with the parameters of its calls, as their callers signed them, where they are shown."""
        if not self._shows_parameters:
            return question
        return replace(question, calls=tuple(map(self._parametered, question.calls)))

    def _parametered(self, one: ListedCall) -> ListedCall:
        try:
            shown = self._log.shown(one.call.request)
        except (UnavailableError, OutcomeError) as exc:
            log.warning("the parameters of a call cannot be shown: %s", exc)
            return one
        is_same = shown.parameters_sha256.hex() == one.call.parameters_sha256
        return replace(one, parameters=shown.parameters) if is_same else one


def _so_far(one: ListedCall) -> str:
    """Return the approvals that a call has so far, where it needs more of them."""
    found, quorum = one.row.get("approved_by"), one.row.get("quorum")
    if not isinstance(found, list) or not found:
        return ""
    return f"approved so far by {', '.join(code(str(name), 64) for name in found[:4])}; {quorum} people must approve"
