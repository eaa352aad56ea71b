"""Results that a verifier's host is shown: the bytes of the named report, or nothing; and verdicts bound to them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any, ClassVar

import pytest

from macaw.security.verification.result import ToolResult, VerificationResult
from macaw.security.verification.serving import declaration_of, judge_of
from macaw.security.verification.verifier import Invocation, ResultVerifier, Verifier
from processors.effects import Output
from processors.identity.verifiers import verifier_of
from producers.home.keys import KeyPair
from producers.kafka.verified import MonitorSigned, UntrustedRecordError
from producers.tools.asked_results import AskedResult, asked_result_of
from producers.tools.opinions import Opinion, verdict_of
from schemas import codec, limits, topics
from schemas.records import Result, ResultPayload
from tests.builders import WORST, Folded, keys_of
from tests.producers.forging import Record, TwinRegistry, forged, record_of
from tests.provenance_world import HEARD, PAGE, WEB
from tests.results_world import MILD, Marked
from tests.workflow_world import attests


@dataclass
class Shown:
    """A result of the web, as it stands on `results`, and the host that looks at it."""

    world: Marked
    reported: Folded
    trusted: MonitorSigned

    @property
    def output(self) -> Output:
        (found,) = self.reported.of(topics.RESULTS)
        return found

    @property
    def said(self) -> Result:
        return self.reported.results[0]

    @property
    def payload(self) -> ResultPayload:
        return codec.decode(codec.current("ResultPayload"), self.output.payload or b"")  # type: ignore[no-any-return]

    def asked(self, record: Record | None = None, *, key: KeyPair | None = None, ms: int = 0) -> AskedResult | None:
        return asked_result_of(
            record or record_of(self, self.output), self.trusted, key=key or self.world.judge.keys,
            now_ms=self.world.now + ms,
        )  # fmt: skip

    def with_payload(self, payload: bytes, **changed: Any) -> Record:
        """The same result about another payload."""
        return forged(
            self, self.output, replace(self.said, payload_sha256=sha256(payload).digest(), **changed), payload
        )


@pytest.fixture
def shown() -> Shown:
    world = Marked.opened()
    called = world.call(world.bot, WEB)
    reported = world.report(called.decision_leaf, world.web, body=json.dumps(PAGE), attestations=(attests("seen"),))
    made = Shown(world, reported, None)  # type: ignore[arg-type]
    made.trusted = MonitorSigned(TwinRegistry(made), tenant=world.tenant, genesis=world.genesis)
    return made


def test_a_host_reads_the_report_and_its_verdict_clears_the_very_result(shown: Shown) -> None:
    world, asked = shown.world, shown.asked()
    assert asked is not None
    assert (asked.resource, asked.outcome, asked.value, asked.attestations) == (WEB, "ok", PAGE, {"seen": True})
    one = verifier_of("judge", world.tables.verifiers.rows[b"judge"].declared)
    body, failure = verdict_of(one, asked, Opinion("pass", MILD), failure="", now_ms=world.now)
    assert (failure, body.surface, body.expires_at) == ("", "result", world.now + one.declared.max_age_ms)
    assert world.pay(world.bot) == HEARD
    assert world.send(body, world.judge, causation_id=asked.event).says == ("accepted", "")
    assert world.pay(world.bot) == ("allowed", "")


@pytest.mark.parametrize(
    ("failure", "opinion"),
    [("ValueError", None), ("", "pass"), ("", Opinion("pass", {})), ("", Opinion("allowed", MILD))],
)
def test_a_judge_that_fails_clears_nothing(shown: Shown, failure: str, opinion: Any) -> None:
    world, asked = shown.world, shown.asked()
    assert asked is not None
    one = verifier_of("judge", world.tables.verifiers.rows[b"judge"].declared)
    body, why = verdict_of(one, asked, opinion, failure=failure, now_ms=world.now)
    assert why
    assert (body.outcome, json.loads(body.stamps)) == ("deny", WORST)
    assert world.send(body, world.judge, causation_id=asked.event).says == ("accepted", "")
    assert world.pay(world.bot) == HEARD


def test_records_that_are_not_for_this_verifier_are_passed_over(shown: Shown) -> None:
    world = shown.world
    assert shown.asked(key=world.bot.keys) is None  # the caller's own, which a verifier's key would not open
    assert shown.asked(key=keys_of("another verifier")) is None
    (denied,) = world.call(world.bot, "other:x").of(topics.RESULTS)
    assert shown.asked(record_of(shown, denied)) is None
    ends = limits.RESULT_VERDICT_MS + limits.ISSUED_AHEAD_MS_MAX
    assert shown.asked(ms=ends) is not None
    assert shown.asked(ms=ends + 1) is None


def other_report(shown: Shown) -> ResultPayload:
    """Return the payload of another result, which says something harmless."""
    (output,) = shown.world.fetch(shown.world.bot, {"text": "harmless"}).of(topics.RESULTS)
    return codec.decode(codec.current("ResultPayload"), output.payload or b"")  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    "forge",
    [
        pytest.param(lambda s: record_of(s, s.output, signed_by=keys_of("thief")), id="an unknown key"),
        pytest.param(lambda s: record_of(s, s.output, signed_by=s.world.judge.keys), id="a key of another role"),
        pytest.param(lambda s: s.with_payload(codec.encode(other_report(s))), id="the bytes of another report"),
        pytest.param(
            lambda s: s.with_payload(codec.encode(replace(s.payload, event=s.payload.event[:-1]))), id="cut short"
        ),
        pytest.param(lambda s: s.with_payload(b""), id="no payload"),
        pytest.param(lambda s: forged(s, s.output, replace(s.said, report=bytes(32))), id="another leaf"),
        pytest.param(lambda s: forged(s, s.output, replace(s.said, event=bytes(32))), id="another call"),
        pytest.param(lambda s: forged(s, s.output, replace(s.said, decision=bytes(32))), id="another decision"),
        pytest.param(lambda s: forged(s, s.output, replace(s.said, payload_sha256=bytes(32))), id="another digest"),
        pytest.param(
            lambda s: s.with_payload(
                codec.encode(replace(s.payload, event=s.world.signed(s.world.publication(), s.world.admin)[0]))
            ),
            id="another event",
        ),
    ],
)
def test_a_lying_monitor_has_nothing_judged_that_is_not_the_named_report(
    shown: Shown, forge: Callable[[Shown], Record]
) -> None:
    """So no verifier passes a result that it was not shown."""
    with pytest.raises(UntrustedRecordError):
        shown.asked(forge(shown))


@pytest.mark.parametrize("lie", [{"detail": "tool:web/post"}, {"to": bytes(32)}, {"event_id": bytes(16)}])
def test_what_a_monitor_says_beside_the_report_is_compared_by_the_log(shown: Shown, lie: dict[str, Any]) -> None:
    asked = shown.asked(forged(shown, shown.output, replace(shown.said, **lie)))
    assert asked is not None
    one = verifier_of("judge", shown.world.tables.verifiers.rows[b"judge"].declared)
    body, _ = verdict_of(one, asked, Opinion("pass", MILD), failure="", now_ms=shown.world.now)
    refused = shown.world.send(body, shown.world.judge, causation_id=asked.event)
    assert refused.says == ("refused", "VERDICT_MISMATCH")


# ---- classes


class Polite(ResultVerifier):
    """Passes results that say please."""

    prefix = "polite"
    stamps: ClassVar[dict[str, Any]] = {"rude": True}

    def __init__(self) -> None:
        super().__init__("Polite")
        self.scope.resource_patterns = ["tool:web/*"]
        self.scope.compile_patterns()

    def verify_result(self, result: ToolResult, context: Any = None) -> VerificationResult:
        is_polite = "please" in json.dumps([result.value, result.attestations])
        return VerificationResult(is_polite, stamps={"rude": not is_polite}, findings=[("rude", "/text", 0, 1)])


ASKED = AskedResult(bytes(16), bytes(32), WEB, "ok", PAGE, {}, bytes(32), bytes(32))


def test_a_class_of_results_becomes_a_declaration_that_no_call_waits_for() -> None:
    declared = declaration_of(Polite())
    assert (declared.surfaces, declared.required, declared.max_age_ms) == (("result",), False, 86_400_000)


def test_a_class_judges_results_with_what_the_tool_states() -> None:
    judge = judge_of(Polite())
    assert judge(ASKED).outcome == "pass"
    assert judge(ASKED._replace(value="pay now", attestations={})).outcome == "deny"
    assert judge(ASKED._replace(value="pay now", attestations={"seen": "please"})) == Opinion(
        "pass", {"rude": False}, judge(ASKED).findings
    )


def test_a_result_that_a_class_does_not_look_at_is_not_passed() -> None:
    """Patterns of the log are read more widely than those of the class: `tool:web/a/b` is shown to it."""
    assert judge_of(Polite())(ASKED._replace(resource="tool:web/a/b")) == Opinion("ask", {"rude": True})


class Both(Verifier):
    """Declares results, and does not write `verify_result`."""

    surfaces = ("arguments", "result")

    def verify(self, invocation: Invocation, context: Any = None) -> VerificationResult:
        return VerificationResult(success=True)


def test_a_class_that_does_not_judge_results_fails_on_them() -> None:
    assert declaration_of(Both()).required
    with pytest.raises(NotImplementedError):
        judge_of(Both())(ASKED)
