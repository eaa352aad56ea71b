"""A monitor that lies: what tool hosts and callers must refuse although the monitor's own key signed it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

import pytest

from processors.effects import Output
from processors.proof import sealing, signing
from producers.client import UnknownOutcomeError, result_of
from producers.kafka.answers import Answer, Answers, _Waiter
from producers.kafka.verified import MonitorSigned, UntrustedRecordError
from producers.tools.admission import CLOCK_SLACK_MS, EVENT_AGE_MS_MAX, EVENT_AHEAD_MS_MAX, AdmittedCall, admit, recall
from schemas import codec, limits, topics
from schemas.records import CallPayload, Change, Decision, Result, ResultPayload
from tests.builders import Actor, keys_of
from tests.producers.forging import Record, TwinRegistry, TwinSessions, forged, record_of
from tests.world import Office


@dataclass
class Scene:
    office: Office
    decision: Output
    trusted: MonitorSigned

    @property
    def said(self) -> Decision:
        return codec.decode_as(Decision, self.decision.value or b"")  # type: ignore[no-any-return]

    @property
    def payload(self) -> CallPayload:
        return codec.decode(codec.current("CallPayload"), self.decision.payload or b"")  # type: ignore[no-any-return]

    def admit(self, record: Record, **how: Any) -> AdmittedCall | None:
        tool: Actor = self.office.tool
        now = how.pop("now_ms", self.office.world.tables.now)
        sessions = TwinSessions(self.office, self.trusted.registry)
        tool_id, key = how.pop("tool", tool.principal_id), how.pop("key", tool.keys)
        return admit(record, self.trusted, sessions, tool=tool_id, key=key, now_ms=now)

    def with_payload(self, **changed: Any) -> Record:
        """The same decision about another payload."""
        payload = codec.encode(replace(self.payload, **changed))
        decision = replace(self.said, payload_sha256=sha256(payload).digest())
        return forged(self.office, self.decision, decision, payload)


@pytest.fixture
def scene() -> Scene:
    office = Office.opened("liar")
    [decision] = office.call().of(topics.DECISIONS)
    trusted = MonitorSigned(TwinRegistry(office), tenant=office.world.tenant, genesis=office.world.tables.genesis)
    return Scene(office, decision, trusted)


def test_an_honest_decision_is_admitted(scene: Scene) -> None:
    """What the caller signed is what would be executed."""
    call = scene.admit(record_of(scene.office, scene.decision))

    assert call is not None
    assert call.leaf == scene.decision.leaf
    assert call.principal_id == scene.said.principal_id


def test_a_decision_for_another_tool_denied_or_late_is_not_for_this_host(scene: Scene) -> None:
    """Nothing to execute, and nothing to complain of."""
    record = record_of(scene.office, scene.decision)
    denied = forged(scene.office, scene.decision, replace(scene.said, outcome="denied"))
    late = scene.said.execute_before

    assert scene.admit(record, tool="another") is None
    assert scene.admit(denied) is None
    assert late is not None
    assert scene.admit(record, now_ms=late + limits.UNKNOWN_GRACE_MS) is None


def test_a_decision_that_came_late_is_told_from_one_in_time(scene: Scene) -> None:
    """It is not executed; the log still waits to hear so."""
    late = scene.said.execute_before
    assert late is not None
    record = record_of(scene.office, scene.decision)

    for now_ms, is_late in ((late - 1, False), (late, True), (late + limits.UNKNOWN_GRACE_MS - 1, True)):
        call = scene.admit(record, now_ms=now_ms)
        assert call is not None
        assert call.late is is_late


@pytest.mark.parametrize(
    "forge",
    [
        pytest.param(lambda s: record_of(s.office, s.decision, signed_by=keys_of("thief")), id="an unknown key"),
        pytest.param(
            lambda s: record_of(s.office, s.decision, signed_by=s.office.tool.keys), id="a key of another role"
        ),
        pytest.param(lambda s: s.with_payload(parameters='{"to":"thief"}'), id="parameters that nobody asked for"),
        pytest.param(
            lambda s: forged(s.office, s.decision, replace(s.said, resource="tool:bank/close")), id="another resource"
        ),
        pytest.param(lambda s: forged(s.office, s.decision, replace(s.said, event=bytes(32))), id="another event"),
        pytest.param(lambda s: s.with_payload(kid=bytes(32)), id="a session that nobody opened"),
        pytest.param(lambda s: s.with_payload(proof=bytes(72)), id="a caller who never signed"),
        pytest.param(lambda s: s.with_payload(event=s.payload.event[:-1]), id="a caller's event cut short"),
        pytest.param(
            lambda s: forged(s.office, s.decision, replace(s.said, payload_sha256=bytes(32))),
            id="another payload's digest",
        ),
        pytest.param(
            lambda s: forged(s.office, s.decision, replace(s.said, principal_id="admin")), id="somebody else's name"
        ),
    ],
)
def test_a_lying_monitor_makes_no_tool_run(scene: Scene, forge: Callable[[Scene], Record]) -> None:
    """Each lie is refused before anything is executed."""
    with pytest.raises(UntrustedRecordError):
        scene.admit(forge(scene))


def test_a_payload_sealed_to_another_key_does_not_open(scene: Scene) -> None:
    """A host opens only what is sealed to it."""
    with pytest.raises(UntrustedRecordError):
        scene.admit(record_of(scene.office, scene.decision), key=keys_of("another instance"))


@pytest.mark.parametrize("changed", [(), (Change(path="to", verifier="v"),)], ids=["unlisted", "listed"])
def test_parameters_of_the_monitors_own_are_never_executed(scene: Scene, changed: tuple[Change, ...]) -> None:
    """Saying that a verifier changed them does not help: there are no verifiers."""
    theirs = '{"to":"thief"}'
    payload = codec.encode(replace(scene.payload, parameters=theirs))
    decision = replace(
        scene.said,
        parameters_sha256=sha256(theirs.encode()).digest(),
        payload_sha256=sha256(payload).digest(),
        changed=changed,
    )

    with pytest.raises(UntrustedRecordError, match="parameters"):
        scene.admit(forged(scene.office, scene.decision, decision, payload))


def test_a_decision_that_lists_changes_is_refused_even_if_nothing_changed(scene: Scene) -> None:
    """Of a tool that declares nothing maskable."""
    decision = replace(scene.said, changed=(Change(path="to", verifier="v"),))

    with pytest.raises(UntrustedRecordError, match="lists a change"):
        scene.admit(forged(scene.office, scene.decision, decision))


def test_an_old_event_is_not_decided_anew(scene: Scene) -> None:
    """What was asked for once is not asked for still; up to the bound it may be late."""
    issued = scene.office.world.tables.now
    last = issued + EVENT_AGE_MS_MAX
    anew = forged(scene.office, scene.decision, replace(scene.said, execute_before=last + 1000))

    assert scene.admit(anew, now_ms=last) is not None
    with pytest.raises(UntrustedRecordError, match="too old"):
        scene.admit(anew, now_ms=last + 1)


def test_an_event_of_the_future_is_not_executed(scene: Scene) -> None:
    """It would be admitted still when nobody remembers any more that it ran."""
    issued = scene.office.world.tables.now
    early = forged(scene.office, scene.decision, replace(scene.said, execute_before=issued))

    assert scene.admit(early, now_ms=issued - EVENT_AHEAD_MS_MAX) is not None
    with pytest.raises(UntrustedRecordError, match="future"):
        scene.admit(early, now_ms=issued - EVENT_AHEAD_MS_MAX - 1)


def test_only_what_may_have_run_is_recalled(scene: Scene) -> None:
    """For this tool and allowed, at any time after it; under the monitor's key alone."""
    record = record_of(scene.office, scene.decision)
    denied = forged(scene.office, scene.decision, replace(scene.said, outcome="denied"))
    tool = scene.office.tool.principal_id

    assert recall(record, scene.trusted, tool=tool) == (scene.said, scene.decision.leaf)
    assert recall(record, scene.trusted, tool="another") is None
    assert recall(denied, scene.trusted, tool=tool) is None
    with pytest.raises(UntrustedRecordError):
        recall(record_of(scene.office, scene.decision, signed_by=keys_of("thief")), scene.trusted, tool=tool)


