"""Which engine decides is on the log: an activation takes effect behind its own record, or the tenant stops."""

from collections.abc import Callable
from typing import Any

import pytest

from processors.identity import engines as rules
from processors.proof.signing import VerifiedHeads
from processors.state.engines import Engine, EngineMissingError, held_engine, installed
from processors.step import step
from schemas import limits
from schemas.events.engines import EngineData
from schemas.records import PrincipalRevoked, TenantFounded
from tests.builders import Folded
from tests.cast import Cast
from tests.engines import DATA_LATER, LATER, MARK, ONLY_LATER, WITH_LATER, activation
from tests.world import Office, World


def is_marked(folded: Folded) -> bool:
    """True if the later engine decided."""
    return any(result.detail == MARK for result in folded.results)


def two_engines(name: str = "two engines") -> Office:
    return Office.opened(name, engines=WITH_LATER)


# --- the activation


def test_the_activation_is_the_last_record_of_the_engine_before() -> None:
    """What stands before it, and itself, is decided by the one; everything behind it by the other."""
    office = two_engines()
    before = office.call({"n": 1})
    activated = office.world.send(activation(), office.world.admin)
    after = office.call({"n": 2})

    assert [is_marked(one) for one in (before, after)] == [False, True]
    assert activated.says == ("accepted", "")
    assert [result.outcome for result in activated.results] == ["accepted"]
    assert before.entry.outcome == after.entry.outcome == "allowed"
    assert office.world.tables.engine is LATER


def test_the_activation_stands_in_the_registry() -> None:
    """Clients, hosts and verifiers learn of it as they learn of keys: signed by the admin."""
    office = two_engines()
    activated = office.world.send(activation(), office.world.admin)

    [entered] = [o for o in activated.outputs if o.topic.name == "registry"]
    assert entered.key == b"engine/" + activated.entry.event.hex().encode()
    assert entered.value == activated.received.value


@pytest.mark.parametrize("role", ["root", "monitor", "enrolment", "bridge", "approver", "attester", "agent", "service",
                                  "tool", "session"])  # fmt: skip
def test_nobody_but_an_admin_activates(role: str) -> None:
    """Neither the monitor itself nor anyone who is served by it."""
    cast = Cast(engines=WITH_LATER)
    folded = cast.world.send(activation(), cast.actors[role])

    assert folded.says == ("refused", "WRONG_ROLE")
    assert cast.world.tables.engine.number == 1


@pytest.mark.parametrize("number", [1, 0, -1, -(2**31)])
def test_a_number_that_is_not_above_is_refused(number: int) -> None:
    """The same number again, too: its data could be others."""
    world = World.founded(engines=WITH_LATER)

    assert world.send(activation(number), world.admin).says == ("refused", "ENGINE_NOT_NEWER")


def test_a_number_that_is_far_ahead_is_refused() -> None:
    """A thief of an admin's key cannot use up all numbers with one event."""
    world = World.founded()

    for number in (1 + limits.ENGINE_AHEAD_MAX + 1, 2**31 - 1):
        assert world.send(activation(number), world.admin).says == ("refused", "ENGINE_FORM")
    assert world.send(activation(1 + limits.ENGINE_AHEAD_MAX), world.admin).says == ("accepted", "")


def test_the_second_of_two_activations_is_refused() -> None:
    """Two admins at once: the second is decided by the new engine, and is not above it."""
    world = World.founded(engines=WITH_LATER)
    drafts = [world.signed(activation(reason=reason), world.admin) for reason in ("one", "two")]

    assert [world.fold(*one).says for one in drafts] == [("accepted", ""), ("refused", "ENGINE_NOT_NEWER")]
    assert world.fold(*drafts[0]).says == ("refused", "REPLAYED")


def datum(name: str = "a", sha256: bytes = bytes(32)) -> EngineData:
    return EngineData(name=name, sha256=sha256)


MALFORMED: list[tuple[str, tuple[EngineData, ...]]] = [
    ("a digest of 31 bytes", (datum(sha256=bytes(31)),)),
    ("a digest of 33 bytes", (datum(sha256=bytes(33)),)),
    ("no digest", (datum(sha256=b""),)),
    ("a name twice", (datum(), datum())),
    ("a name twice under two digests", (datum(), datum(sha256=b"x" * 32))),
    ("names out of order", (datum("b"), datum("a"))),
    ("an empty name", (datum(""),)),
    ("a blank at the end", (datum("a "),)),
    ("a name that is too long", (datum("a" * (limits.ENGINE_DATA_NAME_CHARS_MAX + 1)),)),
    ("a control character", (datum("a\n"),)),
    ("a letter that looks like another", (datum("unic\u043ede-14"),)),
    ("too many", tuple(datum(f"{n:05d}") for n in range(limits.ENGINE_DATA_MAX + 1))),
    ("as many as the event takes", tuple(datum(f"{n:05d}") for n in range(6000))),
]


