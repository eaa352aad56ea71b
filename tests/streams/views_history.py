"""A mixed history of one tenant, played through the real fold, and what its tables say in the words of the views."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from processors.calls.requests import criteria_asked, quorum_of
from processors.effects import Output
from processors.identity.delegations import rows_of
from tests.builders import Folded
from tests.workflow_world import ANYTHING, CHECK, MAIL, PAY, Workflow, attests
from tests.world import HOUR_MS

SECRET = "the-combination-is-7-12-31"
MINUTE_MS = 60_000


class History(Workflow):
    """A tenant in which everything has happened that the views show, and some of it is still under way."""

    def play(self) -> History:
        """Let it all happen; each act says what it leaves behind."""
        self._attest()
        self._approve()
        self._remember()
        self._delegate()
        self.passes(2 * MINUTE_MS)
        return self

    def _attest(self) -> None:
        """Two records stand; one is used up, one revoked, one has expired."""
        self.require("checked", one_time=True)
        self.ran(self.bot, CHECK, attests("checked", SECRET, one_time=True), attests("checked.again", max_uses=3))
        assert self.pay().says == ("allowed", "")
        assert self.pay().says == ("denied", "ATTESTATION_CONSUMED")
        self.ran(self.bot, MAIL, attests("mailed"), attests("shared", ttl_ms=MINUTE_MS))
        other = self.open_session(self.agent)
        self.ran(other, CHECK, attests("shared", SECRET))
        self.ran(other, CHECK, attests("checked.late"))
        assert self.take_back(self.desk, other, "checked.late", CHECK).says == ("accepted", "")

    def _approve(self) -> None:
        """One request waits for a second person, one for anybody; others ended each in its way. One grant stands."""
        self.carol, self.dave = self.person("carol", "manager"), self.person("dave", "manager")
        self.require("once", approval_criteria=["role:manager", "team:ops"], quorum=2, timeout=3000)
        approved, denied = self.pay(1), self.pay(2)
        for one in (self.carol, self.dave):
            assert self.approve(one, approved, "once").says == ("accepted", "")
        assert self.deny(self.carol, denied, "once").says == ("accepted", "")
        half, _ = self.pay(3), self.pay(4)
        assert self.approve(self.dave, half, "once").says == ("accepted", "")
        leaving = self.open_session(self.agent)
        assert self.pay(5, by=leaving).says == ("pending", "APPROVAL_PENDING")
        self.close(leaving)

        self.require("late", approval_criteria="role:manager", timeout=60)
        assert self.pay(6).says == ("pending", "APPROVAL_PENDING")
        self.require("often", approval_criteria="role:manager", timeout=300, one_time=False, max_uses=3)
        assert self.approve(self.carol, self.pay(7), "often").says == ("accepted", "")
        assert self.pay(8).says == ("allowed", "")
        self.require("single", approval_criteria="role:manager", timeout=300, one_time=False, max_uses=1)
        assert self.approve(self.carol, self.pay(9), "single").says == ("accepted", "")
        self.require("gone", approval_criteria="role:manager", timeout=300, one_time=False, time_to_live=600)
        assert self.approve(self.dave, self.pay(10), "gone").says == ("accepted", "")
        assert self.revoke_grant(self.admin, "gone").says == ("accepted", "")
        self.publish_policy({"policy_id": "agent:bot", **ANYTHING})

    def _remember(self) -> None:
        """Keys stand in the own scope and in a shared one; one was deleted, one has run out, one was set anew."""
        for key in ("plan", "note", "draft"):
            self.put(self.bot, key, SECRET)
        self.put(self.bot, "plan", {"again": SECRET}, expected=1)
        self.drop(self.bot, "draft")
        self.put(self.bot, "brief", SECRET, ttl_ms=MINUTE_MS)
        self.put(self.bot, "ledger", SECRET, scope="team")
        self.put(self.bot, "lease", SECRET, scope="team", ttl_ms=HOUR_MS)
        self.put(self.bot, "old", SECRET, scope="team")
        self.drop(self.bot, "old", scope="team")
        self.put(self.bot, "old", 1, scope="team")

    def _delegate(self) -> None:
        """One tree of three stands, one was revoked in the middle, one has ended."""
        helpers = [self.open_session(self.register("agent", name)) for name in ("one", "two", "three")]
        for kill, life_ms in ((False, HOUR_MS), (True, HOUR_MS), (False, MINUTE_MS)):
            top = self.grant_to(self.bot, "one", resources=["tool:**"], life_ms=life_ms)
            middle = self.grant_to(helpers[0], "two", resources=[PAY], parent=top.entry.event, life_ms=life_ms)
            self.grant_to(helpers[1], "three", resources=[PAY], parent=middle.entry.event, life_ms=life_ms)
            if kill:
                assert self.revoke_delegation(self.bot, middle.entry.event).says == ("accepted", "")

    def changes(self) -> Iterator[Output]:
        """Yield what the views were told, in the order of the log."""
        return (one for folded in self.log for one in folded.feed)


class Chance(Workflow):
    """A tenant in which anything may happen, from one seed. What is refused is part of it."""

    def happen(self, seed: int, acts: int) -> Chance:
        """Let so many things happen."""
        self.chance = random.Random(seed)
        self.programs = [self.open_session(self.register("agent", f"bot-{n}")) for n in range(3)]
        self.people = [self.person(name, "manager") for name in ("carol", "dave", "eve")]
        self.asked: list[Folded] = []
        self.open: list[bytes] = []
        self.granted: list[tuple[bytes, int]] = []
        self.publish_policy(*({"policy_id": f"agent:bot-{n}", **ANYTHING} for n in range(3)))
        often = (self._do_check, self._do_call, self._do_answer, self._do_vault, self._do_hand_on, self._do_wait)
        seldom = (self._do_policy, self._do_answer, self._do_revoke, self._do_end)
        for _ in range(acts):
            self.chance.choice((*often, *often, *seldom))()
        return self

    def _who(self) -> int:
        return self.chance.randrange(len(self.programs))

    def _do_policy(self) -> None:
        people = {"approval_criteria": "role:manager", "timeout": 120}
        meta = self.chance.choice(
            (
                {"one_time": True},
                {**people, "quorum": self.chance.randint(1, 2)},
                {**people, "one_time": False, "max_uses": self.chance.randint(1, 3)},
                {**people, "timeout": 0, "one_time": False, "time_to_live": 300},
            )
        )
        key = self.chance.choice(["checked", "release"])
        needed = {"attestations": [f"{key}::{{tool.id == '{PAY}'}}"], "constraints": {"attestations": {key: meta}}}
        self.publish_policy({"policy_id": f"agent:bot-{self._who()}", **ANYTHING, **needed})

    def _do_check(self) -> None:
        called = self.call(self.programs[self._who()], CHECK)
        if called.says[0] == "allowed":
            more = self.chance.choice([{}, {"one_time": True}, {"max_uses": 2}, {"ttl_ms": MINUTE_MS}])
            self.report(called.decision_leaf, self.desk, attestations=[attests("checked", SECRET, **more)])

    def _do_call(self) -> None:
        chosen = self.chance.choice([None, *(leaf for leaf, _ in self.granted)])
        header = {} if chosen is None else {"on_behalf_of": chosen}
        called = self.pay(by=self.programs[self._who()], **header)
        if called.entry.outcome in {"pending", "denied"}:
            self.asked.append(called)
        elif called.says[0] == "allowed":
            self.open.append(called.decision_leaf)

    def _do_answer(self) -> None:
        if self.asked:
            asked = self.chance.choice(self.asked[-6:])
            say = self.deny if self.chance.random() < 0.1 else self.approve
            say(self.chance.choice(self.people), asked, self.chance.choice(["checked", "release"]))

    def _do_revoke(self) -> None:
        name = f"bot-{self._who()}"
        if self.chance.random() < 0.5:
            self.revoke_grant(self.admin, "release", name, name)
        else:
            self.take_back(self.desk, self.programs[self._who()], "checked", CHECK)

    def _do_vault(self) -> None:
        by, key, scope = self.programs[self._who()], self.chance.choice("abc"), self.chance.choice(["session", "team"])
        match self.chance.randrange(4):
            case 0:
                self.drop(by, key, scope)
            case 1:
                self.put(by, key, SECRET, scope, ttl_ms=MINUTE_MS)
            case _:
                self.put(by, key, SECRET, scope, expected=self.chance.choice([None, None, 0, 1, 2]))

    def _do_hand_on(self) -> None:
        who, to = self._who(), self._who()
        if self.granted and self.chance.random() < 0.3:
            self.revoke_delegation(self.programs[who], self.chance.choice(self.granted)[0])
            return
        parents = [leaf for leaf, delegate in self.granted if delegate == who]
        parent = self.chance.choice([None, *parents])
        life_ms = self.chance.choice([MINUTE_MS, 10 * MINUTE_MS])
        granted = self.grant_to(self.programs[who], f"bot-{to}", parent=parent, life_ms=life_ms)
        if granted.says[0] == "accepted":
            self.granted.append((granted.entry.event, to))

    def _do_end(self) -> None:
        """End a session, and open another one in its place."""
        who = self._who()
        if self.chance.random() < 0.5:
            self.close(self.programs[who])
            self.programs[who] = self.open_session(self.register("agent", f"bot-{who}"))

    def _do_wait(self) -> None:
        self.passes(self.chance.choice([1, 1000, 45_000, 3 * MINUTE_MS]))

    def changes(self) -> Iterator[Output]:
        """Yield what the views were told, in the order of the log."""
        return (one for folded in self.log for one in folded.feed)


def tables_say(world: Workflow) -> dict[str, Any]:
    """Return what of the fold's tables counts now, by id, as plain values."""
    tables, now = world.tables, world.now
    return {
        "requests": {
            key.hex(): (
                row.key,
                row.resource,
                list(criteria_asked(row)),
                quorum_of(row),
                [one.principal_id for one in row.approvals],
                row.open_until,
            )
            for key, row in tables.requests.rows.items()
            if not row.closed and now < row.open_until
        },
        "records": {
            key.hex(): (row.key, row.session_id.hex(), row.setter, row.expires_at)
            for key, row in tables.attestations.rows.items()
            if _counts(row, 1 if row.one_time else row.max_uses, now)
        },
        "grants": {
            key.hex(): (row.key, row.root, row.uses, row.max_uses, [one.principal_id for one in row.approvals])
            for key, row in tables.grants.rows.items()
            if _counts(row, row.max_uses, now)
        },
        "keys": {(row.scope, row.key): row.version for row in tables.vault.rows.values() if now < row.until},
        "delegations": {
            key.hex(): (row.parent.hex() if row.parent else None, row.delegator, row.delegate)
            for key, row in tables.delegations.rows.items()
            if not any(one.revoked or now >= one.expires_at for one in rows_of(tables, key))
        },
        "sessions": {key.hex() for key, row in tables.sessions.rows.items() if now < row.expires_at},
    }