def test_an_ended_session_asks_for_nothing(scene: Scene) -> None:
    """Its row may stand in the registry: a monitor that lies need not say that it ended."""
    ttl_ms = 60_000
    world = scene.office.world
    office = replace(scene.office, session=world.open_session(scene.office.agent, ttl_ms=ttl_ms))
    ends = world.tables.now + ttl_ms + CLOCK_SLACK_MS
    [decision] = office.call().of(topics.DECISIONS)
    short = Scene(office, decision, scene.trusted)
    late = forged(office, decision, replace(short.said, execute_before=ends + 1000))

    assert short.admit(late, now_ms=ends - 1) is not None
    with pytest.raises(UntrustedRecordError, match="session has ended"):
        short.admit(late, now_ms=ends)


def test_a_decision_is_not_good_for_ever(scene: Scene) -> None:
    """The monitor cannot keep a call executable for longer than the bound."""
    last = scene.office.world.tables.now + limits.EXECUTE_WITHIN_MS + CLOCK_SLACK_MS

    assert scene.admit(forged(scene.office, scene.decision, replace(scene.said, execute_before=last))) is not None
    with pytest.raises(UntrustedRecordError, match="longer"):
        scene.admit(forged(scene.office, scene.decision, replace(scene.said, execute_before=last + 1)))


