"""What an admin rules about places of intake, as the fold follows it: records skipped, and times accepted."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.identity.roots import recovery_epoch
from processors.intake import authority
from processors.intake.identify import Received, Ruling
from processors.refusal import Refusal
from processors.state.tables import Tables
from processors.step import step
from schemas import limits
from schemas.events.attributes import NONE
from schemas.events.keys import AdminRemoved, KeyRotated
from schemas.events.rulings import RecordsSkipped, TimeAccepted
from schemas.records import Body, PrincipalRegistered, PrincipalRevoked
from tests.builders import Actor, Folded, invocation, keys_of
from tests.cast import Cast
from tests.engines import NEWEST, activation
from tests.processors.test_keys_have_a_life import follows
from tests.world import HOUR_MS, Office, World


def ruling(world: World, body: RecordsSkipped | TimeAccepted, by: Actor, *, offset: int, **tampering: Any) -> Ruling:
    """Return an event that will stand at an offset of intake, for the fold to follow before it comes to it."""
    value, headers = world.signed(body, by, **tampering)
    return Ruling(b"", world.receive(value, headers, offset=offset))


def unread(offset: int, ruled: Ruling) -> Received:
    """Return the place of a record that nobody could read."""
    return Received(0, offset, 0, None, (), ruled)


def fold(world: World, received: Received) -> Folded:
    world.offset = received.offset + 1
    world.records.append(received)
    return world.fold_into(world.tables, received)


def refused(tables: Tables, received: Received, world: World) -> str:
    """Return why a ruling is not followed, having looked that nothing changed."""
    before = {name: dict(table.rows) for name, table in tables.by_name.items()}
    tail = tables.next_index, tables.prev, tables.now
    with pytest.raises(Refusal) as told:
        step(tables, received, world.heads)
    assert {name: dict(table.rows) for name, table in tables.by_name.items()} == before
    assert (tables.next_index, tables.prev, tables.now) == tail
    return told.value.reason


def skipping(first: int, last: int, **more: Any) -> RecordsSkipped:
    return RecordsSkipped(**{"first": first, "last": last, "reason": "damaged by the disk", **more})


def test_each_record_that_is_skipped_has_an_entry_that_names_who_ruled():
    """Every offset has its entry, with the ruling for its event; time stands still, and the ruling is answered."""
    office = Office.opened()
    world, first = office.world, office.world.offset
    now = world.tables.now
    world.advance(60_000)
    ruled = ruling(world, skipping(first, first + 1), world.admin, offset=first + 2)

    entries = [fold(world, unread(offset, ruled)).entry for offset in (first, first + 1)]
    own = fold(world, ruled.event)

    assert own.says == ("accepted", "")
    for offset, entry in zip((first, first + 1), entries, strict=True):
        assert (entry.offset, entry.kind, entry.outcome) == (offset, "RecordsSkipped", "skipped")
        assert (entry.reason, entry.now, entry.event_kid) == ("UNREADABLE_BATCH", now, world.admin.kid)
        assert entry.event == entry.ruling == own.entry.event
    assert own.entry.ruling is None
    assert not world.tables.rulings.rows
    assert office.call().says == ("allowed", "")


def test_a_ruling_that_nobody_followed_is_refused():
    """A record that was folded is not called skipped behind its back; the same event again is a duplicate."""
    office = Office.opened()
    world = office.world
    office.call()
    value, headers = world.signed(skipping(world.offset - 1, world.offset - 1), world.admin)

    assert world.fold(value, headers).says == ("refused", "RULING_UNUSED")
    assert world.fold(value, headers).says == ("refused", "DUPLICATE")


def ahead(office: Office, jump: int, **ruled: Any) -> tuple[Received, Received]:
    """Return a call that was appended so far ahead, with a ruling on it, and the ruling's own record."""
    world, offset = office.world, office.world.offset
    value, headers = world.signed(invocation(office.resource, {"n": 1}), office.session)
    late = world.receive(value, headers, appended_at=world.now + jump)
    body = TimeAccepted(**{"first": offset, "last": offset, "now": world.now, "reason": "a clock was wrong", **ruled})
    rule = ruling(world, body, world.admin, offset=offset + 1)
    return replace(late, ruling=rule), rule.event


