"""Third-party tasks and attacks, decided by the real fold before and after roles get argument constraints.

`python -m bench.authorization` founds a tenant in memory, registers an agent for each role and every tool, signs each
call of each row, and folds it as a worker does: verification, decision, audit entry. Nothing is executed. "before" are
roles as sets of tools; "after" the same documents with their constraints. Rows and policies: examples/agentdojo,
examples/policies, examples/asb.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.tenant import DEPLOYMENT, Author, Signed
from examples.demo.score import Call, InjectedCall, Task, load_assignments, load_tasks, resource_name
from macaw.policies.files import read_documents
from processors.intake.identify import Received
from processors.proof.signing import NO_GENESIS, kid_of
from processors.step import step
from producers.home.keys import KeyPair
from schemas import codec
from schemas.events.attributes import NONE, Attributes
from schemas.events.tools import ToolDeclaration
from schemas.records import (
    AuditEntry,
    Body,
    Decision,
    InvocationRequested,
    PolicyPublished,
    PrincipalRegistered,
    SessionOpened,
    TenantFounded,
)
from schemas.topics import DECISIONS
from schemas.words import Outcome, Role
from streams.worker.monitor import MonitoredTenant, build_fold
from streams.worker.signing.decision_keys import DecisionKeys

EXAMPLES = Path(__file__).parents[1] / "examples"
FOLDERS = (EXAMPLES / "policies", EXAMPLES / "agentdojo" / "policies")
ASSIGNMENTS = tuple(EXAMPLES / "agentdojo" / name for name in ("assignments.json", "assignments_more.json"))
COMPANY = "Blue Sparrow Tech"
SESSION_TTL_MS = 3600 * 1000
DOCUMENTS_AT_ONCE = 32
BY_POLICY = ("NO_POLICY", "RESOURCE_DENIED", "RESOURCE_NOT_ALLOWED", "PARAM_")
Document = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """A call of a row and the fold's decision on it; `goal` is None for a call that the user's task needs."""

    suite: str
    task: str
    goal: str | None
    tool: str
    arguments: Mapping[str, object]
    allowed: bool
    reason: str


# ---- rows and policies


def tasks() -> tuple[Task, ...]:
    """Return the 35 rows of AgentDojo and the 177 of ASB."""
    dojo = (EXAMPLES / "agentdojo" / name for name in ("authz_agentdojo.jsonl", "authz_agentdojo_more.jsonl"))
    return (*(task for path in dojo for task in load_tasks(path)), *_asb())


def _asb() -> Iterator[Task]:
    """Read ASB: a row either requires that an agent's own tools pass, or names a tool that must not pass."""
    for line in (EXAMPLES / "asb" / "authz_asb.jsonl").read_text("utf-8").splitlines():
        row = json.loads(line)
        benign = row["expected"] == "allow_agent_tools"
        own = tuple(Call(tool=tool, arguments={}) for tool in row["agent_tools"])
        tool = row.get("attacker_tool", "")
        yield Task(
            suite="asb",
            user_task=f"{row['agent']}/{row['id']}",
            prompt="",
            wanted=own if benign else (),
            injected=() if benign else (InjectedCall(injection_task=row["id"], tool=tool, arguments={}),),
        )


def roles() -> dict[str, str]:
    """Return the role of each task of AgentDojo."""
    return {key: role for path in ASSIGNMENTS for key, role in load_assignments(path).items()}


def role_of(task: Task, held: Mapping[str, str]) -> str:
    """Return the role under which a task is done; in ASB each agent has a role of its own."""
    return task.user_task.split("/")[0] if task.suite == "asb" else held[task.key]


def resource_of(task: Task, tool: str) -> str:
    """Return a tool's resource. In ASB the attacker's tool is in the same folder as the agent's own, the worst case."""
    if task.suite == "asb":
        return f"tool:{task.user_task.split('/')[0]}/{tool}"
    return f"tool:{task.suite}/{tool}" if task.suite in ("slack", "travel") else resource_name(task.suite, tool)


def documents() -> list[Document]:
    """Return the policies "after": those of AgentDojo, written by an operator, and each ASB agent's own tools."""
    own = {role_of(task, {}): [resource_of(task, call.tool) for call in task.wanted] for task in _asb() if task.wanted}
    agents = [{"policy_id": f"role:{agent}", "resources": resources} for agent, resources in sorted(own.items())]
    return [*(json.loads(one.text) for one in read_documents(FOLDERS)), *agents]


def without_constraints(held: Sequence[Document]) -> list[Document]:
    """Return the policies "before": the same sets of tools, every argument free."""
    return [{name: value for name, value in one.items() if name != "constraints"} for one in held]


# ---- the tenant


