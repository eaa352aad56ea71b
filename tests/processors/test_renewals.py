"""The life of a session after its login: renewed by its bridge and its own key, ended by its provider, never longer."""

from dataclasses import replace
from typing import Any

import pytest

from processors.calls.attestations import record_id
from processors.identity.logins import lasts_until
from schemas import codec, limits, topics
from schemas.changes import SessionChanged
from schemas.events.attributes import Attributes
from schemas.events.keys import KeyRotated
from schemas.records import CallPayload, SessionOpened
from tests.builders import Actor, keys_of, noise
from tests.logins_world import ACME, ALICE, DAY_MS, LOGIN, MINUTE_MS, Logins, refused, trusted
from tests.workflow_world import PAY
from tests.world import HOUR_MS


@pytest.fixture
def world() -> Logins:
    return Logins.opened()


# ---- a renewal


def test_a_renewed_session_goes_on_with_all_it_has(world: Logins) -> None:
    """Principal, attributes and vault stay; the end moves, and the topic of sessions and the views hear of it."""
    alice = world.login()
    world.put(alice, "note", "mine")
    world.advance(HOUR_MS - 1)
    before = world.tables.sessions.rows[alice.kid]
    folded = world.renew(alice)

    assert folded.says == ("accepted", "")
    row = world.tables.sessions.rows[alice.kid]
    assert row.expires_at == world.now + HOUR_MS
    assert row == replace(before, expires_at=row.expires_at, renewed=row.renewed)
    [output] = folded.of(topics.SESSIONS)
    assert (output.key, output.value) == (b"renewed/" + alice.kid.hex().encode(), folded.received.value)
    [shown] = [codec.decode_as(SessionChanged, one.value) for one in folded.feed if one.topic is topics.OPS_SESSIONS]
    assert (shown.status, shown.expires_at) == ("open", row.expires_at)

    world.advance(HOUR_MS - 1)
    assert world.get(alice, "note").says == ("accepted", "")
    called = world.pay(by=alice)
    assert called.says == ("allowed", "")
    payload = codec.decode(codec.current("CallPayload"), called.of(topics.DECISIONS)[0].payload or b"")
    assert isinstance(payload, CallPayload)
    assert (payload.session, payload.renewed) == (row.opened, row.renewed)
    world.advance(1)
    assert world.pay(by=alice).says == ("refused", "EXPIRED_SESSION")


def test_a_renewal_gives_a_day_after_the_opening_at_most(world: Logins) -> None:
    """However often, and whatever it asks for. Constants of hosts and topics depend on that day."""
    alice = world.login(ttl_ms=DAY_MS - HOUR_MS)
    opened_at = world.now
    world.advance(DAY_MS - 2 * HOUR_MS)
    assert world.renew(alice, ttl_ms=DAY_MS).says == ("accepted", "")
    assert world.ends(alice) == opened_at + DAY_MS

    world.advance(2 * HOUR_MS - 1)
    assert world.renew(alice, ttl_ms=DAY_MS).says == ("accepted", "")
    assert world.ends(alice) == opened_at + DAY_MS
    world.advance(1)
    assert refused(world, lambda: world.renew(alice)) == "EXPIRED_SESSION"


def test_a_renewal_never_shortens_and_the_proof_of_the_present_end_stays(world: Logins) -> None:
    """Otherwise a host would be shown a renewal that gives less time than the log does."""
    alice = world.login()
    assert world.renew(alice, ttl_ms=10 * HOUR_MS).says == ("accepted", "")
    row = world.tables.sessions.rows[alice.kid]

    folded = world.renew(alice, ttl_ms=MINUTE_MS)
    assert folded.says == ("accepted", "")
    assert world.tables.sessions.rows[alice.kid] == row
    assert not folded.of(topics.SESSIONS)


