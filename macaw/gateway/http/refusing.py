"""From the errors of clients to problem details: one status and code for each way in which a request can end badly.

No answer names a policy, and none has a word of a token.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Final

from confluent_kafka import KafkaException

from macaw.gateway.logins import LoginsBusyError
from producers.client.approvals import CallOverError, ParametersChangedError
from producers.client.beside import BodyPathError, NoReceiverError
from producers.client.inputs import MalformedIdError
from producers.kafka.appending import EventTooLargeError, PublishError
from producers.kafka.followed_topic import RegistryError
from producers.kafka.logins import NoBridgeError, NotATokenError, SessionRefusedError
from producers.kafka.outcomes import (
    AlreadyCalledError,
    CallError,
    DeniedError,
    NoAnswerError,
    RefusedError,
    ResultMissingError,
    ResultWithheldError,
    UnknownOutcomeError,
    explain,
    next_step,
    place_of_denial,
)
from schemas.errors import EvidenceError, InputError, MacawError, UnavailableError
from schemas.reasons import Reason
from schemas.words import Outcome
from streams.http import HTTPRefusal

_RETRY: Mapping[str, str] = {"Retry-After": "1"}
_ENDED = frozenset({Reason.EXPIRED_SESSION, Reason.UNKNOWN_KEY})  # a session that has ended, or ended an hour ago


def too_many(what: str, most: int) -> HTTPRefusal:
    """Return the refusal of a principal that has as many of something as it may have."""
    return HTTPRefusal(
        HTTPStatus.TOO_MANY_REQUESTS,
        "TOO_MANY",
        f"this principal has {most} {what} here, and no more are taken",
        "wait for one of them to end",
        headers=_RETRY,
    )


def busy() -> HTTPRefusal:
    """Return the refusal of a gateway that can take no more."""
    return HTTPRefusal(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "BUSY",
        "the gateway has as many sessions or streams as it can have",
        "try again in a moment",
        headers=_RETRY,
    )


def token_refused() -> HTTPRefusal:
    """Return the refusal of a login with an Authorization header without a token."""
    return HTTPRefusal(
        HTTPStatus.UNAUTHORIZED,
        "TOKEN_REFUSED",
        "the Authorization header has no token, another scheme, or comes twice",
        "send one header `Authorization: Bearer TOKEN`, or the token in the body",
        headers={"WWW-Authenticate": "Bearer"},
    )


def malformed(error: str) -> HTTPRefusal:
    """Return the refusal of a request that is not as the document at /openapi.json says."""
    return HTTPRefusal(
        HTTPStatus.BAD_REQUEST, "REQUEST_MALFORMED", error, "correct it; /openapi.json describes each request"
    )


def session_over() -> HTTPRefusal:
    """Return the refusal of a request for a session that has ended on the log."""
    return HTTPRefusal(
        HTTPStatus.UNAUTHORIZED,
        "SESSION_OVER",
        "the session has ended on the log: its time is over, or it was revoked",
        "log in again with a fresh token: POST /v1/sessions",
        headers={"WWW-Authenticate": "Bearer"},
    )


def call_unknown() -> HTTPRefusal:
    """Return the refusal of a call id that is not one of the session's."""
    return HTTPRefusal(
        HTTPStatus.NOT_FOUND,
        "CALL_UNKNOWN",
        "the session has made no such call here, or its end was told long ago",
        "give a call_id that this session was answered with; `macaw log` has every call",
    )


def log_unavailable(call: Mapping[str, str] | None = None) -> HTTPRefusal:
    """Return the refusal of a request that did not reach the log: it has no effect, now or later."""
    return HTTPRefusal(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "LOG_UNAVAILABLE",
        "the log does not answer, so nothing is decided and nothing runs; the request was not sent, and never will be",
        "try again in a moment; an operator sees whether the brokers run",
        headers=_RETRY,
        more=call,
    )


def unanswered(call: Mapping[str, str]) -> HTTPRefusal:
    """Return the refusal for a call without an answer in time."""
    return HTTPRefusal(
        HTTPStatus.GATEWAY_TIMEOUT,
        "NO_ANSWER",
        "the call has no answer yet: it may run now, or have run; it does not begin any more unless people are asked",
        "GET /v1/calls/{call_id} for its end; to call again before that is known may do it twice",
        more=call,
    )


