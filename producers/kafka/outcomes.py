"""How an event can end for its sender: an error class for each end but the good one; each message has the next step."""

from __future__ import annotations

import json
import re
from typing import Any

from producers.kafka.answers import Answer
from producers.kafka.appending import Fate
from producers.kafka.bodies import BodyMissingError
from producers.kafka.waiting import WaitingCall
from schemas.errors import OutcomeError
from schemas.reasons import Reason
from schemas.words import Outcome

_FIRST = re.compile(r"event_id=([0-9a-f]{32}) outcome=([a-z]{1,16})")


_MAY_BEGIN = "It may run later, run now, or have run"
_MAY_HAVE_BEGUN = "It may run now, or have run; it does not begin any more unless people are asked for it"


class CallError(OutcomeError):
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
    """The call was allowed, and it is not known whether it ran to its end. Look for its effect before you ask again."""


class AlreadyCalledError(DeniedError):
    """An earlier call has this idempotency key, so this one was not executed. `event_id` is that of the earlier call.

    `outcome` is the state of the earlier call: pending, allowed (not ended yet), ok, failed or unknown. Both come from
    the log alone; `Client.resume` fetches the result that the tool itself signed.
    """

    event_id: str
    outcome: str


class ResultMissingError(CallError):
    """The call took effect, and its large result, which travels beside the tool's report, cannot be fetched now.

    The way back to the call is kept: `Client.resume` fetches the result later, for as long as it is kept (3 days).
    """


class ResultWithheldError(CallError):
    """The call took effect, and the tenant's verifiers keep its result from callers. The report stands on the log."""


class NoAnswerError(CallError):
    """No answer came in time. `event_id` is that of the event, empty if it was never sent.

    `call` is the way back to a call that may still have a result: `Client.resume(tenant, error.event_id)`, or `macaw
    invoke --resume`. It is None if the call was never sent, or could not be written down.
    """

    def __init__(self, message: str, *, event_id: str = "", call: WaitingCall | None = None, reason: str = "") -> None:
        super().__init__(message, reason=reason or "NO_ANSWER")
        self.event_id = event_id
        self.call = call


class MalformedReplyError(CallError):
    """The log's answer to a question has another form than it must have."""


def explain(reason: str) -> str:
    """Return the meaning of a reason code, for people; empty for an unknown code."""
    return Reason[reason].meaning if reason in Reason.__members__ else ""


def next_step(reason: str) -> str:
    """Return what to do about a reason code, for people."""
    return Reason[reason].step if reason in Reason.__members__ else ""


def place_of_denial(exc: CallError) -> str:
    """Return the parameter, or the time to wait, that a denial names; empty without. No policy stands in it."""
    detail = exc.answer.result.detail if exc.answer is not None else ""
    return detail if detail.startswith(("parameter ", "retry_after_ms=")) else ""


def sentence_of(answer: Answer, what: str) -> str:
    """Return an answer as a sentence, for people."""
    result = answer.result
    head = f"{what}: {result.reason}" if result.reason else what
    parts = [head, explain(result.reason), result.detail, next_step(result.reason)]
    return "; ".join(p for p in parts if p)


def result_of(answer: Answer) -> Any:
    """Return the tool's result, fetched where it travels beside the report. Raises the CallError that fits."""
    result = answer.result
    kinds: dict[str, tuple[type[CallError], str]] = {
        Outcome.DENIED: (DeniedError, "the call was denied"),
        Outcome.REFUSED: (RefusedError, "the event was refused"),
    }
    if result.outcome == Outcome.OK and answer.body is not None:
        return _value(answer)
    if result.reason == Reason.RESULT_WITHHELD:
        withheld = sentence_of(answer, "the call took effect, and its result was withheld")
        raise ResultWithheldError(withheld, reason=result.reason, answer=answer)
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


def _value(answer: Answer) -> Any:
    """Return the result of a call that ended well. Raises ResultMissingError."""
    try:
        return json.loads(answer.text() or "")
    except BodyMissingError as exc:
        why = f"the call took effect, and the tool signed its result, which cannot be fetched now: {exc}"
        raise ResultMissingError(why, reason="RESULT_MISSING", answer=answer) from exc
    except (ValueError, RecursionError) as exc:  # the log reads only what stands in a report
        why = "the call took effect, and the tool signed a result that is not JSON"
        raise ResultMissingError(why, reason="RESULT_MISSING", answer=answer) from exc


def no_answer(what: str, seconds: float, fate: Fate, event_id: str) -> NoAnswerError:
    """Return the error for a control event without an answer."""
    if fate is Fate.NEVER_SENT:
        return NoAnswerError(f"{what} was not sent within {seconds:g} s, and will not be: do the brokers answer?")
    stands = "it stands on the log" if fate is Fate.APPENDED else "whether it came to the log is not known"
    return NoAnswerError(
        f"{what} was not answered within {seconds:g} s; {stands}, as event {event_id}: is a monitor running for this "
        "tenant, and is the key registered there? `macaw log --follow` shows its outcome",
        event_id=event_id,
    )


def no_result(
    resource: str, why: str, fate: Fate, event_id: str, call: WaitingCall | None, *, begins: bool
) -> NoAnswerError:
    """Return the error for a call without an answer.

    `why` says how the waiting ended; `call` is None if the call is not kept; `begins`: it may begin later.
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
        return f"`macaw invoke --resume {event_id}` fetches its outcome"
    return (
        f"`macaw log` shows the outcome of event {event_id}; its result cannot be fetched, because the way back to it "
        "could not be written down"
    )


def not_yet(call: WaitingCall, *, is_kept: bool) -> NoAnswerError:
    """Return the error for a call that people or verifiers had not answered, or without a result, at the wait's end."""
    return NoAnswerError(
        f"{call.resource} still waits for {call.awaited}, or its result has not come; "
        f"{_back(call.event_id, is_kept=is_kept)}",
        event_id=call.event_id,
        call=call if is_kept else None,
        reason=Reason.VERDICT_PENDING if call.verifiers else Reason.APPROVAL_PENDING,
    )
