"""An id of an event is its sender's choice and need not be unique: no other call is explained than was meant."""

from __future__ import annotations

from typing import Any

import pytest

from macaw.policies.asking import QuestionError, explain_call, session_in, standing_of
from macaw.policies.history import CANDIDATES_MAX, AmbiguousIdError, History, HistoryError, Recorded
from schemas.records import SessionClosed
from tests.builders import Actor, Folded, invocation
from tests.workflow_world import ANYTHING, PAY, Workflow

ID = bytes.fromhex("01a2deadbeef7abc8001020304050607")
ONLY_BOB = {"constraints": {"parameters": {PAY: {"to": {"allowed_values": ["bob"]}}}}}


@pytest.fixture
def world() -> Workflow:
    world = Workflow.opened("twice")
    world.publish_policy({"policy_id": "agent:bot", **ANYTHING, **ONLY_BOB})
    return world


def pay(world: Workflow, to: str, *, by: Actor | None = None, **header: Any) -> Folded:
    return world.call(by or world.bot, PAY, {"to": to}, **{"event_id": ID, **header})


def history(world: Workflow) -> History:
    return History(world.tenant, world.deployment, world.genesis, map(Recorded, world.records))


def explained(world: Workflow, wanted: str, offset: int | None = None) -> tuple[str, dict[str, Any]]:
    found = explain_call(history(world), wanted, offset=offset)
    return found.decision.outcome, found.answer.told


def test_a_harmless_call_does_not_speak_for_another_of_its_id(world: Workflow) -> None:
    """Two calls of one id, of which the first is allowed: the id explains neither, each leaf and offset its own."""
    good, bad = pay(world, "bob"), pay(world, "eve")

    for wanted in (ID.hex(), ID.hex()[:8], ID.hex().upper()):
        with pytest.raises(AmbiguousIdError, match="several events") as several:
            explained(world, wanted)
        listed = [(one.offset, one.leaf, one.event_id, one.kind) for one in several.value.candidates]
        assert listed == [(one.received.offset, one.entry.event, ID, "InvocationRequested") for one in (good, bad)]
    for one, outcome in ((good, "allowed"), (bad, "denied")):
        assert explained(world, one.entry.event.hex())[0] == outcome
        assert explained(world, ID.hex(), one.received.offset)[0] == outcome
    with pytest.raises(HistoryError, match="at offset 0"):
        explained(world, ID.hex(), 0)


def test_what_stands_twice_to_the_byte_is_one_event(world: Workflow) -> None:
    """It was decided once; a copy is a duplicate, and one that was refused before it does not hide it."""
    value, headers = world.signed(invocation(PAY, {"to": "eve"}), world.bot, event_id=ID)
    bare = [(name, bytes(64) + one[64:] if name == "macaw-proof" and one else one) for name, one in headers]
    assert world.fold(value, bare).says == ("refused", "BAD_SIGNATURE")
    decided = world.fold(value, headers)
    assert world.fold(value, headers).says == ("refused", "DUPLICATE")

    outcome, _ = explained(world, ID.hex())
    assert outcome == decided.decisions[0].outcome == "denied"
    assert explained(world, decided.entry.event.hex())[0] == "denied"


def test_another_kind_of_event_with_the_id_counts_too(world: Workflow) -> None:
    """Whoever asks sees that it stands for several, and what they are."""
    pay(world, "bob")
    other = world.open_session(world.agent)
    world.send(SessionClosed(reason=""), other, event_id=ID)

    with pytest.raises(AmbiguousIdError) as several:
        explained(world, ID.hex())
    assert [one.kind for one in several.value.candidates] == ["InvocationRequested", "SessionClosed"]


def test_how_many_are_listed_is_bounded_and_copies_hide_nothing(world: Workflow) -> None:
    """Neither many copies of one event nor many events of one id."""
    value, headers = world.signed(invocation(PAY, {"to": "bob"}), world.bot, event_id=ID)
    for _ in range(CANDIDATES_MAX + 5):
        world.fold(value, headers)
    assert explained(world, ID.hex())[0] == "allowed"
    pay(world, "eve")
    with pytest.raises(AmbiguousIdError) as several:
        explained(world, ID.hex())
    assert (len(several.value.candidates), several.value.count) == (2, CANDIDATES_MAX + 6)

    for n in range(CANDIDATES_MAX + 5):
        pay(world, f"eve-{n}")
    with pytest.raises(AmbiguousIdError) as several:
        explained(world, ID.hex())
    assert len(several.value.candidates) == CANDIDATES_MAX


def test_what_is_no_call_or_was_refused_is_named(world: Workflow) -> None:
    """And an id of nothing too."""
    session = world.open_session(world.agent)
    world.send(SessionClosed(reason=""), session, event_id=ID)
    with pytest.raises(HistoryError, match="only calls are decided"):
        explained(world, ID.hex())
    late = pay(world, "bob", by=session, event_id=bytes(15) + b"\1")
    with pytest.raises(HistoryError, match="EXPIRED_SESSION"):
        explained(world, late.entry.event.hex())
    for wanted in ("ff" * 16, "ff" * 32):
        with pytest.raises(HistoryError, match="holds no event"):
            explained(world, wanted)


def test_the_beginning_of_a_session_id_may_stand_for_several(world: Workflow) -> None:
    """Which of them is asked about is not guessed; a name means the newest, and the answer says which that is."""
    person = world.person("alice", "clerk")
    assert standing_of(history(world), person.kid.hex()[:8]).who == f"user:alice, session {person.kid.hex()[:8]}"
    assert standing_of(history(world), "alice").who == f"user:alice, session {person.kid.hex()[:8]}"

    row = world.tables.sessions.rows[person.kid]
    twins = [bytes.fromhex("aabbccdd" + one * 28) for one in ("00", "11")]
    for twin in twins:
        world.tables.sessions.restore(twin, row)
    with pytest.raises(QuestionError, match="stands for 2 sessions") as several:
        session_in(world.tables, "aabbccdd")
    assert all(twin.hex() in str(several.value) for twin in twins)
    assert session_in(world.tables, twins[1].hex()) == (twins[1], row)
