"""The errors of this package, and each end of a call as one of them.

Programs that were written for the original tell the ends of a call apart by words of the message: `denied` and `policy`
for a denial, `attest` for one that people could lift. So those words stand in such messages and in no others of ours.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from producers.client import (
    ConnectError,
    DeniedError,
    FailedError,
    NoAnswerError,
    NoBridgeError,
    NoReceiverError,
    PublishError,
    RefusedError,
    RegistryError,
    SessionRefusedError,
    UnknownOutcomeError,
    explain,
)
from producers.home.home import HomeError
from producers.home.keystores.errors import KeyAccessError
from schemas.errors import MisuseError, OutcomeError, UnavailableError
from schemas.reasons import Reason

_NOT_FOUND = {
    Reason.TOOL_UNAVAILABLE: "no live agent offers this tool, or not the one that was named",
    Reason.RESOURCE_INVALID: Reason.RESOURCE_INVALID.meaning,
}
_OVER = frozenset(
    {Reason.UNKNOWN_KEY, Reason.EXPIRED_SESSION, Reason.UNKNOWN_SESSION, Reason.REVOKED_KEY, Reason.EXPIRED_KEY}
)
# Words for a reason where programs look for them in the original's messages.
_WORDS = {
    Reason.PARAM_NOT_ALLOWED: "is not in allowed values",
    Reason.PARAM_OUT_OF_RANGE: "exceeds maximum or is below the minimum that is permitted",
    Reason.PARAM_DENIED: "holds a value that is blocked",
    Reason.PARAM_REQUIRED: "is missing",
    Reason.PARAM_TYPE: "has a type that cannot be judged",
    Reason.PARAM_PATTERN: "does not have the form that is permitted",
    Reason.PARAM_SIZE: "exceeds maximum length or is too short",
    Reason.PARAM_UNLISTED: "is not permitted",
}
_OFFERING = (
    "`macaw enrolment create programs --for service --names '*' --count 100 --offers '**'` makes the key "
    "that lets new programs offer; a program that is registered already needs `macaw agent revoke NAME` first"
)
_TOLD = re.compile(r"parameter (.{1,200})", re.DOTALL)
_RETRY = re.compile(r"retry_after_ms=([0-9]{1,12})")


class PermissionDenied(OutcomeError, PermissionError):  # noqa: N818 - the name in programs that exist
    """The log did not permit it. `reason` is the stable code.

    `policy_rule` is there for programs that read it. It is None: the log tells a caller no part of a policy.
    """

    def __init__(self, message: str, *, reason: str = "", policy_rule: str | None = None) -> None:
        super().__init__(message)
        self.reason, self.policy_rule = reason, policy_rule


class ToolFailedError(OutcomeError):
    """The tool ran, and failed. The message is the tool's own."""


class ToolNotFoundError(OutcomeError, LookupError):
    """The agent that was named, or any live one, does not offer the tool. Nothing ran, and no other agent was asked."""

    def __init__(self, message: str, *, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason


class CannotConnectError(UnavailableError, ConnectionError):
    """There is no installation, broker, monitor or bridge to be reached; the message begins "Cannot connect"."""


class ToolsUnavailableError(MisuseError):
    """Sessions of this version cannot do that yet. The message names the way to do it."""


class NotRegisteredError(MisuseError):
    """The client is not registered, or not any more."""


@contextmanager
def told_as_ours() -> Iterator[None]:
    """Raise the errors of calls and of other questions to the log as those of this package."""
    try:
        yield
    except (DeniedError, RefusedError) as exc:
        raise _not_permitted(exc) from exc
    except NoReceiverError as exc:
        raise ToolNotFoundError(f"{exc.reason}: {exc}", reason=exc.reason) from exc
    except FailedError as exc:
        body = exc.answer.body if exc.answer is not None else None
        raise ToolFailedError(str(body or exc)) from exc
    except UnknownOutcomeError as exc:
        raise ToolFailedError(_unknown(exc)) from exc


@contextmanager
def told_as_connecting() -> Iterator[None]:
    """Raise the errors of opening a session as those of this package."""
    try:
        yield
    except SessionRefusedError as exc:
        raise PermissionDenied(f"Access denied: {exc}", reason=exc.reason) from exc
    except RefusedError as exc:
        step = f"; {_OFFERING}" if exc.reason == Reason.OFFER_NOT_ALLOWED else ""
        raise PermissionDenied(f"Access denied: {exc}{step}", reason=exc.reason) from exc
    except (HomeError, KeyAccessError, ConnectError, RegistryError, NoBridgeError, NoAnswerError, PublishError) as exc:
        raise CannotConnectError(f"Cannot connect to MACAW: {exc}") from exc


def _unknown(exc: UnknownOutcomeError) -> str:
    return f"{exc.reason or 'UNKNOWN'}: it is not known whether the tool ran to its end; look for its effect first"


def _not_permitted(exc: DeniedError | RefusedError) -> OutcomeError:
    reason, detail = exc.reason, exc.answer.result.detail if exc.answer is not None else ""
    if reason in _NOT_FOUND:
        return ToolNotFoundError(f"{reason}: {_NOT_FOUND[Reason[reason]]}", reason=reason)
    if not reason:
        return PermissionDenied(f"Access denied: {exc}")
    if reason == Reason.OFFER_NOT_ALLOWED:
        return PermissionDenied(f"Access denied: {exc}; {_OFFERING}", reason=reason)
    if reason in _OVER:
        return PermissionDenied(f"Access denied: {reason}: the session is over; register anew", reason=reason)
    return PermissionDenied(f"Access denied by security policy: {reason}: {_sentence(reason, detail)}", reason=reason)


def _sentence(reason: str, detail: str) -> str:
    """Return the sentence about a denial: no value of a policy or of the call stands in it."""
    if reason in _WORDS:
        found = _TOLD.fullmatch(detail)
        which = f"parameter {found[1]!r}" if found else "a parameter"
        return f"{which} {_WORDS[Reason[reason]]}"
    if reason.startswith(("ATTESTATION_", "APPROVAL_")):
        return f"missing or invalid attestation: {explain(reason)}"
    wait = _RETRY.search(detail)
    return f"{explain(reason)}; try again after {wait[1]} ms" if wait else explain(reason)
