"""The times that a caller set hold at the tool's host too: a monitor that lies makes nothing begin after them."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256

import pytest

from processors.effects import Output
from processors.proof.signing import KID_HEADER, PROOF_HEADER
from producers.kafka.verified import MonitorSigned, UntrustedRecordError
from producers.tools.admission import AdmittedCall, admit
from schemas import codec, limits, topics
from schemas.records import CallPayload, Decision, SignedEvent
from tests.builders import invocation
from tests.producers.forging import TwinRegistry, TwinSessions, forged, record_of
from tests.workflow_world import PAY, Workflow


class Stage:
    """A call with a time of its own, allowed, and what a monitor might make of its decision."""

    def __init__(self, **wishes: int) -> None:
        self.world = world = Workflow.opened("times")
        self.asked = world.send(invocation(PAY, {"amount": 1}, **wishes), world.bot)
        [self.output] = self.asked.of(topics.DECISIONS)
        self.said: Decision = codec.decode_as(Decision, self.output.value or b"")

    def admit(
        self, *, execute_before: int, approvals: tuple[SignedEvent, ...] = (), after_ms: int = 0
    ) -> AdmittedCall | None:
        payload: CallPayload = codec.decode(codec.current("CallPayload"), self.output.payload or b"")
        encoded = codec.encode(replace(payload, approvals=approvals))
        decision = replace(self.said, execute_before=execute_before, payload_sha256=sha256(encoded).digest())
        return self._admit(forged(self, self.output, decision, encoded), after_ms)

    def honest(self, output: Output, after_ms: int) -> AdmittedCall | None:
        return self._admit(record_of(self, output), after_ms)

    def _admit(self, record: object, after_ms: int) -> AdmittedCall | None:
        registry = TwinRegistry(self)
        trusted = MonitorSigned(registry, tenant=self.world.tenant, genesis=self.world.genesis)
        return admit(
            record,
            trusted,
            TwinSessions(self, registry),
            tool="bank",
            key=self.world.bank.keys,
            now_ms=self.world.now + after_ms,
        )

    def approved(self) -> SignedEvent:
        """Return a manager's yes to this very call, which the log never asked for."""
        carol = self.world.person("carol", "manager")
        value, headers = self.world.signed(self.world.approval(self.asked, "manager"), carol)
        found = dict(headers)
        return SignedEvent(event=value, proof=found[PROOF_HEADER] or b"", kid=found[KID_HEADER] or b"")


@pytest.mark.parametrize("name", ["deadline", "begin_by"])
def test_an_honest_decision_runs_until_the_callers_time_and_not_at_it(name: str) -> None:
    """What the monitor wrote is what the caller said; what comes then is only told to have come late."""
    stage = Stage(**{name: Workflow.opened("times").now + 500})

    for after_ms, is_late in ((499, False), (500, True)):
        call = stage.honest(stage.output, after_ms)
        assert call is not None
        assert call.late is is_late


@pytest.mark.parametrize("name", ["deadline", "begin_by"])
def test_a_decision_that_lasts_longer_than_the_caller_said_is_not_believed(name: str) -> None:
    """Be it by a millisecond: the caller's own signature is inside."""
    at = Workflow.opened("times").now + 500
    stage = Stage(**{name: at})

    with pytest.raises(UntrustedRecordError, match=r"deadline|first answer"):
        stage.admit(execute_before=at + 1)
    assert stage.admit(execute_before=at) is not None


def test_only_a_fresh_approval_outlasts_the_wait_for_a_first_answer_and_none_the_deadline() -> None:
    """A monitor that says that a call waited needs somebody's word for it."""
    now = Workflow.opened("times").now
    usual = now + limits.EXECUTE_WITHIN_MS
    waits, ends = Stage(begin_by=now + 500), Stage(begin_by=now + 500, deadline=now + 600)

    assert waits.admit(execute_before=usual, approvals=(waits.approved(),)) is not None
    with pytest.raises(UntrustedRecordError, match="first answer"):
        waits.admit(execute_before=usual, approvals=(Stage(begin_by=now + 501).approved(),))
    with pytest.raises(UntrustedRecordError, match="deadline"):
        ends.admit(execute_before=usual, approvals=(ends.approved(),))


def test_what_waited_for_people_and_was_approved_runs_although_nobody_waits_for_a_first_answer() -> None:
    """The honest way, from question to execution."""
    world = Workflow.opened("times")
    world.require("manager", approval_criteria="role:manager", timeout=600)
    asked = world.send(invocation(PAY, {"amount": 1}, begin_by=world.now + 500), world.bot)
    carol = world.person("carol", "manager")
    world.advance(60_000)
    [output] = world.approve(carol, asked, "manager").of(topics.DECISIONS)
    registry = TwinRegistry(StageOf(world))
    trusted = MonitorSigned(registry, tenant=world.tenant, genesis=world.genesis)

    call = admit(
        record_of(StageOf(world), output),
        trusted,
        TwinSessions(StageOf(world), registry),
        tool="bank",
        key=world.bank.keys,
        now_ms=world.now,
    )
    assert call is not None


class StageOf:
    """A world where one is wanted."""

    def __init__(self, world: Workflow) -> None:
        self.world = world
