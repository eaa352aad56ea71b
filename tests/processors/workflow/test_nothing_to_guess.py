"""What stands in the clear on a tenant's topics gives nobody a way to try values out until one fits.

Every tool reads `decisions`, every principal `results` and `audit`. What people write is often one of few: an amount, a
name. So no digest of such a value stands there without the salt that travels sealed, and no value itself.
"""

import json
from collections.abc import Iterator
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.policy.decide import digests_that_came
from processors.proof import jcs
from processors.proof.sealing import DOCUMENT_TAG, PARAMETERS_TAG, document_digest, parameters_digest
from processors.state.bounds import TenantLimits
from schemas import codec, topics
from schemas.records import CallPayload, Prompt
from tests.builders import Folded, invocation, payload_of
from tests.workflow_world import CHECK, MAIL, PAY, Workflow, attests

# The clear parts of these are what their owners said openly, or are read by nobody but the monitor.
OPEN = {topics.REGISTRY, topics.STATE}
WORD = "swordfish"


def everything_said(word: str, amount: int) -> tuple[Workflow, list[object], list[str]]:
    """Return a world in which a word and an amount were said in every sealed place, what was said, and documents."""
    world = Workflow.opened(bounds=TenantLimits(output_payload_bytes=4000))
    world.require("manager", approval_criteria="role:manager", timeout=300)
    carol = world.person("carol", "manager")
    intent = {"constraints": {"parameters": {PAY: {"to": {"allowed_values": [word]}}}}}
    policy = {"denied_parameters": {"**": {"prompt": [f"{word}?"]}}}
    values: list[object] = [{"amount": amount, "to": word}, {"amount": amount, "to": word, "pad": "x" * 5000}]
    documents = [json.dumps(intent), json.dumps(policy)]

    asked = world.send(invocation(PAY, values[0], intents=documents[:1]), world.bot)
    world.approve(carol, asked, "manager", reason=word)
    for parameters in values:
        world.send(invocation("tool:bank/refund", parameters, intents=documents[:1]), world.bot)
    world.send(invocation(PAY, {"to": "nobody"}, intents=documents[:1]), world.bot)
    prompt = Prompt(path="prompt", policy=documents[1])
    world.send(invocation(MAIL, {"prompt": word}, prompts=(prompt,)), world.bot)
    world.send(
        invocation(MAIL, {"prompt": word}, prompts=(Prompt(path="prompt", policy=f'{{"{word}":1}}'),)), world.bot
    )
    world.ran(world.bot, CHECK, attests("checked", word), parameters={"note": word}, body=json.dumps(word))
    for scope in ("session", "team"):
        world.put(world.bot, "limit", word, scope=scope)
        world.put(world.bot, "limit", amount, scope=scope, expected=99)
        world.get(world.bot, "limit", scope=scope)
    world.ask(world.bot, "attestations")
    return world, [*values, word, amount, {"note": word}, {"prompt": word}, intent, policy], documents


def clear_parts(folded: Folded) -> Iterator[bytes]:
    """Yield what of one record's outputs anybody can read who reads their topics."""
    for output in folded.outputs:
        if output.topic not in OPEN:
            yield b"".join([output.value or b"", output.key or b"", *(value for _, value in output.headers)])


@given(st.text("abcdef", min_size=12), st.integers(10**9, 2**53))
@settings(max_examples=50, deadline=None, derandomize=True)
def test_no_value_and_no_digest_of_one_stands_in_the_clear(word: str, amount: int) -> None:
    """Neither plainly nor in hex, with no tag that the wire format knows."""
    world, said, documents = everything_said(word, amount)
    texts = [jcs.canonical(value) for value in said]  # type: ignore[arg-type]
    texts += [json.dumps(value).encode() for value in said] + [word.encode(), str(amount).encode()]
    guesses = {sha256(tag + text).digest() for text in texts for tag in (b"", PARAMETERS_TAG, DOCUMENT_TAG)}
    guesses |= digests_that_came(documents)
    forbidden = [word.encode(), str(amount).encode(), *guesses, *(one.hex().encode() for one in guesses)]

    for folded in world.log:
        for clear in clear_parts(folded):
            assert not [one for one in forbidden if one in clear], folded.says


def test_who_has_the_payload_computes_what_the_decision_says() -> None:
    """Of parameters and of what came with the call; a published policy has its public name."""
    world = Workflow.opened()
    intent = json.dumps({"resources": ["tool:bank/**"]})
    folded = world.send(invocation(PAY, {"to": WORD}, intents=(intent,)), world.bot)
    [decision] = folded.decisions
    payload: CallPayload = codec.decode(codec.current("CallPayload"), payload_of(folded, topics.DECISIONS))

    assert decision.parameters_sha256 == parameters_digest(payload.salt, payload.parameters.encode())
    [came] = digests_that_came((intent,))
    public = world.tables.policies.rows[b"agent:bot"].digest
    assert decision.policies == tuple(sorted((public, document_digest(payload.salt, came))))


@pytest.mark.parametrize("broken", ["{", '{"nonsense":1}', '{"extends":"role:none"}'])
def test_a_document_that_is_refused_is_named_by_nothing(broken: str) -> None:
    """Not even by its digest."""
    world = Workflow.opened()
    folded = world.send(invocation(PAY, {"to": WORD}, intents=(broken,)), world.bot)

    assert folded.says[0] == "denied"
    public = world.tables.policies.rows[b"agent:bot"].digest
    assert set(folded.decisions[0].policies) <= {public}