def test_a_second_decision_does_not_reach_another_instance(scene: Scene) -> None:
    """A call's decision stands on one partition, which one instance reads: the one of the id that the caller signed."""
    moved = scene.decision._replace(partition=(scene.decision.partition + 1) % topics.KEYED_PARTITIONS)
    with pytest.raises(UntrustedRecordError, match="partition"):
        scene.admit(forged(scene.office, moved, scene.said))

    event_id = scene.said.event_id[:-1] + bytes([(scene.said.event_id[-1] + 1) % 256])
    renamed = replace(scene.said, event_id=event_id)
    with pytest.raises(UntrustedRecordError, match="event id"):
        scene.admit(forged(scene.office, moved, renamed))
    with pytest.raises(UntrustedRecordError, match="partition"):
        scene.admit(forged(scene.office, scene.decision, replace(scene.said, event_id=b"")))


def test_a_record_is_read_by_the_schema_that_was_signed(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """The prefix is not signed: whoever rewrites it must not have the body read as something else."""
    older = replace(codec.current("Decision"), id=0, sha256=bytes(32))
    known = {one.prefix: one for one in (*codec.published().values(), older)}
    monkeypatch.setattr(codec, "_by_prefix", lambda: known)
    body = (scene.decision.value or b"").removeprefix(codec.current("Decision").prefix)

    with pytest.raises(UntrustedRecordError, match="SignatureError"):
        scene.admit(record_of(scene.office, scene.decision._replace(value=older.prefix + body)))


class Listener(Answers):
    """The verifying half of `Answers`, without its consumer."""

    def __init__(self, scene: Scene) -> None:  # nothing is subscribed
        session = scene.office.session
        self._trusted, self._keys = scene.trusted, {session.kid: session.keys}

    def judge(self, record: Record, resource: str) -> Answer:
        result, _, sender = self._trusted.verify(record, signing.RESULT_TAG, Result)
        return self._answer(result, record, _Waiter(resource, Future(), -1), sender)


@dataclass
class Reported:
    scene: Scene
    output: Output

    @property
    def said(self) -> Result:
        return codec.decode_as(Result, self.output.value or b"")  # type: ignore[no-any-return]

    def judge(self, record: Record) -> Answer:
        return Listener(self.scene).judge(record, self.scene.said.resource)

    def with_report_of(self, other: Output) -> Record:
        """The result of this call with the tool's report of another."""
        payload: ResultPayload = codec.decode(codec.current("ResultPayload"), other.payload or b"")
        theirs: Result = codec.decode_as(Result, other.value or b"")
        encoded = codec.encode(payload)
        forged_result = replace(
            self.said, report=theirs.report, decision=theirs.decision, payload_sha256=sha256(encoded).digest()
        )
        return forged(self.scene.office, self.output, forged_result, encoded)


@pytest.fixture
def reported(scene: Scene) -> Reported:
    office = scene.office
    assert scene.decision.leaf is not None
    folded = office.world.report(scene.decision.leaf, office.tool, body='{"paid":1}', causation_id=scene.said.event)
    [output] = folded.of(topics.RESULTS)
    return Reported(scene, output)


def test_an_honest_result_reaches_its_caller(reported: Reported) -> None:
    """The caller gets the tool's own words."""
    assert reported.judge(record_of(reported.scene.office, reported.output)).body == '{"paid":1}'


def test_an_outcome_without_the_tools_report_never_reaches_the_caller(reported: Reported) -> None:
    """The monitor alone cannot say that a tool succeeded."""
    lie = replace(reported.said, report=None, payload_sha256=None)

    with pytest.raises(UntrustedRecordError):
        reported.judge(forged(reported.scene.office, reported.output, lie))


@pytest.mark.parametrize("outcome", ["ok", "failed"])
def test_an_outcome_without_the_tools_words_is_refused(reported: Reported, outcome: str) -> None:
    """A report's leaf alone says nothing: any 32 bytes would do."""
    lie = replace(reported.said, outcome=outcome, payload_sha256=None)

    with pytest.raises(UntrustedRecordError):
        reported.judge(forged(reported.scene.office, reported.output, lie))


@pytest.mark.parametrize("outcome", ["ok", "failed"])
def test_a_report_too_large_to_pass_on_leaves_the_outcome_unknown(reported: Reported, outcome: str) -> None:
    """The monitor may say so, but its word is not the tool's: the caller is not told that the tool failed."""
    said = replace(reported.said, outcome=outcome, reason="OUTPUT_TOO_LARGE", payload_sha256=None)
    answer = reported.judge(forged(reported.scene.office, reported.output, said))

    with pytest.raises(UnknownOutcomeError, match="OUTPUT_TOO_LARGE") as raised:
        result_of(answer)
    assert raised.value.reason == "OUTPUT_TOO_LARGE"


def test_another_calls_report_never_answers_this_call(reported: Reported) -> None:
    """A report is about one call: its tool signed whose."""
    office = reported.scene.office
    other = office.call()
    folded = office.world.report(other.decision_leaf, office.tool, body='{"paid":999}', causation_id=other.entry.event)
    [theirs] = folded.of(topics.RESULTS)

    with pytest.raises(UntrustedRecordError):
        reported.judge(reported.with_report_of(theirs))


def test_an_outcome_that_differs_from_the_tools_is_refused(reported: Reported) -> None:
    """`failed` cannot be turned into `ok`."""
    lie = replace(reported.said, outcome="failed")

    with pytest.raises(UntrustedRecordError):
        reported.judge(forged(reported.scene.office, reported.output, lie))


def test_a_result_opens_for_its_caller_only(reported: Reported) -> None:
    """Whoever reads the topic sees the record, not the value."""
    record = record_of(reported.scene.office, reported.output)
    [sealed] = [v for n, v in record.headers() if n == sealing.PAYLOAD_HEADER]
    thief = keys_of("thief")

    with pytest.raises(sealing.SealingError):
        sealing.open_sealed(
            sealed,
            reported.said.to,
            thief.sealing,
            reported.scene.office.world.monitor.keys.sealing.public,
            reported.said.payload_sha256 or b"",
        )
    assert b"paid" not in sealed
    assert b"paid" not in (record.value() or b"")
