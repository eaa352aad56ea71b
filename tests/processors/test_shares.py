"""Nobody's share is everybody's: whatever one principal fills, what passed before for another still passes."""

import json
import random
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.refusal import Refusal
from processors.state.bounds import TenantLimits
from processors.state.shares import check_room, payer, shares_of, with_guest
from processors.state.tables import Tables
from schemas import limits
from schemas.events.attributes import NONE, Attributes
from schemas.rows import SessionRow
from tests.builders import Actor, Folded, grant, invocation, keys_of
from tests.workflow_world import ANYTHING, CHECK, PAY, Workflow, attests, declared

ROWS = 256
FEW = TenantLimits(
    keys=ROWS, resources=ROWS, sessions=ROWS, persons=ROWS, pending_calls=ROWS, buckets=ROWS, cells=ROWS,
    attestations=ROWS, requests=ROWS, grants=ROWS, delegations=ROWS, vault_scopes=ROWS, vault_keys=ROWS, prompts=ROWS,
)  # fmt: skip
TRAP = "tool:trap/run"
FULL = ("LIMIT_EXCEEDED",)
Move = Callable[["Town", Actor, int], Folded]


class Town(Workflow):
    """A tenant with little room where some of everybody live: registered by an admin or enrolled, and known persons."""

    def settle(self) -> None:
        """Register who lives here."""
        approval = {"constraints": {"attestations": {"boss": {"approval_criteria": "role:manager", "timeout": 600}}}}
        asks = {"attestations": [f"boss::{{tool.id == '{PAY}' and params.amount > 100}}"], **approval}
        self.trap = self.register("tool", "trap", tools=(declared(TRAP, attests=("**",), timeout_ms=3_600_000),))
        mob = grant(count_max=10_000, attributes=Attributes(roles=("mob",)))
        self.crowd = self.register("enrolment", "crowd", enrolment=mob)
        self.others = self.register("enrolment", "others", enrolment=grant(count_max=10_000))
        self.principals = {"own": self.register("agent", "own"), "victim": self.register("agent", "victim")}
        for key, name in ((self.crowd, "mob"), (self.crowd, "neighbour"), (self.others, "stranger")):
            self.principals[name] = self.register("agent", name, by=key)
        self.publish_policy(*({"policy_id": f"agent:{name}", **ANYTHING, **asks} for name in self.principals))
        self.publish_policy({"policy_id": "role:person", **ANYTHING, **asks})

    trap: Actor
    crowd: Actor
    others: Actor
    principals: dict[str, Actor]

    def session(self, name: str) -> Actor:
        """Let somebody begin to work."""
        if name in self.principals:
            return self.open_session(self.principals[name])
        return self.person(name, "person", ttl_ms=limits.SESSION_TTL_MS_MAX)

    def enters(self, name: str) -> Folded:
        """Try to open one more session of somebody."""
        keys = keys_of(self.name, "more", self.draw())
        if name in self.principals:
            return self.send(self.session_of(self.principals[name], keys=keys), self.principals[name])
        attributes = Attributes(roles=("person",), user=name)
        return self.send(self.person_session(f"user:{name}", keys=keys, attributes=attributes), self.bridge)


@pytest.fixture
def town(request) -> Town:
    town = Town.opened(request.node.name, bounds=FEW)
    town.settle()
    return town


# ---- what fills tables


def calls(town: Town, by: Actor, n: int) -> Folded:
    return town.call(by, TRAP, {"n": n})


def cells(town: Town, by: Actor, n: int) -> Folded:
    rules = [{"id": f"{n}.{i}", "when": "**", "at_most": 9, "per": "session"} for i in range(8)]
    folded = town.send(invocation(CHECK, {}, intents=(json.dumps({"sequence": rules}),)), by)
    return ended(town, folded)


def prompts(town: Town, by: Actor, n: int) -> Folded:
    return ended(town, town.prompted(by, f"text {n}"))


def memory(town: Town, by: Actor, n: int) -> Folded:
    return town.put(by, f"k{n}", n)


def scopes(town: Town, by: Actor, n: int) -> Folded:
    return town.put(by, "k", n, scope=f"s{n}.{by.principal_id.removeprefix('user:')}")


def delegations(town: Town, by: Actor, n: int) -> Folded:
    return town.grant_to(by, "bot", life_ms=3_600_000 + n)


def requests(town: Town, by: Actor, n: int) -> Folded:
    return town.call(by, PAY, {"amount": 1000 + n})


