"""What nobody may do with handed-on rights: refused by its own reason each, with an entry, and nothing changed."""

import json
from typing import Any

import pytest

from processors.state.bounds import TenantLimits
from schemas import codec, limits
from schemas.events.workflow import ContextWritten, DelegationGranted, DelegationRevoked
from schemas.records import Event
from tests.builders import Actor
from tests.workflow_world import ANYTHING, PAY, Workflow
from tests.world import HOUR_MS


@pytest.fixture
def world() -> Workflow:
    world = Workflow.opened()
    world.publish_policy({"policy_id": "role:payer", **ANYTHING})
    return world


def granted(world, **other: Any) -> DelegationGranted:
    fields = {"delegate": "bot", "scope": '{"resources":["**"]}', "expires_at": world.now + HOUR_MS, "purpose": ""}
    return DelegationGranted(**{**fields, **other})


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        ({"delegate": "user:alice"}, "DELEGATION_SELF"),
        ({"delegate": "nobody"}, "UNKNOWN_PRINCIPAL"),
        ({"delegate": "user:nobody"}, "UNKNOWN_PRINCIPAL"),
        ({"delegate": ""}, "UNKNOWN_PRINCIPAL"),
        ({"expires_at": 0}, "DELEGATION_EXPIRED"),
        ({"expires_at": -1}, "DELEGATION_EXPIRED"),
        ({"scope": "{}"}, "DELEGATION_FORM"),
        ({"scope": ""}, "DELEGATION_FORM"),
        ({"scope": "[]"}, "DELEGATION_FORM"),
        ({"scope": '{"resources":[]}'}, "DELEGATION_FORM"),
        ({"scope": '{"resources":["**"],"more":1}'}, "DELEGATION_FORM"),
        ({"scope": '{"conditions":{"max_amount":1}}'}, "DELEGATION_FORM"),
        ({"scope": '{"resources":["**"],"conditions":{"max_amount":"1"}}'}, "DELEGATION_FORM"),
        ({"scope": json.dumps({"resources": ["x" * 9_000]})}, "DELEGATION_FORM"),
        ({"purpose": "x" * (limits.REASON_CHARS_MAX + 1)}, "DELEGATION_FORM"),
        ({"parent": bytes(32)}, "DELEGATION_PARENT"),
        ({"parent": b"short"}, "DELEGATION_PARENT"),
    ],
)
def test_a_bad_delegation_is_refused_by_its_own_reason(world, other, reason):
    """Oneself, nobody, no time, no scope, no parent."""
    alice = world.person("alice", "payer")
    world.refuses(reason, granted(world, **other), alice)


def test_a_delegation_begins_now_and_ends_within_a_year(world):
    """At this millisecond it would be over; and nobody delegates for ever."""
    alice = world.person("alice", "payer")
    for expires_at in (world.now, world.now + limits.DELEGATION_MS_MAX + 1, 2**62):
        world.refuses("DELEGATION_EXPIRED", granted(world, expires_at=expires_at), alice)
    assert world.send(granted(world, expires_at=world.now + 1), alice).says == ("accepted", "")


class Hops:
    """A line of agents, each with a session."""

    def __init__(self, world: Workflow, count: int) -> None:
        self.alice = world.person("alice", "payer")
        self.agents = [world.open_session(world.register("agent", f"h{i}")) for i in range(count)]
        self.leaves: list[bytes] = []
        by: Actor = self.alice
        parent: bytes | None = None
        for agent in self.agents:
            folded = world.grant_to(by, agent.principal_id, parent=parent)
            assert folded.says == ("accepted", ""), folded.results
            self.leaves.append(parent := folded.entry.event)
            by = agent


def test_eight_hops_and_no_ninth(world):
    """DELEGATION_DEPTH at the grant."""
    hops = Hops(world, 8)

    world.is_refused("DELEGATION_DEPTH", lambda: world.grant_to(hops.agents[-1], "bot", parent=hops.leaves[-1]))


def test_nobody_stands_twice_in_a_chain(world):
    """Back to its root, to a middle hop, or to oneself."""
    hops = Hops(world, 3)
    for delegate, reason in (
        ("user:alice", "DELEGATION_CYCLE"), ("h0", "DELEGATION_CYCLE"), ("h1", "DELEGATION_CYCLE"),
        ("h2", "DELEGATION_SELF"),
    ):  # fmt: skip
        world.is_refused(
            reason, lambda delegate=delegate: world.grant_to(hops.agents[2], delegate, parent=hops.leaves[2])
        )


def test_nobody_narrows_what_was_not_granted_to_them(world):
    """Its delegator, a stranger, a later hop: DELEGATION_PARENT."""
    hops = Hops(world, 2)
    for by in (hops.alice, world.bot, hops.agents[1]):
        world.is_refused("DELEGATION_PARENT", lambda by=by: world.grant_to(by, "desk", parent=hops.leaves[0]))


def test_a_hop_ends_no_later_than_the_one_above(world):
    """Expiry only shrinks; what has ended, or was revoked, cannot be narrowed."""
    hops = Hops(world, 1)
    leaf, h0 = hops.leaves[0], hops.agents[0]
    world.is_refused("DELEGATION_EXPIRED", lambda: world.grant_to(h0, "bot", parent=leaf, life_ms=HOUR_MS + 1))
    assert world.grant_to(h0, "bot", parent=leaf, life_ms=HOUR_MS).says == ("accepted", "")
    world.revoke_delegation(hops.alice, leaf)
    world.is_refused("DELEGATION_REVOKED", lambda: world.grant_to(h0, "bot", parent=leaf, life_ms=1))


