"""One handler for each body of an event: it changes tables and adds outputs, or it refuses and has changed nothing.

`processors/step.py` calls the handler of a verified event. Handlers write no records for views: `processors/feed.py`
derives those from the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from processors.calls import (
    answers,
    attestations,
    awaiting,
    catalogues,
    deciding,
    decision,
    enforcement,
    grants,
    judge,
    marking,
    outcome,
    provenance,
    work,
)
from processors.calls.attestations import PHISHING_RESISTANT
from processors.context import ended, notes, queries, vault
from processors.effects import Effects
from processors.evidence import rulings
from processors.identity import (
    declarations,
    delegations,
    engines,
    keys,
    logins,
    offers,
    providers,
    registry,
    roots,
    rotation,
    sessions,
    tenancy,
    verifiers,
)
from processors.intake.identify import Signer
from processors.intake.unsupported import BODIES, check_supported
from processors.state.tables import Tables
from schemas import codec, records
from schemas.events import workflow
from schemas.events.catalogues import CataloguePublished, CatalogueWithdrawn
from schemas.events.enforcement import EnforcementSet
from schemas.events.engines import EngineActivated
from schemas.events.keys import AdminAdded, AdminRemoved, KeyRotated, RootRotated
from schemas.events.logins import LoginEnded, LoginRefused, SessionRenewed
from schemas.events.providers import IdentityProviderDistrusted, IdentityProviderTrusted
from schemas.events.rulings import RecordsSkipped, TimeAccepted
from schemas.events.tenancy import LimitsSet
from schemas.events.tools import ToolDeclaration, ToolsOffered
from schemas.events.verdicts import VerdictReported
from schemas.reasons import Reason
from schemas.words import Outcome, RegistryKind, SessionKind, Status, Surface

B = TypeVar("B")  # the class that a handler is listed under in HANDLERS


class Act(NamedTuple, Generic[B]):
    """A verified event: its signer, the event whole, and its body."""

    signer: Signer
    event: records.Event
    body: B


Handler = Callable[[Tables, Effects, Act[Any]], tuple[str, str]]
_ACCEPTED = (Outcome.ACCEPTED, "")


def _decide(tables: Tables, effects: Effects, act: Act[records.InvocationRequested]) -> tuple[str, str]:
    return decision.request(tables, effects, act.signer, act.event, act.body)


def _report(tables: Tables, effects: Effects, act: Act[records.ResultReported]) -> tuple[str, str]:
    outcome.report(tables, effects, act.signer, act.event, act.body)
    return _ACCEPTED


def _operate_vault(tables: Tables, effects: Effects, act: Act[vault.Operation]) -> tuple[str, str]:
    vault.operate(tables, effects, act.signer, act.event, act.body)
    return _ACCEPTED


def _answer_question(tables: Tables, effects: Effects, act: Act[workflow.StateQueried]) -> tuple[str, str]:
    queries.answer(tables, effects, act.signer, act.event, act.body)
    return _ACCEPTED


def _accepted_after(change: Callable[[Tables, Effects, Act[Any]], None]) -> Handler:
    """Return the handler for a change whose answer is only `accepted`."""

    def handle(tables: Tables, effects: Effects, act: Act[Any]) -> tuple[str, str]:
        change(tables, effects, act)
        effects.reply(Outcome.ACCEPTED)
        return _ACCEPTED

    return handle


def _tick(_tables: Tables, _effects: Effects, _act: Act[records.ClockTicked]) -> tuple[str, str]:
    """Do nothing more: the tick's append time has already moved log time, and due rows have left."""
    return _ACCEPTED


def _open_session(tables: Tables, effects: Effects, act: Act[records.SessionOpened]) -> None:
    session_id = sessions.open_session(tables, act.signer, act.body, effects.signed_event())
    sessions.admit(tables, session_id)
    logins.admit(tables, session_id)
    attestations.note_login(tables, act.signer, session_id, act.body.methods)
    effects.enter_sessions(SessionKind.SESSION, session_id)


def _renew_session(tables: Tables, effects: Effects, act: Act[SessionRenewed]) -> None:
    if logins.renew(tables, act.signer, act.body, effects.signed_event()):
        effects.enter_sessions(SessionKind.RENEWED, act.body.session)


