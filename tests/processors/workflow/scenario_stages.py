"""Published scenarios, staged: each is played as signed events through the fold, and says what became of it.

A stage answers `Told(accepted, code)`: whether what the scenario's agent wanted took effect, and under which reason.
What a row shows as a digest or a document is taken from the row; who signs what is ours.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from hashlib import sha256
from typing import Any, NamedTuple

from processors.proof import jcs
from schemas import codec
from schemas.events.workflow import DelegationGranted, DelegationRevoked
from schemas.records import ApplicationEventLogged
from tests.builders import Actor, Draft, Folded, keys_of
from tests.workflow_world import ANYTHING, CHECK, PAY, Workflow, attests
from tests.world import HOUR_MS

KEY = "reviewer"
REFUND = "tool:bank/refund"
SECOND_MS = 1_000
Row = dict[str, Any]


class Told(NamedTuple):
    """Whether the call took effect, and the code of the decision or refusal that says so."""

    accepted: bool
    code: str


Stage = Callable[[Row], Told]


def final(world: Workflow, asked: Folded) -> Told:
    """Return what became of a call in the end: whoever has not answered by its deadline has not approved."""
    if asked.entry.outcome == "refused":
        return Told(False, asked.entry.reason)
    if not world.finals(asked.entry.event):
        world.passes(HOUR_MS)
    decision = world.final(asked)
    return Told(decision.outcome == "allowed", decision.reason)


def refused(world: Workflow, answer: Folded, asked: Folded) -> Told:
    """Return the code under which an answer was refused; the call that it was for did not take effect."""
    assert answer.entry.outcome == "refused"
    assert not final(world, asked).accepted
    return Told(False, answer.entry.reason)


def jcs_sha256(value: Any) -> bytes:
    return sha256(jcs.canonical(value)).digest()


# ---- approval-binding: the row's payload is asked for, and its approval has the row's fate


def reviewed(**meta: Any) -> tuple[Workflow, Actor]:
    world = Workflow.opened("scenario")
    how = {"approval_criteria": "role:reviewer", "timeout": 600, **meta}
    needed = [f"{KEY}::{{tool.domain == 'tool' AND tool.app == 'bank'}}"]
    document = {"policy_id": "agent:bot", **ANYTHING, "attestations": needed}
    world.publish_policy({**document, "constraints": {"attestations": {KEY: how}}})
    return world, world.person("reviewer-1", "reviewer")


def payload(row: Row) -> Any:
    return json.loads(row["files"]["payload.bin"])


def last_second(row: Row) -> Told:
    world, reviewer = reviewed(one_time=False, time_to_live=600)
    world.approve(reviewer, world.call(world.bot, PAY, payload(row)), KEY)
    world.advance(600 * SECOND_MS - SECOND_MS)
    return final(world, world.call(world.bot, PAY, payload(row)))


def another_is_presented(row: Row) -> Told:
    world, reviewer = reviewed()
    asked, other = (world.call(world.bot, PAY, payload(row)) for _ in range(2))
    world.approve(reviewer, asked, KEY)
    world.approve(reviewer, other, KEY)
    return final(world, asked)


def already_consumed(row: Row) -> Told:
    world, reviewer = reviewed()
    first = world.call(world.bot, PAY, payload(row))
    yes = world.approve(reviewer, first, KEY)
    again = world.call(world.bot, PAY, payload(row))
    return refused(world, world.fold(yes.received.value, yes.received.headers), again)


def unknown_contract(row: Row) -> Told:
    world, reviewer = reviewed()
    asked = world.call(world.bot, PAY, payload(row))
    draft = world.draft(world.approval(asked, KEY), reviewer)
    unknown = b"\x00" + (2**31 - 1).to_bytes(4, "big") + draft.value[codec.FRAME_BYTES :]
    (headers,) = world.sign([draft], reviewer)
    return refused(world, world.fold(unknown, headers), asked)


def another_event(row: Row) -> Told:
    world, reviewer = reviewed()
    world.approve(reviewer, world.call(world.bot, PAY, payload(row)), KEY)
    return final(world, world.call(world.bot, PAY, payload(row)))


def another_tool(row: Row) -> Told:
    world, reviewer = reviewed()
    world.approve(reviewer, world.call(world.bot, PAY, payload(row)), KEY)
    return final(world, world.call(world.bot, REFUND, payload(row)))


def another_payload(row: Row) -> Told:
    return not_what_was_approved(
        payload(row),
        '{"path":"workspace/selection.json","bytes":"{\\"pick\\":7}"}\n',
        row["files"]["record.json"]["approval"]["payloadSha256"],
    )


def not_what_was_approved(executed: Any, approved: str, published_sha256: str) -> Told:
    assert sha256(approved.encode()).hexdigest() == published_sha256  # what the row's record says was approved
    world, reviewer = reviewed()
    asked = world.call(world.bot, PAY, executed)
    answer = world.approve(reviewer, asked, KEY, parameters_sha256=jcs_sha256(json.loads(approved)))
    return refused(world, answer, asked)


def policy_comes_later(row: Row) -> Told:
    world = Workflow.opened("scenario")
    world.withdraw_policy("agent:bot")
    asked = world.call(world.bot, PAY, payload(row))
    world.advance(SECOND_MS)
    world.publish_policy({"policy_id": "agent:bot", **ANYTHING})
    return final(world, asked)


def policy_was_retired(row: Row) -> Told:
    world, reviewer = reviewed()
    asked = world.call(world.bot, PAY, payload(row))
    world.withdraw_policy("agent:bot")
    world.advance(301 * SECOND_MS)
    world.approve(reviewer, asked, KEY)
    return final(world, asked)


# ---- converted-argument-binding: what would run is asked for, what was shown (or not) is approved


def converted(row: Row, name: str) -> tuple[Workflow, Folded, Folded]:
    """Ask for what would run, and approve the digest of one of the row's documents."""
    world, reviewer = reviewed()
    asked = world.call(world.bot, PAY, row["files"]["executed.json"])
    return world, asked, world.approve(reviewer, asked, KEY, parameters_sha256=jcs_sha256(row["files"][name]))


