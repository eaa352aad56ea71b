"""Attestations that nobody may make: each refused by its own reason, with an entry, and nothing changed."""

import json

import pytest

from processors.calls.attestations import record_id
from processors.proof.signing import VerifiedHeads
from processors.state.bounds import TenantLimits
from processors.step import step
from schemas import codec, limits
from schemas.events.attributes import NONE, Attributes
from schemas.events.workflow import AttestationRevoked, AttestationSet
from schemas.records import AuditEntry, ResultReported
from tests.builders import invocation
from tests.workflow_world import CHECK, PAY, Workflow, attests, declared


@pytest.fixture
def world() -> Workflow:
    return Workflow.opened()


def test_a_tool_speaks_of_the_session_of_its_own_open_decision(world):
    """No decision, another tool's, one that has ended or is overdue, or another session: ATTESTATION_SESSION."""
    other = world.open_session(world.agent)
    mine, banks = world.call(world.bot, CHECK), world.pay()
    ended = world.call(world.bot, CHECK)
    world.report(ended.decision_leaf, world.desk)

    for session, decision in (
        (world.bot, None),
        (world.bot, bytes(32)),
        (world.bot, banks.decision_leaf),
        (world.bot, ended.decision_leaf),
        (world.bot, mine.entry.event),
        (other, mine.decision_leaf),
    ):
        world.is_refused(
            "ATTESTATION_SESSION",
            lambda session=session, decision=decision: world.attest(world.desk, session, "checked", decision=decision),
        )
    world.is_refused(
        "ATTESTATION_SESSION",
        lambda: world.attest(world.bank, world.bot, "checked", decision=mine.decision_leaf),
    )


def test_a_session_that_has_ended_is_told_nothing(world):
    """Closed or run out: there is nobody to attest anything of."""
    short = world.open_session(world.agent, ttl_ms=1_000)
    asked, other = world.call(short, CHECK), world.call(world.bot, CHECK)
    world.advance(1_000)
    world.close(world.bot)
    for session, decision in ((short, asked.decision_leaf), (world.bot, other.decision_leaf)):
        world.is_refused(
            "ATTESTATION_SESSION",
            lambda session=session, decision=decision: world.attest(world.desk, session, "checked", decision=decision),
        )
    body = AttestationSet(session=bytes(32), key="checked", value="1", one_time=False)
    world.refuses("ATTESTATION_SESSION", body, world.desk)


def test_an_overdue_decision_attests_nothing(world):
    """Its row may still be here when many are due at once: what it says comes too late all the same."""
    last = max(world.call(world.bot, CHECK).decision_leaf for _ in range(70))
    world.advance(5_000 + limits.EXECUTE_WITHIN_MS + limits.UNKNOWN_GRACE_MS)
    folded = world.attest(world.desk, world.bot, "checked", decision=last)

    assert last in world.tables.calls.rows
    assert folded.says == ("refused", "ATTESTATION_SESSION")
    assert len(world.tables.attestations) == 0


@pytest.mark.parametrize(
    "key", ["undeclared", "mailed", "checkedx", "phishing_resistant", "macaw.verified", "checked/a"]
)
def test_a_tool_attests_what_its_operation_declares(world, key):
    """Not what another operation of the same tool declares, nor a reserved key: with a report, or by itself."""
    asked = world.call(world.bot, CHECK)
    world.is_refused(
        "ATTESTATION_NOT_DECLARED", lambda: world.attest(world.desk, world.bot, key, decision=asked.decision_leaf)
    )
    world.is_refused(
        "ATTESTATION_NOT_DECLARED",
        lambda: world.report(asked.decision_leaf, world.desk, attestations=(attests("checked"), attests(key))),
    )

    assert world.report(asked.decision_leaf, world.desk).says == ("accepted", "")  # the call is still open


def test_a_reserved_key_is_the_bridges_however_a_tool_declares_it(world):
    """A tool that declares everything may still not say how somebody has logged in."""
    tools = (declared("tool:greedy/run", attests=("**", "phishing_resistant")),)
    greedy = world.register("tool", "greedy", tools=tools)
    asked = world.call(world.bot, "tool:greedy/run")
    for key in ("phishing_resistant", "macaw.", "macaw.verified"):
        body = ResultReported(decision=asked.decision_leaf, outcome="ok", body="1", attestations=(attests(key),))
        world.refuses("ATTESTATION_NOT_DECLARED", body, greedy, causation_id=asked.entry.event)


