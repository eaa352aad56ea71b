"""Which session a call comes from, and whether it has ended, before a monitor that lies and a thief of the topic.

The topic can only take away. Nobody who writes there lets a session live; the key of its opener does.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from producers.kafka import sessions_view
from producers.kafka.digests import Digests
from producers.kafka.followed_topic import RegistryError
from schemas import limits, topics
from schemas.events.attributes import Attributes
from schemas.events.keys import KeyRotated
from tests.builders import Actor, keys_of, noise
from tests.producers.forging import TwinRegistry, TwinSessions
from tests.producers.session_place import Place, ended_key, session_key


@pytest.fixture
def place() -> Place:
    return Place()


def test_a_session_is_known_by_the_event_that_opened_it(place: Place) -> None:
    """Nothing is looked up; a host that has just started knows it as well, and again without verifying anew."""
    row = place.world.tables.sessions.rows[place.bot.kid]
    for view in (place.view, place.view, TwinSessions(place)):
        found = view.of_call(place.bot.kid, place.opening_of(place.bot))
        assert found is not None
        assert (found.principal_id, found.ed25519, found.expires_at) == ("bot", row.ed25519, row.expires_at)
    assert not place.view._registry.tables.sessions.rows


def test_a_call_without_its_session_is_nobodys(place: Place) -> None:
    """Also when the session is remembered, and stands on the topic."""
    assert place.caller() is not None

    assert place.view.of_call(place.bot.kid, None) is None


@pytest.mark.parametrize("remembered", [False, True])
def test_another_sessions_opening_opens_nothing(place: Place, remembered: bool) -> None:
    """Its key, and its principal, are others."""
    other = place.world.open_session(place.world.agent)
    carol = place.world.person("carol")
    if remembered:
        assert place.caller() is not None
        assert place.caller(other) is not None

    for theirs in (other, carol):
        assert place.caller(place.bot, place.opening_of(theirs)) is None
    assert (place.caller() is None) is False


@pytest.mark.parametrize(
    "forge",
    [
        pytest.param(lambda p, mine: p.signed(mine, p.world.agent, place_genesis=bytes(32)), id="another genesis"),
        pytest.param(lambda p, mine: p.signed(mine, p.world.agent, place_tenant="other"), id="another tenant"),
        pytest.param(lambda p, mine: p.signed(mine, p.world.agent, place_partition=1), id="another place"),
        pytest.param(lambda p, mine: p.signed(mine, p.world.monitor), id="the monitor opens it"),
        pytest.param(lambda p, mine: p.signed(mine, p.world.admin), id="an admin opens it"),
        pytest.param(
            lambda p, mine: p.signed(mine, Actor("agent", "bot", keys_of("nobody"))), id="an unregistered key opens it"
        ),
        pytest.param(lambda p, mine: p.signed(mine, p.world.bridge), id="a bridge opens it for a program"),
        pytest.param(lambda p, mine: p.signed(replace(mine, ttl_ms=10**12), p.world.agent), id="it lasts for ever"),
        pytest.param(
            lambda p, mine: p.signed(replace(mine, attributes=Attributes(roles=("admin",))), p.world.agent),
            id="with attributes of its own",
        ),
        pytest.param(
            lambda p, mine: p.signed(replace(mine, key=replace(mine.key, possession=bytes(64))), p.world.agent),
            id="without possession of its key",
        ),
        pytest.param(lambda p, _: replace(p.opening_of(p.bot), proof=bytes(72)), id="no signature"),
        pytest.param(lambda p, _: replace(p.opening_of(p.bot), kid=p.world.bridge.kid), id="another kid"),
        pytest.param(lambda p, _: replace(p.opening_of(p.bot), event=b""), id="no event"),
        pytest.param(lambda p, _: replace(p.opening_of(p.bot), event=bytes(10_000_000)), id="10 MB"),
    ],
)
def test_a_forged_opening_opens_nothing(place: Place, forge: Any) -> None:
    """For the very key of the session: who may open it, where and how is signed."""
    mine = place.world.session_of(place.world.agent, keys=place.bot.keys)
    assert place.caller(place.bot, place.signed(mine, place.world.agent)) is not None, "the control does not hold"

    assert TwinSessions(place).of_call(place.bot.kid, forge(place, mine)) is None


def test_a_key_of_the_registry_is_no_session(place: Place) -> None:
    """Opened with the tool's own key, its reports would count as calls."""
    mine = place.world.session_of(place.world.agent, keys=place.world.bank.keys)

    assert place.view.of_call(place.world.bank.kid, place.signed(mine, place.world.agent)) is None


