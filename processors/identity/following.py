"""The registry for others: clients, tool hosts and offline verifiers fold the same signed events by the same rules.

The `registry` topic carries the events of the tenant, its principals and their keys as they were signed, and
`registry.bin` of an export those and the events of sessions. Following them from the pinned genesis needs no trust in
the monitor that copied them. A single session is judged by its own events, under the keys that were followed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from processors.identity import engines, logins, offers, providers, registry, roots, rotation, sessions
from processors.identity.keys import check_decidable
from processors.intake.authority import MAY_SIGN, check_may_sign
from processors.intake.identify import Claim, Received, Signer, check_names, identify, read
from processors.intake.unsupported import check_supported
from processors.proof.signing import KID_HEADER, PROOF_HEADER, VerifiedHeads
from processors.refusal import Refusal
from processors.state.tables import Tables
from schemas import codec, limits
from schemas.events.engines import EngineActivated
from schemas.events.keys import AdminAdded, AdminRemoved, KeyRotated, RootRotated
from schemas.events.logins import LoginEnded, SessionRenewed
from schemas.events.providers import IdentityProviderDistrusted, IdentityProviderTrusted
from schemas.events.tools import ToolsOffered
from schemas.reasons import Reason
from schemas.records import (
    Body,
    Event,
    PrincipalRegistered,
    PrincipalRevoked,
    SessionClosed,
    SessionOpened,
    SessionRevoked,
    SignedEvent,
    TenantFounded,
)
from schemas.rows import KeyRow, SessionRow

Rules = Mapping[type, Callable[[Tables, Signer, Any, Received], object]]  # by body
_CLOCKS_MS = limits.ISSUED_BEHIND_MS_MAX + limits.ISSUED_AHEAD_MS_MAX  # two signers' clocks may differ so much


def follow(tables: Tables, received: Received, heads: VerifiedHeads, *, now: int | None = None) -> None:
    """Fold one record of an export's registry into `tables`.

    `now` is log time, if an audit entry gives it. Without it a few times are tried until one fits: the signer's own
    clock, then the last and the first time at which the log would have taken the event. The log may have judged keys
    that were about to expire at any of these times. Of a session's opening a fourth: the first at which its login held.

    Raises:
        Refusal: the event does not belong in a registry or does not hold; `tables` is unchanged.
        EngineMissingError: an event before this one activated an engine that is not installed here.
    """
    engines.engine_for(tables, received)
    claim = read(tables, received)
    if now is None:
        _fold(tables, received, claim, heads, _CHANGES)
    else:
        if claim.event is not None:
            _check_decidable(tables, claim.event.body, now)
        _fold_at(tables, received, claim, heads, _CHANGES, now)
    tables.commit()


def _check_decidable(tables: Tables, body: Body, now: int) -> None:
    """Raise Refusal NO_DECISION_KEY for an event that has no effect while no decision key is live at log time `now`."""
    before, tables.now = tables.now, now
    try:
        check_decidable(tables, body)
    finally:
        tables.now = before


class FollowedRegistry:
    """A tenant, its principals and their keys, as followed from the genesis; single sessions are judged by them.

    `tables` hold no session. Not for several threads at once.
    """

    def __init__(self, tables: Tables) -> None:
        self.tables = tables
        self._heads = VerifiedHeads()
        self._rotated: dict[bytes, KeyRow] = {}  # keys of bridges, as they were when they opened sessions

    def follow(self, received: Received) -> Event | None:
        """Fold one record of the `registry` topic, and return its event.

        Raises:
            Refusal: as `follow`, and WRONG_ROLE for an event of a session.
            EngineMissingError: an event before this one activated an engine that is not installed here.
        """
        engines.engine_for(self.tables, received)
        claim = read(self.tables, received)
        body = None if claim.event is None else claim.event.body
        before = self.tables.keys.get(body.kid) if isinstance(body, KeyRotated) else None
        _fold(self.tables, received, claim, self._heads, _OF_PRINCIPALS)
        self.tables.commit()
        is_opener = before is not None and before.role in MAY_SIGN[SessionOpened]
        if isinstance(body, KeyRotated) and before is not None and is_opener and self.tables.keys.rows[body.kid].spent:
            self._rotated[body.kid] = before
        return claim.event

    def session(
        self, opened: Received, ended: Received | None = None, *, renewed: Received | None = None
    ) -> tuple[bytes, SessionRow]:
        """Return the id of the session that `opened` opens, and its row, as `renewed` and `ended` have left it.

        An end that does not hold counts as a revocation: in the place of the session's end it may hide one.

        Raises:
            Refusal: `opened` does not open a session, or `renewed` does not renew this one; a signer of them is not
                registered or is revoked, or a signature or content does not hold.
        """
        tables = self.tables
        mark, before = tables.savepoint(), tables.now
        try:
            opening = read(tables, opened)
            acts = [(opened, opening, _OPENING)]
            if renewed is not None:
                acts.append((renewed, read(tables, renewed), _RENEWING))
            last_of = {kid: self._restore(kid) for kid in dict.fromkeys(claim.kid for _, claim, _ in acts)}
            last = self._restore_providers(opening.event)
            for received, claim, rules in acts:
                _fold(tables, received, claim, self._heads, rules)
                if tables.now > min(last, last_of[claim.kid]):
                    raise Refusal(Reason.EXPIRED_KEY)
            [(session_id, row)] = tables.sessions.rows.items()
            if ended is not None:
                try:
                    _fold(tables, ended, read(tables, ended), self._heads, _ENDS)
                    row = tables.sessions.rows[session_id]
                except Refusal:
                    row = replace(row, revoked=True)
            if self.is_ended_with_provider(row):
                row = replace(row, revoked=True)
            return session_id, row
        finally:
            tables.undo_to(mark)
            tables.now = before
            tables.commit()  # of nothing: it lets the heap of deadlines forget this session

    def is_ended_with_provider(self, row: SessionRow) -> bool:
        """Whether the sessions of a provider were ended, this one among them as far as two signers' clocks tell."""
        provider = self.tables.providers.get(row.issuer.encode())
        ended_at = None if provider is None else provider.sessions_ended_at
        return ended_at is not None and row.opened_at <= ended_at + _CLOCKS_MS

    def _restore(self, kid: bytes | None) -> int:
        """Restore a rotated key for as long as a session of it is judged; return when it can have signed last."""
        row = None if kid is None else self._rotated.get(kid)
        if kid is None or row is None:
            return limits.FOR_EVER_MS
        now = self.tables.keys.rows[kid]
        self.tables.keys.put(kid, replace(row, revoked_at=now.revoked_at))
        return (now.expires_at or 0) + _CLOCKS_MS

    def _restore_providers(self, event: Event | None) -> int:
        """Restore the trust in a session's provider while the session is judged; return when it can have opened it.

        Where the session has actors, also the trust in others, unless it had ended before the session can have begun.
        """
        if event is None or not isinstance(event.body, SessionOpened) or event.body.issuer is None:
            return limits.FOR_EVER_MS
        own, last = event.body.issuer.encode("utf-8", "surrogatepass"), limits.FOR_EVER_MS
        for key, row in list(self.tables.providers.rows.items()):
            if row.ended_at is None:
                continue
            if key == own:
                last = row.ended_at + _CLOCKS_MS
            elif not event.body.actors or row.ended_at + _CLOCKS_MS < event.header.issued_at:
                continue
            self.tables.providers.put(key, replace(row, ended_at=None))
        return last