def test_a_bridge_says_reserved_things_of_sessions_that_it_opened(world):
    """Another bridge's session, an agent's, or a key that is not reserved."""
    alice = world.person("alice")
    other = world.register("bridge", "other-bridge")
    world.is_refused("ATTESTATION_SESSION", lambda: world.attest(other, alice, "phishing_resistant"))
    world.is_refused("ATTESTATION_SESSION", lambda: world.attest(world.bridge, world.bot, "phishing_resistant"))
    world.is_refused("ATTESTATION_NOT_DECLARED", lambda: world.attest(world.bridge, alice, "checked"))


@pytest.mark.parametrize(
    ("attributes", "key"),
    [
        (Attributes(attests=("kyc.*",), subjects=("user:*",)), "kyc.done"),  # not of programs
        (
            Attributes(attests=("kyc.*",), subjects=("*:*",)),
            "kyc.done",
        ),  # `*` stops at a colon: persons only
        (Attributes(attests=("kyc.*",), subjects=("bot",)), "kyb.done"),
        (Attributes(attests=("**",), subjects=("**",)), "phishing_resistant"),
        (Attributes(attests=("**",), subjects=("**",)), "macaw.x"),
        (Attributes(subjects=("**",)), "kyc.done"),
        (Attributes(attests=("**",)), "kyc.done"),
        (NONE, "kyc.done"),
    ],
)
def test_an_attester_says_no_more_than_its_registration_lists(world, attributes, key):
    """Keys and subjects, both; what is not listed is not allowed."""
    attester = world.register("attester", "kyc", attributes=attributes)

    world.is_refused("ATTESTATION_NOT_DECLARED", lambda: world.attest(attester, world.bot, key))


@pytest.mark.parametrize(
    "wrong",
    [
        {"key": "deny"}, {"key": ""}, {"key": "a b"}, {"key": "x" * 129}, {"key": "checked::{true}"},
        {"value": ""}, {"value": "{"}, {"value": "NaN"}, {"value": '{"a":1,"a":2}'},
        {"value": json.dumps("x" * limits.ATTESTATION_VALUE_BYTES_MAX)},
        {"max_uses": 0}, {"max_uses": -1}, {"one_time": True, "max_uses": 2},
        {"ttl_ms": 0}, {"ttl_ms": -1}, {"ttl_ms": limits.ATTESTATION_TTL_MS_MAX + 1},
    ],
)  # fmt: skip
def test_an_attestation_is_well_formed(world, wrong):
    """ATTESTATION_FORM for every field that is not: said alone, or with a report."""
    attester = world.register("attester", "kyc", attributes=Attributes(attests=("**",), subjects=("**",)))
    greedy = world.register("tool", "greedy", tools=(declared("tool:greedy/run", attests=("**",)),))
    asked = world.call(world.bot, "tool:greedy/run")
    fields = {"key": "kyc", "value": "true", "one_time": False, **wrong}

    world.refuses("ATTESTATION_FORM", AttestationSet(session=world.bot.kid, **fields), attester)
    said = type(attests("k"))(**fields)
    body = ResultReported(decision=asked.decision_leaf, outcome="ok", body="1", attestations=(said,))
    world.refuses("ATTESTATION_FORM", body, greedy, causation_id=asked.entry.event)


def test_a_report_attests_what_ended_well_and_each_key_once(world):
    """A failed call attests nothing; a key twice, or too many, and nothing of the report is heard."""
    asked = world.call(world.bot, CHECK)
    many = tuple(attests(f"checked.{i}") for i in range(limits.ATTESTATIONS_PER_REPORT_MAX + 1))
    for outcome, said in (
        ("failed", (attests("checked"),)),
        ("unknown", (attests("checked"),)),
        ("ok", (attests("checked", 1), attests("checked", 2))),
        ("ok", many),
    ):
        world.is_refused(
            "ATTESTATION_FORM",
            lambda outcome=outcome, said=said: world.report(
                asked.decision_leaf, world.desk, outcome=outcome, attestations=said
            ),
        )
    assert world.report(asked.decision_leaf, world.desk, attestations=many[:-1]).says == ("accepted", "")
    assert len(world.tables.attestations) == limits.ATTESTATIONS_PER_REPORT_MAX


def test_a_report_for_a_session_that_has_ended_is_heard_and_attests_nothing(world):
    """The result is worth telling; there is no session left to say something of."""
    asked = world.call(world.bot, CHECK)
    world.close(world.bot)

    assert world.report(asked.decision_leaf, world.desk, attestations=(attests("checked"),)).says == ("accepted", "")
    assert len(world.tables.attestations) == 0


