"""Policies of a tenant as the log has them: publication, withdrawal, and the decision on one call.

The language stands in `processors.policy`; here its documents meet the tables and a session's attributes. The charges
of a decision are written in the transaction of that decision, or not at all.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Sequence

from processors.calls.origins import Origins
from processors.identity.attributes import agent_of, subject_of
from processors.identity.declarations import resource_row
from processors.identity.delegations import Chain, chain_of
from processors.identity.keys import is_revoked
from processors.identity.logins import lasts_until
from processors.policy import amounts
from processors.policy.call import Circumstances
from processors.policy.decide import admits_some, decide, rates_of_waiting
from processors.policy.errors import PolicyError
from processors.policy.evaluation import AttestationLookup, Cell, Lookups, NoAttestations, Session, Settings, Work
from processors.policy.index import PolicyIndex, StoredPolicy, index_stored
from processors.policy.lifted import NOTHING_LIFTED, Lifted
from processors.policy.patterns import resource_name
from processors.policy.publication import ORGANISATION, PublicationError, check_publication, check_withdrawal
from processors.policy.rates import idle_at, policy_of
from processors.policy.sequences import FOR_EVER, Mark
from processors.policy.verdict import Verdict
from processors.proof import jcs
from processors.refusal import Refusal
from processors.state.engine import DETECTING
from processors.state.shares import check_room
from processors.state.tables import Tables
from schemas import limits
from schemas.reasons import Reason
from schemas.records import PolicyPublished, PolicyWithdrawn
from schemas.rows import PolicyRow, RateBucketRow, RuleCellRow, SessionRow

NOTHING_ATTESTED = NoAttestations()
_SETTINGS = Settings()
_KEY_BYTES = 32
_MARK_BYTES = _KEY_BYTES + 8


def publish(tables: Tables, signer: str, body: PolicyPublished) -> None:
    """Put every document into force, or none. `signer` is the role of the key: an admin's or the organisation's.

    Documents of the organisation have a room of their own: no admin can fill the table before it.

    Raises:
        Refusal: the policy language's own `E_…` code with a JSON pointer, `E_CONFLICT` if `previous` is not the digest
            in force, or LIMIT_EXCEEDED.
    """
    if not 0 < len(body.documents) <= limits.DOCUMENTS_PER_EVENT_MAX or len(body.previous) != len(body.documents):
        want = f"an event publishes 1 to {limits.DOCUMENTS_PER_EVENT_MAX} documents, each with one `previous`"
        raise Refusal(Reason.LIMIT_EXCEEDED, want)
    index = current_policies(tables)
    try:
        documents = check_publication(
            index.by_id,
            body.documents,
            body.previous,
            signer=signer,
            children=index.children,
            detecting=tables.engine.number >= DETECTING,
        )
    except PublicationError as exc:
        raise Refusal(exc.code, f"document {exc.at}: {exc}") from exc
    for text, document in zip(body.documents, documents, strict=True):
        row = PolicyRow(document=text, digest=document.digest, extends=document.extends)
        tables.policies.put(document.policy_id.encode(), row)
    shared = {one.policy_id for one in index.organisation}
    if signer == ORGANISATION:
        shared |= {one.policy_id for one in documents}
    if len(shared) > limits.ORGANISATION_POLICIES_MAX:
        want = f"an organisation has at most {limits.ORGANISATION_POLICIES_MAX} policies; withdraw some first"
        raise Refusal(Reason.LIMIT_EXCEEDED, want)
    own, before = len(tables.policies) - len(shared), len(index.by_id) - len(index.organisation)
    if signer != ORGANISATION and before < own > tables.limits.policies:
        want = f"a tenant has at most {tables.limits.policies} policies; withdraw some first"
        raise Refusal(Reason.LIMIT_EXCEEDED, want)


def withdraw(tables: Tables, signer: str, body: PolicyWithdrawn) -> str:
    """Take a policy out of force, and return its id. `signer` is the role of the key: an admin's or the organisation's.

    Raises:
        Refusal: `E_CONFLICT` if `previous` is not the digest in force, `E_DEPENDENTS` if another policy extends this
            one, `E_PREFIX_RESERVED` if it belongs to the organisation, `E_SIGNER` if it does not and the organisation
            signed.
    """
    index = current_policies(tables)
    try:
        policy_id = check_withdrawal(index.by_id, body.policy_id, body.previous, signer=signer, children=index.children)
    except PolicyError as exc:
        raise Refusal(exc.code, str(exc)) from exc
    tables.policies.delete(policy_id.encode())
    return policy_id


def current_policies(tables: Tables) -> PolicyIndex:
    """Return the policies in force, indexed by id. The index is rebuilt only after a policy has changed."""
    return tables.derived(tables.policies, _index)


def _index(rows: dict[bytes, PolicyRow]) -> PolicyIndex:
    return index_stored(StoredPolicy(key.decode(), row.digest, row.document, row.extends) for key, row in rows.items())


# ---- one call


def decide_call(
    tables: Tables,
    session: SessionRow,
    resource: str,
    parameters: dict[str, jcs.JSONValue],
    *,
    session_id: bytes = b"",
    intents: tuple[str, ...] = (),
    chain: Chain | None = None,
    attested: AttestationLookup = NOTHING_ATTESTED,
    resumed: Collection[str] | None = None,
    granted: bool = False,
    owner: str = "",
    work: Work | None = None,
    prompts: Sequence[str] = (),
    paid: bool = False,
    lifted: Lifted = NOTHING_LIFTED,
    maskable: tuple[str, ...] = (),
) -> Verdict:
    """Judge one call of a session by the policies in force, with the documents that came with it.

    `chain` holds the principals in whose name it is made, `attested` its attestations and approvals, `resumed` the keys
    that it waited for, `owner` the program that offers the resource, `work` the units that it may spend, `prompts` the
    texts that a person signs with it. With `granted` no policy need grant it. `paid` says that its rates were charged.
    Documents that are `lifted` do not restrict it. `maskable` are the paths at which the executing tool lets values be
    masked.
    """
    subjects = (
        (subject_of(session.attributes, session.role, session.principal_id),) if chain is None else chain.subjects
    )
    call = call_of(tables, session, session_id, intents, chain=chain, attested=attested, resumed=resumed)
    if tables.heard.rows:
        heard = Origins(tables, session_id, session, chain, prompts)
        call = call._replace(tables=call.tables._replace(heard=heard))
    if granted or owner or paid or lifted or maskable:
        call = call._replace(granted=granted, owner=owner, paid=paid, lifted=lifted, maskable=maskable)
    return decide(current_policies(tables), subjects, resource, parameters, call, work)


def rates_of(
    tables: Tables,
    session: SessionRow,
    resource: str,
    *,
    session_id: bytes,
    intents: tuple[str, ...],
    chain: Chain,
    owner: str,
    work: Work,
    lifted: Lifted = NOTHING_LIFTED,
) -> Verdict:
    """Return the charges of a call that is to wait for verdicts, as an allowed verdict; or the denial of its rates.

    Raises:
        WorkExceededError.
    """
    call = call_of(tables, session, session_id, intents, chain=chain)._replace(owner=owner, lifted=lifted)
    return rates_of_waiting(current_policies(tables), chain.subjects, resource, call, work)


def is_callable(
    tables: Tables, session_id: bytes, session: SessionRow, resource: str, work: Work, lifted: Lifted = NOTHING_LIFTED
) -> bool:
    """Return whether a session could be allowed some call of a resource, by the names of both and by roles alone.

    Raises:
        WorkExceededError.
    """
    owned = resource_row(tables, resource)
    chain = chain_of(tables, session, None)
    call = call_of(tables, session, session_id, chain=chain)._replace(lifted=lifted)
    if owned is not None and resource_name(resource).app != owned.principal_id:
        call = call._replace(owner=owned.principal_id)
    return admits_some(current_policies(tables), chain.subjects, resource, call, work)


def call_of(
    tables: Tables,
    session: SessionRow,
    session_id: bytes,
    intents: tuple[str, ...] = (),
    *,
    chain: Chain | None = None,
    attested: AttestationLookup = NOTHING_ATTESTED,
    resumed: Collection[str] | None = None,
) -> Circumstances:
    """Return the circumstances that a decision on a call of a session may depend on now."""
    ends = session.expires_at, lasts_until(session)
    signed_by = _signed_by(session_id, tables.tenant_id, session.role, session.principal_id, ends)
    hops, bound, actors = ((), False, 0) if chain is None else (chain.hops, chain.bound, chain.actors)
    if chain is not None and (hops or actors):
        signed_by = signed_by._replace(is_delegated=True, delegation_depth=len(hops) + actors)
    if chain is not None and chain.sessions:
        signed_by = signed_by._replace(chain=chain.sessions)
    return Circumstances(
        tables.now,
        signed_by,
        views_of(tables, attested),
        _SETTINGS,
        intents,
        hops,
        bound,
        (),
        resumed,
        appended=tables.appended,
        actors=actors,
    )


@functools.lru_cache(maxsize=4096)
def _signed_by(session_id: bytes, tenant: str, role: str, principal_id: str, ends: tuple[int, int]) -> Session:
    """Return the session of a call without a delegation, as policies see it; `ends` are its present and latest end."""
    return Session(
        session_id=session_id.hex(),
        tenant=tenant,
        app=agent_of(role, principal_id),
        source_agent=principal_id,
        expires_at=ends[0],
        lasts_until=ends[1],
    )


def views_of(tables: Tables, attested: AttestationLookup = NOTHING_ATTESTED) -> Lookups:
    """Return the part of the tables that a decision may read. A row past its end reads as if it had left."""
    buckets, cells = tables.buckets.rows, tables.cells.rows

    def arrival(key: bytes) -> int:
        row = buckets.get(key)
        return 0 if row is None else row.arrival

    def cell(key: bytes) -> Cell | None:
        row = cells.get(key)
        if row is None or tables.now >= row.until or is_revoked(tables, row.reported_by):
            return None
        return Cell(row.window, row.calls, amounts.read(row.total), row.at, row.until)

    return Lookups(arrival, cell, attested)


def detail_of(verdict: Verdict) -> str:
    """Return the log's detail on the check that decided: its place in the policy, never a parameter's value."""
    if verdict.reason == Reason.INTERNAL_ERROR:
        return f"{verdict.detail} in {verdict.deciding.hex()}" if verdict.deciding else verdict.detail
    if verdict.retry_after_ms is not None:
        return f"{verdict.detail} retry_after_ms={verdict.retry_after_ms}"
    return verdict.detail


def told_of(verdict: Verdict) -> str:
    """Return the caller's detail beside the reason: the parameter, or when to try again (docs/mapl.md 13)."""
    if verdict.retry_after_ms is not None:
        return f"retry_after_ms={verdict.retry_after_ms}"
    return f"parameter {verdict.path}" if verdict.path else ""