@pytest.mark.parametrize("jump", [60_001, 300_000, HOUR_MS, 365 * 24 * HOUR_MS])
def test_one_append_time_in_the_future_does_not_carry_log_time_away(jump):
    """The record is judged at the time that the admin named, and everybody after it is heard as before."""
    office = Office.opened()
    world = office.world
    late, own = ahead(office, jump)

    folded = fold(world, late)

    assert folded.says == ("allowed", "")
    assert folded.entry.now == world.now
    assert folded.entry.ruling is not None
    world.advance(60_000)
    accepted = fold(world, replace(own, appended_at=world.now))
    assert accepted.says == ("accepted", "")
    assert accepted.entry.event == folded.entry.ruling
    assert office.call({"n": 2}).says == ("allowed", "")


def test_time_is_not_taken_back_and_not_moved_beyond_what_the_broker_said():
    """A time before log time changes nothing about it; one after the append time is the append time."""
    office = Office.opened()
    now = office.world.tables.now
    early, _ = ahead(office, HOUR_MS, now=now - 50_000)
    beyond, _ = ahead(office, HOUR_MS, now=office.world.now + HOUR_MS + 1)

    assert fold(office.world, early).entry.now == now
    assert fold(office.world, replace(beyond, offset=early.offset)).entry.now == office.world.now + HOUR_MS


def test_a_ruling_that_was_appended_while_the_clock_was_wrong_may_rule_on_itself():
    """Else an admin could never get past a broker whose clock is still wrong: the ruling itself would wait."""
    world = World.founded()
    body = TimeAccepted(first=world.offset, last=world.offset, now=world.now, reason="its clock is still wrong")
    value, headers = world.signed(body, world.admin)
    own = world.receive(value, headers, appended_at=world.now + HOUR_MS)

    folded = fold(world, replace(own, ruling=Ruling(b"", own)))

    assert folded.says == ("accepted", "")
    assert (folded.entry.now, folded.entry.ruling) == (world.now, folded.entry.event)
    assert not world.tables.rulings.rows


def test_an_admin_who_is_one_no_longer_rules_on_nothing():
    """The key must be an admin's at the place that is ruled on."""
    world = World.founded()
    world.advance(1)
    assert world.revoke("admin").says == ("accepted", "")
    rule = ruling(world, skipping(world.offset, world.offset), world.admin, offset=world.offset + 1)

    assert refused(world.tables, unread(world.offset, rule), world) == "REVOKED_KEY"


@pytest.mark.parametrize("kind", [RecordsSkipped, TimeAccepted])
@pytest.mark.parametrize("role", sorted(authority.ROLES - {"admin"}))
def test_nobody_but_an_admin_rules(role, kind):
    """Each other role's well-formed ruling is followed by nobody."""
    cast = Cast(**NEWEST)
    world, at = cast.world, cast.world.offset
    more = {"now": world.now} if kind is TimeAccepted else {}
    rule = ruling(world, kind(first=at, last=at, reason="mine", **more), cast.actors[role], offset=at + 1)

    assert refused(world.tables, unread(at, rule), world) == "WRONG_ROLE"


@pytest.mark.parametrize(
    "tampering",
    [{"place_tenant": "other"}, {"place_partition": 1}, {"principal_id": "bot"}, {"place_genesis": b"x" * 32}],
)
def test_a_ruling_for_another_place_rules_on_nothing(tampering):
    """What was signed for another tenant, founding or partition, or in another's name, is no ruling here."""
    world = World.founded()
    at = world.offset
    rule = ruling(world, skipping(at, at), world.admin, offset=at + 1, **tampering)

    want = "WRONG_PRINCIPAL" if "principal_id" in tampering else "BAD_SIGNATURE"
    assert refused(world.tables, unread(at, rule), world) == want


OFFSETS = st.one_of(st.integers(-2, 12), st.sampled_from([-(2**63), 2**31, 2**53, 2**63 - 1]))