def _end_login(tables: Tables, effects: Effects, act: Act[LoginEnded]) -> None:
    """End the sessions of a login; each gets its record, so that hosts learn of every end at once. Raises Refusal."""
    revoked = logins.end(tables, act.signer, act.body)
    _end_revoked(tables, revoked)
    for session_id in revoked:
        effects.enter_sessions(SessionKind.ENDED, session_id)


def _note_refused_logins(tables: Tables, _effects: Effects, act: Act[LoginRefused]) -> None:
    logins.check_refused(tables, act.signer, act.body)


def _close_session(tables: Tables, effects: Effects, act: Act[records.SessionClosed]) -> None:
    sessions.close(tables, act.signer)
    ended.begin(tables, [act.signer.kid])
    effects.enter_sessions(SessionKind.ENDED, act.signer.kid)


def _revoke_session(tables: Tables, effects: Effects, act: Act[records.SessionRevoked]) -> None:
    _end_revoked(tables, sessions.revoke(tables, act.signer, act.body))
    effects.enter_sessions(SessionKind.ENDED, act.body.session)


def _offer_tools(tables: Tables, effects: Effects, act: Act[ToolsOffered]) -> None:
    offers.offer(tables, act.signer, act.body, effects.signed_event())
    offers.admit(tables, act.signer.kid)
    _check_schemas(tables, effects, act.signer, act.body.tools)


def _check_schemas(tables: Tables, effects: Effects, signer: Signer, tools: Sequence[ToolDeclaration]) -> None:
    """Check the schemas of declarations; their signer pays, also for a refusal. Raises Refusal."""
    if declarations.schemas_in(tools):
        work.check_not_empty(tables, signer.principal_id)
        declarations.check_schemas(tools, lambda units: work.note(effects, signer.principal_id, units))


def _register_principal(tables: Tables, effects: Effects, act: Act[records.PrincipalRegistered]) -> None:
    """Register a key, and put the event into the registry: under the kid of a new key, else under the event's leaf.

    Each declaration of a known key stays there, because later ones were accepted because of it. Raises Refusal.
    """
    kid = registry.register(tables, act.signer, act.body)
    keys.admit(tables, act.body.key.principal_id, kid)
    _check_schemas(tables, effects, act.signer, act.body.tools)
    if act.body.verifier is not None:
        verifiers.admit(tables, act.body.key.principal_id)
    if kid is None:
        effects.enter_registry(RegistryKind.TOOLS, effects.claim.leaf)
    else:
        effects.enter_registry(RegistryKind.KEY, kid)


def _revoke_principal(tables: Tables, effects: Effects, act: Act[records.PrincipalRevoked]) -> None:
    """Revoke keys. Statements that were made with them no longer count. Raises Refusal."""
    kids = registry.revoke(tables, act.signer, act.body)
    effects.enter_registry(RegistryKind.REVOKED, kids[0])  # once: the event covers all of them
    _end_revoked(tables, sessions.end_sessions(tables, kids), kids)
    if not tables.principals.rows[act.body.principal_id.encode()].kids:
        delegations.revoke_all_of(tables, act.body.principal_id)
        grants.end_all_of(tables, act.body.principal_id)


def _end_revoked(tables: Tables, revoked: list[bytes], kids: tuple[bytes, ...] = ()) -> None:
    """End for good the delegations and approvals that revoked sessions gave.

    With revoked keys `kids`, also those of every session that one of them opened, even if its row has left long ago.
    Attestations and statements about persons that were made with the keys no longer count either (`context/ended.py`).
    """
    if not kids:
        sessions.forget_what_was_said(tables, frozenset(revoked))
    delegations.revoke_granted_by(tables, frozenset(revoked), kids)
    grants.withdraw_given_by(tables, frozenset(revoked), frozenset(kids))
    ended.begin(tables, revoked, kids)


def _publish_policy(tables: Tables, _effects: Effects, act: Act[records.PolicyPublished]) -> None:
    judge.publish(tables, act.signer.role, act.body)


def _withdraw_policy(tables: Tables, _effects: Effects, act: Act[records.PolicyWithdrawn]) -> None:
    policy_id = judge.withdraw(tables, act.signer.role, act.body)
    if tables.enforcement.rows:
        enforcement.forget_policy(tables, policy_id)