def _fold(tables: Tables, received: Received, claim: Claim, heads: VerifiedHeads, rules: Rules) -> None:
    """Fold one record at the first time that fits, without committing it. Raises Refusal, `tables` unchanged."""
    why: Refusal | None = None
    for at in _times(claim.event):
        try:
            _fold_at(tables, received, claim, heads, rules, at)
        except Refusal as refusal:
            why = why or refusal
        else:
            return
    assert why is not None
    raise why


def _times(event: Event | None) -> list[int]:
    """Return the log times at which an event may have been accepted, as far as a rule can tell them apart."""
    at = 0 if event is None else event.header.issued_at
    first, last = at - limits.ISSUED_AHEAD_MS_MAX, at + limits.ISSUED_BEHIND_MS_MAX
    found = [at, last, first]
    if event is not None and isinstance(event.body, SessionOpened | SessionRenewed) and event.body.login is not None:
        begins = event.body.login.expires_at - limits.LOGIN_AHEAD_MS_MAX  # a login holds for two minutes only
        found += [begins] if first < begins < last else []
    return found


def _fold_at(tables: Tables, received: Received, claim: Claim, heads: VerifiedHeads, rules: Rules, now: int) -> None:
    mark, before = tables.savepoint(), tables.now
    try:
        tables.now = now
        event, signer = identify(tables, claim, heads)
        check_names(event, signer)
        check_may_sign(signer.role, event.body)
        check_supported(event.body, tables.engine.number)
        rule = rules.get(type(event.body))
        if rule is None:
            raise Refusal(Reason.WRONG_ROLE, f"{claim.kind} does not belong here")  # noqa: TRY301
        rule(tables, signer, event.body, received)
    except Refusal:
        tables.undo_to(mark)
        tables.now = before
        raise


