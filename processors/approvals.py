"""Approvals on the log: who is asked for what, who has said yes or no, and what that is worth later (MAPL.md 8).

An approval names the leaf of the call's event and the digest of the parameters that were shown, and binds to nothing
else. A quorum counts distinct people; nobody approves in whose name the call is made. Log order against the deadline
decides, so a request that has run out is closed even while its row is still here.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from processors import jcs
from processors.approved import (
    APPROVER_ROLE,
    BOUND,
    criteria_of,
    grant_id,
    grant_of,
    names_of,
    request_id,
    requester_id,
    standing,
    user_of,
)
from processors.asked import Asked
from processors.attestations import consume_record
from processors.attributes import subject_of
from processors.delegations import Chain
from processors.intake import KID_HEADER, PROOF_HEADER, Signer
from processors.outputs import Effects
from processors.policies import policies_in_force
from processors.policy.attestations import Request, Use
from processors.policy.call import Call
from processors.policy.decide import decide
from processors.policy.requirements import Meta
from processors.policy.resolve import Subject
from processors.refusal import Refusal
from processors.sessions import PERSON_ROLE
from processors.tables import OPEN, Tables
from schemas import limits
from schemas.reasons import Reason
from schemas.records import SignedEvent
from schemas.rows import ApprovalGiven, GrantRow, PendingRow, RequestRow
from schemas.workflow import AttestationApproved, AttestationDenied

NOBODY = SignedEvent(event=b"", proof=b"", kid=b"")
# What an approver's own policies may say of `attestation:<key>` without forbidding it: criteria are the grant.
_NOT_FORBIDDEN = frozenset({Reason.NO_POLICY, Reason.RESOURCE_NOT_ALLOWED})


# ---- asking


def ask(
    tables: Tables,
    effects: Effects,
    asked: Asked,
    chain: Chain,
    requests: Sequence[Request],
    parameters_sha256: bytes,
    *,
    waits: bool,
) -> None:
    """Open requests for a call; `waits` says whether the call itself goes on when they are met.

    Raises:
        Refusal: LIMIT_EXCEEDED, too much waits already.
    """
    requests = _by_key(requests, at_once=waits)
    names = dict.fromkeys((*chain.names, *map(user_of, chain.subjects), chain.acting, asked.principal_id))
    for one in requests:
        row = RequestRow(
            event=asked.leaf,
            key=one.key,
            requester=requester_id(chain),
            root=chain.root.principal,
            acting=chain.acting,
            chain=tuple(names),
            session_id=asked.session_id,
            resource=asked.body.resource,
            parameters_sha256=parameters_sha256,
            required_by=_required_by(one.required_by),
            asked_at=tables.now,
            open_until=one.open_until,
            waits=waits,
            approvals=(),
            call=asked.signed,
            closed="",
            until=one.open_until,
        )
        tables.requests.put(request_id(asked.leaf, one.key), row)
        _told(effects, row, "pending")
    if waits:
        pending = PendingRow(
            call=asked.signed,
            event_id=asked.event.header.event_id,
            session_id=asked.session_id,
            principal_id=asked.principal_id,
            resource=asked.body.resource,
            subjects=chain.told,
            keys=tuple(one.key for one in requests),
            deadline=min(one.open_until for one in requests),
        )
        tables.pending.put(asked.leaf, pending)
    if tables.requests.weight + tables.pending.weight > tables.limits.pending_bytes:
        raise Refusal(Reason.LIMIT_EXCEEDED, f"calls of at most {tables.limits.pending_bytes} bytes wait for approvals")


def _by_key(requests: Sequence[Request], *, at_once: bool) -> list[Request]:
    """Return one request for each key: several members of a chain may ask for one, each by its own policies."""
    least = min((one.open_until for one in requests), default=0)
    found: dict[str, Request] = {}
    for one in requests:
        known = found.get(one.key)
        required = one.required_by if known is None else (*known.required_by, *one.required_by)
        open_until = least if at_once else one.open_until
        found[one.key] = Request(one.key, tuple(dict.fromkeys(required)), open_until)
    return list(found.values())


def _required_by(required: Sequence[tuple[str, Meta]]) -> str:
    """Return what the policies say of a key, as JSON that approvers are shown."""
    told: list[dict[str, Any]] = [
        {
            "policy": policy_id,
            "criteria": list(meta.criteria),
            "quorum": meta.quorum,
            "one_time": meta.once,
            "max_uses": meta.uses_max,
            "time_to_live_ms": meta.time_to_live_ms,
        }
        for policy_id, meta in required
    ]
    return jcs.canonical(told).decode()


@functools.lru_cache(maxsize=1024)
def required_by(text: str) -> tuple[dict[str, Any], ...]:
    """Return what the policies said of a key when it was asked for."""
    return tuple(json.loads(text))


def quorum_of(row: RequestRow) -> int:
    """Return how many people must approve."""
    return max(int(one["quorum"]) for one in required_by(row.required_by))


def criteria_asked(row: RequestRow) -> tuple[str, ...]:
    """Return who may approve: anybody who meets one of these."""
    return tuple(dict.fromkeys(name for one in required_by(row.required_by) for name in one["criteria"]))


# ---- answering


def approve(tables: Tables, effects: Effects, signer: Signer, body: AttestationApproved) -> bytes | None:
    """Note one person's yes; return the leaf of the call that is to be decided again, None while people are missing.

    Raises:
        Refusal: APPROVAL_UNKNOWN, APPROVAL_CLOSED, APPROVAL_MISMATCH, APPROVER_NOT_AUTHORIZED, APPROVER_IS_REQUESTER
            or APPROVER_DUPLICATE; the request stays open.
    """
    row, subject, attributes = _answered(tables, signer, body)
    if any(names_of(subject) & names_of(_then(one)) for one in row.approvals):
        raise Refusal(Reason.APPROVER_DUPLICATE)
    if len(row.approvals) >= limits.APPROVALS_PER_REQUEST_MAX:
        raise Refusal(Reason.LIMIT_EXCEEDED, f"at most {limits.APPROVALS_PER_REQUEST_MAX} approvals are kept")
    received = effects.received
    assert received.value is not None
    signed = SignedEvent(event=received.value, proof=received.header(PROOF_HEADER), kid=received.header(KID_HEADER))
    given = ApprovalGiven(
        principal_id=signer.principal_id,
        session_id=signer.kid,
        role=subject.type or "",
        attributes=attributes,
        at=tables.now,
        signed=signed,
    )
    row = replace(row, approvals=(*row.approvals, given))
    tables.requests.put(request_id(row.event, row.key), row)
    whole = len(row.approvals) >= quorum_of(row)
    _told(effects, row, "approved" if whole else "pending")
    if whole:
        _grant(tables, effects, row)
        if not row.waits:
            close(tables, effects, row, "approved")
    return row.event if whole and row.waits and _is_whole(tables, row.event) else None


def deny(tables: Tables, effects: Effects, signer: Signer, body: AttestationDenied) -> bytes | None:
    """Close a request with one authorised no; return the leaf of the call that is over with it, if one waits.

    Raises:
        Refusal: as `approve`.
    """
    row, _, _ = _answered(tables, signer, body)
    close(tables, effects, row, "denied")
    return row.event if row.waits else None


def _then(one: ApprovalGiven) -> Subject:
    return subject_of(one.attributes, one.role, one.principal_id)


def _is_whole(tables: Tables, event: bytes) -> bool:
    """Whether every request of a waiting call has as many approvals as were asked for."""
    pending = tables.pending.get(event)
    rows = [tables.requests.get(request_id(event, key)) for key in pending.keys] if pending else []
    return bool(rows) and all(row is not None and len(row.approvals) >= quorum_of(row) for row in rows)


def _answered(
    tables: Tables, signer: Signer, body: AttestationApproved | AttestationDenied
) -> tuple[RequestRow, Subject, str]:
    """Return the request that is answered, and who answers. Raises Refusal unless the signer may."""
    row = tables.requests.get(request_id(body.request, body.key))
    if row is None:
        raise Refusal(Reason.APPROVAL_UNKNOWN)
    if row.closed or tables.now >= row.open_until:
        raise Refusal(Reason.APPROVAL_CLOSED, row.closed or "timeout")
    if body.parameters_sha256 != row.parameters_sha256:
        raise Refusal(Reason.APPROVAL_MISMATCH)
    if len(body.reason) > limits.REASON_CHARS_MAX:
        raise Refusal(Reason.LIMIT_EXCEEDED, f"want a reason of at most {limits.REASON_CHARS_MAX} characters")
    subject, attributes = approver_of(tables, signer)
    check_approver(tables, row, subject)
    return row, subject, attributes


def approver_of(tables: Tables, signer: Signer) -> tuple[Subject, str]:
    """Return who would approve: a person, or a registered approver. Raises Refusal APPROVER_NOT_AUTHORIZED."""
    session = signer.session
    if session is not None and session.role == PERSON_ROLE:
        return subject_of(session.attributes, session.role, session.principal_id), session.attributes
    if session is None and signer.role == APPROVER_ROLE:
        attributes = tables.keys.rows[signer.kid].attributes
        return subject_of(attributes, signer.role, signer.principal_id), attributes
    raise Refusal(Reason.APPROVER_NOT_AUTHORIZED, "persons and registered approvers approve, programs do not")


def check_approver(tables: Tables, row: RequestRow, subject: Subject) -> None:
    """Raise Refusal APPROVER_IS_REQUESTER or APPROVER_NOT_AUTHORIZED unless somebody may answer a request."""
    if names_of(subject) & set(row.chain):
        raise Refusal(Reason.APPROVER_IS_REQUESTER)
    if criteria_of(subject).isdisjoint(criteria_asked(row)):
        raise Refusal(
            Reason.APPROVER_NOT_AUTHORIZED, f"want {' or '.join(criteria_asked(row))}"[: limits.DETAIL_CHARS_MAX]
        )
    verdict = decide(policies_in_force(tables), subject, f"attestation:{row.key}", {}, Call(now=tables.now))
    if verdict.outcome == "denied" and verdict.reason not in _NOT_FORBIDDEN:
        raise Refusal(Reason.APPROVER_NOT_AUTHORIZED, f"the approver's own policies: {verdict.reason}")


# ---- what an approval is worth later, and how a request ends


def _grant(tables: Tables, effects: Effects, row: RequestRow) -> None:
    """Let an approval serve later calls, where some policy asked for one that does."""
    lasting = [one for one in required_by(row.required_by) if not one["one_time"]]
    if not lasting:
        return
    key = grant_id(row.root, row.acting, row.key)
    known = grant_of(tables, row)
    if known is not None:  # one more yes to the same request adds a person, and no use
        tables.grants.put(key, replace(known, approvals=row.approvals))
        return
    lives = [one["time_to_live_ms"] for one in lasting if one["time_to_live_ms"] is not None]
    uses = [one["max_uses"] for one in lasting if one["max_uses"] is not None]
    ends = tables.now + min(lives) if lives else None
    grant = GrantRow(
        root=row.root,
        acting=row.acting,
        key=row.key,
        position=effects.index,
        at=tables.now,
        expires_at=ends,
        max_uses=min(uses, default=None),
        uses=0,
        revoked=False,
        approvals=row.approvals,
        until=limits.FOR_EVER_MS if ends is None else ends + limits.ATTESTATION_LINGER_MS,
    )
    tables.grants.put(key, grant)
    if len(tables.grants) > tables.limits.grants:
        raise Refusal(Reason.LIMIT_EXCEEDED, f"a tenant has at most {tables.limits.grants} grants")
    effects.grant_changed(key, grant, "active")


def use_up(
    tables: Tables, effects: Effects, session_id: bytes, chain: Chain, uses: Sequence[Use], *, event: bytes
) -> None:
    """Consume what served a decision, in its own transaction."""
    for use in uses:
        if use.position == BOUND or not consume_record(tables, effects, session_id, use):
            _consume_grant(tables, effects, chain, use, event)


def _consume_grant(tables: Tables, effects: Effects, chain: Chain, use: Use, event: bytes) -> None:
    """Count one use of the grant that served a decision, or that was made together with what served it."""
    key = grant_id(chain.root.principal, chain.acting, use.key)
    if use.position == BOUND:
        row = grant_of(tables, tables.requests.rows[request_id(event, use.key)])
    else:
        row = tables.grants.get(key)
    if row is None or use.position not in {BOUND, row.position}:
        return
    tables.grants.put(key, used := replace(row, uses=row.uses + 1))
    most = row.max_uses
    effects.grant_changed(key, used, "consumed" if most is not None and used.uses >= most else "active")


def withdraw_given_by(tables: Tables, session_id: bytes) -> None:
    """Take back what a revoked session approved: its row leaves before requests and grants do."""
    for key in list(tables.requests.of(OPEN)):
        row = tables.requests.rows[key]
        if any(one.session_id == session_id for one in row.approvals):
            tables.requests.put(key, replace(row, approvals=_without(row.approvals, session_id)))
    # Sorted: the order of rows in memory is not the log's.
    given = [
        key for key, row in tables.grants.rows.items() if any(one.session_id == session_id for one in row.approvals)
    ]
    for key in sorted(given):
        grant = tables.grants.rows[key]
        tables.grants.put(key, replace(grant, approvals=_without(grant.approvals, session_id)))


def _without(given: Sequence[ApprovalGiven], session_id: bytes) -> tuple[ApprovalGiven, ...]:
    return tuple(one for one in given if one.session_id != session_id)


def close(tables: Tables, effects: Effects, row: RequestRow, how: str) -> None:
    """Close a request; for a while it is remembered how, without what it held."""
    ended = replace(row, closed=how, call=NOBODY, approvals=(), until=tables.now + limits.CLOSED_REQUEST_MS)
    tables.requests.put(request_id(row.event, row.key), ended)
    _told(effects, row, how)


def close_all(tables: Tables, effects: Effects, event: bytes, how: str) -> None:
    """Close every open request of a call that waits no more, and forget that it waited."""
    for key in tables.pending.rows[event].keys:
        row = tables.requests.get(request_id(event, key))
        if row is not None and not row.closed:
            close(tables, effects, row, how)
    tables.pending.delete(event)


def given_for(tables: Tables, event: bytes) -> tuple[SignedEvent, ...]:
    """Return what people signed for a call that waits."""
    pending = tables.pending.get(event)
    rows = [tables.requests.get(request_id(event, key)) for key in pending.keys] if pending else []
    return tuple(one.signed for row in rows if row is not None for one in row.approvals)


def is_cancelled(tables: Tables, event: bytes) -> bool:
    """Whether a waiting call is over before the time that was set for it: its session was ended."""
    pending = tables.pending.rows[event]
    rows = (tables.requests.get(request_id(event, key)) for key in pending.keys)
    return any(row is not None and pending.deadline < row.open_until for row in rows)


def timeout_reason(tables: Tables, event: bytes) -> Reason:
    """Return why a call that waited is over: nobody has approved, or too few."""
    rows = (tables.requests.get(request_id(event, key)) for key in tables.pending.rows[event].keys)
    stand = any(
        not one.meets.isdisjoint(criteria_asked(row))
        for row in rows
        if row is not None
        for one in standing(tables, row.approvals)
    )
    return Reason.APPROVAL_QUORUM if stand else Reason.APPROVAL_TIMEOUT


def request_due(tables: Tables, effects: Effects, key: bytes) -> None:
    """Let a request that has run out close, or one that was closed long ago leave."""
    row = tables.requests.rows[key]
    if row.closed:
        tables.requests.delete(key)
    else:
        close(tables, effects, row, "timeout")


def _told(effects: Effects, row: RequestRow, status: str) -> None:
    effects.request_changed(request_id(row.event, row.key), row, status, criteria_asked(row), quorum_of(row))