def result_unreadable(call: Mapping[str, str]) -> HTTPRefusal:
    """Return the refusal of a result that cannot be written as JSON."""
    return HTTPRefusal(
        HTTPStatus.BAD_GATEWAY,
        "RESULT_UNREADABLE",
        "the call took effect, and its tool's result is no JSON that other languages read, as `NaN`",
        "do not call again: the tool's owner must correct the result",
        more={**call, "outcome": Outcome.OK},
    )


def refusal_for(exc: MacawError | KafkaException, call: Mapping[str, str] | None = None) -> HTTPRefusal:
    """Return the refusal for an error; `call` is the id of the call that it is about, as a member of the answer."""
    if isinstance(exc, CallError):
        return _of_call(exc, call or {})
    if isinstance(exc, InputError):
        return malformed(_place_of(exc))
    if isinstance(exc, EventTooLargeError):
        return malformed("parameters: more than the log takes, and the tool takes no large texts beside the call")
    if isinstance(exc, PublishError) and not exc.never_sent and call is not None:
        return unanswered(call)
    if isinstance(exc, EvidenceError) and not isinstance(exc, RegistryError):
        return _unproven(call)
    if isinstance(exc, UnavailableError | RegistryError | KafkaException):
        return log_unavailable(call)
    raise exc


def _place_of(exc: InputError) -> str:
    """Return the fault of a call and its place; the client's own sentence may quote a value."""
    places: Sequence[tuple[type[InputError], str]] = (
        (NoReceiverError, "secrets: no live tool would receive them"),
        (BodyPathError, "secrets: the tool takes no text beside the call there, or the parameters have none"),
        (MalformedIdError, "idempotency_key or delegation: not in the form that the log takes"),
    )
    for kind, words in places:
        if isinstance(exc, kind):
            return words
    return "the call is not one that the log takes"


def refusal_for_login(exc: MacawError | KafkaException) -> HTTPRefusal:
    """Return the refusal of a login."""
    if isinstance(exc, NotATokenError):
        return malformed("token: the text is not a signed token (JWT) that names its issuer")
    if isinstance(exc, SessionRefusedError):
        return HTTPRefusal(
            HTTPStatus.UNAUTHORIZED,
            "LOGIN_REFUSED",
            "; ".join(one for one in ("the token is refused", explain(exc.reason)) if one),
            next_step(exc.reason) or "look the reason up in docs/identity.md",
            headers={"WWW-Authenticate": "Bearer"},
            more={"reason": exc.reason},
        )
    if isinstance(exc, NoBridgeError | LoginsBusyError):
        return HTTPRefusal(
            HTTPStatus.SERVICE_UNAVAILABLE,
            "LOGIN_UNANSWERED",
            "no bridge of the tenant speaks for the token's issuer, none answered, or too many logins are under way",
            "try again in a moment; an operator sees `macaw idp list` and whether a bridge runs",
            headers=_RETRY,
        )
    return log_unavailable()


def _of_call(exc: CallError, call: Mapping[str, str]) -> HTTPRefusal:
    """Return the refusal of the most exact kind; classes that the table does not name are about approvals."""
    for kind, refusal in _KINDS:
        if isinstance(exc, kind):
            return refusal(exc, call)
    return _of_approval(exc, call)


def _already_called(exc: CallError, call: Mapping[str, str]) -> HTTPRefusal:
    assert isinstance(exc, AlreadyCalledError)
    return HTTPRefusal(
        HTTPStatus.CONFLICT,
        "ALREADY_CALLED",
        "an earlier call has this idempotency key, so this one was not executed",
        "GET /v1/calls/{earlier_call_id}, if this session has made it; use another key for another call",
        more={**call, "reason": exc.reason, "earlier_call_id": exc.event_id, "earlier_outcome": exc.outcome},
    )


def _withheld(exc: CallError, call: Mapping[str, str]) -> HTTPRefusal:
    return HTTPRefusal(
        HTTPStatus.FORBIDDEN,
        "RESULT_WITHHELD",
        "the call took effect, and a verifier of the tenant keeps its result from callers",
        next_step(exc.reason) or "ask an administrator; do not call again",
        more={**call, "reason": exc.reason, "outcome": Outcome.OK},
    )