def _set_attestation(tables: Tables, effects: Effects, act: Act[workflow.AttestationSet]) -> None:
    attestations.set_attestation(tables, act.signer, act.body)
    provenance.attested(tables, act.signer, act.body, effects.claim.leaf)


def _revoke_attestation(tables: Tables, _effects: Effects, act: Act[workflow.AttestationRevoked]) -> None:
    """Revoke the attestation with this id, or else the grant with this id. Raises Refusal."""
    room = attestations if act.body.record in tables.attestations.rows else grants
    room.revoke(tables, act.signer, act.body)


def _approve(tables: Tables, effects: Effects, act: Act[workflow.AttestationApproved]) -> None:
    if (leaf := answers.approve(tables, effects, act.signer, act.body)) is not None:
        decision.resume(tables, effects, leaf)


def _deny(tables: Tables, effects: Effects, act: Act[workflow.AttestationDenied]) -> None:
    if (leaf := answers.deny(tables, act.signer, act.body)) is not None:
        deciding.end(tables, effects, leaf, Reason.APPROVAL_DENIED, Status.CANCELLED)


def _take_verdict(tables: Tables, effects: Effects, act: Act[VerdictReported]) -> None:
    if act.body.surface == Surface.RESULT:
        marking.report(tables, effects, act.signer, act.event, act.body)
    elif (leaf := awaiting.report(tables, effects, act.signer, act.event, act.body)) is not None:
        decision.resume(tables, effects, leaf)


def _delegate(tables: Tables, effects: Effects, act: Act[workflow.DelegationGranted]) -> None:
    login_at = attestations.held_since(tables, act.signer.kid, PHISHING_RESISTANT, until=act.body.expires_at)
    delegations.grant(tables, effects, act.signer, act.body, login_at)


def _revoke_delegation(tables: Tables, _effects: Effects, act: Act[workflow.DelegationRevoked]) -> None:
    delegations.revoke(tables, act.signer, act.body)


def _log_application_event(_tables: Tables, _effects: Effects, act: Act[workflow.ApplicationEventLogged]) -> None:
    notes.check_application_event(act.body)


def _add_admin(tables: Tables, effects: Effects, act: Act[AdminAdded]) -> None:
    effects.enter_registry(RegistryKind.KEY, roots.add_admin(tables, act.body))


def _remove_admin(tables: Tables, effects: Effects, act: Act[AdminRemoved]) -> None:
    kids = roots.remove_admin(tables, act.body)
    effects.enter_registry(RegistryKind.REVOKED, kids[0])
    _end_revoked(tables, [], kids)


def _rotate_roots(tables: Tables, effects: Effects, act: Act[RootRotated]) -> None:
    effects.enter_registry(RegistryKind.ROOTS, roots.rotate_roots(tables, act.body).to_bytes(8, "big"))


def _rotate_key(tables: Tables, effects: Effects, act: Act[KeyRotated]) -> None:
    kid = rotation.rotate(tables, act.signer, act.body)
    if kid is None:
        effects.enter_registry(RegistryKind.SEALING, act.signer.kid)
    else:
        effects.enter_registry(RegistryKind.KEY, kid)


def _found_tenant(tables: Tables, effects: Effects, act: Act[records.TenantFounded]) -> None:
    assert effects.received.value is not None
    roots.found(tables, act.body, effects.received.value[codec.FRAME_BYTES :], effects.received.offset)
    effects.enter_registry(RegistryKind.TENANT, tables.genesis)


def _activate_engine(tables: Tables, effects: Effects, act: Act[EngineActivated]) -> None:
    engines.activate(tables, act.body)
    effects.enter_registry(RegistryKind.ENGINE, effects.claim.leaf)


def _trust_provider(tables: Tables, effects: Effects, act: Act[IdentityProviderTrusted]) -> None:
    providers.trust(tables, act.body)
    effects.enter_registry(RegistryKind.PROVIDER, effects.claim.leaf)