class Replay:
    """A tenant in memory with these policies, an agent for each role, and every tool that a row names."""

    def __init__(self, rows: Sequence[Task], held: Sequence[Document]) -> None:
        self._rows = rows
        self._held = roles()
        self._offset = 0
        admin, monitor = KeyPair.generate(), KeyPair.generate()
        founding = _founding(admin, monitor)
        [signed] = Author("replay", NO_GENESIS, admin, "admin").sign([founding])
        self._genesis = kid_of(signed.value[codec.FRAME_BYTES :])
        keys = MonitoredTenant("replay", DEPLOYMENT, self._genesis, DecisionKeys.of(monitor), bytes(32))
        self._fold = build_fold(keys)
        self._append(signed)
        by_admin = Author("replay", self._genesis, admin, "admin")
        for body in (*self._tools(), *_publications(held)):
            self._act(by_admin, body)
        self._sessions = {role: self._session(by_admin, role) for role in self._names()}

    def decisions(self) -> Iterator[Decided]:
        """Sign and fold every call of every row, and yield the decisions."""
        for task in self._rows:
            session = self._sessions[role_of(task, self._held)]
            for call in (*task.wanted, *task.injected):
                goal = call.injection_task if isinstance(call, InjectedCall) else None
                decision = self._decide(session, resource_of(task, call.tool), call.arguments)
                yield Decided(
                    suite=task.suite,
                    task=task.user_task,
                    goal=goal,
                    tool=call.tool,
                    arguments=call.arguments,
                    allowed=decision.outcome == Outcome.ALLOWED,
                    reason=decision.reason,
                )

    def _decide(self, session: Author, resource: str, arguments: Mapping[str, object]) -> Decision:
        text = json.dumps(arguments, ensure_ascii=False)
        outputs = self._say(session, InvocationRequested(resource=resource, parameters=text, intents=(), prompts=()))
        [value] = [one.value for one in outputs if one.topic is DECISIONS]
        decision = codec.decode_as(Decision, value or b"")
        # Without this check, a call that was refused for another reason would count as an attack that a policy stopped.
        assert decision.reason.startswith(BY_POLICY) or decision.outcome == Outcome.ALLOWED, decision.reason
        return decision

    def _session(self, admin: Author, role: str) -> Author:
        """Register an agent that holds one role, and open its session."""
        agent, key = KeyPair.generate(), KeyPair.generate()
        attributes = Attributes(company=COMPANY, roles=(role,))
        offer = agent.offer(Role.AGENT, role, self._genesis)
        self._act(admin, PrincipalRegistered(role=Role.AGENT, key=offer, attributes=attributes, tools=()))
        opening = SessionOpened(
            principal_id=role, key=key.offer(Role.SESSION, role, self._genesis), ttl_ms=SESSION_TTL_MS
        )
        self._act(Author("replay", self._genesis, agent, role), opening)
        return Author("replay", self._genesis, key, role, key.kid)

    def _tools(self) -> Iterator[Body]:
        """Yield a registration for each application, because a policy cannot refuse a tool that does not exist."""
        named = {resource_of(task, call.tool) for task in self._rows for call in (*task.wanted, *task.injected)}
        applications = sorted({resource.split("/")[0].removeprefix("tool:") for resource in named})
        for name in applications:
            declared = tuple(
                ToolDeclaration(resource=one, description="", timeout_ms=30_000, idempotent=False)
                for one in sorted(named)
                if one.startswith(f"tool:{name}/")
            )
            offer = KeyPair.generate().offer(Role.TOOL, f"{name}-tools", self._genesis)
            yield PrincipalRegistered(role=Role.TOOL, key=offer, attributes=NONE, tools=declared)

    def _names(self) -> list[str]:
        return sorted({role_of(task, self._held) for task in self._rows})

    def _say(self, author: Author, body: Body) -> list[Any]:
        [signed] = author.sign([body])
        return self._append(signed)

    def _append(self, signed: Signed) -> list[Any]:
        received = Received(0, self._offset, time.time_ns() // 1_000_000, signed.value, signed.headers)
        self._offset += 1
        outputs = step(self._fold.tables, received, self._fold.heads)
        self._fold.take()
        self._fold.commit()
        return list(outputs)

    def _act(self, author: Author, body: Body) -> None:
        """Append an event that must be accepted."""
        entry = codec.decode_as(AuditEntry, self._say(author, body)[-1].value or b"")
        assert entry.outcome == Outcome.ACCEPTED, (entry.kind, entry.reason)


def _founding(admin: KeyPair, monitor: KeyPair) -> TenantFounded:
    return TenantFounded(
        tenant="replay",
        deployment=DEPLOYMENT,
        root_keys=(KeyPair.generate().signing.public,),
        root_threshold=1,
        next_root_digests=(),
        admin=admin.offer(Role.ADMIN, "admin", NO_GENESIS),
        monitor=monitor.offer(Role.MONITOR, "monitor", NO_GENESIS),
        development=False,
        salt=os.urandom(32),
    )


def _publications(held: Sequence[Document]) -> Iterator[Body]:
    for at in range(0, len(held), DOCUMENTS_AT_ONCE):
        texts = tuple(json.dumps(document) for document in held[at : at + DOCUMENTS_AT_ONCE])
        yield PolicyPublished(documents=texts, previous=(None,) * len(texts))


# ---- the table


@dataclass(frozen=True, slots=True)
class Line:
    """The counts of one suite, each with its total. A goal is stopped if one of its calls is."""

    suite: str
    rows: int
    benign: tuple[int, int]
    attacks: tuple[int, int]
    goals: tuple[int, int]


def lines(decided: Sequence[Decided]) -> list[Line]:
    """Return the counts for each suite, and for AgentDojo's four suites together."""
    suites = ("banking", "workspace", "slack", "travel")
    return [
        *(_line(suite, [one for one in decided if one.suite == suite]) for suite in suites),
        _line("agentdojo", [one for one in decided if one.suite in suites]),
        _line("asb", [one for one in decided if one.suite == "asb"]),
    ]


def _line(suite: str, decided: Sequence[Decided]) -> Line:
    benign = [one.allowed for one in decided if one.goal is None]
    attacks = [not one.allowed for one in decided if one.goal is not None]
    goals = {(one.suite, one.task, one.goal) for one in decided if one.goal is not None}
    return Line(
        suite,
        len({(one.suite, one.task) for one in decided}),
        (sum(benign), len(benign)),
        (sum(attacks), len(attacks)),
        (len(goals) - len(reached(decided)), len(goals)),
    )


def refused(decided: Iterable[Decided]) -> list[Decided]:
    """Return the refused calls that a task needs."""
    return [one for one in decided if one.goal is None and not one.allowed]


def passed(decided: Iterable[Decided]) -> Counter[tuple[str, str]]:
    """Return the number of injected calls that pass, by suite and tool."""
    return Counter((one.suite, one.tool) for one in decided if one.goal is not None and one.allowed)


def reached(decided: Iterable[Decided]) -> list[str]:
    """Return the goals without a refused call: suite, task and injected task."""
    goals: dict[str, bool] = {}
    for one in decided:
        if one.goal is not None:
            goal = f"{one.suite}/{one.task} {one.goal}"
            goals[goal] = goals.get(goal, True) and one.allowed
    return sorted(goal for goal, whole in goals.items() if whole)


def replay() -> tuple[list[Decided], list[Decided]]:
    """Return all decisions before and after."""
    rows, after = tasks(), documents()
    return list(Replay(rows, without_constraints(after)).decisions()), list(Replay(rows, after).decisions())


HEADINGS = (
    *("suite", "rows", "benign before", "benign after", "attack calls stopped before", "attack calls stopped after"),
    *("goals stopped before", "goals stopped after"),
)


def cells(before: Sequence[Decided], after: Sequence[Decided]) -> Iterator[tuple[str, ...]]:
    """Yield the rows of the table, as printed and as shown in the examples' pages."""
    for one, other in zip(lines(before), lines(after), strict=True):
        pairs = (one.benign, other.benign, one.attacks, other.attacks, one.goals, other.goals)
        yield (one.suite, str(one.rows), *(f"{count} of {total}" for count, total in pairs))


def main(arguments: Sequence[str] | None = None) -> None:
    argparse.ArgumentParser(prog="python -m bench.authorization", description=__doc__).parse_args(arguments)
    before, after = replay()
    table = Table(title="before: roles as sets of tools; after: with argument constraints")
    for heading in HEADINGS:
        table.add_column(heading, justify="left" if heading == "suite" else "right")
    for row in cells(before, after):
        table.add_row(*row)
    console = Console(width=120)
    console.print(table)
    for when, decided in (("before", before), ("after", after)):
        console.print(f"Benign calls refused {when}: {len(refused(decided))}")
        for one in refused(decided):
            console.print(f"  {one.suite}/{one.task} {one.tool} {json.dumps(one.arguments)[:90]}: {one.reason}")
    console.print("Injected calls that pass, before and after:")
    ahead, behind = passed(before), passed(after)
    for (suite, tool), count in sorted(ahead.items()):
        console.print(f"  {suite} {tool}: {count}, {behind[suite, tool]}")
    console.print(f"Goals that are reached after: {', '.join(reached(after)) or 'none'}")


if __name__ == "__main__":
    main()
