"""Authenticated prompts: what a model is told carries its policy and its line of descent."""

import json

import pytest

from processors.calls import decision
from processors.calls.prompts import prompt_id, row_key
from processors.policy.limits import WORK_UNITS_MAX
from schemas.events.attributes import Attributes
from schemas.records import Prompt
from tests.builders import Folded, invocation
from tests.workflow_world import CHECK, MAIL, PAY, Workflow, declared
from tests.world import HOUR_MS

READ = {"resources": ["tool:desk/*"]}


@pytest.fixture
def world() -> Workflow:
    return Workflow.opened()


def id_of(world: Workflow, text: str, policy: object = None, parent: bytes | None = None) -> bytes:
    return prompt_id(world.bot.kid, parent, text, policy or {})


def test_a_root_prompt_is_remembered_with_its_policy(world):
    """Only by the decision that allows its call."""
    assert world.prompted(world.bot, "summarise", policy=READ).says == ("allowed", "")

    own = id_of(world, "summarise", READ)
    row = world.tables.prompts.rows[row_key(world.bot.kid, own)]
    assert (row.root, row.parent, row.depth) == (own, None, 1)
    assert row.policies == (json.dumps(READ),)
    assert row.until == world.tables.sessions.rows[world.bot.kid].expires_at


def test_a_denied_call_leaves_no_prompt(world):
    """A prompt whose own policy forbids the call that brings it."""
    world.is_denied(
        "RESOURCE_NOT_ALLOWED", lambda: world.prompted(world.bot, "x", policy={"resources": ["tool:other/*"]})
    )
    assert len(world.tables.prompts) == 0


def test_a_derived_prompt_inherits_what_its_ancestors_forbid(world):
    """Its own policy may be wider: the conjunction with the parent's is what counts."""
    world.prompted(world.bot, "root", policy={"resources": ["tool:desk/mail"], "denied_resources": ["tool:bank/**"]})
    root = id_of(world, "root", {"resources": ["tool:desk/mail"], "denied_resources": ["tool:bank/**"]})
    child = world.prompted(world.bot, "child", parent=root, policy={"resources": ["**"]})

    assert child.says == ("allowed", "")
    own = id_of(world, "child", {"resources": ["**"]}, root)
    row = world.tables.prompts.rows[row_key(world.bot.kid, own)]
    assert (row.root, row.parent, row.depth, len(row.policies)) == (root, root, 2, 2)
    derived = Prompt(path="note", parent=own, policy='{"resources":["**"]}')
    world.is_denied(
        "RESOURCE_DENIED", lambda: world.send(invocation(PAY, {"note": "go"}, prompts=(derived,)), world.bot)
    )


def test_a_tool_derives_from_the_prompt_of_the_call_that_it_executes(world):
    """While it executes it, and no longer; what the caller's prompt forbids it may not do either."""
    world.publish_policy({"policy_id": "agent:tool:desk", "resources": ["tool:**"]})
    policy = {"denied_resources": ["tool:bank/**"]}
    asked = world.prompted(world.bot, "root", policy=policy)
    desk, derived = (
        world.open_session(world.desk),
        Prompt(path="note", parent=id_of(world, "root", policy), policy="{}"),
    )

    def call(resource: str):
        body = invocation(resource, {"note": "go"}, prompts=(derived,))
        return world.send(body, desk, causation_id=asked.entry.event)

    assert call(CHECK).says == ("allowed", "")
    world.is_denied("RESOURCE_DENIED", lambda: call(PAY))
    world.report(asked.decision_leaf, world.desk)
    world.is_denied("PARENT_CALL", lambda: call(CHECK))


def test_prompts_descend_eight_deep_and_no_deeper(world):
    """The ninth of a line is PROMPT_DEPTH."""
    parent = None
    for depth in range(1, 9):
        assert world.prompted(world.bot, f"p{depth}", parent=parent).says == ("allowed", "")
        parent = id_of(world, f"p{depth}", None, parent)

    world.is_denied("PROMPT_DEPTH", lambda: world.prompted(world.bot, "p9", parent=parent))