def charge(tables: Tables, verdict: Verdict, session_id: bytes, paid_by: str) -> None:
    """Write the charges of a call that is allowed or waits. Raises Refusal LIMIT_EXCEEDED."""
    for key, arrival in verdict.effects.buckets:
        until = idle_at(tables.now, arrival - tables.appended * 1000)
        bucket = RateBucketRow(policy_id=policy_of(key), arrival=arrival, until=until, payer=paid_by)
        tables.buckets.put(key, bucket)
        check_room(tables.buckets, bucket)
    for key, cell, leaves in verdict.effects.cells:
        check_room(tables.cells, _remember(tables, key, cell, paid_by, session_id if leaves else None))


def settle(tables: Tables, verdict: Verdict, session_id: bytes, paid_by: str) -> bytes | None:
    """Write the charges of an allowed call, and return the marks that it leaves if it ends well, None for none.

    Raises:
        Refusal: LIMIT_EXCEEDED, the tables have no room, or the call has too many marks.
    """
    charge(tables, verdict, session_id, paid_by)
    effects = verdict.effects
    if len(effects.marks) > limits.MARKS_PER_CALL_MAX:
        raise Refusal(Reason.LIMIT_EXCEEDED, f"a call may count for at most {limits.MARKS_PER_CALL_MAX} sequence rules")
    return b"".join(map(_written, effects.marks)) or None


