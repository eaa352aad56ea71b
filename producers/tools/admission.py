"""The checks of a tool host before it executes a call: everything, again.

The decision must be signed by a live monitor key and name this tool. The caller's own event must be inside it, recent,
and signed by the session that comes with it: opened by a key of the registry, and not ended. The parameters to execute
must be those that the caller signed, to the byte; but for masked values, at paths that this tool's own declaration
calls maskable: there each difference is a fixed token, so a lying monitor can blank a value and never substitute one.

So a compromised monitor can make a tool run only calls that were asked for, and each once. A call that waited for
people is older: then one of them must have approved this very call recently. The caller's own time limit
(`processors.calls.deadlines`) holds here as well.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, NamedTuple, Protocol

from processors.calls.deadlines import ends_at
from processors.calls.masked_form import NotMaskedError, check_changed
from processors.calls.parameters import MalformedParametersError, parse_parameters
from processors.calls.standing import names_of
from processors.identity.attributes import subject_of
from processors.policy.names import known_as
from processors.proof import sealing, signing
from processors.refusal import Refusal
from producers.home.keys import KeyPair
from producers.kafka.consuming import headers_of
from producers.kafka.sessions_view import SessionsView
from producers.kafka.verified import MonitorSigned, UntrustedRecordError
from schemas import codec, limits, topics
from schemas.events.attributes import Attributes
from schemas.events.bodies import BodyReference
from schemas.events.workflow import AttestationApproved
from schemas.records import CallPayload, Decision, InvocationRequested, SignedEvent
from schemas.rows import SessionRow
from schemas.words import Outcome, Role

log = logging.getLogger(__name__)

CLOCK_SLACK_MS = limits.ISSUED_AHEAD_MS_MAX  # the clocks of caller, broker and host differ
# An event may come late to the log, and its call late to execution.
EVENT_AGE_MS_MAX = limits.ISSUED_BEHIND_MS_MAX + limits.EXECUTE_WITHIN_MS + CLOCK_SLACK_MS
APPROVALS_MAX = 64  # of one call; more are ignored
EVENT_AHEAD_MS_MAX = limits.ISSUED_AHEAD_MS_MAX + CLOCK_SLACK_MS


@dataclass(frozen=True, slots=True)
class AdmittedCall:
    """A call that may be executed. If it is `late` it may not be executed any more, but can still be reported.

    `bodies` travel beside it, sealed by the caller's X25519 key `caller` before `issued_at`; `parameters` names them.
    `session` is the one that signed it, as its signed opening describes it: nothing in it is the monitor's word.
    """

    decision: Decision
    leaf: bytes
    parameters: dict[str, Any] = field(repr=False)
    principal_id: str
    late: bool = False
    bodies: tuple[BodyReference, ...] = ()
    caller: bytes = b""
    issued_at: int = 0
    session: SessionRow | None = field(default=None, repr=False)


class TakesMasks(Protocol):
    """An operation of a host, as far as masking goes."""

    @property
    def maskable(self) -> tuple[str, ...]:
        """The paths of parameters at which values may be masked."""
        ...


NO_OPERATIONS: Mapping[str, TakesMasks] = {}


class _Approver(NamedTuple):
    """A person or registered approver, with all names and the end of the session or key."""

    ed25519: bytes
    principal_id: str
    names: frozenset[str]
    until: int | None


def admit(
    message: Any,
    trusted: MonitorSigned,
    sessions: SessionsView,
    *,
    tool: str,
    key: KeyPair,
    now_ms: int,
    operations: Mapping[str, TakesMasks] = NO_OPERATIONS,
    target: bytes | None = None,
) -> AdmittedCall | None:
    """Return the call in a record of `decisions`; None if it is not for this tool, denied, or long past.

    `target` is the session that offers the tool, and None for a registered tool. `operations` are
    those of this host, by resource: at the paths that they call maskable, and nowhere else, values may be masked.

    Raises:
        UntrustedRecordError: its signatures do not cover it, or it is not the call that its caller signed.
        RegistryError: the registry or the sessions cannot be read, so nothing can be told now.
    """
    decision, leaf, sender = trusted.verify(message, signing.DECISION_TAG, Decision)
    if decision.outcome != Outcome.ALLOWED or decision.tool != tool or decision.target != target:
        return None
    # The log waits for a report a little longer than it lets a call begin.
    if decision.execute_before is None or now_ms >= decision.execute_before + limits.UNKNOWN_GRACE_MS:
        return None
    if decision.execute_before > now_ms + limits.EXECUTE_WITHIN_MS + CLOCK_SLACK_MS:
        raise UntrustedRecordError("the decision may be executed for longer than any decision may")
    # The instances of a tool share the partitions: on another one, a second decision would meet a host that has not
    # executed the first.
    if not decision.event_id or message.partition() != topics.keyed_partition(decision.event_id):
        raise UntrustedRecordError("the decision stands on another partition than its event's")
    payload = _open(message, decision, key, sender)
    body, issued_at, session = _callers_event(decision, payload, trusted, sessions, now_ms)
    return AdmittedCall(
        decision,
        leaf,
        _parameters(decision, payload, body, operations.get(decision.resource)),
        decision.principal_id,
        now_ms >= decision.execute_before,
        body.bodies,
        session.x25519,
        issued_at,
        session,
    )


def recall(message: Any, trusted: MonitorSigned, *, tool: str) -> tuple[Decision, bytes] | None:
    """Return (decision, leaf) of a record that some instance of this tool may have executed, or None.

    Raises:
        UntrustedRecordError: no live monitor key signed it, so no instance has executed it.
    """
    decision, leaf, _ = trusted.verify(message, signing.DECISION_TAG, Decision)
    return (decision, leaf) if decision.outcome == Outcome.ALLOWED and decision.tool == tool else None


def _open(message: Any, decision: Decision, key: KeyPair, sender: bytes) -> CallPayload:
    sealed = [v for n, v in headers_of(message) if n == sealing.PAYLOAD_HEADER]
    if len(sealed) != 1 or sealed[0] is None or decision.payload_sha256 is None:
        raise UntrustedRecordError("the record must have exactly one sealed payload")
    try:
        opened = key.open_sealed(sealed[0], sender, decision.payload_sha256)
        payload: CallPayload = codec.decode(codec.current("CallPayload"), opened)
    except (sealing.SealingError, codec.SchemaError) as exc:
        raise UntrustedRecordError(str(exc)) from exc
    return payload


def _callers_event(
    decision: Decision, payload: CallPayload, trusted: MonitorSigned, sessions: SessionsView, now_ms: int
) -> tuple[InvocationRequested, int, SessionRow]:
    """Return the call that its caller signed for this decision, recently and in a session that has not ended.

    And when it was issued, and the session.
    """
    if payload.kid != decision.session_id:
        raise UntrustedRecordError("the decision is about a call of another session")
    session = sessions.of_call(payload.kid, payload.session, payload.renewed)
    if session is None:
        raise UntrustedRecordError("the caller's session has ended, or no key of the registry has opened it")
    if session.principal_id != decision.principal_id:
        raise UntrustedRecordError("the caller's session is another principal's")
    # The monitor says which sessions have ended, and may keep silent; their time to live was signed.
    if now_ms >= session.expires_at + CLOCK_SLACK_MS:
        raise UntrustedRecordError("the caller's session has ended")
    event, leaf = trusted.verify_event(payload.event, payload.proof, payload.kid, session.ed25519)
    body = event.body
    if leaf != decision.event or not isinstance(body, InvocationRequested):
        raise UntrustedRecordError("the decision is about another event than the caller signed")
    _check_same(decision, event.header.event_id, body)
    shown = sha256(payload.parameters.encode()).digest()  # the digest that approvers sign; the decision's is salted
    stale = now_ms - event.header.issued_at > EVENT_AGE_MS_MAX
    hasty = (decision.execute_before or 0) > ends_at(body, waited=False)
    if (stale or hasty) and not any(
        _approves(one, decision, shown, session, trusted, sessions, now_ms) for one in payload.approvals[:APPROVALS_MAX]
    ):
        fault = "the caller's event is too old" if stale else "the caller no longer waits for a first answer"
        raise UntrustedRecordError(f"{fault}, and it has no recent approval")
    if (decision.execute_before or 0) > ends_at(body, waited=True):
        raise UntrustedRecordError("the decision may be executed after the caller's deadline")
    # Otherwise it could be admitted again once the hosts have forgotten that they executed it.
    if event.header.issued_at - now_ms > EVENT_AHEAD_MS_MAX:
        raise UntrustedRecordError("the caller's event is issued in the future")
    return body, event.header.issued_at, session


def _check_same(decision: Decision, event_id: bytes, body: InvocationRequested) -> None:
    """Raise UntrustedRecordError unless a decision says the same of its call as the event that the caller signed."""
    if body.resource != decision.resource:
        raise UntrustedRecordError("the decision is about another event than the caller signed")
    if decision.event_id != event_id:
        raise UntrustedRecordError("the decision names another event id than the caller signed")
    if body.target not in (None, decision.target):
        raise UntrustedRecordError("the decision names another session than the caller did")


def _approves(
    given: SignedEvent,
    decision: Decision,
    shown: bytes,
    caller: SessionRow,
    trusted: MonitorSigned,
    sessions: SessionsView,
    now_ms: int,
) -> bool:
    """Whether another person or a registered approver has approved this very call recently.

    How many approvals it takes, and from which persons, is for the monitor to judge. This check bounds which old calls
    a lying monitor can bring up again.
    """
    approver = _approver(given.kid, trusted, sessions)
    if approver is None:
        return False
    try:
        event, _ = trusted.verify_event(given.event, given.proof, given.kid, approver.ed25519)
    except UntrustedRecordError as exc:
        log.warning("an approval does not verify: %s", exc)
        return False
    body, issued_at = event.body, event.header.issued_at
    named = (*decision.subjects, *caller.actors)
    asked_by = {*map(known_as, named), *_names(caller.attributes, caller.role, caller.principal_id)}
    return (
        isinstance(body, AttestationApproved)
        and body.request == decision.event
        and body.parameters_sha256 == shown
        and event.header.principal_id == approver.principal_id
        and now_ms - EVENT_AGE_MS_MAX <= issued_at <= now_ms + EVENT_AHEAD_MS_MAX
        and (approver.until is None or issued_at < approver.until + CLOCK_SLACK_MS)
        and asked_by.isdisjoint(approver.names)
        and (body.said_by is None or known_as(body.said_by) not in asked_by)
    )


def _approver(kid: bytes, trusted: MonitorSigned, sessions: SessionsView) -> _Approver | None:
    """Return the owner of a person's session, or of a registered approver's key; None for any other key.

    Approvals that a session or a key signed before it ended, or was rotated, stay valid; those of a revoked one do not.
    """
    key = trusted.registry.key_that_signed(kid, Role.APPROVER)
    if key is not None:
        names = _names(key.attributes, key.role, key.principal_id)
        return _Approver(key.ed25519, key.principal_id, names, key.expires_at)
    session = sessions.that_signed(kid)
    if session is None or session.role != Role.USER or session.revoked or session.actors:
        return None
    names = _names(session.attributes, session.role, session.principal_id)
    return _Approver(session.ed25519, session.principal_id, names, session.expires_at)


def _names(attributes: Attributes, role: str, principal_id: str) -> frozenset[str]:
    """Return every name of a principal, over all sessions."""
    try:
        return names_of(subject_of(attributes, role, principal_id))
    except Refusal as exc:
        raise UntrustedRecordError(f"the attributes of {principal_id!r} cannot be read: {exc}") from exc


def _parameters(
    decision: Decision, payload: CallPayload, body: InvocationRequested, operation: TakesMasks | None
) -> dict[str, Any]:
    """Return the parameters to execute: the caller's, with values masked where the decision and the tool say so."""
    try:
        execute = parse_parameters(payload.parameters)
        asked = execute if body.parameters == payload.parameters else parse_parameters(body.parameters)
    except MalformedParametersError as exc:
        raise UntrustedRecordError(f"malformed parameters: {exc.cause}") from exc
    if execute.canonical != payload.parameters.encode() or decision.parameters_sha256 != (
        sealing.parameters_digest(payload.salt, execute.canonical)
    ):
        raise UntrustedRecordError("the parameters are not those of the decision")
    if not decision.changed and execute.canonical != asked.canonical:
        raise UntrustedRecordError("the parameters are not those that the caller signed")
    try:
        if decision.changed:
            check_changed(asked.value, execute.value, decision.changed, operation.maskable if operation else ())
    except NotMaskedError as exc:
        raise UntrustedRecordError(f"the parameters are not those that the caller signed: {exc}") from exc
    return execute.value