def test_a_delegation_of_a_revoked_session_is_dead(world):
    """It can neither be used nor narrowed, and no new one can be granted by that session."""
    hops = Hops(world, 1)
    world.revoke_session(hops.alice)
    h0, leaf = hops.agents[0], hops.leaves[0]

    world.is_refused("EXPIRED_SESSION", lambda: world.grant_to(hops.alice, "bot"))
    world.is_refused("DELEGATION_REVOKED", lambda: world.grant_to(h0, "bot", parent=leaf, life_ms=1))
    world.is_denied("DELEGATION_REVOKED", lambda: world.pay(by=h0, on_behalf_of=leaf))


def test_a_child_wider_than_its_parent_is_accepted_and_gives_nothing(world):
    """DELEGATION_SCOPE at its use."""
    alice = world.person("alice", "payer")
    world.publish_policy({"policy_id": "agent:mid", **ANYTHING})
    mid = world.open_session(world.register("agent", "mid"))
    first = world.grant_to(alice, "mid", resources=["tool:desk/*"]).entry.event
    wider = world.grant_to(mid, "bot", parent=first, resources=["**"])

    assert wider.says == ("accepted", "")
    world.is_denied("DELEGATION_SCOPE", lambda: world.pay(on_behalf_of=wider.entry.event))
    used = world.call(world.bot, "tool:desk/check", {}, on_behalf_of=wider.entry.event)
    assert used.says == ("allowed", "")


def test_nobody_presents_somebody_elses_delegation(world):
    """Another agent, the delegator for an agent, a hop that is not the last, or what is no delegation."""
    hops = Hops(world, 2)
    world.publish_policy(*({"policy_id": f"agent:h{i}", **ANYTHING} for i in range(2)))
    for by, leaf in (
        (world.bot, hops.leaves[0]),
        (world.bot, hops.leaves[1]),
        (hops.agents[0], hops.leaves[1]),
        (hops.agents[1], hops.leaves[0]),
        (hops.alice, hops.leaves[0]),
        (hops.alice, hops.leaves[1]),
        (world.bot, bytes(32)),
        (world.bot, world.log[-1].entry.event),
    ):
        world.is_denied("DELEGATION_BROKEN", lambda by=by, leaf=leaf: world.pay(by=by, on_behalf_of=leaf))
    world.is_refused("DELEGATION_BROKEN", lambda: world.put(world.bot, "k", 1, on_behalf_of=hops.leaves[0]))


def test_a_delegation_is_revoked_by_who_stands_above(world):
    """Neither by its delegate, nor by a stranger, nor by the tool it is used on; an unknown one is unknown."""
    hops = Hops(world, 2)
    body = DelegationRevoked(delegation=hops.leaves[0], reason="")
    for by in (hops.agents[0], hops.agents[1], world.bot):
        world.refuses("WRONG_PRINCIPAL", body, by)
    for by in (world.bank, world.bridge, world.agent):
        world.refuses("WRONG_ROLE", body, by)
    world.refuses("DELEGATION_UNKNOWN", DelegationRevoked(delegation=bytes(32), reason=""), world.admin)


def test_a_delegation_is_looked_at_only_where_it_is_honoured(world):
    """On any other event the header is refused: nobody may think that it was honoured."""
    alice = world.person("alice", "payer")
    leaf = world.grant_to(alice, "bot").entry.event
    for body in (granted(world, delegate="user:alice"), DelegationRevoked(delegation=leaf, reason="")):
        folded = world.nothing_changes(lambda body=body: world.send(body, world.bot, on_behalf_of=leaf))
        assert folded.says == ("refused", "NOT_SUPPORTED")


@pytest.mark.parametrize("bounds", [{"delegations": 32}])
def test_a_tenant_has_room_for_so_many_delegations(bounds):
    """Beyond it a grant is refused."""
    world = Workflow.opened("small", bounds=TenantLimits(**bounds))
    alice = world.person("alice")
    for _ in range(2):
        assert world.grant_to(alice, "bot").says == ("accepted", "")

    world.is_refused("LIMIT_EXCEEDED", lambda: world.grant_to(alice, "bot"))


def test_a_tenant_has_room_for_so_many_prompts():
    """Beyond it the call that brings one more is denied, and opens nothing."""
    world = Workflow.opened("small", bounds=TenantLimits(prompts=1))
    assert world.prompted(world.bot, "a").says == ("allowed", "")
    assert world.prompted(world.bot, "a").says == ("allowed", "")  # the same prompt again needs no room

    world.is_denied("LIMIT_EXCEEDED", lambda: world.prompted(world.bot, "b"))
    assert world.call(world.bot, PAY, {}).says == ("allowed", "")


def test_a_delegation_is_named_by_32_bytes(world):
    """A header that names a delegation of a wrong size is malformed."""
    value, headers = world.signed(ContextWritten(scope="session", key="k", value="1"), world.bot, on_behalf_of=b"short")
    event: Event = codec.decode_as(Event, value)

    assert event.header.on_behalf_of == b"short"
    folded = world.nothing_changes(lambda: world.fold(value, headers))
    assert folded.says == ("refused", "MALFORMED_HEADER")