@pytest.mark.parametrize("before", [False, True], ids=["before the host started", "while it runs"])
@pytest.mark.parametrize("how", ["close", "revoke_session", "opener"])
def test_a_session_that_was_ended_calls_no_more(place: Place, how: str, before: bool) -> None:
    """By itself, by an admin, or with the key that opened it; remembered or not."""
    if before:
        assert place.caller() is not None
    opened = place.opening_of(place.bot)
    if how == "opener":
        place.world.revoke("bot")
    else:
        getattr(place.world, how)(place.bot)

    for view in (place.view, TwinSessions(place)):
        assert view.of_call(place.bot.kid, opened) is None


def test_a_session_calls_no_more_when_its_row_has_left(place: Place) -> None:
    """The log has forgotten it by then, and its end stands on the topic for as long as its time was signed."""
    opened = place.opening_of(place.bot)
    place.world.close(place.bot)
    place.world.passes(limits.SESSION_LINGER_MS)
    assert place.bot.kid not in place.world.tables.sessions.rows

    last = [o for o in place.world.followed if o.topic is topics.SESSIONS and o.key == ended_key(place.bot)][-1]
    assert last.value is not None
    for view in (place.view, TwinSessions(place)):
        assert view.of_call(place.bot.kid, opened) is None
    assert topics.SESSIONS.retention_ms >= 2 * limits.SESSION_TTL_MS_MAX


def test_a_monitor_that_leaves_out_an_end_gains_the_signed_time_and_no_more(place: Place) -> None:
    """The bound that is honest: nobody notices, and the row says when it is over (`admission` looks at that)."""
    opened = place.opening_of(place.bot)
    place.world.close(place.bot)
    place.world.followed = [o for o in place.world.followed if o.key != ended_key(place.bot)]

    row = TwinSessions(place).of_call(place.bot.kid, opened)
    assert row is not None
    assert row.expires_at <= row.opened_at + limits.SESSION_TTL_MS_MAX


@pytest.mark.parametrize(
    "put",
    [
        pytest.param(lambda p: p.record(ended_key(p.bot)), id="a tombstone"),
        pytest.param(lambda p: p.record(ended_key(p.bot), partition=9), id="on another partition"),
        pytest.param(lambda p: p.record(ended_key(p.bot), p.end_of_another()), id="an event that ends another"),
        pytest.param(lambda p: p.record(ended_key(p.bot), value=bytes(10_000_000)), id="10 MB"),
    ],
)  # fmt: skip
def test_whoever_writes_to_the_topic_can_end_a_session_and_nothing_takes_that_back(place: Place, put: Any) -> None:
    """Only the monitor may write there, and it could refuse the calls as well. To be wrong this way is to be closed."""
    assert place.caller() is not None
    put(place)
    assert place.caller() is None

    for undo in (lambda: place.record(ended_key(place.bot)), lambda: place.record(session_key(place.bot))):
        undo()
        assert place.caller() is None


@pytest.mark.parametrize(
    "key", [b"ended/", b"ended/zz", b"ended/00", b"\xff\xfe", b"", b"ended", b"gone/" + b"00" * 32]
)
def test_keys_that_name_no_session_end_nothing(place: Place, key: bytes) -> None:
    """A hostile key is passed over."""
    place.record(key)

    assert place.caller() is not None


def test_tombstones_of_a_session_take_nothing_from_a_caller(place: Place) -> None:
    """Its opening comes with the call; that its row has left is no end."""
    place.record(session_key(place.bot))

    assert place.caller() is not None


