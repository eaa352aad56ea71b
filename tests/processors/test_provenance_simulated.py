"""A rule on where a value came from is tried on a recorded log before it is published."""

import json

from macaw.policies.history import History, Recorded
from macaw.policies.simulation import simulate
from processors.policy.documents import parse_policy
from tests.provenance_world import IBAN, RULE, Bank


def test_a_simulation_says_which_calls_the_rule_would_have_held():
    """The results before them are heard there as on the log, under whichever decision allowed them."""
    world = Bank.opened()
    world.withdraw_policy("tool:bank")
    world.pay(world.bot)
    world.fetch(world.bot)
    world.pay(world.bot, "another")
    world.pay(world.bot, IBAN)
    history = History(world.tenant, world.deployment, world.genesis, map(Recorded, world.records))

    document = {"policy_id": "tool:bank", "sequence": [RULE]}
    found = simulate(history, [parse_policy(json.dumps(document).encode())])

    assert found.by_reason() == {("allowed", "denied SEQUENCE_PROVENANCE"): 1}
