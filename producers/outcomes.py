"""How an event can end for whoever sent it: an error for each end but the good one, with what to do next."""

from __future__ import annotations

import json
import re
from typing import Any

from producers.answers import Answer
from schemas.reasons import EXPLAINED, Reason

_DIGEST = re.compile(r"[0-9a-f]{64}")


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


class NoAnswerError(CallError):
    """No answer came in time."""


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
    return EXPLAINED.get(Reason(reason), "") if reason in Reason.__members__ else ""


def sentence_of(answer: Answer, what: str) -> str:
    """Return what an answer says, for people."""
    result = answer.result
    parts = [f"{what}: {result.reason}" if result.reason else what, explain(result.reason), result.detail]
    return "; ".join(p for p in parts if p)


def result_of(answer: Answer) -> Any:
    """Return the tool's result, or raise what the answer says. Raises CallError."""
    result = answer.result
    kinds: dict[str, tuple[type[CallError], str]] = {
        "denied": (DeniedError, "the call was denied"),
        "refused": (RefusedError, "the event was refused"),
    }
    if result.outcome == "ok" and answer.body is not None:
        return json.loads(answer.body)
    kind, what = kinds.get(result.outcome, (UnknownOutcomeError, "the outcome is unknown"))
    # Without the tool's own words only the monitor says how the call ended.
    if result.outcome == "failed" and answer.body is not None:
        kind, what = FailedError, f"the tool failed: {answer.body}"
    raise kind(sentence_of(answer, what), reason=result.reason, answer=answer)


def no_answer(what: str, seconds: float) -> NoAnswerError:
    """Return the error for a control event that nobody answered."""
    return NoAnswerError(
        f"{what} was not answered within {seconds:g} s: is a monitor running for this tenant, and is "
        "the key registered there? `macaw log --follow` shows what the log made of it",
        reason="NO_ANSWER",
    )


def no_result(resource: str, seconds: float) -> NoAnswerError:
    """Return the error for a call that nobody answered."""
    return NoAnswerError(
        f"{resource} was not answered within {seconds:g} s; it may still run. `macaw log decisions` shows whether it "
        "was decided",
        reason="NO_ANSWER",
    )


def not_yet(resource: str, event_id: str) -> NoAnswerError:
    """Return the error for a call that people have not approved, or whose result has not come, while it was waited."""
    return NoAnswerError(
        f"{resource} waits still, or its result has not come; `macaw invoke --resume {event_id}` asks again",
        reason=Reason.APPROVAL_PENDING,
    )