def _found(tables: Tables, _: Signer, body: TenantFounded, received: Received) -> None:
    assert received.value is not None
    roots.found(tables, body, received.value[codec.FRAME_BYTES :], 0)


def _remove_admin(tables: Tables, _: Signer, body: AdminRemoved, __: Received) -> None:
    sessions.end_sessions(tables, roots.remove_admin(tables, body))


def _revoke(tables: Tables, signer: Signer, body: PrincipalRevoked, _: Received) -> None:
    sessions.end_sessions(tables, registry.revoke(tables, signer, body))


def _distrust(tables: Tables, _: Signer, body: IdentityProviderDistrusted, __: Received) -> None:
    providers.distrust(tables, body)
    if body.end_sessions:
        sessions.end_sessions_of(tables, body.issuer)


def _signed(received: Received) -> SignedEvent:
    """Return a record as it stood on intake. Requires a value, and one header of each name."""
    assert received.value is not None
    proof, kid = received.header(PROOF_HEADER), received.header(KID_HEADER)
    return SignedEvent(event=received.value, proof=proof, kid=kid)


_OF_PRINCIPALS: Rules = {
    TenantFounded: _found,
    EngineActivated: lambda tables, _, body, __: engines.activate(tables, body),
    AdminAdded: lambda tables, _, body, __: roots.add_admin(tables, body),
    AdminRemoved: _remove_admin,
    RootRotated: lambda tables, _, body, __: roots.rotate_roots(tables, body),
    KeyRotated: lambda tables, signer, body, _: rotation.rotate(tables, signer, body),
    PrincipalRegistered: lambda tables, signer, body, _: registry.register(tables, signer, body),
    PrincipalRevoked: _revoke,
    IdentityProviderTrusted: lambda tables, _, body, __: providers.trust(tables, body),
    IdentityProviderDistrusted: _distrust,
}
_RENEWAL: Rules = {
    SessionRenewed: lambda tables, signer, body, received: logins.renew(tables, signer, body, _signed(received)),
}
_RENEWING: Rules = {
    SessionRenewed: lambda tables, signer, body, received: logins.renew(
        tables, signer, body, _signed(received), is_alone=True
    ),
}
_OPENING: Rules = {SessionOpened: lambda tables, signer, body, _: sessions.open_session(tables, signer, body)}
_OFFERING: Rules = {
    ToolsOffered: lambda tables, signer, body, received: offers.offer(tables, signer, body, _signed(received)),
}
_ENDS: Rules = {
    SessionClosed: lambda tables, signer, _, __: sessions.close(tables, signer),
    SessionRevoked: lambda tables, signer, body, _: sessions.revoke(tables, signer, body),
    LoginEnded: lambda tables, signer, body, _: logins.end(tables, signer, body),
}
# INVARIANT: the kinds of `evidence/folder_format.REGISTRY_KINDS`; `tests/processors/test_evidence_monitor.py` compares.
_CHANGES: Rules = {**_OF_PRINCIPALS, **_OPENING, **_RENEWAL, **_OFFERING, **_ENDS}