def test_what_serves_once_is_not_served_twice_in_one_burst(world):
    """Two calls under one signature, in one transaction: the first is allowed, the second finds it consumed."""
    world.require("checked")
    world.ran(world.bot, CHECK, attests("checked", one_time=True))
    drafts = [world.draft(invocation(PAY, {"amount": i, "to": "bob"}), world.bot) for i in range(3)]
    world.tables.commit()
    burst = [(draft.value, headers) for draft, headers in zip(drafts, world.sign(drafts, world.bot), strict=True)]
    says = [world.fold(*one).says for one in burst]

    assert says == [("allowed", "")] + [("denied", "ATTESTATION_CONSUMED")] * 2
    # Taken back whole and folded again, as after an aborted transaction: the same, once.
    world.tables.rollback()
    again = [step(world.tables, one, VerifiedHeads()) for one in world.records[-3:]]
    entries = [codec.decode_as(AuditEntry, outputs[-1].value or b"") for outputs in again]
    assert [(entry.outcome, entry.reason) for entry in entries] == says


def test_only_its_setter_or_an_admin_revokes(world):
    """Another tool, an attester, the session itself: WRONG_PRINCIPAL. What is not there: ATTESTATION_UNKNOWN."""
    world.ran(world.bot, CHECK, attests("checked"))
    attester = world.register("attester", "kyc", attributes=Attributes(attests=("**",), subjects=("**",)))
    for by in (world.bank, attester, world.bot, world.bridge):
        world.is_refused("WRONG_PRINCIPAL", lambda by=by: world.take_back(by, world.bot, "checked", CHECK))
    unknown = AttestationRevoked(record=record_id(world.bot.kid, "checked", PAY), reason="")
    world.refuses("ATTESTATION_UNKNOWN", unknown, world.admin)


def test_nobody_but_its_approver_or_an_admin_revokes_a_grant(world):
    """The requester cannot, nor another manager."""
    world.require("boss", approval_criteria="role:manager", timeout=300, one_time=False)
    carol, dave = world.person("carol", "manager"), world.person("dave", "manager")
    world.approve(carol, world.pay(), "boss")
    for by in (world.bot, dave, world.bank):
        world.is_refused("WRONG_PRINCIPAL", lambda by=by: world.revoke_grant(by, "boss"))


def test_enrolment_keys_register_neither_approvers_nor_attesters(world):
    """Whoever could would approve its own calls."""
    enrolment = world.register("enrolment", "enrol")
    for role in ("approver", "attester", "bridge"):
        world.refuses("WRONG_ROLE", world.registration(role, "mine"), enrolment)


@pytest.mark.parametrize("bounds", [{"attestations": 32}])
def test_a_tenant_has_room_for_so_many_attestations(bounds):
    """Beyond it a report with attestations is refused whole, and the call stays open to be reported without."""
    world = Workflow.opened("small", bounds=TenantLimits(**bounds))
    world.ran(world.bot, CHECK, attests("checked"), attests("shared"))
    asked = world.call(world.bot, CHECK)

    world.is_refused(
        "LIMIT_EXCEEDED",
        lambda: world.report(asked.decision_leaf, world.desk, attestations=(attests("checked.more"),)),
    )
    replaced = world.report(asked.decision_leaf, world.desk, attestations=(attests("checked", 2),))
    assert replaced.says == ("accepted", "")


def test_a_key_has_room_for_so_many_setters(world):
    """Sixty-four; one of them may say it again."""
    named = [f"kyc-{i}" for i in range(limits.SETTERS_PER_KEY_MAX + 1)]
    setters = [
        world.register("attester", name, attributes=Attributes(attests=("**",), subjects=("**",))) for name in named
    ]
    for setter in setters[:-1]:
        assert world.attest(setter, world.bot, "kyc").says == ("accepted", "")

    world.is_refused("LIMIT_EXCEEDED", lambda: world.attest(setters[-1], world.bot, "kyc"))
    assert world.attest(setters[0], world.bot, "kyc", 2).says == ("accepted", "")


@pytest.mark.parametrize(
    ("uses", "outcome"),
    [(1, "accepted"), (10**6, "accepted"), (10**6 + 1, "refused"), (2**31 - 1, "refused"), (-(2**31), "refused")],
)
def test_an_attestation_serves_at_most_a_million_times_and_can_be_told(uses: int, outcome: str) -> None:
    """As a policy may say; and whatever was accepted can be asked for."""
    world = Workflow.opened("uses")
    assert world.ran(world.bot, CHECK, attests("checked", max_uses=uses)).says[0] == outcome
    assert world.ask(world.bot, "attestations").says == ("accepted", "")
