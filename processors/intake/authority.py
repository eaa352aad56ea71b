"""The roles that may sign each event and register each role: two tables, for the step and for docs/authority.md.

A role that is not in the row of an event may not sign it; an event without a row cannot be signed by any role.
"""

from __future__ import annotations

from processors.refusal import Refusal
from processors.state.engine import DETECTING, ENGINE
from processors.text.characters import quoted
from schemas.events.catalogues import CataloguePublished, CatalogueWithdrawn
from schemas.events.enforcement import EnforcementSet
from schemas.events.engines import EngineActivated
from schemas.events.keys import AdminAdded, AdminRemoved, KeyRotated, RootRotated
from schemas.events.logins import LoginEnded, LoginRefused, SessionRenewed
from schemas.events.providers import IdentityProviderDistrusted, IdentityProviderTrusted
from schemas.events.rulings import RecordsSkipped, TimeAccepted
from schemas.events.tenancy import LimitsSet
from schemas.events.tools import ToolsOffered
from schemas.events.verdicts import VerdictReported
from schemas.events.workflow import (
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
from schemas.reasons import Reason
from schemas.records import (
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
from schemas.words import Role

# Of registered keys and of sessions: a person signs with the key of a session, and the key of an offer reports calls.
ROLES = frozenset(Role) - {Role.USER, Role.OFFER}

MAY_SIGN: dict[type[Body], frozenset[str]] = {
    TenantFounded: frozenset({Role.ADMIN}),  # at offset 0 only, and only with the configured digest
    AdminAdded: frozenset({Role.ROOT}),  # and a threshold of root signatures inside
    PrincipalRegistered: frozenset({Role.ADMIN, Role.ENROLMENT}),  # narrowed by MAY_REGISTER
    # An admin: any principal but the organisation; others: their own. Not a monitor: a thief's would end the tenant's.
    PrincipalRevoked: ROLES - {Role.SESSION, Role.MONITOR},
    PolicyPublished: frozenset({Role.ADMIN, Role.ORGANISATION}),  # the organisation: `org:` documents, and those alone
    PolicyWithdrawn: frozenset({Role.ADMIN, Role.ORGANISATION}),
    SessionOpened: frozenset(
        {Role.AGENT, Role.SERVICE, Role.TOOL, Role.BRIDGE}
    ),  # for itself only; a bridge: persons only
    InvocationRequested: frozenset({Role.SESSION}),
    ResultReported: frozenset({Role.TOOL, Role.OFFER}),  # the one that the decision names
    ClockTicked: frozenset({Role.MONITOR}),
    SessionClosed: frozenset({Role.SESSION}),
    SessionRevoked: frozenset({Role.ADMIN, Role.BRIDGE}),  # a bridge: sessions that it opened
    AttestationSet: frozenset(
        {Role.TOOL, Role.BRIDGE, Role.ATTESTER}
    ),  # each signer: the keys that its registration lists
    AttestationApproved: frozenset({Role.SESSION, Role.APPROVER}),  # a person's session only
    AttestationDenied: frozenset({Role.SESSION, Role.APPROVER}),
    AttestationRevoked: frozenset(
        {Role.TOOL, Role.BRIDGE, Role.ATTESTER, Role.SESSION, Role.APPROVER, Role.ADMIN}
    ),  # its setter, or admin
    DelegationGranted: frozenset({Role.SESSION}),
    DelegationRevoked: frozenset({Role.SESSION, Role.ADMIN}),  # a delegator of the chain, or admin
    ContextWritten: frozenset({Role.SESSION}),
    ContextRead: frozenset({Role.SESSION}),
    ContextDeleted: frozenset({Role.SESSION}),
    ContextListed: frozenset({Role.SESSION}),
    StateQueried: frozenset({Role.SESSION, Role.APPROVER, Role.ADMIN}),  # an admin: questions of its own
    ApplicationEventLogged: frozenset({Role.SESSION, Role.TOOL}),
    RecordsSkipped: frozenset({Role.ADMIN}),
    TimeAccepted: frozenset({Role.ADMIN}),
    # An admin: keys of monitors, bridges, enrolment, approvers, attesters; the organisation: its own key; any other:
    # its own X25519 half.
    KeyRotated: ROLES - {Role.SESSION, Role.ROOT, Role.MONITOR},
    AdminRemoved: frozenset({Role.ROOT}),  # and a threshold of root signatures inside
    RootRotated: frozenset({Role.ROOT}),  # and a threshold of root signatures, or of the next ones, inside
    EngineActivated: frozenset({Role.ADMIN}),
    ToolsOffered: frozenset({Role.SESSION}),  # for itself
    IdentityProviderTrusted: frozenset({Role.ADMIN}),
    IdentityProviderDistrusted: frozenset({Role.ADMIN}),
    SessionRenewed: frozenset({Role.BRIDGE}),  # sessions of a provider that it is registered for
    LoginRefused: frozenset({Role.BRIDGE}),
    LoginEnded: frozenset({Role.BRIDGE}),  # of a provider that it is registered for
    LimitsSet: frozenset({Role.ADMIN}),
    VerdictReported: frozenset({Role.VERIFIER}),  # on calls that wait for it
    CataloguePublished: frozenset({Role.ADMIN}),
    CatalogueWithdrawn: frozenset({Role.ADMIN}),
    EnforcementSet: frozenset({Role.ADMIN}),
}

MAY_REGISTER: dict[str, frozenset[str]] = {
    Role.MONITOR: frozenset({Role.ADMIN}),
    Role.ENROLMENT: frozenset({Role.ADMIN}),
    Role.BRIDGE: frozenset({Role.ADMIN}),
    Role.APPROVER: frozenset({Role.ADMIN}),
    Role.ATTESTER: frozenset({Role.ADMIN}),
    Role.VERIFIER: frozenset({Role.ADMIN}),  # from engine 2 on
    Role.AGENT: frozenset({Role.ADMIN, Role.ENROLMENT}),
    Role.SERVICE: frozenset({Role.ADMIN, Role.ENROLMENT}),
    Role.TOOL: frozenset({Role.ADMIN, Role.ENROLMENT}),
}


_SEE = "; docs/authority.md lists the roles that may"


def check_may_sign(role: str, body: Body) -> None:
    """Raise Refusal WRONG_ROLE unless keys of `role` may sign events like `body`."""
    if role not in MAY_SIGN.get(type(body), frozenset()):
        raise Refusal(Reason.WRONG_ROLE, f"{type(body).__name__} may not be signed by role {quoted(role)}{_SEE}")


def check_may_register(role: str, registered: str, engine: int = ENGINE) -> None:
    """Raise Refusal WRONG_ROLE unless an engine lets keys of `role` register keys of role `registered`."""
    is_early = registered == Role.VERIFIER and engine < DETECTING
    if is_early or role not in MAY_REGISTER.get(registered, frozenset()):
        raise Refusal(
            Reason.WRONG_ROLE, f"role {quoted(registered)} may not be registered by role {quoted(role)}{_SEE}"
        )