def test_a_registry_or_a_topic_that_cannot_be_read_tells_nothing(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also of a session that is remembered."""
    assert place.caller() is not None

    def gone() -> None:
        raise RegistryError("gone")

    for topic in (place.view._topic, place.view._registry._topic):
        with monkeypatch.context() as patched:
            patched.setattr(topic, "freshen", gone)
            with pytest.raises(RegistryError):
                place.caller()
        assert place.caller() is not None


def test_more_ends_than_a_log_can_have_close_the_view(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rather that than to forget one."""
    monkeypatch.setattr(sessions_view, "ENDED_MAX", 3)
    for n in range(2):
        place.record(b"ended/" + noise("ended", n).hex().encode())
    assert place.caller() is not None
    for n in range(2, 9):
        place.record(b"ended/" + noise("ended", n).hex().encode())

    with pytest.raises(RegistryError, match="more than 3 ends"):
        place.caller()
    assert len(place.view._ended) == 3


def test_ends_are_forgotten_when_no_session_of_their_time_can_live(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not before: each is kept for a session's whole time at least, and for twice that at most."""
    now = 0.0
    monkeypatch.setattr(sessions_view.time, "monotonic", lambda: now)
    view = TwinSessions(place)
    first, then = (place.world.open_session(place.world.agent) for _ in range(2))
    assert sessions_view.KEPT_SECONDS * 1000 > limits.SESSION_TTL_MS_MAX + limits.SESSION_LINGER_MS
    now = sessions_view.KEPT_SECONDS - 1
    place.record(ended_key(first))
    assert view.is_ended(first.kid)

    now = 2 * sessions_view.KEPT_SECONDS - 2
    place.record(ended_key(then))
    assert view.is_ended(first.kid)
    now = 3 * sessions_view.KEPT_SECONDS
    place.record(ended_key(place.bot))
    assert (view.is_ended(first.kid), view.is_ended(then.kid)) == (False, True)


# ---- keys that were rotated


def rotate_bridge(place: Place, name: str) -> Actor:
    new = keys_of(name)
    offer = place.world.offer(new, "bridge", "bridge")
    body = KeyRotated(kid=place.world.bridge.kid, key=offer, reason="planned")
    assert place.world.send(body, place.world.admin).says == ("accepted", "")
    return Actor("bridge", "bridge", new)


def test_a_rotation_loses_no_session(place: Place) -> None:
    """What the old key opened goes on, for hosts that saw it before, that see it now, and that start later."""
    alice, carol = place.world.person("alice"), place.world.person("carol", "manager")
    assert place.caller(alice) is not None
    new = rotate_bridge(place, "next")

    for view in (place.view, TwinSessions(place)):
        for session in (alice, carol):
            row = view.of_call(session.kid, place.opening_of(session))
            assert row is not None
            assert row.expires_at == place.world.tables.sessions.rows[session.kid].expires_at
            assert view.that_signed(session.kid) is not None
    dave = place.world.person("dave", by=new)
    assert place.caller(dave) is not None


def test_a_key_that_was_rotated_opens_no_more(place: Place) -> None:
    """Its thief may date a session back, to no later than the rotation; so after a day nothing of it lives."""
    old, keys = place.world.bridge, keys_of("thief")
    body = place.world.person_session("user:thief", keys=keys)
    rotate_bridge(place, "next")
    slack = limits.ISSUED_BEHIND_MS_MAX + limits.ISSUED_AHEAD_MS_MAX
    session = Actor("session", "user:thief", keys)

    def opened(at: int) -> Any:
        return TwinSessions(place).of_call(session.kid, place.signed(body, old, issued_at=place.world.now + at))

    assert opened(slack) is not None
    assert opened(slack + 1) is None


def test_a_rotated_key_that_is_revoked_takes_its_sessions_along(place: Place) -> None:
    """Revocation is the remedy against a thief, and it covers the keys before."""
    alice = place.world.person("alice")
    assert place.caller(alice) is not None
    opened = place.opening_of(alice)
    rotate_bridge(place, "next")
    place.world.revoke("bridge")

    for view in (place.view, TwinSessions(place)):
        assert view.of_call(alice.kid, opened) is None


# ---- what is kept


def test_digests_are_found_whole_and_only_where_they_were_added() -> None:
    """Not across two neighbours, also in a bucket that somebody filled on purpose."""
    half = b"\x00\x00" + noise("half")[:14]
    crowd = [half + b"\x00\x00" + noise("crowd", n)[:14] for n in range(300)]
    held = Digests()
    for one in (*crowd, *crowd):
        held.add(one)

    assert len(held) == len(crowd)
    assert all(one in held for one in crowd)
    assert len([bucket for bucket in held._buckets if bucket]) == 1
    assert not [one for one in crowd if one[16:] + half in held]
    assert bytes(32) not in held


def test_the_registry_holds_no_session_that_it_has_judged(place: Place) -> None:
    """Thousands come by; each would stay for a day."""
    registry = TwinRegistry(place)
    view = TwinSessions(place, registry)
    for _ in range(20):
        session = place.world.open_session(place.world.agent)
        assert view.of_call(session.kid, place.opening_of(session)) is not None

    assert not registry.tables.sessions.rows
    assert not registry.tables._journal.entries
