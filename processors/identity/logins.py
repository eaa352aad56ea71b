"""The life of a session after its login: renewals, the provider's logout, counts of refused logins (docs/wire.md 17).

Only sessions that a bridge opened for the principal of an identity provider are renewed or end with a login.

    opened          renewed              renewed         the latest end
    |---- ttl ------|..  ttl ----------|.. ttl ---------|
    |------------------- SESSION_TTL_MS_MAX -------------------|

A renewal is a bridge's word that the provider vouches for the principal anew, and the session's own word that it asked
for it: its key signs the renewal, with the token and for that bridge. It gives time and nothing else. Attributes,
principal, vault and approvals stay those of the session. No renewal leads beyond a day after the opening: hosts forget
ends, calls and old sessions after a day (`limits.GRANT_OVER_MS`, `topics.DAYS_2`, `tools/executed.py`).
"""

from __future__ import annotations

import re
from dataclasses import replace

from processors.identity import issuers, login_proof, providers, sessions
from processors.intake.identify import Signer
from processors.proof.signing import SignatureError, login_bytes, verify_signature
from processors.refusal import Refusal
from processors.state.groups import groups_of_login, login_group, subject_group
from processors.state.tables import Tables
from schemas import codec, limits
from schemas.events.logins import LoginEnded, LoginProof, LoginRefused, SessionRenewed
from schemas.reasons import Reason
from schemas.records import Event, SignedEvent
from schemas.rows import SessionRow

_CODE = re.compile(r"[A-Z][A-Z0-9_]{0,63}")


def lasts_until(row: SessionRow) -> int:
    """Return the latest end (log time, ms) that renewals can give a session: rows that hang on it are kept so long.

    Such a row would leave too early if it were kept until the present end only: a limit of the session would begin anew
    with its renewal. If the session ends before, its rows leave behind it (`context/ended.py`).
    """
    return row.opened_at + limits.SESSION_TTL_MS_MAX if issuers.is_provided(row.issuer) else row.expires_at


def renew(tables: Tables, signer: Signer, body: SessionRenewed, signed: SignedEvent, *, is_alone: bool = False) -> bool:
    """Renew a session for its bridge, and return True if that gave it time. `signed` is the event as on intake.

    With `is_alone` the session is judged by its opening and this one event: an earlier renewal, which kept it open
    until now, is not at hand.

    Raises:
        Refusal: UNKNOWN_SESSION, EXPIRED_SESSION, WRONG_PRINCIPAL for the session of another bridge, WRONG_ROLE for an
            issuer that the signer is not registered for, UNKNOWN_PROVIDER if none vouches for it now, a name or
            attributes that are not within the provider's trust any more as `providers.check_terms` says, TOKEN_DIGEST,
            SESSION_TTL, LOGIN_PROOF, LOGIN_EXPIRED or
            BAD_POSSESSION.
    """
    row = tables.sessions.get(body.session)
    if row is None or row.revoked:
        raise Refusal(Reason.UNKNOWN_SESSION)
    if not issuers.is_provided(row.issuer):
        raise Refusal(Reason.UNKNOWN_PROVIDER, "no identity provider vouches for this session: it is opened anew")
    if tables.keys.rows[row.opened_by].principal_id != signer.principal_id:
        raise Refusal(Reason.WRONG_PRINCIPAL, "a bridge renews only sessions that it opened")
    _check_speaks_for(tables, signer, row.issuer)
    if not is_alone and tables.now >= row.expires_at:
        raise Refusal(Reason.EXPIRED_SESSION, "a session that has ended is not renewed")
    _check_same(row, body)
    providers.check_terms(tables, row)
    if len(body.token_sha256) != limits.DIGEST_BYTES:
        raise Refusal(Reason.TOKEN_DIGEST)
    if not 0 < body.ttl_ms <= limits.SESSION_TTL_MS_MAX:
        raise Refusal(Reason.SESSION_TTL)
    _check_proof(tables, signer, row, body)
    ends = min(tables.now + body.ttl_ms, lasts_until(row))
    key_ends = tables.keys.rows[signer.kid].expires_at
    if key_ends is not None:
        ends = min(ends, key_ends)
    if ends <= row.expires_at:
        return False  # the row keeps the renewal that gives the present end: it is the proof for others
    tables.sessions.put(body.session, replace(row, expires_at=ends, renewed=signed))
    return True


def _check_same(row: SessionRow, body: SessionRenewed) -> None:
    """Raise Refusal LOGIN_CHANGED unless the provider says the same as when the session was opened."""
    for name in ("principal_id", "issuer", "attributes", "actors", "subject_ref"):
        if getattr(body, name) != getattr(row, name):
            raise Refusal(Reason.LOGIN_CHANGED, f"`{name}` is not as when the session was opened")


