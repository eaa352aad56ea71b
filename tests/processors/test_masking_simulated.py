"""A mask is tried on a recorded log before it is published, and a recorded masked call is explained."""

from __future__ import annotations

import json

from macaw.policies.asking import explain_call
from macaw.policies.history import History, Recorded
from macaw.policies.simulation import simulate
from processors.policy.documents import parse_policy
from tests.masking_world import MAIL, Crm, masking


def history(world: Crm) -> History:
    return History(world.tenant, world.deployment, world.genesis, map(Recorded, world.records))


def test_a_simulation_counts_the_calls_that_would_be_masked_and_tells_those_that_would_be_denied() -> None:
    world = Crm.founded_with()
    world.note({"text": MAIL})
    world.note({"text": "nothing"})
    world.note({"to": MAIL})
    document = {"policy_id": "app:crm", **masking("text", "to")}
    found = simulate(history(world), [parse_policy(json.dumps(document).encode())])

    assert found.masked == 1
    assert found.by_reason() == {("allowed", "denied PARAM_NOT_MASKABLE"): 1}


def test_the_explanation_of_a_masked_call_has_the_paths_and_every_check_of_them() -> None:
    world = Crm.founded_with("text", "customer")
    asked = world.note({"text": MAIL})
    found = explain_call(history(world), asked.decisions[0].event_id.hex())

    assert found.answer.told["masks"] == ["text"]
    checks = {one["path"]: one["result"] for one in found.answer.told["checks"] if "masked" in one["at"]}
    assert checks == {"text": "masks", "customer": "no match"}
    assert [(one.path, one.verifier) for one in found.decision.changed] == [("text", "personal_data")]


def test_a_call_that_could_not_be_masked_is_explained_with_the_edit_that_would_let_it_pass() -> None:
    world = Crm.founded_with("to")
    asked = world.note({"to": MAIL})
    answer = explain_call(history(world), asked.decisions[0].event_id.hex()).answer

    assert (answer.deciding, answer.verdict.reason) == ("app:crm", "PARAM_NOT_MASKABLE")
    assert [(one.policy, one.at, one.reason) for one in answer.edits] == [
        ("app:crm", "/constraints/masked_parameters/tool:crm~1note/0", "PARAM_NOT_MASKABLE"),
    ]
