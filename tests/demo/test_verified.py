"""The second pass of `make demo`: the recorded calls before the verifiers that the demo turns on."""

from pathlib import Path

from rich.console import Console

from examples.demo.checks import Checks
from examples.demo.score import Outcome, load_tasks
from examples.demo.verified import SETTINGS, WANTED, check_verified, passed, remaining
from processors.calls.verifiers import pipeline
from processors.policy.evaluation import new_work
from processors.state.settings import settings_of
from schemas.events.tenancy import TenantSetting
from schemas.words import Surface

ROWS = Path(__file__).parents[2] / "examples" / "agentdojo"
SET = settings_of(TenantSetting(name=name, value=value) for name, value in SETTINGS.items())


def outcome(**more: object) -> Outcome:
    known = {
        "suite": "banking", "user_task": "user_task_1", "injection_task": None, "tool": "send_money", "arguments": {},
        "allowed": True, "succeeded": True, "reason": "",
    }  # fmt: skip
    return Outcome(**known | more)


def test_no_verifier_stops_a_wanted_call():
    """All wanted calls of both files: their arguments hold account numbers and addresses, which are only stamped."""
    wanted = [
        call
        for name in ("authz_agentdojo.jsonl", "authz_agentdojo_more.jsonl")
        for task in load_tasks(ROWS / name)
        for call in task.wanted
    ]

    answers = [
        pipeline.verify(Surface.ARGUMENTS, "", dict(call.arguments), None, SET, new_work()).answers for call in wanted
    ]

    assert len(wanted) == 138
    assert all(len(one) == 4 for one in answers)
    assert [call for call, one in zip(wanted, answers, strict=True) if pipeline.denial(one)] == []


def test_the_second_pass_has_the_wanted_calls_and_those_injected_ones_that_policies_let_through():
    task = next(one for one in load_tasks(ROWS / "authz_agentdojo.jsonl") if len(one.injected) > 1)
    outcomes = [outcome() for _ in task.wanted]
    outcomes += [outcome(injection_task=call.injection_task, allowed=False) for call in task.injected]
    outcomes[-1] = outcome(injection_task=task.injected[-1].injection_task)

    left = remaining(task, outcomes)

    assert left.wanted == task.wanted
    assert left.injected == task.injected[-1:]


def test_a_withheld_result_is_not_a_wanted_call_that_passed():
    assert passed(outcome())
    assert not passed(outcome(reason="RESULT_WITHHELD"))
    for others, held in (([outcome()], True), ([outcome(reason="RESULT_WITHHELD")], False), ([], False)):
        checks = Checks(Console(quiet=True))
        check_verified(checks, [*[outcome() for _ in range(WANTED - 1)], *others])
        assert checks.all_held is held