def attestations(town: Town, by: Actor, n: int) -> Folded:
    folded = town.call(by, CHECK, {"n": n})
    if folded.entry.outcome != "allowed":
        return folded
    said = town.report(folded.decision_leaf, town.desk, attestations=(attests(f"checked.k{n}"),))
    return said if said.entry.outcome == "accepted" else give_up(town, folded, said)


def give_up(town: Town, folded: Folded, said: Folded) -> Folded:
    town.report(folded.decision_leaf, town.desk)
    return said


def ended(town: Town, folded: Folded) -> Folded:
    if folded.entry.outcome == "allowed":
        assert town.report(folded.decision_leaf, town.desk).says == ("accepted", "")
    return folded


MOVES: dict[str, Move] = {
    "calls": calls, "cells": cells, "prompts": prompts, "vault": memory, "scopes": scopes, "delegations": delegations,
    "requests": requests, "attestations": attestations,
}  # fmt: skip


def fills(town: Town, name: str, by: Actor, what: str) -> int:
    """Let somebody go on until there is no room; return how often it went well."""
    move = MOVES[what]
    for n in range(4 * ROWS):
        if move(town, by, n).entry.reason == "LIMIT_EXCEEDED":
            return n
        town.tables.commit()
    raise AssertionError(f"{name} met no bound of {what}")


def life(town: Town, name: str) -> list[tuple[str, str]]:
    """Let somebody log in and do one of everything."""
    entered = town.session(name)
    return [move(town, entered, 10_000).says for move in MOVES.values()]


EVERYBODY_ELSE = {
    "own": ("victim", "neighbour", "stranger", "alice"),
    "mob": ("victim", "neighbour", "stranger", "alice"),
    "mallory": ("victim", "neighbour", "stranger", "alice"),
}


# ---- the property


@pytest.mark.parametrize("what", MOVES)
@pytest.mark.parametrize("attacker", EVERYBODY_ELSE)
def test_whatever_one_fills_everybody_else_goes_on(town, attacker, what):
    """An agent of an admin, one of an enrolment key's crowd, a person: each meets its own bound, and others none."""
    expected = {name: life(town, name) for name in EVERYBODY_ELSE[attacker]}
    assert not any(FULL[0] in says for one in expected.values() for says in one)

    fills(town, attacker, town.session(attacker), what)

    assert {name: life(town, name) for name in EVERYBODY_ELSE[attacker]} == expected


@pytest.mark.parametrize("attacker", EVERYBODY_ELSE)
def test_one_that_logs_in_again_and_again_keeps_nobody_out(town, attacker):
    """Sessions too, and for persons what is known of them."""
    for _ in range(4 * ROWS):
        if town.enters(attacker).entry.reason == "LIMIT_EXCEEDED":
            break
    else:
        raise AssertionError("no bound")

    for name in EVERYBODY_ELSE[attacker]:
        assert not any(FULL[0] in says for says in life(town, name))


def test_a_crowd_of_one_key_fills_its_own_quarter(town):
    """Agents are enrolled as long as it goes, and each does all it can: those of other keys go on."""
    names = [f"mob-{n}" for n in range(ROWS)]
    town.publish_policy({"policy_id": "role:mob", **ANYTHING})
    crowd: list[Actor] = []
    for name in names:
        keys = keys_of(town.name, name)
        body = town.registration("agent", name, keys=keys, attributes=Attributes(roles=("mob",)))
        if town.send(body, town.crowd).says != ("accepted", ""):
            break
        crowd.append(Actor("agent", name, keys))
    assert 20 < len(crowd) < ROWS / 4
    for at, member in enumerate(crowd[:20]):
        entered = town.open_session(member)
        for n in range(10):
            for move in (calls, prompts, memory, delegations):
                move(town, entered, 100 * at + n)
        town.tables.commit()
    assert calls(town, town.session("mob"), 1).says == ("denied", "LIMIT_EXCEEDED")

    for name in ("victim", "stranger", "alice"):
        assert not any(FULL[0] in says for says in life(town, name))


def test_a_tool_fills_a_part_of_its_callers_share_only(town):
    """It attests whatever it likes into the session that called it: others attest on."""
    caller = town.session("victim")
    called = town.call(caller, TRAP)
    assert called.says == ("allowed", "")
    for n in range(4 * ROWS):
        said = town.attest(town.trap, caller, f"x.k{n}", decision=called.decision_leaf)
        if said.says == ("refused", "LIMIT_EXCEEDED"):
            break
    else:
        raise AssertionError("no bound")

    assert attestations(town, caller, 1).says == ("accepted", "")
    assert not any(FULL[0] in says for name in EVERYBODY_ELSE["own"] for says in life(town, name))


