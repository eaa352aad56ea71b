"""The session of an approver is looked up on its partition: as its end has left it, or not at all."""

from __future__ import annotations

from typing import Any

import pytest

from schemas import topics
from tests.builders import Actor, keys_of
from tests.producers.forging import TwinSessions
from tests.producers.session_place import Place, ended_key, session_key


@pytest.fixture
def place() -> Place:
    return Place()


def test_a_session_is_looked_up_on_its_partition_as_its_end_has_left_it(place: Place) -> None:
    """Open, closed, revoked: what a closed one signed before keeps its signer."""
    carol = place.world.person("carol", "manager")
    for view in (place.view, TwinSessions(place)):
        found = view.that_signed(carol.kid)
        assert found is not None
        assert (found.principal_id, found.revoked, found.attributes.roles) == ("user:carol", False, ("manager",))

    place.world.close(carol)
    closed = place.view.that_signed(carol.kid)
    assert closed is not None
    assert (closed.revoked, closed.expires_at) == (False, place.world.now)

    place.world.revoke_session(carol)
    revoked = place.view.that_signed(carol.kid)
    assert revoked is not None
    assert revoked.revoked


def test_the_sessions_of_a_revoked_bridge_have_signed_nothing(place: Place) -> None:
    """Remembered or not."""
    carol = place.world.person("carol", "manager")
    assert place.view.that_signed(carol.kid) is not None
    place.world.revoke("bridge")

    for view in (place.view, TwinSessions(place)):
        assert view.that_signed(carol.kid) is None


@pytest.mark.parametrize(
    ("key", "partition"),
    [(session_key, 1), (ended_key, 0)],
    ids=["on another partition", "under another key"],
)
def test_a_session_that_stands_elsewhere_is_not_found(place: Place, key: Any, partition: int) -> None:
    """It is looked for under its own key on its own partition only."""
    carol = place.world.person("carol", "manager")
    there = topics.keyed_partition(carol.kid)
    place.world.followed = [
        o._replace(key=key(carol), partition=(there + partition) % 4) if o.key == session_key(carol) else o
        for o in place.world.followed
    ]

    assert place.view.that_signed(carol.kid) is None


def test_another_sessions_event_under_a_key_is_nobodys(place: Place) -> None:
    """The key is not signed, the event is."""
    carol = place.world.person("carol", "manager")
    mallory = Actor("session", "user:mallory", keys_of("mallory"))
    [opened] = [o for o in place.world.followed if o.key == session_key(carol)]
    place.world.followed.append(
        opened._replace(key=session_key(mallory), partition=topics.keyed_partition(mallory.kid))
    )

    assert place.view.that_signed(mallory.kid) is None
    assert place.view.that_signed(carol.kid) is not None


@pytest.mark.parametrize(
    "value", [None, b"", b"not a record", bytes(10_000_000)], ids=["none", "empty", "noise", "10 MB"]
)
@pytest.mark.parametrize("hides_a_close", [False, True])
def test_what_does_not_end_an_approvers_session_counts_as_its_revocation(
    place: Place, value: bytes | None, hides_a_close: bool
) -> None:
    """It may hide one. Nor does it help to take it away again: a running host remembers."""
    carol = place.world.person("carol", "manager")
    if hides_a_close:
        place.world.close(carol)
    place.record(ended_key(carol), partition=topics.keyed_partition(carol.kid), value=value)
    found = place.view.that_signed(carol.kid)
    assert found is not None
    assert found.revoked

    place.world.followed = [o for o in place.world.followed if o.key != ended_key(carol)]
    again = place.view.that_signed(carol.kid)
    assert again is not None
    assert again.revoked


def test_a_session_whose_record_has_left_is_unknown(place: Place) -> None:
    """What it signed counts no more, unless the host has verified it before; then its own time bounds it."""
    carol = place.world.person("carol", "manager")
    place.record(session_key(carol), partition=topics.keyed_partition(carol.kid))

    assert place.view.that_signed(carol.kid) is None