@pytest.mark.parametrize("data", [row[1] for row in MALFORMED], ids=[row[0] for row in MALFORMED])
def test_data_that_are_not_well_formed_are_refused(data: tuple[EngineData, ...]) -> None:
    """And leave nothing behind: the same name is free for the real data."""
    world = World.founded(engines=WITH_LATER)

    assert world.send(activation(data=data), world.admin).says == ("refused", "ENGINE_FORM")
    assert not world.tables.engine_data.rows
    assert world.tables.engine.number == 1


def test_ten_thousand_rows_are_larger_than_an_event_may_be() -> None:
    """They are not even read."""
    world = World.founded(engines=WITH_LATER)
    data = tuple(datum(f"{n:05d}") for n in range(10_000))

    assert world.send(activation(data=data), world.admin).says == ("refused", "OVERSIZED")


@pytest.mark.parametrize("reason", ["", "x" * (limits.REASON_CHARS_MAX + 1)])
def test_an_activation_has_a_reason(reason: str) -> None:
    """It stands on the log for ever."""
    world = World.founded(engines=WITH_LATER)

    why = "LIMIT_EXCEEDED" if reason else "ENGINE_FORM"  # as of every reason that is too long
    assert world.send(activation(reason=reason), world.admin).says == ("refused", why)


def test_as_many_data_as_are_allowed_pass() -> None:
    """The bound itself is no fault."""
    data = tuple(datum(f"{n:05d}") for n in range(limits.ENGINE_DATA_MAX))
    world = World.founded(engines={**installed(), 3: Engine(3, data)})

    assert world.send(activation(data=data), world.admin).says == ("accepted", "")
    assert world.send(activation(4, data[:1]), world.admin).says == ("accepted", "")


@pytest.mark.parametrize("between", [False, True], ids=["at once", "after an engine without it"])
def test_another_catalogue_under_an_old_name_is_refused(between: bool) -> None:
    """A name stands for one content for ever, also where an engine between did not read it."""
    held = {**WITH_LATER, 4: Engine(4, DATA_LATER[1:])}
    world = World.founded(engines=held)
    world.send(activation(), world.admin)
    if between:
        assert world.send(activation(4, DATA_LATER[1:]), world.admin).says == ("accepted", "")
    swapped = (EngineData(name=DATA_LATER[0].name, sha256=b"\xee" * 32),)

    assert world.send(activation(5, swapped), world.admin).says == ("refused", "ENGINE_DATA_CONFLICT")
    assert world.send(activation(5, DATA_LATER[:1]), world.admin).says == ("accepted", "")


def test_the_founding_s_names_count_as_used() -> None:
    """The first engine's data have names, too."""
    first = Engine(1, (datum("tzdata-1"),))
    world = World.founded(engines={1: first, 3: LATER}, engine=1, data=first.data)

    assert world.tables.engine is first
    assert world.send(activation(2, (datum("tzdata-1", b"y" * 32),)), world.admin).says == (
        "refused", "ENGINE_DATA_CONFLICT",
    )  # fmt: skip


# --- an engine that is not here


def stopped(world: World, again: Callable[[], Any]) -> EngineMissingError:
    """Return the error with which a tenant stops; nothing has changed by it."""
    before = world.rows(), world.tables.next_index, world.tables.prev, world.tables.now
    with pytest.raises(EngineMissingError) as told:
        again()
    assert (world.rows(), world.tables.next_index, world.tables.prev, world.tables.now) == before
    return told.value


def test_nothing_is_decided_without_the_engine() -> None:
    """A missing engine is not a decision and has no entry; with the engine, the tenant goes on where it stood."""
    office = Office.opened()
    world = office.world
    activated = world.send(activation(), world.admin)
    assert activated.says == ("accepted", "")  # the engine before cannot know what the later one is
    value, headers = world.signed(PrincipalRevoked(principal_id="bot", reason="left"), world.admin)

    error = stopped(world, lambda: world.fold_into(world.tables, world.receive(value, headers)))
    assert (error.number, error.code) == (3, "ENGINE_MISSING")
    assert "holds 1, 2: install a version of macaw that holds engine 3" in str(error)
    stopped(world, lambda: world.fold_into(world.tables, world.receive(None, ())))

    world.tables.engines = WITH_LATER  # as the installation of that engine
    assert world.fold(value, headers).says == ("accepted", "")
    assert world.tables.engine is LATER


