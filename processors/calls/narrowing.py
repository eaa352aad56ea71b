"""Approvals that serve less than their policies allow: this call only, a shorter time, or fewer calls.

A policy says how long an approval lasts and how many calls it serves. An approver may answer narrower, never wider, and
of several approvals of one request the narrowest counts in each respect:

    policy: an hour, 10 calls     mia: for 10 minutes     ben: 3 calls     the approval serves 3 calls in 10 minutes
    policy: an hour, 10 calls     mia: once               ben: as it is    the approval serves this call alone
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from processors.policy.documents import INTENT_ID
from processors.policy.limits import TIME_TO_LIVE_SECONDS_MAX, USES_MAX
from processors.proof.jcs import JSONValue
from processors.refusal import Refusal
from schemas.events.attributes import RequiredBy
from schemas.events.workflow import AttestationApproved
from schemas.reasons import Reason
from schemas.rows import ApprovalGiven, RequestRow

_SECOND_MS = 1000


def lasting_for(row: RequestRow) -> list[RequiredBy]:
    """Return the conditions under which an approval serves later calls; only policies in force can set them.

    Documents that came with the call are left out, or a caller could set the terms of a lasting approval itself.
    """
    return [one for one in row.required_by if not one.one_time and one.policy != INTENT_ID]


class Narrowing(NamedTuple):
    """The narrowest of some approvals: for one call only, for so many ms, for so many calls; None does not narrow."""

    once: bool
    for_ms: int | None
    uses: int | None


NOT_NARROWED = Narrowing(once=False, for_ms=None, uses=None)


class Scopes(NamedTuple):
    """The scopes that an approver may choose: `once`, at most so many ms, at most so many calls; None: not at all."""

    once: bool
    for_ms: int | None
    uses: int | None

    def told(self) -> dict[str, JSONValue]:
        """Return the scopes by name, as a list of requests has them."""
        found: dict[str, JSONValue] = {"once": True} if self.once else {}
        if self.for_ms is not None:
            found["for_seconds"] = self.for_ms // _SECOND_MS
        return found if self.uses is None else found | {"uses": self.uses}


def narrowing(given: Sequence[ApprovalGiven]) -> Narrowing:
    """Return the narrowest of some approvals, in each respect."""
    return Narrowing(
        any(one.once for one in given),
        min((one.for_ms for one in given if one.for_ms is not None), default=None),
        min((one.uses for one in given if one.uses is not None), default=None),
    )


def least(*bounds: int | None) -> int | None:
    """Return the least of some bounds, None if none bounds."""
    return min((one for one in bounds if one is not None), default=None)


def scopes_of(row: RequestRow, *, once_only: bool) -> Scopes:
    """Return the scopes of a request. An approver that is registered `once_only` has no other than `once`.

    `once` is for a call that waits: one that does not wait asks for an approval of later calls.
    """
    lasting = lasting_for(row)
    if once_only or not lasting:
        return Scopes(row.waits, None, None)
    lives = least(*(one.time_to_live_ms for one in lasting))
    uses = least(*(one.max_uses for one in lasting))
    return Scopes(
        row.waits,
        TIME_TO_LIVE_SECONDS_MAX * _SECOND_MS if lives is None else lives,
        USES_MAX if uses is None else uses,
    )


def check_scope(row: RequestRow, body: AttestationApproved, *, once_only: bool) -> bool:
    """Check the scope of an approval, and return whether it serves this call only.

    Raises:
        Refusal: APPROVAL_SCOPE for a scope that the request does not offer; APPROVER_LIMITED for an approval of later
            calls by an approver that may only approve calls that wait.
    """
    scopes = scopes_of(row, once_only=once_only)
    if once_only and not row.waits:
        raise Refusal(
            Reason.APPROVER_LIMITED, "the approver may approve only calls that wait, and this one asks for later calls"
        )
    if body.once and (not scopes.once or body.for_ms is not None or body.uses is not None):
        raise Refusal(Reason.APPROVAL_SCOPE, "`once` is for a call that waits, and stands alone")
    _check_bound("for_ms", body.for_ms, scopes.for_ms)
    _check_bound("uses", body.uses, scopes.uses)
    return body.once or once_only


def _check_bound(name: str, given: int | None, most: int | None) -> None:
    if given is None:
        return
    if most is None:
        raise Refusal(Reason.APPROVAL_SCOPE, f"the approval serves this call only: leave `{name}` out")
    if not 1 <= given <= most:
        raise Refusal(Reason.APPROVAL_SCOPE, f"`{name}` is 1 to {most}: an approval is never wider than its policies")
