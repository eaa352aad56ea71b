"""How an event can end for whoever sent it: an error for each end but the good one, with what to do next."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from producers.answers import Answer
from producers.appending import Fate
from schemas.reasons import Reason
from schemas.words import Outcome

if TYPE_CHECKING:
    from producers.waiting import WaitingCall

_DIGEST = re.compile(r"[0-9a-f]{64}")
_FIRST = re.compile(r"event_id=([0-9a-f]{32}) outcome=([a-z]{1,16})")


_MAY_BEGIN = "It may run later, run now, or have run"
_MAY_HAVE_BEGUN = "It may run now, or have run; it does not begin any more unless people are asked for it"


class CallError(RuntimeError):
    """A call did not give a result. `reason` is the stable code, `answer` the signed record where there is one."""

    def __init__(self, message: str, *, reason: str = "", answer: Answer | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.answer = answer


class DeniedError(CallError):
    """The call was denied by a decision on the log."""


class RefusedError(CallError):
    """The event was refused: it had no effect."""


class FailedError(CallError):
    """The tool ran and failed, and signed that it did."""


class UnknownOutcomeError(CallError):
    """The call was allowed, and nobody can say whether it ran to its end. Look before you ask again."""


class AlreadyCalledError(DeniedError):
    """A call with this idempotency key stands, so this one was not executed. `event_id` is the first one's.

    `outcome` is how that stands: pending, allowed (nobody knows yet), ok, failed or unknown. Both are the log's word:
    what the tool itself has signed comes with `Client.resume`.
    """

    event_id: str
    outcome: str


class NoAnswerError(CallError):
    """No answer came in time. `event_id` is that of the event, empty where it was never sent.

    `call` is how to come back to a call whose result may still come: `Client.resume(tenant, error.event_id)`, or
    `macaw invoke --resume`. It is None where the call was never sent, or could not be written down.
    """

    def __init__(self, message: str, *, event_id: str = "", call: WaitingCall | None = None, reason: str = "") -> None:
        super().__init__(message, reason=reason or "NO_ANSWER")
        self.event_id = event_id
        self.call = call


class MalformedReplyError(CallError):
    """The log's answer to a question is not what it has to be."""


class MalformedIdError(ValueError):
    """What was given is no id of its kind; nothing was sent."""


class MalformedTimeError(ValueError):
    """What was given is no time that the log takes; nothing was sent."""


def milliseconds(seconds: float, *, at_most: int, what: str) -> int:
    """Return whole milliseconds, at least one and `at_most`. Raises MalformedTimeError."""
    longest = at_most / 1000
    if not 0.001 <= seconds <= longest:  # nor is it so of infinity and NaN
        raise MalformedTimeError(f"want {what} of 0.001 to {longest:.0f} seconds")
    return int(seconds * 1000)


def digest_of(text: str, what: str) -> bytes:
    """Return the 32 bytes of an id in hex. Raises MalformedIdError."""
    if not _DIGEST.fullmatch(text):
        raise MalformedIdError(f"got {text[:80]!r}, want {what}: 64 hexadecimal digits")
    return bytes.fromhex(text)


def explain(reason: str) -> str:
    """Return what a reason code means, for people."""
    return Reason[reason].meaning if reason in Reason.__members__ else ""


def next_step(reason: str) -> str:
    """Return what to do about a reason code, for people."""
    return Reason[reason].step if reason in Reason.__members__ else ""


def sentence_of(answer: Answer, what: str) -> str:
    """Return what an answer says, for people."""
    result = answer.result
    head = f"{what}: {result.reason}" if result.reason else what
    parts = [head, explain(result.reason), result.detail, next_step(result.reason)]
    return "; ".join(p for p in parts if p)


def result_of(answer: Answer) -> Any:
    """Return the tool's result, or raise what the answer says. Raises CallError."""
    result = answer.result
    kinds: dict[str, tuple[type[CallError], str]] = {
        Outcome.DENIED: (DeniedError, "the call was denied"),
        Outcome.REFUSED: (RefusedError, "the event was refused"),
    }
    if result.outcome == Outcome.OK and answer.body is not None:
        return json.loads(answer.body)
    kind, what = kinds.get(result.outcome, (UnknownOutcomeError, "the outcome is unknown"))
    # Without the tool's own words only the monitor says how the call ended.
    if result.outcome == Outcome.FAILED and answer.body is not None:
        kind, what = FailedError, f"the tool failed: {answer.body}"
    if (first := _FIRST.fullmatch(result.detail)) and result.reason == Reason.ALREADY_CALLED:
        back = f"`macaw invoke --resume {first[1]}` fetches its result, where it was asked and not given out yet"
        text = f"{sentence_of(answer, what)}; {back}"
        already = AlreadyCalledError(text, reason=result.reason, answer=answer)
        already.event_id, already.outcome = first[1], first[2]
        raise already
    raise kind(sentence_of(answer, what), reason=result.reason, answer=answer)


def no_answer(what: str, seconds: float, fate: Fate, event_id: str) -> NoAnswerError:
    """Return the error for a control event that nobody answered."""
    if fate is Fate.NEVER_SENT:
        return NoAnswerError(f"{what} was not sent within {seconds:g} s, and will not be: do the brokers answer?")
    stands = "it stands on the log" if fate is Fate.APPENDED else "whether it came to the log is not known"
    return NoAnswerError(
        f"{what} was not answered within {seconds:g} s; {stands}, as event {event_id}: is a monitor running for this "
        "tenant, and is the key registered there? `macaw log --follow` shows what the log made of it",
        event_id=event_id,
    )


def no_result(
    resource: str, why: str, fate: Fate, event_id: str, call: WaitingCall | None, *, begins: bool
) -> NoAnswerError:
    """Return the error for a call that nobody answered.

    `why` is what happened; `call` is None where it is not kept; `begins`: it may begin later.
    """
    if fate is Fate.NEVER_SENT:
        return NoAnswerError(f"{resource} {why}: it was never sent, and never will be; do the brokers answer?")
    stands = "it stands on the log" if fate is Fate.APPENDED else "whether it came to the log is not known"
    back = _back(event_id, is_kept=call is not None)
    return NoAnswerError(
        f"{resource} {why}; {stands}, as event {event_id}. {_MAY_BEGIN if begins else _MAY_HAVE_BEGUN}. {back}. To ask "
        "anew before that is known may do it twice, unless both calls have one idempotency key",
        event_id=event_id,
        call=call,
    )


def _back(event_id: str, *, is_kept: bool) -> str:
    if is_kept:
        return f"`macaw invoke --resume {event_id}` fetches what became of it"
    return (
        f"`macaw log` shows what became of event {event_id}; its result can be fetched by nobody, because how to come "
        "back to it could not be written down"
    )


def not_yet(call: WaitingCall, *, is_kept: bool) -> NoAnswerError:
    """Return the error for a call that people have not approved, or whose result has not come, while it was waited."""
    return NoAnswerError(
        f"{call.resource} waits still, or its result has not come; {_back(call.event_id, is_kept=is_kept)}",
        event_id=call.event_id,
        call=call if is_kept else None,
        reason=Reason.APPROVAL_PENDING,
    )