def test_an_engine_that_nobody_has_can_be_made() -> None:
    """Its number and data are on the log; a version that holds them, with whatever rules, lets the tenant go on."""
    world = World.founded()
    data = (datum("made-up-1", b"z" * 32),)
    world.send(activation(900, data), world.admin)
    stopped(world, lambda: world.fold_into(world.tables, world.receive(None, ())))

    world.tables.engines = {**installed(), 900: Engine(900, data)}
    assert world.fold(None, ()).says == ("refused", "UNDECODABLE")
    assert world.register("agent", "bot").role == "agent"
    assert world.send(activation(901), world.admin).says == ("accepted", "")


def test_the_same_number_with_other_data_is_another_engine() -> None:
    """The message names each datum with both digests."""
    data = (EngineData(name="catalogue-1", sha256=b"\xaa" * 32), EngineData(name="unicode-98", sha256=b"\x02" * 32))
    world = World.founded(engines=WITH_LATER)
    world.send(activation(data=data), world.admin)

    told = str(stopped(world, lambda: world.fold_into(world.tables, world.receive(None, ()))))
    assert "'catalogue-1': want aaaaaaaaaaaaaaaa…, here 0101010101010101…" in told
    assert "'unicode-98': want 0202020202020202…, here none" in told
    assert "'unicode-99': want none, here 0202020202020202…" in told


def test_the_message_is_bounded() -> None:
    """Whatever an activation names."""
    data = tuple(datum(f"{n:0128d}") for n in range(limits.ENGINE_DATA_MAX))
    with pytest.raises(EngineMissingError, match="and 58 more") as told:
        held_engine(3, data, WITH_LATER)
    assert len(str(told.value)) < 4000


def test_an_unknown_engine_without_data_is_missing_too() -> None:
    """Data may be left out by founding events of before there were data, and by nothing else."""
    world = World.founded(engines=WITH_LATER)
    world.send(activation(data=()), world.admin)

    assert stopped(world, lambda: world.fold_into(world.tables, world.receive(None, ()))).number == 3


def test_an_aborted_activation_has_not_happened() -> None:
    """With its transaction the engine is taken back."""
    world = World.founded()
    world.tables.commit()
    world.attempt(*world.signed(activation(), world.admin))
    assert world.send(activation(4), world.admin).says == ("accepted", "")


def test_the_founding_event_is_decided_by_the_engine_that_it_names() -> None:
    """Its own entry, too; without that engine the tenant has none."""
    world = World(engines=WITH_LATER, engine=3, data=DATA_LATER)
    assert world.found().says == ("accepted", "")
    assert world.tables.engine is LATER

    unknown = World(engine=3, data=DATA_LATER)
    (headers,) = unknown.sign([unknown.founding_draft], unknown.admin)
    record = unknown.receive(unknown.founding_draft.value, headers)
    stopped(unknown, lambda: unknown.fold_into(unknown.tables, record))
    assert unknown.fold(None, ()).says == ("refused", "UNDECODABLE")  # a stranger's bytes stop nobody


def test_a_stranger_s_founding_event_chooses_no_engine() -> None:
    """Only the configured one does, by its digest."""
    world = World()
    other = TenantFounded(**{**_fields(world.founding), "engine": 7})

    assert world.send(other, world.admin).says == ("refused", "NOT_GENESIS")


def _fields(body: TenantFounded) -> dict[str, Any]:
    return {name: getattr(body, name) for name in TenantFounded.__dataclass_fields__}


def test_a_tenant_of_before_there_were_data_goes_on() -> None:
    """Its founding event names engine 1 by default, and no data."""
    world = World.founded(engines={1: Engine(1, DATA_LATER)})

    assert world.tables.engine.number == 1
    assert rules.engine_for(world.tables, world.receive(None, ())).data == DATA_LATER


# --- a log with two engines


def test_a_log_with_two_engines_folds_again_to_the_same_bytes() -> None:
    """Each part by its own engine, on tables that hold both."""
    office = two_engines("replayed")
    office.call({"n": 1})
    office.world.send(activation(), office.world.admin)
    office.call({"n": 2})
    world = office.world
    first, again = ([o for r in world.records for o in step(t, r, VerifiedHeads())] for t in (
        world.fresh_tables(), world.fresh_tables(),
    ))  # fmt: skip

    assert first == again
    assert sum(MARK.encode() in (output.value or b"") for output in again) == 1


def test_the_later_engine_alone_cannot_fold_the_beginning() -> None:
    """It would decide the first part by the wrong rules."""
    office = two_engines("alone")
    tables = office.world.fresh_tables()
    tables.engines = ONLY_LATER

    with pytest.raises(EngineMissingError, match="engine 1"):
        step(tables, office.world.records[0], VerifiedHeads())
