"""A tool host and sessions that were renewed or logged out: it judges their time by signed events alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from typing import Any

import pytest

from processors.proof.signing import KID_HEADER, PROOF_HEADER
from producers.kafka.verified import MonitorSigned, UntrustedRecordError
from producers.tools.admission import AdmittedCall, admit
from schemas import codec, limits, topics
from schemas.events.attributes import Attributes
from schemas.events.keys import KeyRotated
from schemas.records import CallPayload, Decision, SignedEvent
from schemas.rows import SessionRow
from tests.builders import Actor, Folded, keys_of
from tests.logins_world import DAY_MS, LOGIN, MINUTE_MS, Logins, trusted
from tests.producers.forging import Record, TwinRegistry, TwinSessions, forged, record_of
from tests.world import HOUR_MS

CLOCKS_MS = limits.ISSUED_BEHIND_MS_MAX + limits.ISSUED_AHEAD_MS_MAX


class Place:
    """A world whose person was logged in an hour ago but for a minute, and what hosts see of it."""

    def __init__(self) -> None:
        self.world = Logins.opened("renewed")
        self.alice = self.world.login()
        self.opened_at = self.world.now
        self.view = TwinSessions(self)
        self.world.advance(HOUR_MS - MINUTE_MS)

    def event(self, session: Actor, name: str = "opened") -> SignedEvent:
        found = getattr(self.world.tables.sessions.rows[session.kid], name)
        assert isinstance(found, SignedEvent)
        return found

    def signed(self, body: Any, by: Actor, **tampering: Any) -> SignedEvent:
        value, headers = self.world.signed(body, by, **tampering)
        found = dict(headers)
        return SignedEvent(event=value, proof=found[PROOF_HEADER] or b"", kid=found[KID_HEADER] or b"")

    def renewal(self, *, by: Actor | None = None, after: int = 0, **other: Any) -> SignedEvent:
        """Return the renewal of alice as her bridge signs it, some ms from now, without folding it."""
        tampering = {name: other.pop(name) for name in ("place_genesis", "place_tenant") if name in other}
        tampering["issued_at"] = at = self.world.now + after
        body = self.world.renewal(
            self.alice, by=by, said={"expires_at": at + limits.LOGIN_MS, **other.pop("said", {})}, **other
        )
        return self.signed(body, by or self.world.gate, **tampering)

    def of_call(self, renewed: SignedEvent | None, *, fresh: bool = True) -> SessionRow | None:
        view = TwinSessions(self) if fresh else self.view
        return view.of_call(self.alice.kid, self.event(self.alice), renewed)


@pytest.fixture
def place() -> Place:
    return Place()


def test_a_host_judges_a_session_by_its_opening_and_its_renewal(place: Place) -> None:
    """By these alone: it has read neither from a topic, and keeps no session."""
    assert place.world.renew(place.alice).says == ("accepted", "")
    renewed = place.event(place.alice, "renewed")
    ends = place.world.ends(place.alice)

    for fresh in (False, False, True):
        row = place.of_call(renewed, fresh=fresh)
        assert row is not None
        assert (row.expires_at, row.principal_id) == (ends, place.alice.principal_id)
    before = place.of_call(None, fresh=False)
    assert before is not None
    assert before.expires_at == place.opened_at + HOUR_MS
    assert not place.view._registry.tables.sessions.rows


def test_a_later_renewal_holds_without_the_one_before(place: Place) -> None:
    """It came after the first end; and none gives more than a day after the opening."""
    for _ in range(3):
        assert place.world.renew(place.alice).says == ("accepted", "")
        place.world.advance(HOUR_MS - MINUTE_MS)
    assert place.world.renew(place.alice, ttl_ms=DAY_MS).says == ("accepted", "")

    row = place.of_call(place.event(place.alice, "renewed"))
    assert row is not None
    assert row.expires_at == place.world.ends(place.alice) == place.opened_at + DAY_MS


@pytest.mark.parametrize("behind_ms", [0, 200_000, limits.ISSUED_BEHIND_MS_MAX - 1_000, -limits.ISSUED_AHEAD_MS_MAX])
def test_a_bridge_whose_clock_goes_otherwise_renews_for_hosts_too(place: Place, behind_ms: int) -> None:
    """The log judges a login by its own time, and hosts know only when the bridge says that it signed."""
    body = place.world.renewal(place.alice)
    assert place.world.send(body, place.world.gate, issued_at=place.world.now - behind_ms).says == ("accepted", "")

    row = place.of_call(place.event(place.alice, "renewed"))
    assert row is not None
    assert row.expires_at >= place.opened_at + HOUR_MS


def another(place: Place) -> SignedEvent:
    bob = place.world.login("user:bob")
    assert place.world.renew(bob, ttl_ms=2 * HOUR_MS).says == ("accepted", "")
    return place.event(bob, "renewed")


FORGED: dict[str, Callable[[Place], SignedEvent]] = {
    "of another session": another,
    "an opening": lambda p: p.event(p.alice),
    "with the proof of an opening": lambda p: p.renewal(said={"is_renewal": False}),
    "without possession": lambda p: p.renewal(possession=bytes(64)),
    "for another token": lambda p: p.renewal(token_sha256=bytes(32)),
    "for longer than a day": lambda p: p.renewal(ttl_ms=DAY_MS + 1),
    "with an old login": lambda p: p.renewal(said={"expires_at": p.world.now - HOUR_MS}),
    "with a login of next year": lambda p: p.renewal(said={"expires_at": p.world.now + 365 * DAY_MS}),
    "by another bridge": lambda p: p.renewal(by=p.world.bridge_for("second")),
    "by a bridge that nobody registered": lambda p: p.renewal(by=Actor("bridge", "gate", keys_of("thief"))),
    "by the monitor": lambda p: p.signed(p.world.renewal(p.alice), p.world.monitor),
    "by the session": lambda p: p.signed(p.world.renewal(p.alice), p.alice),
    "of another log": lambda p: p.renewal(place_genesis=bytes(32)),
    "of another tenant": lambda p: p.renewal(place_tenant="other"),
    "without a signature": lambda p: replace(p.renewal(), proof=bytes(72)),
    "no event": lambda p: replace(p.renewal(), event=b""),
}


@pytest.mark.parametrize("forge", FORGED)
def test_a_renewal_that_does_not_hold_makes_the_call_nobodys(place: Place, forge: str) -> None:
    """Also while the first end is not over: an honest log sends none."""
    assert place.of_call(place.renewal()) is not None, "the control does not hold"

    for fresh in (True, False):
        assert place.of_call(FORGED[forge](place), fresh=fresh) is None


def test_a_renewal_ends_with_the_trust(place: Place) -> None:
    """One from before the end of the trust stands; from 310 s after it on none does."""
    world = place.world
    world.distrust()
    early, late = (place.renewal(after=at) for at in (CLOCKS_MS, CLOCKS_MS + 1))

    assert place.of_call(early) is not None
    assert place.of_call(late) is None
    world.accepted(trusted(attributes=Attributes(company="Acme")), world.admin)
    assert place.of_call(place.renewal()) is None


@pytest.mark.parametrize("end_sessions", [False, True])
def test_a_session_that_a_host_remembers_ends_with_its_provider(place: Place, end_sessions: bool) -> None:
    """There is no record of each end; the host asks its registry again at every call."""
    renewed = place.renewal()
    assert place.of_call(renewed, fresh=False) is not None
    place.world.distrust(end_sessions=end_sessions)

    found = [place.of_call(one, fresh=fresh) for one in (renewed, None) for fresh in (False, True)]
    assert [row is None or row.revoked for row in found] == [end_sessions] * 4


def test_keys_of_the_bridge_that_were_rotated_or_revoked(place: Place) -> None:
    """What the old key renewed before stands, and the next key renews; a revoked one takes its renewals along."""
    world, old = place.world, place.world.gate
    before = place.renewal()
    new = Actor("bridge", "gate", keys_of("next gate"))
    world.accepted(KeyRotated(kid=old.kid, key=world.offer(new.keys, "bridge", "gate"), reason="planned"), world.admin)
    late = place.renewal(after=CLOCKS_MS + 1)
    after = place.renewal(by=new)

    assert place.of_call(before) is not None
    assert place.of_call(place.renewal(after=CLOCKS_MS)) is not None
    assert place.of_call(late) is None
    assert place.of_call(after, fresh=False) is not None
    world.revoke("gate", kid=new.kid)
    for fresh in (True, False):
        assert place.of_call(after, fresh=fresh) is None
        assert place.of_call(before, fresh=fresh) is not None


def test_a_logout_reaches_hosts_at_once(place: Place) -> None:
    """Each session that it ends has its record; an approver's approvals no longer stand."""
    renewed = place.renewal()
    assert place.of_call(renewed, fresh=False) is not None
    place.world.logout(login_ref=LOGIN)

    for fresh in (True, False):
        assert place.of_call(renewed, fresh=fresh) is None
        row = (TwinSessions(place) if fresh else place.view).that_signed(place.alice.kid)
        assert row is not None
        assert row.revoked


