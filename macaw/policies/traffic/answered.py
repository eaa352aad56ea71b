"""The answers of approvers to requests on the log: how many, which, and how soon after the request.

An approver that says yes to everything in a second does not read. The time runs in log time from the moment at which
people were asked to the entry of the answer. Answers count that the log has accepted; several that a person gave to one
question are several.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from statistics import median
from typing import NamedTuple

from macaw.policies.history import History, Recorded, entry_of, fold_recorded
from processors.calls.standing import request_id
from processors.proof.signing import VerifiedHeads
from schemas import codec
from schemas.events.workflow import AttestationApproved, AttestationDenied
from schemas.records import Event
from schemas.words import Outcome

WITHIN_SECONDS = 2.0
ANSWERS_MIN = 10  # fewer say nothing of a habit
YES_SHARE_MIN = 0.95


class _Body(NamedTuple):
    """An answer in a record: its author, the person that it spoke for, the request, and whether it is a yes."""

    approver: str
    said_by: str
    request: bytes
    yes: bool


class AnswersBy(NamedTuple):
    """An approver, and a person that it spoke for; "" for all of its answers together."""

    approver: str
    said_by: str


@dataclass(slots=True)
class GivenAnswers:
    """The answers of one approver, and the seconds that each took."""

    yes: int = 0
    no: int = 0
    seconds: array[float] = field(default_factory=lambda: array("d"))

    @property
    def count(self) -> int:
        """The number of answers."""
        return self.yes + self.no

    @property
    def median(self) -> float:
        """The median of the seconds from request to answer."""
        return median(self.seconds)

    def share_within(self, seconds: float) -> float:
        """Return the share of answers that came within so many seconds, 0 to 1."""
        return sum(one <= seconds for one in self.seconds) / self.count

    def is_hasty(self, seconds: float) -> bool:
        """Return whether at least ten answers are nearly all a yes, and half of them came within so many seconds."""
        return self.count >= ANSWERS_MIN and self.yes >= YES_SHARE_MIN * self.count and self.median <= seconds

    def note(self, seconds: float, *, yes: bool) -> None:
        """Count an answer."""
        self.yes += yes
        self.no += not yes
        self.seconds.append(seconds)


def read_answers(history: History, *, since: int = 0) -> dict[AnswersBy, GivenAnswers]:
    """Return the answers by approver, and those that each has passed on by person; the most answers come first.

    Answers count that came at `since` (log time, ms) or later.

    Raises:
        HistoryError: the log cannot be folded from its beginning.
    """
    found: dict[AnswersBy, GivenAnswers] = {}
    tables, heads = history.tables(), VerifiedHeads()
    for recorded in history.records:
        answer = _answer_in(recorded)
        asked = None if answer is None else tables.requests.get(answer.request)
        outputs = fold_recorded(tables, recorded, heads)
        if answer is None or asked is None or tables.now < since or entry_of(outputs).outcome != Outcome.ACCEPTED:
            continue
        for name in dict.fromkeys(("", answer.said_by)):
            given = found.setdefault(AnswersBy(answer.approver, name), GivenAnswers())
            given.note((tables.now - asked.asked_at) / 1000, yes=answer.yes)
    return dict(sorted(found.items(), key=lambda item: (-item[1].count, item[0])))


def _answer_in(recorded: Recorded) -> _Body | None:
    """Return the answer in a record, None for a record of another kind."""
    try:
        event: Event = codec.decode_as(Event, recorded.received.value or b"")
    except codec.SchemaError:
        return None
    body = event.body
    if not isinstance(body, (AttestationApproved, AttestationDenied)):
        return None
    request = request_id(body.request, body.key)
    return _Body(event.header.principal_id, body.said_by or "", request, isinstance(body, AttestationApproved))