def _check_proof(tables: Tables, signer: Signer, row: SessionRow, body: SessionRenewed) -> None:
    """Raise Refusal unless the session's key signed this renewal, for now, and for the first time.

    The last nonce is enough. An older proof serves again only until its own end, two minutes ahead at most, and only
    for its bridge, which could as well ask for more time at once.
    """
    proof = body.login
    if len(proof.nonce) != limits.LOGIN_NONCE_BYTES:
        raise Refusal(Reason.LOGIN_PROOF, f"`nonce` has {len(proof.nonce)} bytes, want {limits.LOGIN_NONCE_BYTES}")
    login_proof.check_time(tables.now, proof)
    if row.renewed is not None and _login_of(row.renewed).nonce == proof.nonce:
        raise Refusal(Reason.LOGIN_PROOF, "this login has renewed the session already")
    said = login_bytes(
        tables.genesis,
        signer.kid,
        body.token_sha256,
        ed25519=row.ed25519,
        x25519=row.x25519,
        nonce=proof.nonce,
        expires_at=proof.expires_at,
        is_renewal=True,
    )
    try:
        verify_signature(row.ed25519, said, body.possession)
    except SignatureError as exc:
        raise Refusal(Reason.BAD_POSSESSION, "the session's key did not sign this renewal") from exc


def _login_of(renewed: SignedEvent) -> LoginProof:
    event: Event = codec.decode_as(Event, renewed.event)
    assert isinstance(event.body, SessionRenewed)
    return event.body.login


def _check_speaks_for(tables: Tables, signer: Signer, issuer: str) -> None:
    """Raise Refusal WRONG_ROLE unless a bridge is registered for an issuer."""
    if not issuers.speaks_for(tables.keys.rows[signer.kid].attributes, issuer):
        raise Refusal(Reason.WRONG_ROLE, "the bridge is not registered for this issuer")


# ---- its end with the login


def admit(tables: Tables, session_id: bytes) -> None:
    """Check that one logout can end all sessions of a login or a subject with one record.

    Only the monitor calls it, as `sessions.admit`. Raises Refusal LIMIT_EXCEEDED.
    """
    row = tables.sessions.rows[session_id]
    for group in groups_of_login(row):
        if len(tables.sessions.of(group)) > limits.SESSIONS_PER_PERSON_MAX:
            most = limits.SESSIONS_PER_PERSON_MAX
            raise Refusal(Reason.LIMIT_EXCEEDED, f"a login or a subject has at most {most} sessions; close one first")


def end(tables: Tables, signer: Signer, body: LoginEnded) -> list[bytes]:
    """End the sessions of a login or a subject as if they were revoked, and return their ids, which may be none.

    Sessions that are over already are included, as in `sessions.end_sessions`: their delegations end too.

    Raises:
        Refusal: WRONG_ROLE for an issuer that the signer is not registered for; UNKNOWN_PROVIDER for one that the
            tenant has never trusted; LOGIN_FORM.
    """
    _check_speaks_for(tables, signer, body.issuer)
    _check_known(tables, body.issuer)
    refs = [ref for ref in (body.login_ref, body.subject_ref) if ref is not None]
    if not refs or any(len(ref) != limits.DIGEST_BYTES for ref in refs):
        raise Refusal(Reason.LOGIN_FORM, "give `login_ref`, `subject_ref` or both, each a digest of 32 bytes")
    by_login, by_subject = (
        None if ref is None else set(tables.sessions.of(group_of(body.issuer, ref)))
        for group_of, ref in ((login_group, body.login_ref), (subject_group, body.subject_ref))
    )
    found = by_login if by_subject is None else by_subject if by_login is None else by_login & by_subject
    ended = sorted(one for one in found or () if not tables.sessions.rows[one].revoked)
    sessions.end_each(tables, ended)
    return ended


# ---- refused logins


def check_refused(tables: Tables, signer: Signer, body: LoginRefused) -> None:
    """Check a bridge's note on refused logins: it has no effect, and can bring no free text onto the log.

    Raises:
        Refusal: LOGIN_FORM; WRONG_ROLE for an issuer that the signer is not registered for; UNKNOWN_PROVIDER for one
            that the tenant has never trusted.
    """
    if not _CODE.fullmatch(body.reason):
        raise Refusal(Reason.LOGIN_FORM, "`reason` must be 1 to 64 of A-Z, 0-9 and _, and begin with a letter")
    if len(body.login) != limits.DIGEST_BYTES:
        raise Refusal(Reason.LOGIN_FORM, f"`login` has {len(body.login)} bytes, want {limits.DIGEST_BYTES}")
    if body.count < 1:  # an int of Avro: at most 2^31 - 1
        raise Refusal(Reason.LOGIN_FORM, "`count` must be at least 1")
    if body.issuer is not None:
        _check_speaks_for(tables, signer, body.issuer)
        _check_known(tables, body.issuer)


def _check_known(tables: Tables, issuer: str) -> None:
    """Raise Refusal UNKNOWN_PROVIDER unless the tenant trusts an issuer, or has trusted it: no other text may stand."""
    if tables.providers.get(issuer.encode("utf-8", "surrogatepass")) is None:
        raise Refusal(Reason.UNKNOWN_PROVIDER)
