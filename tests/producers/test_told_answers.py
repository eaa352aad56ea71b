"""What the log itself says to a caller: that a call waits, and replies to questions. Forged ones are dropped."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

import pytest

from processors.effects import Output
from producers.home.heads import LogRollbackError
from producers.kafka.answers import Answers, Waits
from producers.kafka.verified import MonitorSigned
from producers.kafka.waiting import WaitingCall
from schemas import codec, topics
from schemas.records import Result
from tests.builders import Actor, Folded, keys_of
from tests.producers.forging import Record, TwinRegistry, forged, record_of
from tests.workflow_world import PAY, Workflow

KEY = "manager"


class Listener(Answers):
    """The verifying half of `Answers`, without its consumer."""

    def __init__(self, world: Workflow, by: Actor) -> None:  # nothing is subscribed
        place = Place(world)
        self._trusted = MonitorSigned(TwinRegistry(place), tenant=world.tenant, genesis=world.genesis)
        self._keys = {by.kid: by.keys}
        self._waiters: dict[bytes, Any] = {}
        self.dropped = 0
        self._lock = threading.Lock()
        self._hearing: Any = self

    def awaits(self, _: object) -> None:
        pass

    def hear(self, record: Record) -> None:
        self.take(record)


@dataclass
class Place:
    world: Workflow


@dataclass
class Told:
    """One record of `results`, with whoever listens."""

    world: Workflow
    output: Output
    listener: Listener

    @property
    def said(self) -> Result:
        return codec.decode_as(Result, self.output.value or b"")  # type: ignore[no-any-return]

    def honest(self) -> Record:
        return record_of(Place(self.world), self.output)

    def lie(self, payload: bytes | None = None, **changed: Any) -> Record:
        return forged(Place(self.world), self.output, replace(self.said, **changed), payload)

    def sealed_to(self, kid: bytes, x25519: bytes) -> Record:
        return record_of(Place(self.world), self.output._replace(recipients=((kid, x25519),)))

    def with_reply(self, payload: bytes) -> Record:
        return self.lie(payload, payload_sha256=sha256(payload).digest())


@pytest.fixture
def world() -> Workflow:
    world = Workflow.opened()
    world.require(KEY, approval_criteria="role:manager", timeout=300)
    return world


def result_in(folded: Folded, to: Actor) -> Output:
    [output] = [one for one in folded.of(topics.RESULTS) if one.key == to.kid]
    return output


@pytest.fixture
def replied(world: Workflow) -> Told:
    folded = world.put(world.bot, "plan", {"step": 1})
    return Told(world, result_in(folded, world.bot), Listener(world, world.bot))


def test_the_logs_reply_reaches_whoever_asked(replied: Told) -> None:
    """Its text is what the monitor sealed."""
    future = replied.listener.expect(replied.said.event)
    replied.listener.hear(replied.honest())

    body = json.loads(future.result(0).body or "")
    assert (body["key"], body["version"], body["n"]) == ("plan", 1, 1)


def test_an_answer_from_before_what_was_heard_is_noticed(world: Workflow, caplog: pytest.LogCaptureFixture) -> None:
    """The log was set back: that is told, and the answer is not lost for it."""
    first, second = (world.put(world.bot, "plan", {"step": step}) for step in (1, 2))
    listener = Listener(world, world.bot)
    later = Told(world, result_in(second, world.bot), listener)
    earlier = Told(world, result_in(first, world.bot), listener)
    future = listener.expect(later.said.event)
    listener.hear(later.honest())
    assert future.result(0).result.audit_index == listener.newest == second.entry.index
    assert listener.rollback is None

    for told in (earlier.honest(), later.lie(event=bytes(32))):
        listener.rollback = None
        waiting = listener.expect(codec.decode_as(Result, told.value() or b"").event)
        listener.hear(told)
        assert waiting.result(0).result.audit_index <= second.entry.index
        assert isinstance(listener.rollback, LogRollbackError)
    assert caplog.text.count("LOG_ROLLBACK") == 2
    assert (listener.dropped, listener.newest) == (0, second.entry.index)


@pytest.mark.parametrize(
    "forge",
    [
        pytest.param(lambda t: t.lie(payload_sha256=bytes(32)), id="another payload's digest"),
        pytest.param(lambda t: t.lie(outcome="refused"), id="a refusal with a reply"),
        pytest.param(lambda t: t.lie(outcome="ok"), id="an outcome of a call"),
        pytest.param(lambda t: t.lie(to=bytes(32)), id="for another key"),
        pytest.param(lambda t: t.with_reply(b"\x00"), id="no such record"),
        pytest.param(lambda t: t.with_reply(b""), id="nothing"),
        pytest.param(
            lambda t: record_of(
                Place(t.world), t.output._replace(recipients=((bytes(32), keys_of("x").sealing.public),))
            ),
            id="sealed to somebody else",
        ),
        pytest.param(
            lambda t: replace(t.honest(), sealed_by=keys_of("thief")),
            id="sealed by somebody else",
        ),
        pytest.param(lambda t: record_of(Place(t.world), t.output._replace(payload=None)), id="not sealed at all"),
        pytest.param(lambda t: record_of(Place(t.world), t.output, signed_by=keys_of("thief")), id="signed by nobody"),
    ],
)
def test_a_reply_that_is_not_the_monitors_own_is_dropped(replied: Told, forge: Callable[[Told], Record]) -> None:
    """The waiter waits on, and the honest reply still reaches it."""
    future = replied.listener.expect(replied.said.event)
    replied.listener.hear(forge(replied))

    assert not future.done()
    assert replied.listener.dropped == 1
    replied.listener.hear(replied.honest())
    assert future.result(0).body is not None


def test_a_call_gets_no_reply_of_the_logs_own(replied: Told) -> None:
    """Only its tool can say what a call gave."""
    future = replied.listener.expect(replied.said.event, PAY)
    replied.listener.hear(replied.honest())

    assert not future.done()
    assert replied.listener.dropped == 1


@pytest.fixture
def waiting(world: Workflow) -> Told:
    return Told(world, result_in(world.pay(), world.bot), Listener(world, world.bot))


def test_a_waiter_survives_that_its_call_waits(waiting: Told) -> None:
    """First it is told until when; the same future then gets the end."""
    world, listener = waiting.world, waiting.listener
    pending = Waits()
    final = listener.expect(waiting.said.event, PAY, pending)
    listener.hear(waiting.honest())
    listener.hear(waiting.honest())

    assert pending.result(0).pending_until == world.now + 300_000
    assert not final.done()
    ended = world.passes(300_000)
    listener.hear(record_of(Place(world), result_in(ended, world.bot)))
    assert final.result(0).result.reason == "APPROVAL_TIMEOUT"


def test_a_call_that_waits_again_says_so_again(waiting: Told) -> None:
    """For verdicts first and then for people: each answer completes its own future, and none is lost or told twice."""
    waits = Waits()
    final = waiting.listener.expect(waiting.said.event, PAY, waits)
    waiting.listener.hear(waiting.lie(detail="until=1 verifiers=judge,rows,+"))
    waiting.listener.hear(waiting.honest())

    first, second = waits.result(0), waits.later.result(0)
    assert (first.pending_until, first.pending_verifiers) == (1, ("judge", "rows", "+"))
    assert second.pending_verifiers == ()
    assert not waits.later.later.done()
    assert not final.done()
    kept = WaitingCall.of(first, PAY, "bot")
    assert (kept.awaited, WaitingCall.of(second, PAY, "bot").awaited) == (
        "the verdict of judge, rows and others",
        "an approval",
    )


def test_nobody_need_listen_to_that_a_call_waits(waiting: Told) -> None:
    """And whoever stopped to listen disturbs nobody."""
    gone = Waits()
    gone.cancel()
    for pending in (None, gone):
        listener = Listener(waiting.world, waiting.world.bot)
        final = listener.expect(waiting.said.event, PAY, pending)
        listener.hear(waiting.honest())

        assert not final.done()
        assert listener.dropped == 0


@pytest.mark.parametrize(
    "detail",
    [
        "",
        "until=",
        "until=soon",
        "until=-1",
        "until=" + "9" * 15,
        "until=1 ",
        "until=1 verifiers=",
        "until=1 verifiers=A\x1b[0m",
        "until=1 verifiers=" + "a" * 131,
    ],
)
def test_a_call_waits_until_a_time_that_is_told(waiting: Told, detail: str) -> None:
    """Without one nobody could say when to stop."""
    pending = Waits()
    waiting.listener.expect(waiting.said.event, PAY, pending)
    waiting.listener.hear(waiting.lie(detail=detail))

    assert not pending.done()
    assert waiting.listener.dropped == 1


def test_only_a_call_waits(waiting: Told) -> None:
    """A control event is answered at once."""
    pending = Waits()
    waiting.listener.expect(waiting.said.event, None, pending)
    waiting.listener.hear(waiting.honest())

    assert not pending.done()