def test_a_tool_with_many_operations_leaves_other_setters_of_a_key(town):
    """A key of a session has room for so many setters, and one principal for a quarter of them."""
    many = tuple(declared(f"tool:many/{n}", attests=("**",)) for n in range(20))
    town.register("tool", "many", tools=many)
    caller, said = town.session("victim"), []
    tool = Actor("tool", "many", keys_of(town.name, "second instance"))
    town.register("tool", "many", keys=tool.keys, tools=many)
    for one in many:
        called = town.call(caller, one.resource)
        said.append(town.report(called.decision_leaf, tool, attestations=(attests("shared"),)).says)

    assert said == [("accepted", "")] * 16 + [("refused", "LIMIT_EXCEEDED")] * 4
    assert town.ran(caller, CHECK, attests("shared")).says == ("accepted", "")


def test_a_bridge_that_logs_somebody_in_again_and_again_keeps_another_bridge_from_nothing(monkeypatch):
    """Sessions of a person are counted for each bridge."""
    monkeypatch.setattr(limits, "SESSIONS_PER_PERSON_MAX", 3)
    world = Workflow.opened("bridges")
    stolen = world.register("bridge", "stolen")
    for _ in range(3):
        world.person("alice", by=stolen)
    with pytest.raises(AssertionError, match="LIMIT_EXCEEDED"):
        world.person("alice", by=stolen)

    assert world.person("alice")


def test_who_ended_many_sessions_keeps_nobody_from_having_room_again(town):
    """Their rows are still leaving when somebody whose share was full ends a session and begins another."""
    caller = town.session("victim")
    most = fills(town, "victim", caller, "vault")
    theirs = [town.session("own") for _ in range(8)]
    for n in range(60):
        memory(town, theirs[n % 8], n)
        prompts(town, theirs[n % 8], n)
    for one in theirs:
        town.close(one)
    town.close(caller)

    again = town.session("victim")
    assert [memory(town, again, n).says for n in range(most)] == [("accepted", "")] * most


def test_a_tool_that_never_reports_stops_no_other_calls_of_its_callers(town):
    """What is open with one tool is a part of what a caller may have open."""
    caller = town.session("victim")
    assert fills(town, "victim", caller, "calls") == ROWS / 16

    assert town.call(caller, CHECK).says == ("allowed", "")


def test_who_acts_for_a_person_fills_a_part_of_the_persons_share_only(town):
    """A delegate's calls count for the person, and leave the person enough."""
    alice, bot = town.session("alice"), town.session("own")
    leaf = town.grant_to(alice, "own", resources=["**"]).entry.event
    called = [town.call(bot, CHECK, {"n": n}, on_behalf_of=leaf) for n in range(ROWS)]
    assert called[0].says == ("allowed", "")
    assert called[-1].says == ("denied", "LIMIT_EXCEEDED")
    [mine] = [key for key, row in town.tables.calls.rows.items() if row.event == called[0].entry.event]
    said = [town.attest(town.desk, bot, f"checked.k{n}", decision=mine).says for n in range(ROWS)]
    assert said[0] == ("accepted", "")
    assert said[-1] == ("refused", "LIMIT_EXCEEDED")
    for what, move in MOVES.items():
        assert move(town, alice, 5).entry.reason != "LIMIT_EXCEEDED", what