def shown_is_not_executed(row: Row) -> Told:
    world, asked, answer = converted(row, "shown.json")
    return refused(world, answer, asked)


def raw_was_approved(row: Row) -> Told:
    world, asked, answer = converted(row, "raw.json")
    return refused(world, answer, asked)


# ---- authority-at-dispatch


def no_contract(row: Row) -> Told:
    world = Workflow.opened("scenario")
    draft = world.draft(world.event_of(world.pay()).body, world.bot)
    bare = Draft(draft.value[codec.FRAME_BYTES :], draft.leaf)
    (headers,) = world.sign([bare], world.bot)
    folded = world.fold(bare.value, headers)
    assert (folded.decisions, len(folded.dead_letters)) == ([], 1)
    return Told(False, folded.entry.reason)


def other_bytes_dispatched(row: Row) -> Told:
    return not_what_was_approved(
        json.loads(row["files"]["dispatched.bin"]),
        '{"queue":"support","title":"Refund 7731","body":"Customer asks for a refund."}\n',
        row["files"]["record.json"]["approvedAction"]["payloadSha256"],
    )


def evidence_too_old(row: Row) -> Told:
    evidence = row["files"]["record.json"]["authorityEvidence"]
    times = {name: row["files"]["record.json"][name] for name in ("decisionTime",)} | {"seen": evidence["observedAt"]}
    minutes = {name: int(text[11:13]) * 60 + int(text[14:16]) for name, text in times.items()}
    age_ms = (minutes["decisionTime"] - minutes["seen"]) * 60 * SECOND_MS
    world = Workflow.opened("scenario")
    world.require("checked", time_to_live=evidence["maxAgeSeconds"])
    world.ran(world.bot, CHECK, attests("checked", {"age": evidence["evidenceAgeSeconds"]}))  # what it says of itself
    world.advance(age_ms)
    return final(world, world.pay())


# ---- delegation: the organisation is an admin or a person, agents are principals