def ended_well(
    tables: Tables, session_id: bytes, marks: bytes, paid_by: str, *, reported_by: bytes | None = None
) -> None:
    """Remember for sequence rules that a call has ended well. If the tables have no room, the rules do not see it."""
    session = tables.sessions.get(session_id)
    for at in range(0, len(marks), _MARK_BYTES):
        if session is None or tables.now >= session.expires_at:
            return
        key, within_ms = marks[at : at + _KEY_BYTES], marks[at + _KEY_BYTES : at + _MARK_BYTES]
        until = min(lasts_until(session), tables.now + int.from_bytes(within_ms, "big"))
        if until <= tables.now:
            continue
        mark = tables.savepoint()
        cell = Cell(0, 1, amounts.NOTHING, tables.now, until)
        row = _remember(tables, key, cell, paid_by, session_id, reported_by)
        if tables.cells.full_for(row) is not None:
            tables.undo_to(mark)
            return


def _written(mark: Mark) -> bytes:
    within_ms = FOR_EVER if mark.within_ms is None else mark.within_ms
    return mark.key + within_ms.to_bytes(_MARK_BYTES - _KEY_BYTES, "big")


def _remember(
    tables: Tables, key: bytes, cell: Cell, paid_by: str, session_id: bytes | None, reported_by: bytes | None = None
) -> RuleCellRow:
    row = RuleCellRow(
        window=cell.window,
        calls=cell.calls,
        total=amounts.written(cell.total),
        at=cell.at,
        until=cell.until,
        payer=paid_by,
        session_id=session_id,
        reported_by=reported_by,
    )
    tables.cells.put(key, row)
    return row
