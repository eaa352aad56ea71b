"""The step is total: whatever breaks while one record is folded, it ends in one entry, and the next one goes on.

Rules are made to raise what no rule should. Nothing but a machine's fault comes out of the step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import pytest

from processors import step as stepping
from processors.calls import decision, outcome, requests
from processors.context import vault
from processors.effects import Effects
from processors.evidence import audit_log
from processors.evidence.verdict import VerdictCode
from processors.identity import sessions
from processors.policy.errors import WorkExceededError
from processors.refusal import MACHINE_FAULTS, Refusal
from schemas import topics
from schemas.events.workflow import ContextWritten
from schemas.reasons import Reason
from tests.builders import Folded
from tests.reference.folder_changes import judge
from tests.reference.log_builder import SmallLog
from tests.workflow_world import CHECK, PAY, Workflow
from tests.world import HOUR_MS

NOTE = ContextWritten(scope="session", key="plan", value="1", ttl_ms=None, expected=None)


class UnheardOfError(Exception):
    """No rule raises it."""


def exceptions(kind: type[Exception]) -> Iterator[type[Exception]]:
    """Yield every exception of Python itself below a kind that is no fault of the machine."""
    for one in kind.__subclasses__():
        if one.__module__ == "builtins" and not issubclass(one, (*MACHINE_FAULTS, ExceptionGroup)):
            yield one
            yield from exceptions(one)


FORESEEN_BY_NOBODY = sorted({*exceptions(Exception), UnheardOfError}, key=lambda one: one.__name__)
BROKEN = ("refused", "INTERNAL_ERROR")


def raising(exc: type[BaseException]) -> Callable[..., NoReturn]:
    """Return a rule that breaks."""
    made = exc.__new__(exc)  # some want arguments

    def rule(*_of: Any, **_more: Any) -> NoReturn:
        raise made

    return rule


def opened() -> tuple[Workflow, dict[str, dict[bytes, Any]]]:
    """Return a world at rest with what stands in its tables, but for sequences."""
    world = Workflow.opened("total")
    return world, world.rows(without=("sequences",))


def note(world: Workflow) -> Folded:
    return world.send(NOTE, world.bot)


@pytest.mark.parametrize("exc", FORESEEN_BY_NOBODY, ids=lambda one: one.__name__)
def test_whatever_a_rule_raises_is_one_entry_and_changes_nothing_else(
    exc: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of its work is taken back, its signer is told, and the record may not come again."""
    world, before = opened()

    def half(tables: Any, effects: Effects, *_more: Any) -> None:
        tables.policies.delete(next(iter(tables.policies.rows)))
        effects.reply("accepted")
        raising(exc)()

    monkeypatch.setattr(vault, "operate", half)
    folded = note(world)

    assert folded.says == BROKEN
    assert folded.entry.fault == exc.__name__
    assert [(one.outcome, one.reason, one.detail) for one in folded.results] == [(*BROKEN, exc.__name__)]
    assert [one.topic for one in folded.outputs] == [topics.RESULTS, topics.AUDIT]
    assert folded.outputs[-1].fault.startswith(f"{exc.__name__} at tests.processors.test_total_step:")
    assert world.rows(without=("sequences",)) == before
    again = world.fold(folded.received.value, folded.received.headers)
    assert (again.says, again.entry.fault) == (("refused", "DUPLICATE"), None)
    monkeypatch.undo()
    assert note(world).says == ("accepted", "")


@pytest.mark.parametrize("exc", [*MACHINE_FAULTS, KeyboardInterrupt, SystemExit])
def test_a_fault_of_the_machine_is_no_decision(exc: type[BaseException], monkeypatch: pytest.MonkeyPatch) -> None:
    """Another machine would not repeat it, so it may not stand on the log."""
    world, _ = opened()
    monkeypatch.setattr(vault, "operate", raising(exc))

    with pytest.raises(exc):
        note(world)