@settings(max_examples=200, deadline=None)
@given(
    first=OFFSETS,
    last=OFFSETS,
    at=st.integers(1, 10),
    place=st.integers(1, 12),
    now=st.sampled_from([-(2**63), -1, 0, 1, 2**62, 2**63 - 1]),
    is_skip=st.booleans(),
    reason=st.sampled_from(["", "lost", "x" * limits.REASON_CHARS_MAX, "x" * (limits.REASON_CHARS_MAX + 1)]),
)
def test_a_ruling_is_followed_exactly_where_it_may_be(first, last, at, place, now, is_skip, reason):
    """Whatever numbers it names: it covers the offset, lies behind all that it covers, and gives a bounded reason."""
    world = World.founded()
    body = (
        RecordsSkipped(first=first, last=last, reason=reason)
        if is_skip
        else TimeAccepted(first=first, last=last, now=now, reason=reason)
    )
    rule = ruling(world, body, world.admin, offset=place)
    received = replace(unread(at, rule), appended_at=0 if is_skip else world.now + HOUR_MS)
    behind = last < place if is_skip else last <= place
    may = 0 <= first <= at <= last and behind and 0 < len(reason) <= limits.REASON_CHARS_MAX

    if not may:
        assert refused(world.tables, received, world) == "RULING_FORM"
        return
    before = world.tables.now
    entry = world.fold_into(world.tables, received).entry
    assert entry.offset == at
    assert entry.ruling is not None
    assert entry.now == (before if is_skip else max(before, min(now, received.appended_at)))


# --- the roots on records of an admin whom they remove

CAPTURES: dict[str, Callable[[World], Body]] = {
    "rotation": lambda w: KeyRotated(
        kid=w.monitor.kid, key=w.offer(keys_of("thief"), "monitor", "monitor"), expires_at=None, reason="mine"
    ),
    "registration": lambda w: PrincipalRegistered(
        role="monitor", key=w.offer(keys_of("thief"), "monitor", "monitor"), attributes=NONE, tools=()
    ),
    "revocation": lambda _: PrincipalRevoked(principal_id="monitor", kid=None, reason="mine"),
    "activation": lambda _: activation(),
}


def captured(world: World, body: Body, removal: AdminRemoved, *, behind: int = 1) -> tuple[Received, Received]:
    """Return an admin's record with the roots' removal as its ruling, and the removal's own record."""
    record = world.receive(*world.signed(body, world.admin))
    own = world.receive(*world.signed(removal, world.roots[0]), offset=record.offset + behind)
    return replace(record, ruling=Ruling(b"", own)), own


@pytest.mark.parametrize("capture", CAPTURES.values(), ids=CAPTURES)
def test_the_roots_undo_what_a_thief_of_an_admin_key_took(capture):
    """The record is refused, the keys and the engine stay, and the removal has its effect at its own place."""
    office = Office.opened()
    world = office.world
    before = dict(world.tables.keys.rows), world.tables.tenant.rows[b"-"], dict(world.tables.engine_data.rows)
    record, own = captured(world, capture(world), world.admin_removal("admin", world.roots[:2]))

    entry = fold(world, record).entry

    assert (entry.outcome, entry.reason, entry.kind) == ("refused", "RULED_OUT", type(capture(world)).__name__)
    assert (dict(world.tables.keys.rows), world.tables.tenant.rows[b"-"]) == before[:2]
    assert dict(world.tables.engine_data.rows) == before[2]
    removed = fold(world, own)
    assert removed.says == ("accepted", "")
    assert removed.entry.event == entry.ruling
    assert removed.entry.ruling is None
    assert fold(world, replace(record, offset=own.offset + 1, ruling=None)).says == ("refused", "REVOKED_KEY")
    assert office.call().says == ("allowed", "")
    follows(world)