def test_a_renewal_ends_with_the_key_of_its_bridge(world: Logins) -> None:
    """As an opening does."""
    ends = world.now + 3 * HOUR_MS
    gate = world.bridge_for("short", expires_at=ends)
    alice = world.login(by=gate)
    world.advance(HOUR_MS // 2)

    assert world.renew(alice, by=gate, ttl_ms=DAY_MS).says == ("accepted", "")
    assert world.ends(alice) == ends


def test_the_next_key_of_the_bridge_renews_and_the_old_one_does_not(world: Logins) -> None:
    """A rotation ends no session and keeps none from living on."""
    alice = world.login()
    new = Actor("bridge", "gate", keys_of("next gate"))
    body = KeyRotated(kid=world.gate.kid, key=world.offer(new.keys, "bridge", "gate"), reason="planned")
    world.accepted(body, world.admin)
    world.advance(MINUTE_MS)

    assert refused(world, lambda: world.renew(alice)) == "EXPIRED_KEY"
    assert world.renew(alice, by=new).says == ("accepted", "")
    assert world.ends(alice) == world.now + HOUR_MS
    # A thief of the next key may have made the renewal: with the key the session ends, as one that it opened.
    assert world.revoke("gate", kid=new.kid).says == ("accepted", "")
    assert world.tables.sessions.rows[alice.kid].revoked
    assert world.pay(by=alice).says == ("refused", "EXPIRED_SESSION")


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "another name": ({"principal_id": "user:bob"}, "LOGIN_CHANGED"),
    "another issuer": ({"issuer": "https://b.example"}, "LOGIN_CHANGED"),
    "more attributes": ({"attributes": Attributes(company="Acme", roles=("admin",))}, "LOGIN_CHANGED"),
    "no attributes": ({"attributes": Attributes()}, "LOGIN_CHANGED"),
    "actors": ({"actors": ("user:bot",)}, "LOGIN_CHANGED"),
    "another subject": ({"subject_ref": bytes(32)}, "LOGIN_CHANGED"),
    "no time": ({"ttl_ms": 0}, "SESSION_TTL"),
    "negative time": ({"ttl_ms": -1}, "SESSION_TTL"),
    "more than a day": ({"ttl_ms": DAY_MS + 1}, "SESSION_TTL"),
    "another session": ({"session": bytes(32)}, "UNKNOWN_SESSION"),
    "no session": ({"session": b""}, "UNKNOWN_SESSION"),
    "another token": ({"token_sha256": noise("another")}, "BAD_POSSESSION"),
    "a short token digest": ({"said": {"token_sha256": bytes(31)}}, "TOKEN_DIGEST"),
    "a short nonce": ({"said": {"nonce": bytes(15)}}, "LOGIN_PROOF"),
    "a long nonce": ({"said": {"nonce": bytes(17)}}, "LOGIN_PROOF"),
    "the tag of an opening": ({"said": {"is_renewal": False}}, "BAD_POSSESSION"),
    "another tenant": ({"said": {"genesis": bytes(32)}}, "BAD_POSSESSION"),
    "another bridge": ({"said": {"bridge": bytes(32)}}, "BAD_POSSESSION"),
    "other keys": ({"said": {"x25519": bytes(32)}}, "BAD_POSSESSION"),
    "no possession": ({"possession": b""}, "BAD_POSSESSION"),
    "an empty possession": ({"possession": bytes(64)}, "BAD_POSSESSION"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_renewal_is_complete_and_signed_by_its_session(world: Logins, wrong: str) -> None:
    """A bridge alone keeps no session open: the holder asked for it, with this token, at this bridge."""
    alice = world.login()
    world.advance(MINUTE_MS)
    other, reason = WRONG[wrong]

    assert refused(world, lambda: world.renew(alice, **other)) == reason


@pytest.mark.parametrize(
    ("ends_in", "fits"),
    [
        (0, False), (-1, False), (1, True), (limits.LOGIN_AHEAD_MS_MAX, True), (limits.LOGIN_AHEAD_MS_MAX + 1, False),
    ],
)  # fmt: skip
def test_a_login_has_its_time(world: Logins, ends_in: int, fits: bool) -> None:
    """One that was signed long ago, or for long, does not serve."""
    alice = world.login()
    world.advance(MINUTE_MS)
    said = {"expires_at": world.now + ends_in}

    if fits:
        assert world.renew(alice, said=said).says == ("accepted", "")
    else:
        assert refused(world, lambda: world.renew(alice, said=said)) == "LOGIN_EXPIRED"


@pytest.mark.parametrize("expires_at", [-1, 0, -(2**63), 2**63 - 1])
def test_no_time_of_a_login_breaks_the_rule(world: Logins, expires_at: int) -> None:
    """It is a long of Avro, and stands in the signed bytes unsigned."""
    alice = world.login()
    body = world.renewal(alice)
    body = replace(body, login=replace(body.login, expires_at=expires_at))

    assert refused(world, lambda: world.send(body, world.gate)) == "LOGIN_EXPIRED"


def test_a_renewal_serves_once(world: Logins) -> None:
    """The bridge that repeats it later, within the time of the login, gains nothing."""
    alice = world.login()
    world.advance(MINUTE_MS)
    body = world.renewal(alice)
    world.accepted(body, world.gate)
    world.advance(1_000)

    assert refused(world, lambda: world.send(body, world.gate)) == "LOGIN_PROOF"
    assert refused(world, lambda: world.send(replace(body, ttl_ms=DAY_MS), world.gate)) == "LOGIN_PROOF"
    assert world.renew(alice).says == ("accepted", "")


def test_another_bridge_renews_nothing(world: Logins) -> None:
    """Neither one of the same issuer nor anybody else: who opened a session speaks for it."""
    alice, bob = world.login(), world.login("user:bob", by=world.bridge_for("second"))
    other = world.bridge_for("third")

    assert refused(world, lambda: world.renew(alice, by=other)) == "WRONG_PRINCIPAL"
    assert refused(world, lambda: world.renew(bob, by=other)) == "WRONG_PRINCIPAL"
    # With the proof of another session, and for another session.
    proof = world.renewal(alice)
    assert refused(world, lambda: world.send(replace(proof, session=bob.kid), world.gate)) == "WRONG_PRINCIPAL"
    tablet = world.login()
    assert refused(world, lambda: world.send(replace(proof, session=tablet.kid), world.gate)) == "BAD_POSSESSION"
    for by in (world.admin, world.monitor, alice):
        assert refused(world, lambda by=by: world.send(world.renewal(alice), by)) == "WRONG_ROLE"


@pytest.mark.parametrize("how", ["close", "revoke_session", "run out", "logout", "distrust"])
def test_a_session_that_has_ended_is_not_renewed(world: Logins, how: str) -> None:
    """Not closed, revoked, run out or logged out; nor once nobody vouches for it, when it only goes on to its end."""
    alice = world.login()
    reason = {"close": "EXPIRED_SESSION", "run out": "EXPIRED_SESSION", "distrust": "UNKNOWN_PROVIDER"}
    match how:
        case "run out":
            world.advance(HOUR_MS)
        case "logout":
            world.logout(login_ref=LOGIN)
        case "distrust":
            world.distrust()
        case _:
            getattr(world, how)(alice)

    assert refused(world, lambda: world.renew(alice)) == reason.get(how, "UNKNOWN_SESSION")


@pytest.mark.parametrize(
    ("terms", "reason"),
    [
        ({"name_pattern": "user:b*"}, "WRONG_PRINCIPAL"),
        ({"attributes": Attributes(company="Acme")}, "ATTRIBUTE_INVALID"),
        ({"attributes": Attributes(company="Other", roles=("*",))}, "ATTRIBUTE_INVALID"),
        ({"audiences": ("other",)}, ""),
    ],
)
def test_a_session_is_renewed_within_the_trust_as_it_is_now(world: Logins, terms: dict[str, Any], reason: str) -> None:
    """An admin who narrows it ends within one life of a token what is beyond it."""
    alice = world.login()
    world.accepted(trusted(**terms), world.admin)

    if reason:
        assert refused(world, lambda: world.renew(alice)) == reason
    else:
        assert world.renew(alice).says == ("accepted", "")


def test_only_sessions_of_providers_are_renewed(world: Logins) -> None:
    """A program opens its own anew, and a file of persons has no tokens."""
    dave = world.person("dave")
    for session, by in ((world.bot, world.gate), (dave, world.bridge), (dave, world.gate)):
        assert refused(world, lambda s=session, b=by: world.renew(s, by=b)) == "UNKNOWN_PROVIDER"


def test_a_bridge_renews_for_issuers_that_its_key_is_registered_for(world: Logins) -> None:
    """A further key of the bridge, for another issuer, is not enough."""
    alice = world.login()
    world.accepted(trusted("https://b.example", namespace="b", name_pattern="user:b/*"), world.admin)
    other = world.bridge_for("gate", "https://b.example", keys=keys_of("other key"))

    assert refused(world, lambda: world.renew(alice, by=other)) == "WRONG_ROLE"


# ---- what hangs on it


def test_a_limit_of_the_session_does_not_begin_anew(world: Logins) -> None:
    """Counters, taints and marks of a session are kept as long as it may live: a renewal buys no second allowance."""
    rule = {"id": "two", "at_most": 2, "per": "session", "when": PAY}
    world.publish_policy({"policy_id": ALICE, "resources": ["**"], "sequence": [rule]})
    alice = world.login()
    assert [world.pay(by=alice).says[0] for _ in range(3)] == ["allowed", "allowed", "denied"]
    world.advance(HOUR_MS - 1)
    world.renew(alice)
    world.passes(MINUTE_MS)

    assert world.pay(by=alice).says == ("denied", "SEQUENCE_LIMIT")


def test_what_was_said_of_the_login_is_not_prolonged(world: Logins) -> None:
    """A renewal says nothing about how its holder logged in: the bridge says it anew, or not."""
    world.require("phishing_resistant", who=ALICE)
    alice = world.login()
    while record_id(alice.kid, "phishing_resistant", "bridge:gate")[0] < 0xE0:  # rows leave in order of their ids
        alice = world.login()
    assert world.attest(world.gate, alice, "phishing_resistant").says == ("accepted", "")
    for number in range(200):  # more than leave with one record
        world.attest(world.gate, alice, f"macaw.k{number}")
    assert world.pay(by=alice).says == ("allowed", "")
    ends = world.ends(alice)
    world.advance(HOUR_MS - 1)
    world.renew(alice)
    assert world.pay(by=alice).says == ("allowed", "")
    world.advance(1)
    assert world.now == ends

    assert world.pay(by=alice).says[0] == "denied"
    assert record_id(alice.kid, "phishing_resistant", "bridge:gate") in world.tables.attestations.rows
    assert world.attest(world.gate, alice, "phishing_resistant").says == ("accepted", "")
    assert world.pay(by=alice).says == ("allowed", "")


def test_a_call_that_waits_keeps_the_time_that_people_were_shown(world: Logins) -> None:
    """Its requests never move; after the renewal the same call waits again."""
    world.require("approved", who=ALICE, approval_criteria="role:manager", timeout=7200)
    alice = world.login()
    asked = world.pay(by=alice)
    assert asked.says[0] == "pending"
    world.advance(MINUTE_MS)
    world.renew(alice)
    world.passes(HOUR_MS - MINUTE_MS)

    assert world.final(asked).outcome == "denied"
    assert world.pay(by=alice).says[0] == "pending"


def test_rows_of_a_session_that_was_not_renewed_leave_behind_it(world: Logins) -> None:
    """They are kept for the longest life, and its key opens no other session while one is left."""
    alice = world.login()
    row = world.tables.sessions.rows[alice.kid]
    assert lasts_until(row) == row.opened_at + DAY_MS
    for number in range(200):
        world.put(alice, f"key{number}", number)

    def again() -> SessionOpened:
        return world.provided_session(
            ALICE, world.gate, keys=alice.keys, issuer=ACME, attributes=Attributes(company="Acme")
        )

    world.advance(HOUR_MS + limits.SESSION_LINGER_MS)
    world.tick()
    assert world.tables.vault.rows
    assert world.send(again(), world.gate).says == ("refused", "KEY_TAKEN")
    for _ in range(5):
        world.tick()

    assert not world.tables.vault.rows
    assert not world.tables.scopes.rows
    assert alice.kid not in world.tables.sessions.rows
    assert world.send(again(), world.gate).says == ("accepted", "")
    assert world.get(alice, "key1").says == ("accepted", "")
    assert not world.tables.vault.rows


def test_a_renewed_session_leaves_the_topic_whole(world: Logins) -> None:
    """Both of its records get a tombstone when its row leaves."""
    alice = world.login()
    world.advance(MINUTE_MS)
    world.renew(alice)
    world.advance(HOUR_MS + limits.SESSION_LINGER_MS)
    left = [one.key for one in world.tick().of(topics.SESSIONS) if alice.kid.hex().encode() in (one.key or b"")]

    name = alice.kid.hex().encode()
    assert left == [b"session/" + name, b"renewed/" + name]
