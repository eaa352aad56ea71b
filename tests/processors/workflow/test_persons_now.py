"""What a person is now: what the newest session said that a bridge opened for them, until that was taken back."""

from typing import Any

import pytest

from processors.state.bounds import TenantLimits
from schemas import limits
from schemas.events.attributes import NONE, Attributes
from tests.builders import Actor, keys_of
from tests.workflow_world import ANYTHING, Workflow
from tests.world import HOUR_MS

KEY = "boss"
DAY_MS = 24 * HOUR_MS


@pytest.fixture
def world() -> Workflow:
    """Return a world where every payment needs a manager, and one approval serves for months."""
    world = Workflow.opened("persons")
    world.publish_policy({"policy_id": "role:payer", **ANYTHING})
    return world


def lasting(world: Workflow, **meta: Any) -> None:
    """Let each payment of bot need a manager's approval that serves later ones too."""
    world.require(KEY, approval_criteria="role:manager", timeout=3600, one_time=False, **meta)


def attributes_of(world: Workflow, name: str) -> Attributes | None:
    row = world.tables.persons.get(f"user:{name}".encode())
    return None if row is None else row.attributes


def pays(world: Workflow, **header: Any) -> bool:
    """Whether a payment passes at once."""
    return world.pay(**header).says == ("allowed", "")


# ---- a demoted person


def test_an_older_session_of_a_demoted_manager_answers_nothing(world):
    """Neither a yes that would not count nor a no: else it could close what others are to decide."""
    lasting(world)
    older, other = world.person("carol", "manager"), world.person("dana", "manager")
    asked = world.pay()
    world.advance(1)
    world.person("carol", "intern")

    for say in (world.approve, world.deny):
        world.is_refused("APPROVER_NOT_AUTHORIZED", lambda say=say: say(older, asked, KEY))
    assert world.approve(other, asked, KEY).says == ("accepted", "")


@pytest.mark.parametrize("ended", ["open", "closed", "over", "gone"])
def test_a_demoted_approver_gets_nothing_back_by_ending_the_newer_session(world, ended):
    """Who logged in again with fewer rights is what that login said, whatever became of its session."""
    lasting(world)
    carol = world.person("carol", "manager", ttl_ms=20 * HOUR_MS)
    bot = world.open_session(world.agent, ttl_ms=20 * HOUR_MS)
    assert world.approve(carol, world.pay(by=bot), KEY).says == ("accepted", "")
    assert pays(world, by=bot)

    world.advance(1)
    demoted = world.person("carol", "intern", ttl_ms=60_000)
    assert not pays(world, by=bot)
    if ended == "closed":
        world.close(demoted)
    elif ended != "open":
        world.passes(60_000 if ended == "over" else HOUR_MS)
        assert (demoted.kid in world.tables.sessions.rows) is (ended == "over")
    assert not pays(world, by=bot)
    assert attributes_of(world, "carol") == Attributes(roles=("intern",), user="carol")


@pytest.mark.parametrize("ended", ["closed", "gone"])
def test_a_demoted_delegator_gets_nothing_back_by_ending_the_newer_session(world, ended):
    """The delegation was made with more rights, and the older session still has them."""
    alice = world.person("alice", "payer", ttl_ms=20 * HOUR_MS)
    bot = world.open_session(world.agent, ttl_ms=20 * HOUR_MS)
    leaf = world.grant_to(alice, "bot", life_ms=DAY_MS).entry.event
    assert pays(world, by=bot, on_behalf_of=leaf)

    world.advance(1)
    demoted = world.person("alice", "guest", ttl_ms=60_000)
    world.close(demoted)
    if ended == "gone":
        world.passes(HOUR_MS)
    world.is_denied("NO_POLICY", lambda: world.pay(by=bot, on_behalf_of=leaf))


def test_of_two_logins_in_one_millisecond_the_later_on_the_log_counts(world):
    """The order of the log, not of digests."""
    for roles in ("intern", "manager") * 4:
        world.person("carol", roles)
        assert attributes_of(world, "carol") == Attributes(roles=(roles,), user="carol")


# ---- logins that are taken back


def test_a_revoked_login_gives_way_to_the_newest_that_was_not(world):
    """Of those whose rows are still there; the order in which they are revoked changes nothing."""
    first = world.person("carol", "a")
    sessions = [first]
    for role in ("b", "c", "d"):
        world.advance(1)
        sessions.append(world.person("carol", role))
    world.close(sessions[1])

    for revoked, now in ((2, "d"), (3, "b"), (1, "a")):
        assert world.revoke_session(sessions[revoked]).says == ("accepted", "")
        assert attributes_of(world, "carol") == Attributes(roles=(now,), user="carol")
        row = world.tables.persons.rows[b"user:carol"]
        session = world.tables.sessions.rows[row.session_id]
        assert (row.opened_at, row.opened_by) == (session.opened_at, session.opened_by)
        assert row.until == row.opened_at + limits.PERSON_KEPT_MS
    world.revoke_session(first)
    assert attributes_of(world, "carol") is None


def test_of_revoked_logins_in_one_millisecond_the_greater_session_id_remains(world):
    """What is left to compare is the same on every machine, and after every restart."""
    sessions = sorted((world.person("carol", f"r{n}") for n in range(4)), key=lambda one: one.kid)
    newest = next(one for one in sessions if one.kid == world.tables.persons.rows[b"user:carol"].session_id)
    world.revoke_session(newest)

    left = [one.kid for one in sessions if one is not newest]
    assert world.tables.persons.rows[b"user:carol"].session_id == max(left)