def test_a_declared_parameter_needs_a_prompt(world):
    """The tool says which of its parameters are prompts: the value alone is PROMPT_MISSING; without it, none is."""
    world.is_denied("PROMPT_MISSING", lambda: world.call(world.bot, MAIL, {"prompt": "hi"}))

    assert world.call(world.bot, MAIL, {}).says == ("allowed", "")


def test_a_parent_must_be_a_prompt_of_this_session(world):
    """Unknown; another session's; one whose call was never allowed."""
    other = world.open_session(world.agent)
    world.prompted(other, "root")
    theirs = prompt_id(other.kid, None, "root", {})
    for parent in (theirs, id_of(world, "root"), bytes(32), b"short"):
        world.is_denied("PROMPT_UNKNOWN", lambda parent=parent: world.prompted(world.bot, "child", parent=parent))


def test_another_sessions_parent_is_not_reached_by_naming_its_call(world):
    """`causation_id` helps only the tool that executes that call: not its caller's sibling, not a stranger."""
    asked = world.prompted(world.bot, "root")
    other = world.open_session(world.agent)
    root = id_of(world, "root")

    world.is_denied("PROMPT_UNKNOWN", lambda: world.prompted(other, "child", parent=root))
    world.is_denied("PARENT_CALL", lambda: world.prompted(other, "child", parent=root, causation_id=asked.entry.event))


def test_a_tool_derives_from_no_other_prompt_of_its_caller(world):
    """What the caller told others, before or after, is not the tool's: not that of another call, nor an ancestor."""
    world.publish_policy({"policy_id": "agent:tool:desk", "resources": ["tool:**"]})
    world.prompted(world.bot, "root")
    root = id_of(world, "root")
    world.prompted(world.bot, "other")
    asked = world.prompted(world.bot, "mine", parent=root)
    plain = world.call(world.bot, CHECK, {})
    world.prompted(world.bot, "later")
    desk = world.open_session(world.desk)

    def derives(parent: bytes, cause: Folded) -> tuple[str, str]:
        prompt = Prompt(path="note", parent=parent, policy="{}")
        body = invocation(CHECK, {"note": "go"}, prompts=(prompt,))
        return world.send(body, desk, causation_id=cause.entry.event).says

    own = id_of(world, "mine", None, root)
    for parent in (root, id_of(world, "other"), id_of(world, "later")):
        assert derives(parent, asked) == ("denied", "PROMPT_UNKNOWN")
    for parent in (own, root, id_of(world, "other")):
        assert derives(parent, plain) == ("denied", "PROMPT_UNKNOWN")
    assert derives(own, asked) == ("allowed", "")


def test_a_call_that_is_over_gives_no_prompts_while_its_row_waits_to_leave(world):
    """At most 64 rows leave with a record: what is due is as if it had left."""
    world.publish_policy({"policy_id": "agent:tool:desk", "resources": ["tool:**"]})
    desk = world.open_session(world.desk)
    for n in range(70):
        world.put(world.bot, f"a{n}", 0, ttl_ms=1)
    asked = world.prompted(world.bot, "root")
    world.advance(world.tables.calls.rows[asked.decision_leaf].unknown_at - world.now)
    derived = Prompt(path="note", parent=id_of(world, "root"), policy="{}")
    body = invocation(CHECK, {"note": "go"}, prompts=(derived,))

    assert world.send(body, desk, causation_id=asked.entry.event).says == ("denied", "PARENT_CALL")
    assert asked.decision_leaf in world.tables.calls.rows


@pytest.mark.parametrize(
    ("path", "parameters"),
    [("nothing", {"prompt": "x"}), ("prompt[*]", {"prompt": ["a", "b"]}), ("a..b", {"prompt": "x"}), ("", {})],
)
def test_a_prompt_names_one_value(world, path, parameters):
    """No value, several, or no path: PROMPT_MISMATCH."""
    prompts = (Prompt(path=path, parent=None, policy="{}"),)
    world.is_denied("PROMPT_MISMATCH", lambda: world.send(invocation(CHECK, parameters, prompts=prompts), world.bot))


def test_a_path_is_a_prompt_once(world):
    """Two prompts for one path, or more than eight, are PROMPT_MISMATCH."""
    twice = (Prompt(path="a", parent=None, policy="{}"),) * 2
    nine = tuple(Prompt(path=f"p{i}", parent=None, policy="{}") for i in range(9))
    for prompts in (twice, nine):
        parameters = {"a": 1, **{f"p{i}": i for i in range(9)}}
        body = invocation(CHECK, parameters, prompts=prompts)
        world.is_denied("PROMPT_MISMATCH", lambda body=body: world.send(body, world.bot))