def test_approvals_from_the_renewed_time_count(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that looked an approver's session up before its renewal looks again when that time is over."""
    clock = place.world.now
    monkeypatch.setattr("producers.kafka.sessions_view.clock_ms", lambda: clock)
    first = place.view.that_signed(place.alice.kid)
    assert first is not None
    assert place.world.renew(place.alice).says == ("accepted", "")
    clock += 2 * MINUTE_MS

    row = place.view.that_signed(place.alice.kid)
    assert row is not None
    assert row.expires_at == place.world.ends(place.alice) > first.expires_at


# ---- a call that comes with its renewal


def call_of(place: Place, by: Actor | None = None) -> tuple[Folded, CallPayload]:
    called = place.world.pay(by=by or place.alice)
    assert called.says == ("allowed", "")
    [output] = called.of(topics.DECISIONS)
    return called, codec.decode(codec.current("CallPayload"), output.payload or b"")


def admitted(place: Place, called: Folded, **changed: Any) -> AdmittedCall | None:
    """Let the bank's host judge a decision, perhaps with another payload under the monitor's own signature."""
    [output] = called.of(topics.DECISIONS)
    record: Record = record_of(place, output)
    if changed:
        payload = codec.encode(replace(codec.decode(codec.current("CallPayload"), output.payload or b""), **changed))
        said = codec.decode_as(Decision, output.value or b"")
        record = forged(place, output, replace(said, payload_sha256=sha256(payload).digest()), payload)
    registry = TwinRegistry(place)
    signed = MonitorSigned(registry, tenant=place.world.tenant, genesis=place.world.genesis)
    bank = place.world.bank
    return admit(
        record, signed, TwinSessions(place, registry), tool="bank", key=bank.keys, now_ms=place.world.tables.now
    )


def test_a_call_after_the_first_end_is_executed_with_its_renewal_only(place: Place) -> None:
    """Withheld, or that of another session, the call is not executed: only signed time counts."""
    assert place.world.renew(place.alice).says == ("accepted", "")
    theirs = another(place)
    place.world.advance(2 * MINUTE_MS)
    called, payload = call_of(place)
    assert payload.renewed == place.event(place.alice, "renewed")

    assert admitted(place, called) is not None
    with pytest.raises(UntrustedRecordError, match="the caller's session has ended"):
        admitted(place, called, renewed=None)
    with pytest.raises(UntrustedRecordError, match="no key of the registry has opened it"):
        admitted(place, called, renewed=theirs)


def test_a_call_that_brings_another_sessions_renewal_is_not_executed(place: Place) -> None:
    """Neither with the renewal alone, nor with the session that it belongs to."""
    theirs = another(place)
    called, payload = call_of(place)
    assert payload.renewed is None
    assert admitted(place, called) is not None

    with pytest.raises(UntrustedRecordError):
        admitted(place, called, renewed=theirs)