def _missing(_: CallError, call: Mapping[str, str]) -> HTTPRefusal:
    return HTTPRefusal(
        HTTPStatus.GATEWAY_TIMEOUT,
        "RESULT_MISSING",
        "the call took effect, and its large result cannot be fetched now",
        "do not call again: an administrator finds the outcome on the log",
        more={**call, "outcome": Outcome.OK},
    )


def _unknown(exc: CallError, call: Mapping[str, str]) -> HTTPRefusal:
    return HTTPRefusal(
        HTTPStatus.GATEWAY_TIMEOUT,
        "OUTCOME_UNKNOWN",
        "; ".join(one for one in ("it is not known whether the call took effect", explain(exc.reason)) if one),
        "look for the effect of the call before you call again",
        more={**call, "reason": exc.reason, "outcome": Outcome.UNKNOWN},
    )


def _unheard(exc: CallError, call: Mapping[str, str]) -> HTTPRefusal:
    assert isinstance(exc, NoAnswerError)
    if call:
        return unanswered(call)
    if not exc.event_id:
        return log_unavailable()
    return HTTPRefusal(
        HTTPStatus.GATEWAY_TIMEOUT,
        "NO_ANSWER",
        "the log has not answered in time; whether the event takes effect is not known",
        "ask for the present state before you send it again",
    )


def _denied(exc: CallError, call: Mapping[str, str]) -> HTTPRefusal:
    if exc.reason in _ENDED:
        return session_over()
    place = place_of_denial(exc)
    parts = ("the call is denied", place, explain(exc.reason))
    return HTTPRefusal(
        HTTPStatus.FORBIDDEN,
        "CALL_DENIED",
        "; ".join(one for one in parts if one),
        next_step(exc.reason) or "do not try to reach the same by other means",
        more={**call, "reason": exc.reason, "outcome": Outcome.DENIED},
    )


def _refused(exc: CallError, call: Mapping[str, str]) -> HTTPRefusal:
    if exc.reason in _ENDED:
        return session_over()
    if exc.reason == Reason.APPROVAL_UNKNOWN:
        return HTTPRefusal(
            HTTPStatus.NOT_FOUND,
            "APPROVAL_UNKNOWN",
            "this principal is not asked about such a call, or not any more",
            "list the requests again: GET /v1/approvals",
            more={"reason": exc.reason},
        )
    return HTTPRefusal(
        HTTPStatus.FORBIDDEN,
        "EVENT_REFUSED",
        "; ".join(one for one in ("the log refuses the event", explain(exc.reason)) if one),
        next_step(exc.reason) or "look the reason up in docs/reasons.md",
        more={**call, "reason": exc.reason},
    )


def _of_approval(exc: CallError, call: Mapping[str, str]) -> HTTPRefusal:
    if isinstance(exc, ParametersChangedError):
        return HTTPRefusal(
            HTTPStatus.CONFLICT,
            "PARAMETERS_CHANGED",
            "the call has no such request, or other parameters than those of the digest; nothing was signed",
            "read the call again: GET /v1/approvals/{request}",
        )
    if isinstance(exc, CallOverError):
        return HTTPRefusal(
            HTTPStatus.CONFLICT,
            "CALL_OVER",
            "the call does not wait any more",
            "nothing is left to answer",
            more={"outcome": exc.outcome},
        )
    return _unproven(call)  # CallForgedError, MalformedReplyError


def _unproven(call: Mapping[str, str] | None) -> HTTPRefusal:
    return HTTPRefusal(
        HTTPStatus.BAD_GATEWAY,
        "EVIDENCE_REFUSED",
        "the log's answer is not proven by its signatures, or contradicts itself; nothing of it is passed on",
        "an operator must look: the gateway's log names the fault",
        more=call,
    )


_KINDS: Final[Sequence[tuple[type[CallError], Callable[[CallError, Mapping[str, str]], HTTPRefusal]]]] = (
    (AlreadyCalledError, _already_called),  # before the class above it
    (DeniedError, _denied),
    (RefusedError, _refused),
    (NoAnswerError, _unheard),
    (ResultWithheldError, _withheld),
    (ResultMissingError, _missing),
    (UnknownOutcomeError, _unknown),
)
