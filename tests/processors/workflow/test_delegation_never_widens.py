"""Delegation never widens: what passes through a chain passes for each member alone, and lies within every scope."""

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.builders import Actor
from tests.workflow_world import CHECK, MAIL, PAY, Workflow

NAMES = ("h0", "h1", "h2")
RESOURCES = (PAY, "tool:bank/refund", CHECK)
# In words that a reader can check: what each pattern lets through.
MEETS: dict[str, set[str]] = {
    "tool:bank/*": {PAY, "tool:bank/refund"},
    "tool:desk/*": {CHECK, MAIL},
    "**": {*RESOURCES, MAIL},
    PAY: {PAY},
    CHECK: {CHECK},
    "tool:*": {*RESOURCES, MAIL},
    "*": set(),  # a lone star does not cross a slash
}
patterns = st.lists(st.sampled_from(sorted(MEETS)), min_size=1, max_size=2)
scopes = st.fixed_dictionaries(
    {"resources": patterns},
    optional={
        "conditions": st.fixed_dictionaries({"max_amount": st.integers(0, 3)}),
        "operations": st.lists(st.sampled_from(["pay", "check"]), min_size=1, max_size=2, unique=True),
    },
)


def within(scope: dict[str, Any], resource: str, parameters: dict[str, Any]) -> bool:
    """Return whether a call lies within a scope, by reading the scope word for word."""
    if not any(resource in MEETS[pattern] for pattern in scope["resources"]):
        return False
    if "operations" in scope and resource.rsplit("/", 1)[1] not in scope["operations"]:
        return False
    most = scope.get("conditions", {}).get("max_amount")
    return most is None or ("amount" in parameters and parameters["amount"] <= most)


_WORLDS: list[tuple[Workflow, list[Actor]]] = []


def standing() -> tuple[Workflow, list[Actor]]:
    """Return a world with a person and a line of agents, made once and taken back after each example."""
    if not _WORLDS:
        world = Workflow.opened("widens")
        agents = [world.open_session(world.register("agent", name)) for name in NAMES]
        members = [world.person("alice", "payer"), *agents]
        world.publish_policy(
            *({"policy_id": who, "resources": ["**"]} for who in ("role:payer", *map("agent:{}".format, NAMES)))
        )
        world.tables.commit()
        _WORLDS.append((world, members))
    world, members = _WORLDS[0]
    world.tables.rollback()
    return world, members


@settings(max_examples=120, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    policies=st.lists(patterns, min_size=4, max_size=4),
    chain=st.lists(scopes, min_size=1, max_size=3),
    resource=st.sampled_from(RESOURCES),
    parameters=st.sampled_from([{}, {"amount": 0}, {"amount": 2}, {"amount": 9}]),
    revoked=st.sampled_from([None, None, 0, 1, 2]),
)
def test_what_a_chain_allows_each_member_and_each_scope_allows(policies, chain, resource, parameters, revoked):
    """And the other way round: if all of them do, and no hop was revoked, the call passes."""
    world, members = standing()
    who = ["role:payer", *(f"agent:{name}" for name in NAMES)][: len(chain) + 1]
    for policy_id, listed in zip(who, policies, strict=False):
        world.publish_policy({"policy_id": policy_id, "resources": listed})
    leaves: list[bytes] = []
    for at, scope in enumerate(chain):
        folded = world.grant_to(members[at], NAMES[at], parent=leaves[-1] if leaves else None, **scope)
        assert folded.says == ("accepted", "")
        leaves.append(folded.entry.event)
    if revoked is not None and revoked < len(chain):
        world.revoke_delegation(world.admin, leaves[revoked])
    alone = [world.call(member, resource, parameters).says == ("allowed", "") for member in members[: len(chain) + 1]]
    through = world.call(members[len(chain)], resource, parameters, on_behalf_of=leaves[-1])

    scoped = [within(scope, resource, parameters) for scope in chain]
    alive = revoked is None or revoked >= len(chain)
    assert (through.says == ("allowed", "")) == (all(alone) and all(scoped) and alive)
    (decision,) = through.decisions
    assert decision.subjects == ("user:alice", *NAMES[: len(chain)])
    assert through.entry.on_behalf_of == leaves[-1]