def test_work_beyond_the_limit_is_said_by_its_own_reason_wherever_it_is_met(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is no defect: nobody is called to mend anything."""
    world, before = opened()
    monkeypatch.setattr(vault, "operate", raising(WorkExceededError))
    folded = note(world)

    assert (folded.says, folded.entry.fault) == (("refused", "LIMIT_EXCEEDED"), None)
    assert world.rows(without=("sequences",)) == before


@pytest.mark.parametrize("name", ["read", "identify", "check_order", "check_claim", "check_may_sign", "apply"])
def test_each_part_of_the_step_may_break(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who signed is answered as soon as it is known, and not before."""
    world, before = opened()
    monkeypatch.setattr(stepping, name, raising(KeyError))
    folded = note(world)

    assert (folded.says, folded.entry.fault) == (BROKEN, "KeyError")
    assert world.rows(without=("sequences",)) == before
    assert len(folded.results) == (name not in {"read", "identify"})
    assert len(folded.dead_letters) == (name == "read")
    assert folded.entry.kind == ("Undecodable" if name == "read" else "ContextWritten")
    monkeypatch.undo()
    assert note(world).says == ("accepted", "")


@pytest.mark.parametrize("good", [True, False])
def test_the_answer_and_the_entry_may_break_too(good: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then nobody is answered, or the entry says no more than that there was a record."""
    world, before = opened()
    body = NOTE if good else ContextWritten(scope="BAD", key="plan", value="1", ttl_ms=None, expected=None)
    monkeypatch.setattr(Effects, "reply", raising(UnicodeError))
    folded = world.send(body, world.bot)
    assert (folded.says[0], folded.results, folded.entry.fault) == ("refused", [], "UnicodeError")
    monkeypatch.undo()

    monkeypatch.setattr(audit_log, "append_entry", bare_first(audit_log.append_entry))
    folded = world.send(body, world.bot)
    entry = folded.entry
    assert (folded.says, entry.fault, entry.kind, entry.event_kid) == (BROKEN, "OverflowError", "Undecodable", None)
    assert len(folded.outputs) == 1
    assert world.rows(without=("sequences",)) == before
    monkeypatch.undo()
    assert note(world).entry.index == entry.index + 1


def due(world: Workflow, kind: str) -> None:
    """Let a row of a kind stand that will be due; a session stands already."""
    if kind == "calls":
        assert world.call(world.bot, CHECK).says == ("allowed", "")
    if kind in {"pending", "requests"}:
        world.require("boss", approval_criteria="role:boss", timeout=60)
        assert world.pay().says[0] == "pending"
    if kind == "requests":  # it leaves an hour after the call has ended
        world.advance(61_000)
        world.tick()


LEAVING = {
    "calls": (outcome, "outcome_unknown"),
    "sessions": (sessions, "remove"),
    "pending": (decision, "pending_due"),
    "requests": (requests, "request_due"),
}


@pytest.mark.parametrize("kind", LEAVING)
@pytest.mark.parametrize("exc", [KeyError, Refusal, UnheardOfError], ids=lambda one: one.__name__)
def test_a_row_whose_end_breaks_leaves_all_the_same(
    kind: str, exc: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It breaks one record's expiry and no other; the record itself is folded as if nothing had been due."""
    world, _ = opened()
    due(world, kind)
    rows = len(world.tables.by_name[kind])
    monkeypatch.setattr(*LEAVING[kind], lambda *_of: (_ for _ in ()).throw(made(exc)))
    world.advance(2 * HOUR_MS)
    folded = world.tick()

    assert folded.says == ("accepted", "")
    assert folded.entry.fault is not None
    assert folded.entry.fault.endswith(f"at the end of a row of {kind}")
    assert len(world.tables.by_name[kind]) < rows
    assert world.tick().entry.fault is None
    assert world.tables.next_deadline() is None or world.tables.next_deadline() > world.now  # type: ignore[operator]


def made(exc: type[Exception]) -> Exception:
    return Refusal(Reason.LIMIT_EXCEEDED) if exc is Refusal else exc("boss")


def test_a_call_that_is_decided_again_may_break(monkeypatch: pytest.MonkeyPatch) -> None:
    """The approval is refused and not kept, the call waits on, and its time-out still ends it."""
    world, _ = opened()
    boss = world.person("bea", "boss")
    world.require("boss", approval_criteria="role:boss", timeout=60)
    asked = world.pay()
    monkeypatch.setattr(decision, "resume", raising(ZeroDivisionError))
    folded = world.approve(boss, asked, "boss")
    assert (folded.says, folded.entry.fault) == (BROKEN, "ZeroDivisionError")
    monkeypatch.undo()

    assert world.approve(boss, asked, "boss").decisions[0].outcome == "allowed"


def test_a_rule_of_the_decision_that_breaks_is_told_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """A denial INTERNAL_ERROR is a decision like any other, and a defect like any other."""
    world, _ = opened()
    monkeypatch.setattr(decision, "decide_call", raising(KeyError))
    folded = world.call(world.bot, PAY, {"amount": 1})

    assert (folded.says, folded.entry.fault) == (("denied", "INTERNAL_ERROR"), "KeyError")
    assert folded.outputs[-1].fault == "KeyError"


@pytest.mark.parametrize("name", ["read", "identify", "check_order", "apply", "refuse"])
def test_evidence_of_a_log_where_rules_broke_verifies(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever broke, and wherever: the entry is one that the record can bear, and the log is whole."""
    world, _ = opened()
    monkeypatch.setattr(stepping, name, raising(KeyError))
    note(world)
    world.fold(b"no record", [])
    monkeypatch.undo()
    monkeypatch.setattr(audit_log, "append_entry", bare_first(audit_log.append_entry))
    broken = world.send(NOTE, world.bot)
    assert broken.entry.kind == "Undecodable"
    monkeypatch.undo()
    world.tick()
    log = SmallLog(world, [], [folded.entry for folded in world.log])
    log._sign(world.log)

    verdict = judge(log.folder(), world.genesis)
    assert (verdict.code, verdict.index) == (VerdictCode.UNWITNESSED, None)


def bare_first(whole: Callable[..., None]) -> Callable[..., None]:
    """Return what writes an entry of a record that was read no more than once it has been forgotten."""

    def append(tables: Any, effects: Effects, outcome: str, reason: str) -> None:
        if effects.claim.event is not None:
            raise OverflowError
        whole(tables, effects, outcome, reason)

    return append


def test_replay_repeats_what_broke(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same rules break again with the same records: the bytes are the same."""
    world, _ = opened()
    monkeypatch.setattr(vault, "operate", raising(UnheardOfError))
    monkeypatch.setattr(sessions, "remove", raising(KeyError))
    note(world)
    world.advance(40 * HOUR_MS)
    world.tick()
    tables = world.fresh_tables()

    assert [stepping.step(tables, one, world.heads) for one in world.records] == [one.outputs for one in world.log]
    assert {name: table.rows for name, table in tables.by_name.items()} == world.rows()
