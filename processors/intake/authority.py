"""The roles that may sign each event and register each role: two tables, for the step and for docs/authority.md.

A role that is not in the row of an event may not sign it; an event without a row cannot be signed by any role.
"""

from __future__ import annotations

from processors.refusal import Refusal
from schemas.reasons import Reason
from schemas.records import (
    AdminAdded,
    Body,
    ClockTicked,
    InvocationRequested,
    PolicyPublished,
    PolicyWithdrawn,
    PrincipalRegistered,
    PrincipalRevoked,
    ResultReported,
    SessionClosed,
    SessionOpened,
    SessionRevoked,
    TenantFounded,
)
from schemas.rulings import RecordsSkipped, TimeAccepted
from schemas.workflow import (
    ApplicationEventLogged,
    AttestationApproved,
    AttestationDenied,
    AttestationRevoked,
    AttestationSet,
    ContextDeleted,
    ContextListed,
    ContextRead,
    ContextWritten,
    DelegationGranted,
    DelegationRevoked,
    StateQueried,
)

ROLES = frozenset(
    {"root", "admin", "monitor", "enrolment", "bridge", "approver", "attester", "agent", "service", "tool", "session"}
)

MAY_SIGN: dict[type[Body], frozenset[str]] = {
    TenantFounded: frozenset({"admin"}),  # at offset 0 only, and only with the configured digest
    AdminAdded: frozenset({"root"}),  # and a threshold of root signatures inside
    PrincipalRegistered: frozenset({"admin", "enrolment"}),  # narrowed by MAY_REGISTER
    PrincipalRevoked: ROLES - {"session"},  # an admin: any principal; the others: their own only
    PolicyPublished: frozenset({"admin"}),
    PolicyWithdrawn: frozenset({"admin"}),
    SessionOpened: frozenset({"agent", "service", "tool", "bridge"}),  # for itself only; a bridge: persons only
    InvocationRequested: frozenset({"session"}),
    ResultReported: frozenset({"tool"}),  # the one that the decision names
    ClockTicked: frozenset({"monitor"}),
    SessionClosed: frozenset({"session"}),
    SessionRevoked: frozenset({"admin", "bridge"}),  # a bridge: sessions that it opened
    AttestationSet: frozenset({"tool", "bridge", "attester"}),  # each signer: the keys that its registration lists
    AttestationApproved: frozenset({"session", "approver"}),  # a person's session only
    AttestationDenied: frozenset({"session", "approver"}),
    AttestationRevoked: frozenset(
        {"tool", "bridge", "attester", "session", "approver", "admin"}
    ),  # its setter, or admin
    DelegationGranted: frozenset({"session"}),
    DelegationRevoked: frozenset({"session", "admin"}),  # a delegator of the chain, or admin
    ContextWritten: frozenset({"session"}),
    ContextRead: frozenset({"session"}),
    ContextDeleted: frozenset({"session"}),
    ContextListed: frozenset({"session"}),
    StateQueried: frozenset({"session", "approver"}),
    ApplicationEventLogged: frozenset({"session", "tool"}),
    RecordsSkipped: frozenset({"admin"}),
    TimeAccepted: frozenset({"admin"}),
}

MAY_REGISTER: dict[str, frozenset[str]] = {
    "monitor": frozenset({"admin"}),
    "enrolment": frozenset({"admin"}),
    "bridge": frozenset({"admin"}),
    "approver": frozenset({"admin"}),
    "attester": frozenset({"admin"}),
    "agent": frozenset({"admin", "enrolment"}),
    "service": frozenset({"admin", "enrolment"}),
    "tool": frozenset({"admin", "enrolment"}),
}


_SEE = "; docs/authority.md lists the roles that may"


def check_may_sign(role: str, body: Body) -> None:
    """Raise Refusal WRONG_ROLE unless keys of `role` may sign events like `body`."""
    if role not in MAY_SIGN.get(type(body), frozenset()):
        raise Refusal(Reason.WRONG_ROLE, f"{type(body).__name__} may not be signed by role {role!r}{_SEE}")


def check_may_register(role: str, registered: str) -> None:
    """Raise Refusal WRONG_ROLE unless keys of `role` may register keys of role `registered`."""
    if role not in MAY_REGISTER.get(registered, frozenset()):
        raise Refusal(Reason.WRONG_ROLE, f"role {registered!r} may not be registered by role {role!r}{_SEE}")
