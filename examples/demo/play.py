"""Playing the tasks: the calls for the user, then the calls that an injected instruction asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from examples.demo.environment import Environment
from examples.demo.score import Call, InjectedCall, Outcome, Task, is_write, resource_name
from examples.demo.stage import Stage
from producers.client import Client
from producers.kafka.answers import Answer
from schemas import words

ANSWER_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A difference between a store and the decisions. The demo must have none."""

    task: str
    what: str
    decided: int
    found: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """One task after it was played: its outcomes in order, and the differences between effects and decisions."""

    task: Task
    role: str
    outcomes: tuple[Outcome, ...]
    effects: int
    differences: tuple[Difference, ...]


def play_task(task: Task, role: str, client: Client, stage: Stage, on_outcome: Callable[[Outcome], None]) -> Played:
    """Play one task in a fresh environment and compare its side effects with the decisions."""
    environment = stage.fresh()
    outcomes = []
    for call, injection in _calls(task):
        resource = resource_name(task.suite, call.tool)
        answer = client.submit(resource, call.arguments).result(ANSWER_SECONDS)
        outcome = _outcome(task, call, injection, answer)
        outcomes.append(outcome)
        on_outcome(outcome)
    return Played(
        task=task,
        role=role,
        outcomes=tuple(outcomes),
        effects=len(environment.effects()),
        differences=tuple(_differences(task, outcomes, environment)),
    )


def _calls(task: Task) -> Iterator[tuple[Call | InjectedCall, str | None]]:
    yield from ((call, None) for call in task.wanted)
    yield from ((call, call.injection_task) for call in task.injected)


def _outcome(task: Task, call: Call | InjectedCall, injection: str | None, answer: Answer) -> Outcome:
    result = answer.result
    return Outcome(
        suite=task.suite,
        user_task=task.user_task,
        injection_task=injection,
        tool=call.tool,
        arguments=call.arguments,
        allowed=result.outcome in {words.Outcome.OK, words.Outcome.FAILED, words.Outcome.UNKNOWN},
        succeeded=result.outcome == words.Outcome.OK,
        reason=result.reason or ("" if result.outcome == words.Outcome.OK else result.outcome),
    )


def _differences(task: Task, outcomes: list[Outcome], environment: Environment) -> Iterator[Difference]:
    """Yield the differences between the stores and the allowed writes: each allowed write must be there once."""
    decided = Counter(o.tool for o in outcomes if o.allowed and o.succeeded and is_write(o.tool))
    found = Counter(effect.kind for _, effect in environment.effects())
    for tool in sorted(decided.keys() | found.keys()):
        if decided[tool] != found[tool]:
            yield Difference(task=task.key, what=tool, decided=decided[tool], found=found[tool])
    discrepancies: Mapping[str, tuple[int, int]] = environment.discrepancies()
    for kind, (journal, store) in discrepancies.items():
        yield Difference(task=task.key, what=f"{kind} in the store itself", decided=journal, found=store)