def _counts(row: Any, most: int | None, now: int) -> bool:
    over = row.expires_at is not None and now >= row.expires_at
    return not row.revoked and not over and (most is None or row.uses < most)


def answers_say(answers: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Return the same of what the query API answers, by path."""
    every = [one for one in answers["attestations"] if one["status"] == "active"]
    trees = answers["delegations"]
    return {
        "requests": {
            one["id"]: (
                one["key"],
                one["resource"],
                one["may_approve"]["criteria"],
                one["may_approve"]["quorum"],
                one["approved_by"],
                one["open_until"],
            )
            for one in answers["approvals"]
        },
        "records": {
            one["id"]: (one["key"], one["session_id"], one["resource"], one["ends_at"])
            for one in every
            if one["kind"] == "record"
        },
        "grants": {
            one["id"]: (one["key"], one["principal_id"], one["uses"], one["uses_max"], one["approved_by"])
            for one in every
            if one["kind"] == "grant"
        },
        "keys": {(one["scope"], one["key"]): one["version"] for one in answers["context"]},
        "delegations": {
            one["id"]: (one["parent"], one["delegator"], one["delegate"])
            for one in flat(trees)
            if one["status"] == "active"
        },
        "sessions": {one["session_id"] for one in answers["sessions"] if one["status"] == "open"},
    }


def flat(trees: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield every delegation of some trees."""
    for tree in trees:
        yield tree
        yield from flat(tree["children"])
