"""Approvals on the log: requests, their answers, and the grants that follow from them (docs/mapl.md 8).

An approval is bound to one call: it names the leaf of the call's event and the digest of the parameters that were
shown. A quorum counts distinct people, and none of the people in whose name the call is made. The deadline is compared
with log time, so a request that has run out is closed even while its row is still here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from processors.calls.answerers import check_limits, check_not_frozen, is_once_only, names_behind
from processors.calls.call import Call
from processors.calls.grants import make_grant
from processors.calls.judge import current_policies, decide_call
from processors.calls.masking import Masked
from processors.calls.narrowing import check_scope
from processors.calls.requests import asked_by, close, criteria_asked, quorum_of
from processors.calls.standing import (
    Attested,
    all_names,
    criteria_of,
    names_given,
    names_in,
    names_of,
    names_passed_on,
    passing_on,
    request_id,
    requester_id,
)
from processors.effects import Effects
from processors.identity.attributes import subject_of
from processors.identity.delegations import Chain, payer_of
from processors.identity.sessions import person_now
from processors.intake.identify import Signer
from processors.policy.attestations import Request
from processors.policy.call import Circumstances
from processors.policy.decide import decide
from processors.policy.evaluation import Work, new_work
from processors.policy.names import known_as
from processors.policy.requirements import Meta
from processors.policy.resolve import Subject
from processors.policy.verdict import Verdict
from processors.refusal import Refusal
from processors.state.shares import check_room
from processors.state.tables import Tables
from schemas import limits
from schemas.events.attributes import NONE, Attributes, RequiredBy
from schemas.events.workflow import AttestationApproved, AttestationDenied
from schemas.reasons import Reason
from schemas.rows import ApprovalGiven, PendingRow, RequestRow
from schemas.words import Outcome, Role, Status

# ---- asking


def ask(
    tables: Tables,
    asked: Call,
    chain: Chain,
    requests: Sequence[Request],
    executed: Masked,
    *,
    waits: bool,
) -> None:
    """Open requests for a call. With `waits` the call itself waits, and goes on once all of them are approved.

    People are asked about its parameters as its tool would get them.

    Raises:
        Refusal: LIMIT_EXCEEDED, the tables have no room for another request.
    """
    requests, paid_by = _by_key(requests, at_once=waits), payer_of(asked.session, chain)
    names = sorted(names_in(chain) | {known_as(asked.principal_id)})
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
            parameters_sha256=executed.parameters.sha256,
            required_by=_required_by(one.required_by),
            asked_at=tables.now,
            open_until=one.open_until,
            waits=waits,
            approvals=(),
            call=asked.signed,
            closed="",
            until=one.open_until,
            payer=paid_by,
            opened=asked.session.opened,  # the session may leave before the answer comes
            masked=executed.parameters.canonical.decode() if executed.changed else None,
        )
        tables.requests.put(request_id(asked.leaf, one.key), row)
        check_room(tables.requests, row)
    if waits:
        waited = tables.pending.get(asked.leaf)  # for verdicts, until now
        pending = PendingRow(
            call=asked.signed,
            event_id=asked.event.header.event_id,
            session_id=asked.session_id,
            principal_id=asked.principal_id,
            resource=asked.body.resource,
            subjects=chain.told,
            keys=tuple(one.key for one in requests),
            deadline=min(one.open_until for one in requests),
            payer=paid_by,
            verdicts=() if waited is None else waited.verdicts,
        )
        tables.pending.put(asked.leaf, pending)
        check_room(tables.pending, pending)


def _by_key(requests: Sequence[Request], *, at_once: bool) -> list[Request]:
    """Return one request for each key, because policies of several members of a chain may ask for the same key."""
    least = min((one.open_until for one in requests), default=0)
    found: dict[str, Request] = {}
    for one in requests:
        known = found.get(one.key)
        required = one.required_by if known is None else (*known.required_by, *one.required_by)
        open_until = least if at_once else one.open_until
        found[one.key] = Request(one.key, tuple(dict.fromkeys(required)), open_until)
    return list(found.values())


def _required_by(required: Sequence[tuple[str, Meta]]) -> tuple[RequiredBy, ...]:
    """Return the requirements of the policies on the approvers of a key, as rows have them."""
    return tuple(
        RequiredBy(
            policy=policy_id,
            criteria=meta.criteria,
            quorum=meta.quorum,
            one_time=meta.once,
            max_uses=meta.uses_max,
            time_to_live_ms=meta.time_to_live_ms,
        )
        for policy_id, meta in required
    )


# ---- answering


def approve(tables: Tables, effects: Effects, signer: Signer, body: AttestationApproved) -> bytes | None:
    """Note one person's approval; return the leaf of the call to decide again, None while approvals are missing.

    Raises:
        Refusal: APPROVAL_UNKNOWN, APPROVAL_CLOSED, APPROVAL_MISMATCH, APPROVER_NOT_AUTHORIZED, APPROVER_IS_REQUESTER,
            APPROVER_LIMITED, APPROVER_SAID_BY, FROZEN, APPROVAL_SCOPE, APPROVER_DUPLICATE, LIMIT_EXCEEDED or OVERSIZED;
            the request stays open.
    """
    row, subject, attributes, names = _answered(tables, signer, body)
    if body.said_by is not None:
        check_not_frozen(tables, names)
    if any(_is_same(tables, one, signer, body.said_by, names) for one in row.approvals):
        raise Refusal(Reason.APPROVER_DUPLICATE)
    once = check_scope(row, body, once_only=is_once_only(tables, signer))
    if len(row.approvals) >= limits.APPROVALS_PER_REQUEST_MAX:
        raise Refusal(Reason.LIMIT_EXCEEDED, f"a request keeps at most {limits.APPROVALS_PER_REQUEST_MAX} approvals")
    if effects.claim.size > limits.APPROVAL_EVENT_BYTES_MAX:
        raise Refusal(
            Reason.OVERSIZED,
            f"the approval's event has {effects.claim.size} bytes, want at most {limits.APPROVAL_EVENT_BYTES_MAX}",
        )
    given = ApprovalGiven(
        principal_id=signer.principal_id,
        session_id=signer.kid,
        role=subject.type or "",
        attributes=attributes,
        at=tables.now,
        signed=effects.signed_event(),
        opened_by=signer.kid if signer.session is None else signer.session.opened_by,
        once=once,
        for_ms=body.for_ms,
        uses=body.uses,
        said_by=body.said_by,
    )
    row = replace(row, approvals=(*row.approvals, given))
    tables.requests.put(request_id(row.event, row.key), row)
    check_room(tables.requests, row)
    whole = len(row.approvals) >= quorum_of(row)
    if whole:
        make_grant(tables, row)
        if not row.waits:
            close(tables, row, Status.APPROVED)
    return row.event if whole and row.waits and _is_whole(tables, row.event) else None


def _is_same(tables: Tables, one: ApprovalGiven, signer: Signer, said_by: str | None, names: frozenset[str]) -> bool:
    """Return whether the person behind an answer has approved already, or may have: an approver that does not say.

    Where an approver spoke for a person, all the names count that logins have told of either.
    """
    if one.said_by is None and said_by is None:
        return not names.isdisjoint(names_given(tables, one))
    if one.principal_id == signer.principal_id and None in (one.said_by, said_by):
        return True
    if signer.session is not None:
        names |= names_passed_on(tables, signer.principal_id)
    return not names.isdisjoint(all_names(tables, one))


def deny(tables: Tables, signer: Signer, body: AttestationDenied) -> bytes | None:
    """Close a request with one authorised denial; return the leaf of the call that waits for it, None if none waits.

    Raises:
        Refusal: as `approve`.
    """
    row, *_ = _answered(tables, signer, body)
    close(tables, row, Status.DENIED)
    return row.event if row.waits else None


def _is_whole(tables: Tables, event: bytes) -> bool:
    """Return True if every request of a waiting call has its quorum of approvals."""
    pending, rows = tables.pending.get(event), asked_by(tables, event)
    complete = pending is not None and len(rows) == len(pending.keys) > 0
    return complete and all(len(row.approvals) >= quorum_of(row) for row in rows)


def _answered(
    tables: Tables, signer: Signer, body: AttestationApproved | AttestationDenied
) -> tuple[RequestRow, Subject, Attributes, frozenset[str]]:
    """Return the request, its answerer with attributes, and the names of the person behind it. Raises Refusal."""
    row = tables.requests.get(request_id(body.request, body.key))
    if row is None:
        raise Refusal(Reason.APPROVAL_UNKNOWN)
    if row.closed or tables.now >= row.open_until:
        raise Refusal(Reason.APPROVAL_CLOSED, row.closed or Status.TIMEOUT)
    asker = tables.sessions.get(row.session_id)
    if asker is not None and asker.revoked and asker.opened_at <= row.asked_at:
        raise Refusal(Reason.APPROVAL_CLOSED, Status.CANCELLED)  # its row is about to be closed
    subject, attributes = approver_of(tables, signer)
    check_approver(tables, row, signer, subject, said_by=body.said_by)
    names = names_behind(tables, row, signer, subject, body.said_by)
    # This check is the last: a signer that may not see the parameters must not learn whether it guessed them right.
    if body.parameters_sha256 != row.parameters_sha256:
        raise Refusal(Reason.APPROVAL_MISMATCH)
    return row, subject, attributes, names


def approver_of(tables: Tables, signer: Signer) -> tuple[Subject, Attributes]:
    """Return the signer as an approver, with its attributes: a person, or a registered approver.

    Raises:
        Refusal: APPROVER_NOT_AUTHORIZED, the signer is neither, or its login was made by another in its name.
    """
    session = signer.session
    if session is not None and session.actors:
        want = "a person answers through a session of their own: this login names actors"
        raise Refusal(Reason.APPROVER_NOT_AUTHORIZED, want)
    if session is not None and session.role == Role.USER:
        return subject_of(session.attributes, session.role, session.principal_id), session.attributes
    if session is None and signer.role == Role.APPROVER:
        attributes = tables.keys.rows[signer.kid].attributes
        return subject_of(attributes, signer.role, signer.principal_id), attributes
    raise Refusal(Reason.APPROVER_NOT_AUTHORIZED, "only a person or a registered approver may answer a request")


class OwnPolicies:
    """The verdicts of an approver's own policies, in one record: each key is judged once, and all within one budget.

    They need not grant `attestation:<key>`, criteria are the grant; they may forbid it. `subject` is `approver_of`'s.
    """

    def __init__(self, tables: Tables, signer: Signer, subject: Subject, budget: Work) -> None:
        self._of, self.budget = (tables, signer, subject), budget
        self._verdicts: dict[str, Verdict] = {}

    def verdict(self, key: str) -> Verdict:
        """Return the verdict on answering requests for a key."""
        found = self._verdicts.get(key)
        if found is None:
            found = self._verdicts[key] = _judged_by_own_policies(*self._of, f"attestation:{key}", self.budget)
        return found


def check_approver(
    tables: Tables,
    row: RequestRow,
    signer: Signer,
    subject: Subject,
    own: OwnPolicies | None = None,
    *,
    said_by: str | None = None,
) -> None:
    """Check that the signer may answer a request, for a person where it passes on that person's answer.

    `subject` comes from `approver_of`; `own` is given where several requests are looked at.

    Raises:
        Refusal: APPROVER_IS_REQUESTER, APPROVER_NOT_AUTHORIZED, APPROVER_LIMITED or LIMIT_EXCEEDED.
    """
    if names_of(subject) & set(row.chain):
        raise Refusal(Reason.APPROVER_IS_REQUESTER)
    # An older session counts only for criteria that the newest one meets too.
    met = criteria_of(subject) & criteria_of(_newest(tables, signer, subject))
    met = met if said_by is None else passing_on(met)
    if met.isdisjoint(criteria_asked(row)):
        raise Refusal(
            Reason.APPROVER_NOT_AUTHORIZED,
            f"the approver needs {' or '.join(criteria_asked(row))}"[: limits.DETAIL_CHARS_MAX],
        )
    own = own or OwnPolicies(tables, signer, subject, new_work())
    check_limits(tables, row, signer, own.budget)
    verdict = own.verdict(row.key)
    if verdict.outcome != Outcome.ALLOWED:
        raise Refusal(Reason.APPROVER_NOT_AUTHORIZED, f"the approver's own policies forbid it: {verdict.reason}")


def _newest(tables: Tables, signer: Signer, subject: Subject) -> Subject:
    """Return the signer with the attributes of that person's newest login, or without any if it was taken back."""
    if signer.session is None:  # a registered approver
        return subject
    attributes = person_now(tables, signer.principal_id)
    return subject_of(NONE if attributes is None else attributes, Role.USER, signer.principal_id)


def _judged_by_own_policies(tables: Tables, signer: Signer, subject: Subject, resource: str, budget: Work) -> Verdict:
    if signer.session is None:  # a registered approver
        call = Circumstances(now=tables.now, granted=True)
        return decide(current_policies(tables), subject, resource, {}, call, budget)
    chain = Chain((subject,))
    attested = Attested(tables, signer.kid, chain, b"")  # no approvals: an answer is not a call
    return decide_call(
        tables, signer.session, resource, {}, session_id=signer.kid, chain=chain, attested=attested, granted=True,
        work=budget,
    )  # fmt: skip