def test_nobody_stands_for_a_person_of_whom_nothing_is_known(world):
    """An older session said what its login said; the last word was taken back, and the next login has it."""
    lasting(world)
    carol, bot = world.person("carol", "manager", ttl_ms=60_000), world.open_session(world.agent, ttl_ms=20 * HOUR_MS)
    world.approve(carol, world.pay(by=bot), KEY)
    world.passes(HOUR_MS)  # its row has left, unrevoked: it approved, and nobody took that back
    assert carol.kid not in world.tables.sessions.rows
    assert pays(world, by=bot)

    world.revoke_session(world.person("carol", "manager"))
    assert attributes_of(world, "carol") is None
    assert not pays(world, by=bot)
    world.person("carol", "manager")
    assert pays(world, by=bot)


def test_a_chain_with_a_person_of_whom_nothing_is_known_is_broken(world):
    """First or in the middle; the decision still names everybody, and a login mends it."""
    bot = world.open_session(world.agent, ttl_ms=20 * HOUR_MS)
    alice, bob = world.person("alice", "payer", ttl_ms=60_000), world.person("bob", "payer", ttl_ms=60_000)
    first = world.grant_to(alice, "user:bob", life_ms=DAY_MS).entry.event
    leaf = world.grant_to(bob, "bot", parent=first, life_ms=DAY_MS).entry.event
    world.passes(HOUR_MS)
    assert pays(world, by=bot, on_behalf_of=leaf)

    for name in ("alice", "bob"):
        world.revoke_session(world.person(name, "payer"))
        broken = world.is_denied("DELEGATION_BROKEN", lambda: world.pay(by=bot, on_behalf_of=leaf))
        assert broken.subjects == ("user:alice", "user:bob", "bot")
        world.is_refused("DELEGATION_BROKEN", lambda: world.put(bot, "k", 1, "team", on_behalf_of=leaf))
        world.person(name, "payer")
        assert pays(world, by=bot, on_behalf_of=leaf)


def test_what_was_revoked_or_has_ended_is_told_before_what_is_not_known(world):
    """The codes of a chain have an order: revoked, expired, broken."""
    alice = world.person("alice", "payer", ttl_ms=60_000)
    revoked, ended = (world.grant_to(alice, "bot", life_ms=ms).entry.event for ms in (HOUR_MS, 120_000))
    world.revoke_delegation(alice, revoked)
    world.passes(120_000)
    world.revoke_session(world.person("alice", "payer"))

    world.is_denied("DELEGATION_REVOKED", lambda: world.pay(on_behalf_of=revoked))
    world.is_denied("DELEGATION_EXPIRED", lambda: world.pay(on_behalf_of=ended))


def test_a_bound_call_asks_its_signer_who_it_is(world):
    """The user signs with a session that lives: nothing else need be known of them."""
    alice = world.person("alice", "payer")
    world.register("service", "shop")
    world.publish_policy({"policy_id": "service:shop", "resources": ["tool:bank/*"]})
    leaf = world.grant_to(alice, "shop", resources=["tool:bank/*"]).entry.event
    world.advance(1)
    world.revoke_session(world.person("alice", "payer"))

    assert pays(world, by=alice, on_behalf_of=leaf)


def test_programs_are_no_persons(world):
    """Nothing is kept of their sessions."""
    assert world.tables.sessions.get(world.bot.kid) is not None
    assert not world.tables.persons.rows


# ---- how long, and how many


def test_a_person_is_remembered_longer_than_a_delegation_can_last():
    """Who grants at the end of a session grants for a year and a day from then."""
    last = limits.SESSION_TTL_MS_MAX + limits.DELEGATION_MS_MAX + limits.SESSION_LINGER_MS
    assert last < limits.PERSON_KEPT_MS == 400 * DAY_MS


@pytest.mark.parametrize(("late", "stands"), [(-1, True), (0, False)])
def test_after_its_time_nobody_is_known_any_more(world, late, stands):
    """The last millisecond counts, the next does not, also while the row waits for its turn to leave."""
    lasting(world)
    world.approve(world.person("carol", "manager"), world.pay(), KEY)
    for n in range(100):
        world.person(f"p{n:03}", "x")
    world.advance(limits.PERSON_KEPT_MS + late)
    bot = world.open_session(world.agent)

    assert pays(world, by=bot) is stands


def test_rows_of_persons_leave(world):
    """Nothing is kept for ever."""
    world.person("carol", "manager")
    assert world.tables.persons.rows.keys() == {b"user:carol"}

    world.passes(limits.PERSON_KEPT_MS)
    assert not world.tables.persons.rows


def test_a_bridge_has_room_for_so_many_persons():
    """A further one is refused; whoever is known logs in all the same; a stolen bridge fills its own share only."""
    world = Workflow.opened("few", bounds=TenantLimits(persons=8))
    stolen = world.register("bridge", "stolen")

    def opens(name: str, by: Actor | None = None) -> tuple[str, str]:
        body = world.person_session(f"user:{name}", keys=keys_of("few", name, world.draw()), attributes=NONE)
        return world.send(body, by or world.bridge).says

    assert [opens("x", stolen), opens("y", stolen)] == [("accepted", "")] * 2
    assert opens("z", stolen) == ("refused", "LIMIT_EXCEEDED")
    assert [opens("carol"), opens("dave"), opens("carol")] == [("accepted", "")] * 3
    body = world.person_session("user:erin", keys=keys_of("few", "erin"), attributes=NONE)
    world.refuses("LIMIT_EXCEEDED", body, world.bridge)
    world.revoke("stolen")
    assert world.tables.persons.rows.keys() == {b"user:carol", b"user:dave"}