@pytest.mark.parametrize("policy", ["", "[]", "{", '{"resources":"*"}', '{"nonsense":1}'])
def test_a_prompts_policy_must_be_one(world, policy):
    """What is no document denies the call."""
    prompts = (Prompt(path="prompt", parent=None, policy=policy),)
    world.is_denied("POLICY_BROKEN", lambda: world.send(invocation(MAIL, {"prompt": "x"}, prompts=prompts), world.bot))


def test_a_policy_too_large_is_no_reason_to_forget_an_ancestor(world):
    """Inherited policies count towards the bytes of a call: beyond them it is denied, not cut."""
    parent = None
    for depth in range(4):
        policy = {"resources": ["**"], "denied_resources": [f"tool:{depth}{i}" + "x" * 490 for i in range(5)]}
        asked = world.prompted(world.bot, f"p{depth}", parent=parent, policy=policy)
        if depth == 3:
            break
        assert asked.says == ("allowed", "")
        parent = id_of(world, f"p{depth}", policy, parent)

    assert asked.says == ("denied", "LIMIT_EXCEEDED")


def test_prompts_leave_with_their_session(world):
    """Nothing of them is left after its end, and none is a parent any more."""
    session = world.open_session(world.agent, ttl_ms=2 * HOUR_MS)
    world.prompted(session, "root")
    world.passes(2 * HOUR_MS)

    assert len(world.tables.prompts) == 0


def test_a_tool_declares_paths_and_patterns_that_can_be_read(world):
    """What could not be matched later is refused at the registration."""
    for bad, reason in (
        ({"prompts": ("a..b",)}, "PROMPT_MISMATCH"),
        ({"prompts": ("",)}, "PROMPT_MISMATCH"),
        ({"attests": ("a*" * 40,)}, "ATTESTATION_FORM"),
        ({"attests": ("x" * 600,)}, "ATTESTATION_FORM"),
        ({"attests": ("",)}, "ATTESTATION_FORM"),
    ):
        body = world.registration("tool", "odd", tools=(declared("tool:odd/run", **bad),))
        world.refuses(reason, body, world.admin)
    for attributes in (Attributes(attests=("a*", "b*" * 40)), Attributes(subjects=("",))):
        world.refuses("ATTESTATION_FORM", world.registration("attester", "odd", attributes=attributes), world.admin)


@pytest.mark.parametrize("steps", [100, 127, 128, 700])
def test_a_path_of_a_prompt_costs_no_more_than_a_call_may_spend(steps: int) -> None:
    """Through values of a wrong type it leads nowhere, at once; one that is too long is no path."""
    world = Workflow.opened("long path")
    prompt = Prompt(path="a[*]" + ".x" * steps, parent=None, policy="{}")
    folded = world.send(invocation("tool:none/none", {"a": [0] * 1000}, prompts=(prompt,)), world.bot)

    assert (folded.says, folded.entry.fault) == (("denied", "PROMPT_MISMATCH"), None)


def test_prompts_and_policies_spend_from_one_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a call's prompts cost is not there for its policies any more; where it is too much a decision says so."""
    world = Workflow.opened("one budget")
    prompt = Prompt(path="a[0]", parent=None, policy="{}")
    call = invocation(CHECK, {"a": ["text"]}, prompts=(prompt,))
    budgets: list[list[int]] = []

    def so_much(units: int) -> None:
        monkeypatch.setattr(decision, "new_work", lambda: budgets.append([units, 0]) or budgets[-1])

    so_much(WORK_UNITS_MAX)
    assert world.send(call, world.bot).says == ("allowed", "")
    whole = WORK_UNITS_MAX - budgets[0][0]
    so_much(whole)
    assert world.send(call, world.bot).says == ("allowed", "")
    for units in (whole - 1, 100, 0):
        so_much(units)
        folded = world.send(call, world.bot)
        assert (folded.says, folded.entry.fault) == (("denied", "LIMIT_EXCEEDED"), None)
        assert len(folded.decisions) == 1