class Tree:
    """org → planner → worker, each agent a principal of its own."""

    def __init__(self) -> None:
        self.world = Workflow.opened("scenario")
        self.org = self.world.person("org", "org")
        self.world.publish_policy({"policy_id": "role:org", **ANYTHING})
        self.planner, self.worker = self.agent("planner"), self.agent("worker")
        self.first = self.granted(self.org, "planner")
        self.second = self.granted(self.planner, "worker", self.first)

    def agent(self, name: str) -> Actor:
        self.world.publish_policy({"policy_id": f"agent:{name}", **ANYTHING})
        return self.world.open_session(self.world.register("agent", name))

    def granted(self, by: Actor, to: str, parent: bytes | None = None) -> bytes:
        folded = self.world.grant_to(by, to, parent=parent, life_ms=HOUR_MS // 2)
        assert folded.says == ("accepted", ""), folded.results
        return folded.entry.event

    def presented(self, by: Actor, leaf: bytes) -> Told:
        return final(self.world, self.world.pay(by=by, on_behalf_of=leaf))

    def restored(self) -> bytes:
        self.world.revoke_delegation(self.org, self.first)
        return self.granted(self.org, "planner")


def chain_is_valid(_: Row) -> Told:
    tree = Tree()
    return tree.presented(tree.worker, tree.second)


def first_hop_revoked(_: Row) -> Told:
    tree = Tree()
    tree.world.revoke_delegation(tree.org, tree.first)
    return tree.presented(tree.worker, tree.second)


def presented_before(_: Row) -> Told:
    tree = Tree()
    told = tree.presented(tree.worker, tree.second)
    tree.world.advance(SECOND_MS)
    tree.world.revoke_delegation(tree.org, tree.first)
    (last,) = [one for one in tree.world.log if one.entry.outcome == "allowed"]
    assert tree.world.report(last.decision_leaf, tree.world.bank).says == ("accepted", "")
    return told


def disputed(_: Row, *, confirmed: bool = False) -> Told:
    tree = Tree()
    tree.world.revoke_delegation(tree.org, tree.first)
    for by, action in ((tree.worker, "dispute"), (tree.org, "confirm"))[: 1 + confirmed]:
        noted = ApplicationEventLogged(
            event_type="delegation.dispute", source="", action=action, target=tree.first.hex(), outcome="success",
            category="custom", signed=True, metadata="{}",
        )  # fmt: skip
        assert tree.world.send(noted, by).says == ("accepted", "")
    return tree.presented(tree.worker, tree.second)


def dispute_confirmed(row: Row) -> Told:
    return disputed(row, confirmed=True)


def grant_tampered(_: Row) -> Told:
    tree = Tree()
    body = DelegationGranted(
        delegate="worker", parent=tree.first, scope='{"resources":["tool:desk/*"]}',
        expires_at=tree.world.now + SECOND_MS, purpose="",
    )  # fmt: skip
    value, headers = tree.world.signed(body, tree.planner)
    edited = value.replace(b"tool:desk/*", b"tool:bank/*")
    folded = tree.world.fold(edited, headers)
    assert not tree.presented(tree.worker, folded.entry.event).accepted
    return Told(False, folded.entry.reason)


def revocation_forged(_: Row) -> Told:
    tree = Tree()
    stranger = Actor("session", "user:org", keys_of("stranger"))
    body = DelegationRevoked(delegation=tree.first, reason="forged")
    assert tree.world.send(body, stranger).says == ("refused", "UNKNOWN_KEY")
    assert tree.world.send(body, tree.worker).says == ("refused", "WRONG_PRINCIPAL")
    return tree.presented(tree.worker, tree.second)


def cascade_after_restoration(_: Row) -> Told:
    tree = Tree()
    tree.restored()
    return tree.presented(tree.worker, tree.second)


def revoked_after_restoration(_: Row) -> Told:
    tree = Tree()
    tree.restored()
    return tree.presented(tree.planner, tree.first)


# A link between an agent's identities is a registration of the next key under its name, made while the old one lives.


def successor(*, keys: int, revoked_first: bool = False) -> Told:
    tree = Tree()
    world = tree.world
    if revoked_first:
        world.revoke("planner")
    latest = None
    for _ in range(keys):
        before = world.tables.principals.rows[b"planner"].kids
        latest = world.register("agent", "planner")
        for kid in before:
            world.revoke("planner", kid=kid)
    assert latest is not None
    return tree.presented(world.open_session(latest), tree.first)


def linked_successor(_: Row) -> Told:
    return successor(keys=1)


def chain_of_successors(_: Row) -> Told:
    return successor(keys=2)


def link_after_revocation(_: Row) -> Told:
    return successor(keys=1, revoked_first=True)


def other_name_presents(_: Row) -> Told:
    tree = Tree()
    tree.world.revoke("planner")
    return tree.presented(tree.agent("planner-v2"), tree.first)


def successors_present_old_grants(_: Row) -> Told:
    tree = Tree()
    tree.agent("planner-v2")
    return tree.presented(tree.agent("worker-v2"), tree.second)


def successors_present_new_grants(_: Row) -> Told:
    tree = Tree()
    tree.world.revoke_delegation(tree.planner, tree.second)
    planner, worker = tree.agent("planner-v2"), tree.agent("worker-v2")
    first = tree.granted(tree.org, "planner-v2")
    tree.world.revoke("planner")
    return tree.presented(worker, tree.granted(planner, "worker-v2", first))


# ---- dispatch-fence: the hold is the time in which a tool may begin and run


def effect_ends_at_expiry(_: Row) -> Told:
    world = Workflow.opened("scenario")
    asked = world.pay()
    (decision,) = asked.decisions
    assert decision.execute_before is not None
    world.advance(decision.execute_before - world.now + 5_000)  # all that it may wait and run
    reported = world.report(asked.decision_leaf, world.bank)
    assert [result.outcome for result in reported.results] == ["ok"]
    return final(world, asked)


def state_changes_after(_: Row) -> Told:
    world = Workflow.opened("scenario")
    asked = world.pay()
    world.advance(10 * SECOND_MS)
    world.withdraw_policy("agent:bot")
    assert world.report(asked.decision_leaf, world.bank).says == ("accepted", "")
    return final(world, asked)


def second_dispatch(_: Row) -> Told:
    world = Workflow.opened("scenario")
    one = {"id": "one at a time", "when": PAY, "at_most": 1, "per": "session", "window": 3600}
    world.publish_policy({"policy_id": "agent:bot", **ANYTHING, "sequence": [one]})
    assert world.pay().says == ("allowed", "")
    world.advance(150 * SECOND_MS)
    return final(world, world.pay())