def test_a_recovery_of_the_roots_undoes_what_any_admin_took():
    """A thief of all present root keys adds an admin of his own, who takes the decision key."""
    world = World.founded("recovered", next_root_digests=tuple(keys_of("next", i).kid for i in range(3)))
    mallory = keys_of("mallory")
    world.send(world.admin_addition(world.offer(mallory, "admin", "mallory"), world.roots[:2]), world.roots[0])
    record = world.receive(*world.signed(CAPTURES["rotation"](world), Actor("admin", "mallory", mallory)))
    nexts, committed = [keys_of("next", i) for i in range(3)], world.founding.next_root_digests
    further = tuple(keys_of("further", i).kid for i in range(2))
    by = Actor("root", "root", nexts[0])

    def ruled(epoch: int, signers: list[Actor]) -> Received:
        act = world.root_rotation(nexts, signers, threshold=2, next_digests=further, epoch=epoch)
        return replace(record, ruling=Ruling(b"", world.receive(*world.signed(act, by), offset=record.offset + 1)))

    assert refused(world.tables, ruled(1, []), world) == "BAD_ROOT_SIGNATURES"
    rotated = world.root_rotation(world.roots and [one.keys for one in world.roots], world.roots, threshold=2, epoch=1)
    own = world.receive(*world.signed(rotated, world.roots[0]), offset=record.offset + 1)
    assert refused(world.tables, replace(record, ruling=Ruling(b"", own)), world) == "BAD_ROOT_SIGNATURES"
    recovery = ruled(recovery_epoch(committed), [])
    assert fold(world, recovery).says == ("refused", "RULED_OUT")
    assert recovery.ruling is not None
    assert fold(world, recovery.ruling.event).says == ("accepted", "")
    assert world.monitor.kid in {kid for kid, row in world.tables.keys.rows.items() if row.revoked_at is None}


UNFIT: dict[str, Callable[[World], AdminRemoved]] = {
    "BAD_ROOT_SIGNATURES": lambda w: w.admin_removal("admin", w.roots[:1]),
    "BAD_ROOT_SIGNATURES of an epoch that is over": lambda w: w.admin_removal("admin", w.roots[:2], epoch=0),
    "BAD_ROOT_SIGNATURES of another tenant": lambda w: w.admin_removal("admin", w.roots[:2], genesis=bytes(32)),
    "RULING_FORM: another admin": lambda w: w.admin_removal("olga", w.roots[:2]),
    "RULING_FORM: another key": lambda w: w.admin_removal("admin", w.roots[:2], kid=w.monitor.kid),
    "UNKNOWN_PRINCIPAL": lambda w: w.admin_removal("monitor", w.roots[:2]),
}


@pytest.mark.parametrize("why", UNFIT)
def test_nobody_else_undoes_an_admins_record(why):
    """Too few roots, an act that does not count there, or one about somebody else."""
    world = World.founded()
    world.send(world.admin_addition(world.offer(keys_of("olga"), "admin", "olga"), world.roots[:2]), world.roots[0])
    record, _ = captured(world, CAPTURES["rotation"](world), UNFIT[why](world))

    assert refused(world.tables, record, world) == why.split(":")[0].split(" ")[0]


@pytest.mark.parametrize("offset", [0, 1])
def test_a_removal_undoes_nothing_that_comes_after_it(offset):
    """What comes behind it is refused without a ruling: the key is revoked."""
    world = World.founded()
    record, _ = captured(
        world, CAPTURES["rotation"](world), world.admin_removal("admin", world.roots[:2]), behind=-offset
    )

    assert refused(world.tables, record, world) == "RULING_FORM"


def test_a_removal_undoes_only_what_can_stop_a_worker():
    """A monitor must not choose which of the other records of a removed admin had an effect."""
    office = Office.opened()
    world = office.world
    removal = world.admin_removal("admin", world.roots[:2])
    bot = world.register("agent", "bot")
    others = [
        PrincipalRevoked(principal_id="bot", kid=None, reason="lost"),
        world.registration("agent", "newcomer"),
        KeyRotated(kid=bot.kid, key=world.offer(keys_of("later"), "agent", "bot"), expires_at=None, reason="x"),
        world.publication({"policy_id": "user:a", "resources": ["**"]}),
        world.admin_addition(world.offer(keys_of("olga"), "admin", "olga"), world.roots[:2]),
        skipping(0, 0),
    ]
    for body in others:
        record, _ = captured(world, body, removal)
        assert refused(world.tables, record, world) == "RULING_FORM"
    call = world.receive(*world.signed(invocation(office.resource, {"n": 1}), office.session))
    _, own = captured(world, CAPTURES["rotation"](world), removal)
    assert refused(world.tables, replace(call, ruling=Ruling(b"", own)), world) == "RULING_FORM"
    garbage = replace(unread(world.offset, Ruling(b"", own)), value=b"nothing")
    assert refused(world.tables, garbage, world) == "RULING_FORM"