def test_those_to_whom_a_delegate_hands_on_fill_its_part_together(town):
    """Else one whom a person trusted could take the person's whole share, with the help of four others."""
    alice, own = town.session("alice"), town.session("own")
    leaf = town.grant_to(alice, "own", resources=["**"]).entry.event
    for name in ("mob", "neighbour", "stranger", "victim"):
        narrowed = town.grant_to(own, name, parent=leaf, life_ms=3_000_000, resources=["**"]).entry.event
        by, helpers = town.session(name), ("calls", "prompts", "vault", "scopes", "cells")
        for n in range(ROWS // 16):
            town.call(by, (CHECK, TRAP)[n % 2], {"n": n}, on_behalf_of=narrowed)
            town.put(by, f"{name}-{n}", n, scope=f"s-{name}-{n}", on_behalf_of=narrowed)
        assert town.call(by, CHECK, on_behalf_of=narrowed).says == ("denied", "LIMIT_EXCEEDED")

    for what in helpers:
        assert MOVES[what](town, alice, 5).entry.reason != "LIMIT_EXCEEDED", what


@pytest.mark.parametrize("seed", range(4))
def test_when_a_filler_is_revoked_its_share_comes_back(town, seed):
    """Or its sessions end: what is left is what others share, and what ends with time."""
    dice = random.Random(seed)
    entered = [town.session("own") for _ in range(3)]
    for n in range(120):
        dice.choice(list(MOVES.values()))(town, dice.choice(entered), n)
    town.revoke("own") if seed % 2 else [town.close(one) for one in entered]
    for _ in range(20):
        town.tick()

    for table in ("attestations", "prompts", "cells"):
        assert town.tables.by_name[table].counts.get("own\n", 0) == 0, table
    held = [row.scope for row in town.tables.vault.rows.values()] + [
        row.name for row in town.tables.scopes.rows.values()
    ]
    assert not any(name.startswith("session:") for name in held)
    town.advance(2 * 3_600_000)
    for _ in range(20):
        town.tick()
    for table in ("sessions", "calls", "requests", "pending", "delegations"):
        assert town.tables.by_name[table].counts.get("own\n", 0) == 0, table


def test_who_is_refused_is_told_whose_share_is_full(town):
    """And by how much."""
    by = town.session("mob")
    fills(town, "mob", by, "delegations")

    told = delegations(town, by, 3).results[0].detail
    assert told == "the share of mob is full: at most 16 rows and 8388608 bytes of delegations"


# ---- the arithmetic


NAMES = st.sampled_from(["a", "b", "user:a", "ab"])
KIDS = st.sampled_from([b"", b"\1" * 32, b"\2" * 32])


def test_parts_of_a_table():
    """A quarter for who stands alone or vouches for others, a quarter of that for each of those, or for a guest."""
    alone, one_of = payer("a"), payer("a", b"\1" * 32)
    kid = "01" * 32

    assert dict(shares_of(alone)) == {"a\n": 4}
    assert dict(shares_of(one_of)) == {f"\n{kid}": 4, f"a\n{kid}\n": 16}
    assert dict(shares_of(alone, "t")) == {"a\n": 4, "\n\nt": 4, "a\n\nt": 16}
    assert dict(shares_of(one_of, "t")) == {
        f"\n{kid}": 4, f"a\n{kid}\n": 16, "\n\nt": 4, f"\n{kid}\nt": 16, f"a\n{kid}\nt": 64,
    }  # fmt: skip
    assert dict(shares_of(payer("p", guest="a"), "t"))["p\n\na\nt"] == 64
    assert shares_of(with_guest(alone, "t")) == shares_of(alone, "t")
    assert shares_of(payer("a", guest="a")) == shares_of(alone) == shares_of(alone, "a")
    assert shares_of("") == () == shares_of(with_guest("", "t"))


@given(st.lists(st.tuples(NAMES, KIDS, st.sampled_from(["", "a", "t"])), max_size=40))
def test_counts_are_those_of_the_rows_and_a_share_is_never_more_than_its_part(payers):
    """However rows come and go: what has room is let in, and taking a row away gives back all that it took."""
    tables = Tables(
        tenant="t", deployment="d", genesis=bytes(32), bounds=TenantLimits(sessions=32, session_bytes=2**40)
    )
    row = SessionRow(
        principal_id="", role="", opened_by=b"", ed25519=b"", x25519=b"", attributes=NONE, opened_at=0, expires_at=1
    )
    for n, (holder, kid, guest) in enumerate(payers):
        mark, key = tables.savepoint(), b"%d" % (n % 23)
        taken = type(row)(**{name: getattr(row, name) for name in row.__slots__} | {"payer": payer(holder, kid, guest)})
        tables.sessions.put(key, taken)
        try:
            check_room(tables.sessions, taken)
        except Refusal:
            tables.undo_to(mark)
        assert all(tables.sessions.counts.get(s, 0) <= 32 // part or 1 for s, part in every_share(tables))
    for key in list(tables.sessions.rows):
        tables.sessions.delete(key)
    assert (tables.sessions.counts, tables.sessions.weights, tables.sessions.counted) == ({}, {}, 0)


def every_share(tables: Tables) -> Iterator[tuple[str, int]]:
    for row in tables.sessions.rows.values():
        yield from tables.sessions.shares_of(row)