def _distrust_provider(tables: Tables, effects: Effects, act: Act[IdentityProviderDistrusted]) -> None:
    providers.distrust(tables, act.body)
    effects.enter_registry(RegistryKind.PROVIDER, effects.claim.leaf)
    if act.body.end_sessions:
        _end_revoked(tables, sessions.end_sessions_of(tables, act.body.issuer))
        # A thief of the provider's key needs a minute in a session, and a delegation lasts for a year.
        delegations.revoke_granted_through(tables, providers.sponsor_of(act.body.issuer))
        grants.withdraw_given_through(tables, act.body.issuer)
        sessions.forget_persons_of(tables, act.body.issuer)


def _set_limits(tables: Tables, _effects: Effects, act: Act[LimitsSet]) -> None:
    tenancy.set_limits(tables, act.body)


def _publish_catalogue(tables: Tables, effects: Effects, act: Act[CataloguePublished]) -> None:
    catalogues.publish(tables, effects, act.signer.principal_id, act.body)


def _withdraw_catalogue(tables: Tables, _effects: Effects, act: Act[CatalogueWithdrawn]) -> None:
    catalogues.withdraw(tables, act.body)


def _set_enforcement(tables: Tables, effects: Effects, act: Act[EnforcementSet]) -> None:
    enforcement.change(tables, act.signer.principal_id, effects.claim.leaf, act.body)


def _accept_ruling(tables: Tables, effects: Effects, act: Act[RecordsSkipped | TimeAccepted]) -> None:
    rulings.accept(tables, act.body, effects.claim.leaf, effects.received.offset)


def _refuse_early(tables: Tables, _effects: Effects, act: Act[object]) -> None:
    """Refuse a body without a rule. Raises Refusal NOT_SUPPORTED."""
    check_supported(act.body, tables.engine.number)


# INVARIANT: every class of `records.Body` has its row; `tests/processors/test_step_handlers.py` compares them.
HANDLERS: dict[type, Handler] = {
    records.InvocationRequested: _decide,
    records.ResultReported: _report,
    records.ClockTicked: _tick,
    records.SessionOpened: _accepted_after(_open_session),
    records.SessionClosed: _accepted_after(_close_session),
    records.SessionRevoked: _accepted_after(_revoke_session),
    records.PrincipalRegistered: _accepted_after(_register_principal),
    records.PrincipalRevoked: _accepted_after(_revoke_principal),
    records.PolicyPublished: _accepted_after(_publish_policy),
    records.PolicyWithdrawn: _accepted_after(_withdraw_policy),
    AdminAdded: _accepted_after(_add_admin),
    AdminRemoved: _accepted_after(_remove_admin),
    RootRotated: _accepted_after(_rotate_roots),
    KeyRotated: _accepted_after(_rotate_key),
    records.TenantFounded: _accepted_after(_found_tenant),
    EngineActivated: _accepted_after(_activate_engine),
    workflow.AttestationSet: _accepted_after(_set_attestation),
    workflow.AttestationRevoked: _accepted_after(_revoke_attestation),
    workflow.AttestationApproved: _accepted_after(_approve),
    workflow.AttestationDenied: _accepted_after(_deny),
    workflow.DelegationGranted: _accepted_after(_delegate),
    workflow.DelegationRevoked: _accepted_after(_revoke_delegation),
    workflow.ApplicationEventLogged: _accepted_after(_log_application_event),
    workflow.ContextWritten: _operate_vault,
    workflow.ContextRead: _operate_vault,
    workflow.ContextDeleted: _operate_vault,
    workflow.ContextListed: _operate_vault,
    workflow.StateQueried: _answer_question,
    ToolsOffered: _accepted_after(_offer_tools),
    IdentityProviderTrusted: _accepted_after(_trust_provider),
    IdentityProviderDistrusted: _accepted_after(_distrust_provider),
    SessionRenewed: _accepted_after(_renew_session),
    LoginRefused: _accepted_after(_note_refused_logins),
    LoginEnded: _accepted_after(_end_login),
    LimitsSet: _accepted_after(_set_limits),
    VerdictReported: _accepted_after(_take_verdict),
    CataloguePublished: _accepted_after(_publish_catalogue),
    CatalogueWithdrawn: _accepted_after(_withdraw_catalogue),
    EnforcementSet: _accepted_after(_set_enforcement),
    RecordsSkipped: _accepted_after(_accept_ruling),
    TimeAccepted: _accepted_after(_accept_ruling),
    **dict.fromkeys(BODIES, _accepted_after(_refuse_early)),
}
