"""Attestations on the log: statements of tools, bridges and attesters about a session, and their uses.

A record is (session, key, setter); setting it again replaces it with fresh uses. A setter may set only the keys that
its registration declares; `phishing_resistant` and keys under `macaw.` are reserved for bridges. A use is taken in the
transaction of the decision that the record served, and not given back when the tool fails.

A login through an identity provider sets or takes back `phishing_resistant` by itself (`note_login`): a bridge may say
that of each session that it opens, and the methods of the login say it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

from processors.identity.declarations import resource_row
from processors.identity.issuers import is_provided
from processors.identity.keys import is_revoked, payer_of
from processors.identity.login_proof import resistant
from processors.intake.identify import Signer
from processors.policy import names
from processors.policy.attestations import Use
from processors.policy.errors import PolicyError
from processors.policy.evaluation import Record
from processors.policy.globs import granting
from processors.policy.limits import USES_MAX
from processors.policy.requirements import parse_key
from processors.proof import jcs
from processors.proof.signing import tagged_digest
from processors.refusal import Refusal
from processors.state.shares import check_room
from processors.state.tables import Tables
from schemas import limits
from schemas.events.workflow import AttestationRevoked, AttestationSet
from schemas.reasons import Reason
from schemas.records import Attestation
from schemas.rows import AttestationRow, CallRow, SessionRow
from schemas.words import Role

RECORD_TAG = b"macaw/attestation/v1\n"
PHISHING_RESISTANT = "phishing_resistant"
RESERVED_PREFIX = "macaw."


def record_id(session_id: bytes, key: str, setter: str) -> bytes:
    """Return the id of a record, by which it can be revoked."""
    return tagged_digest(RECORD_TAG, session_id, key.encode("utf-8", "surrogatepass"), setter.encode())


def is_reserved(key: str) -> bool:
    """Return True if only a bridge, or the step itself, may set a key."""
    return key == PHISHING_RESISTANT or key.startswith(RESERVED_PREFIX)


# ---- setting


def set_attestation(tables: Tables, signer: Signer, body: AttestationSet) -> None:
    """Set one record into a session.

    Raises:
        Refusal: ATTESTATION_FORM, ATTESTATION_SESSION, ATTESTATION_NOT_DECLARED or LIMIT_EXCEEDED.
    """
    session = tables.sessions.get(body.session)
    if session is None or tables.now >= session.expires_at:
        raise Refusal(Reason.ATTESTATION_SESSION, "the session is not open, or not known to this tenant")
    setter = _setter(tables, signer, body, session)
    said = Attestation(
        key=body.key, value=body.value, one_time=body.one_time, max_uses=body.max_uses, ttl_ms=body.ttl_ms
    )
    _put(tables, body.session, session, setter, signer, said, _payer(tables, signer, session, body.decision))


def set_with_result(
    tables: Tables, signer: Signer, call: CallRow, said: Sequence[Attestation], *, counts: bool
) -> None:
    """Set the attestations in a tool's report, all or none.

    Only their form is checked if the session has ended, or if they do not count.

    Raises:
        Refusal: as `set_attestation`; ATTESTATION_FORM if a key occurs twice or there are too many.
    """
    if len(said) > limits.ATTESTATIONS_PER_REPORT_MAX or len({one.key for one in said}) < len(said):
        raise Refusal(
            Reason.ATTESTATION_FORM,
            f"a report carries at most {limits.ATTESTATIONS_PER_REPORT_MAX} attestations, each key once",
        )
    session, paid_by = session_of(tables, call) if counts else None, call.payer
    for one in said:
        _check_declared(tables, call, one.key)
        if session is not None and tables.now < session.expires_at:
            _put(tables, call.session_id, session, call.resource, signer, one, paid_by)
        else:
            _check_form(one)


def note_login(tables: Tables, signer: Signer, session_id: bytes, methods: Sequence[str]) -> None:
    """Attest that a person's login resists phishing, or take back the attestations of earlier ones.

    A login with such a method sets `phishing_resistant` until the session's end. One without takes it back from every
    other session of the same principal, in this record; each is taken back once, so there are no more of these writes
    than logins. Persons of a file say nothing of their methods.

    If the tables have no room, nothing is attested, and the session stands: calls that need it are denied, and
    principals that share a provider cannot keep each other from logging in.
    """
    session = tables.sessions.rows[session_id]
    if session.role != Role.USER or not is_provided(session.issuer):
        return
    strong = resistant(methods)
    if not strong:
        for other in tables.sessions.of(session.principal_id):
            for record in list(tables.attestations.of((other, PHISHING_RESISTANT))):
                if not tables.attestations.rows[record].revoked:
                    take_back(tables, record)
        return
    said = Attestation(key=PHISHING_RESISTANT, value=json.dumps(strong), one_time=False, max_uses=None, ttl_ms=None)
    mark = tables.savepoint()
    try:
        _put(tables, session_id, session, f"{signer.role}:{signer.principal_id}", signer, said, session.payer)
    except Refusal:
        tables.undo_to(mark)


def session_of(tables: Tables, call: CallRow) -> SessionRow | None:
    """Return the session that made a call, None if it has left. A later session of the same key is another session."""
    session = tables.sessions.get(call.session_id)
    return session if session is not None and session.opened_at == call.session_opened_at else None


def _payer(tables: Tables, signer: Signer, session: SessionRow, decision: bytes | None) -> str:
    """Return the payer of a record.

    The caller pays for a tool's record, with the tool as a guest (`shares`); a bridge's record counts with the sessions
    that the bridge opens; any other setter pays for its own records.
    """
    call = None if decision is None or signer.role != Role.TOOL else tables.calls.get(decision)
    if call is not None:
        return call.payer
    return session.payer if signer.role == Role.BRIDGE else payer_of(tables, signer.principal_id)


def _setter(tables: Tables, signer: Signer, body: AttestationSet, session: SessionRow) -> str:
    """Return the name under which the signer sets a key into a session. Raises Refusal."""
    match signer.role:
        case Role.TOOL:
            call = None if body.decision is None else tables.calls.get(body.decision)
            over = call is None or tables.now >= call.unknown_at  # a due row may still be here
            theirs = call is not None and not over and call.tool == signer.principal_id
            if call is None or not theirs or call.session_id != body.session or session_of(tables, call) is None:
                raise Refusal(Reason.ATTESTATION_SESSION, "`decision` is not an open call of this session to this tool")
            if call.observed:
                raise Refusal(Reason.ATTESTATION_SESSION, "the call is observed: enforcement would have denied it")
            _check_declared(tables, call, body.key)
            return call.resource
        case Role.BRIDGE:
            if session.opened_by != signer.kid:
                raise Refusal(Reason.ATTESTATION_SESSION, "a bridge attests only about sessions that it opened")
            allowed = is_reserved(body.key)
        case _:
            attributes = tables.keys.rows[signer.kid].attributes
            allowed = (
                not is_reserved(body.key)
                and matches_any(attributes.attests, body.key)
                and names.meets_any(attributes.subjects, session.principal_id)
            )
    if not allowed:
        raise Refusal(Reason.ATTESTATION_NOT_DECLARED)
    return f"{signer.role}:{signer.principal_id}"


def matches_any(patterns: Sequence[str], text: str) -> bool:
    """Return True if a text meets at least one of the patterns, in grant position. An empty list meets nothing."""
    return any(granting(pattern)(text) for pattern in patterns)


def _check_declared(tables: Tables, call: CallRow, key: str) -> None:
    resource = resource_row(tables, call.resource)
    if resource is None or resource.principal_id != call.tool:  # another tool owns it now
        raise Refusal(Reason.ATTESTATION_NOT_DECLARED, "the tool no longer offers this operation")
    if is_reserved(key) or not matches_any(resource.attests, key):
        raise Refusal(Reason.ATTESTATION_NOT_DECLARED, "the operation does not list this key in `attests`")


def _check_form(said: Attestation) -> None:
    try:
        parse_key(said.key, "")
        jcs.parse_strict(said.value.encode())
    except (PolicyError, jcs.MalformedJSONError, UnicodeEncodeError) as exc:
        want = "`key` is not an attestation key (docs/mapl.md 8), or `value` is not strict JSON"
        raise Refusal(Reason.ATTESTATION_FORM, want) from exc
    if len(said.value.encode()) > limits.ATTESTATION_VALUE_BYTES_MAX:
        raise Refusal(Reason.ATTESTATION_FORM, f"`value` has at most {limits.ATTESTATION_VALUE_BYTES_MAX} bytes")
    if said.max_uses is not None and not 1 <= said.max_uses <= (1 if said.one_time else USES_MAX):
        raise Refusal(Reason.ATTESTATION_FORM, f"`max_uses` is 1 to {USES_MAX}, or 1 with `one_time`")
    if said.ttl_ms is not None and not 0 < said.ttl_ms <= limits.ATTESTATION_TTL_MS_MAX:
        raise Refusal(Reason.ATTESTATION_FORM, f"`ttl_ms` is 1 to {limits.ATTESTATION_TTL_MS_MAX}")


def _put(
    tables: Tables,
    session_id: bytes,
    session: SessionRow,
    setter: str,
    signer: Signer,
    said: Attestation,
    paid_by: str,
) -> None:
    _check_form(said)
    known = tables.attestations.of((session_id, said.key))
    record = record_id(session_id, said.key, setter)
    if record not in known:
        _check_setters(tables, known, signer.principal_id)
    ends = None if said.ttl_ms is None else tables.now + said.ttl_ms
    leaves = session.expires_at if ends is None else min(session.expires_at, ends + limits.ATTESTATION_LINGER_MS)
    row = AttestationRow(
        session_id=session_id,
        key=said.key,
        setter=setter,
        by=signer.principal_id,
        value=said.value,
        position=tables.next_index,
        set_at=tables.now,
        expires_at=ends,
        max_uses=said.max_uses,
        one_time=said.one_time,
        uses=0,
        revoked=False,
        until=leaves,
        payer=paid_by,
        set_with=signer.kid,
    )
    tables.attestations.put(record, row)
    check_room(tables.attestations, row)


def _check_setters(tables: Tables, known: Sequence[bytes], principal_id: str) -> None:
    """Check that a key of a session has room for one more setter; each operation of a tool is a setter."""
    most, part = limits.SETTERS_PER_KEY_MAX, limits.SETTERS_PER_KEY_MAX // limits.SHARE_PART
    theirs = sum(tables.attestations.rows[one].by == principal_id for one in known)
    if len(known) >= most or theirs >= part:
        raise Refusal(Reason.LIMIT_EXCEEDED, f"a key of a session has at most {most} setters, {part} of one principal")


# ---- revoking and using up


def revoke(tables: Tables, signer: Signer, body: AttestationRevoked) -> None:
    """Revoke a record for its setter or an admin. Raises Refusal ATTESTATION_UNKNOWN, WRONG_PRINCIPAL."""
    row = tables.attestations.get(body.record)
    if row is None:
        raise Refusal(Reason.ATTESTATION_UNKNOWN)
    if signer.role != Role.ADMIN and signer.principal_id != row.by:
        raise Refusal(Reason.WRONG_PRINCIPAL, "an attestation is revoked by its setter or by an admin")
    take_back(tables, body.record)


def take_back(tables: Tables, record: bytes) -> None:
    """Mark a record as revoked."""
    tables.attestations.put(record, replace(tables.attestations.rows[record], revoked=True))


def records_of(tables: Tables, session_id: bytes, key: str) -> list[Record]:
    """Return the records of a session under a key, as policies judge them.

    A record that lasts for a session ends with the end that the session had when it was set, also if the session was
    renewed since: a renewal says nothing anew about how its holder logged in.
    """
    rows = (tables.attestations.rows[one] for one in tables.attestations.of((session_id, key)))
    return [_judged(tables, row) for row in rows if tables.now < row.until]


def held_since(tables: Tables, session_id: bytes, key: str, *, until: int) -> int | None:
    """Return the time of the newest record of a session under `key` that is in force now and stays so through `until`.

    Such a record is not revoked, has no limit of uses, and does not expire before `until` (ms). None if there is none.
    """
    lasting = (
        one.set_at
        for one in records_of(tables, session_id, key)
        if not one.revoked
        and not one.one_time
        and one.max_uses is None
        and (one.expires_at is None or until <= one.expires_at)
    )
    return max(lasting, default=None)


def _judged(tables: Tables, row: AttestationRow) -> Record:
    return Record(
        position=row.position,
        set_at=row.set_at,
        setter=row.setter,
        expires_at=row.expires_at,
        max_uses=row.max_uses,
        one_time=row.one_time,
        uses=row.uses,
        revoked=row.revoked or is_revoked(tables, row.set_with),
    )


def consume_record(tables: Tables, session_id: bytes, use: Use) -> bool:
    """Count one use of the record that served a decision. Return False if no record has that position."""
    for record in tables.attestations.of((session_id, use.key)):
        row = tables.attestations.rows[record]
        if row.position == use.position:
            tables.attestations.put(record, _used(row))
            return True
    return False


def _used(row: AttestationRow) -> AttestationRow:
    # `dataclasses.replace` takes four times as long, and this runs in every call that uses a record.
    return AttestationRow(
        session_id=row.session_id,
        key=row.key,
        setter=row.setter,
        by=row.by,
        value=row.value,
        position=row.position,
        set_at=row.set_at,
        expires_at=row.expires_at,
        max_uses=row.max_uses,
        one_time=row.one_time,
        uses=min(row.uses + 1, limits.USES_COUNTED_MAX),
        revoked=row.revoked,
        until=row.until,
        payer=row.payer,
        set_with=row.set_with,
    )


def uses_max(row: AttestationRow) -> int | None:
    """Return how often a record may be used in all, None for no limit."""
    return 1 if row.one_time else row.max_uses
