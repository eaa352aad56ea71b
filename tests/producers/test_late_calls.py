"""Calls that waited: an old event is executed only if somebody else approved this very call lately.

The monitor lies here: it signs an allowed decision about an event that is long past, with whatever approval it found.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import sha256

import pytest

from processors.proof.sealing import payload_salt
from processors.proof.signing import KID_HEADER, PROOF_HEADER
from producers.kafka.verified import MonitorSigned, UntrustedRecordError
from producers.tools.admission import CLOCK_SLACK_MS, EVENT_AGE_MS_MAX, EVENT_AHEAD_MS_MAX, AdmittedCall, admit
from producers.tools.executed import KEEP_MS
from schemas import codec, limits, topics
from schemas.events.attributes import Attributes
from schemas.records import CallPayload, Decision, SignedEvent
from tests.builders import Actor, Folded, keys_of
from tests.processors.test_logins import CI
from tests.processors.test_providers import ACME, trust, trusted
from tests.producers.forging import Record, TwinRegistry, TwinSessions, forged
from tests.workflow_world import Workflow

KEY = "manager"
LATER_MS = 2 * EVENT_AGE_MS_MAX


@dataclass
class Late:
    """A call of long ago that was never decided, and a decision about it that the monitor may make up."""

    world: Workflow
    asked: Folded
    carol: Actor

    def signed(self, by: Actor, asked: Folded | None = None, **other: object) -> SignedEvent:
        """Return somebody's yes as it stands on intake, whatever the log makes of it."""
        body = self.world.approval(asked or self.asked, KEY, **other)
        value, headers = self.world.signed(body, by)
        found = dict(headers)
        return SignedEvent(event=value, proof=found[PROOF_HEADER] or b"", kid=found[KID_HEADER] or b"")

    def decided(self, *approvals: SignedEvent, subjects: tuple[str, ...] = ()) -> Record:
        """Return an allowed decision about the old call, as an honest monitor would write it but for the approvals."""
        world = self.world
        other = world.call(world.bot, "tool:bank/refund", world.event_of(self.asked).body.parameters)
        [output] = other.of(topics.DECISIONS)
        allowed: Decision = codec.decode_as(Decision, output.value or b"")
        payload: CallPayload = codec.decode(codec.current("CallPayload"), output.payload or b"")
        received = self.asked.received
        [pending] = self.asked.decisions
        theirs = replace(
            payload,
            salt=payload_salt(pending.event, world.event_of(self.asked).header.salt),
            event=received.value or b"",
            proof=received.header(PROOF_HEADER),
            kid=received.header(KID_HEADER),
            approvals=approvals,
        )
        encoded = codec.encode(theirs)
        decision = replace(
            allowed,
            event=pending.event,
            event_id=pending.event_id,
            resource=pending.resource,
            parameters_sha256=pending.parameters_sha256,
            payload_sha256=sha256(encoded).digest(),
            subjects=subjects,
        )
        moved = output._replace(partition=topics.keyed_partition(pending.event_id))
        return forged(self, moved, decision, encoded)

    def admit(self, *approvals: SignedEvent, later_ms: int = 0, subjects: tuple[str, ...] = ()) -> AdmittedCall | None:
        world = self.world
        registry = TwinRegistry(self)
        trusted = MonitorSigned(registry, tenant=world.tenant, genesis=world.genesis)
        record = self.decided(*approvals, subjects=subjects)
        return admit(
            record, trusted, TwinSessions(self, registry), tool="bank", key=world.bank.keys, now_ms=world.now + later_ms
        )


@pytest.fixture
def late() -> Late:
    world = Workflow.opened()
    world.require(KEY, approval_criteria="role:manager", timeout=7200)
    carol = world.person("carol", "manager")
    asked = world.pay()
    assert asked.says == ("pending", "APPROVAL_PENDING")
    world.advance(LATER_MS)
    return Late(world, asked, carol)


def test_an_old_call_with_a_fresh_approval_is_executed(late: Late) -> None:
    """Carol has approved just now what was asked for long ago."""
    call = late.admit(late.signed(late.carol))

    assert call is not None
    assert call.parameters == {"amount": 10, "to": "bob"}
    assert call.principal_id == "bot"


def test_a_registered_approver_counts_as_a_person_does(late: Late) -> None:
    """Its key stands in the registry under the role of approvers."""
    board = late.world.register("approver", "board", attributes=Attributes(roles=("manager",)))

    assert late.admit(late.signed(board)) is not None


@pytest.mark.parametrize(("said_by", "counts"), [("user:dave", True), ("user:bot", False), ("user:BOT", False)])
def test_nobody_of_the_call_is_said_to_have_approved_it(late: Late, said_by: str, counts: bool) -> None:
    """A service and a monitor that lie together do not make the caller an approver."""
    board = late.world.register("approver", "board", attributes=Attributes(roles=("manager",)))
    approval = late.signed(board, said_by=said_by)

    if counts:
        assert late.admit(approval) is not None
    else:
        with pytest.raises(UntrustedRecordError):
            late.admit(approval)


def test_among_bad_approvals_a_good_one_counts(late: Late) -> None:
    """What somebody else put beside it takes nothing from it."""
    stranger = Actor("session", "user:mallory", keys_of("mallory"))

    assert late.admit(late.signed(stranger), late.signed(late.carol)) is not None


def test_an_approval_outlives_the_session_that_gave_it_but_not_its_revocation(late: Late) -> None:
    """Carol closed her session after she approved; revoked, nothing that it signed counts."""
    given = late.signed(late.carol)
    late.world.close(late.carol)
    assert late.admit(given) is not None

    late.world.revoke_session(late.carol)
    with pytest.raises(UntrustedRecordError, match="too old"):
        late.admit(given)


@pytest.mark.parametrize(("actors", "counts"), [((), True), (("workload:ci/bot",), False)])
def test_a_login_that_names_actors_approves_nothing(late: Late, actors: tuple[str, ...], counts: bool) -> None:
    """An agent with a token of dave's is not dave."""
    world, keys = late.world, keys_of("dave")
    gate = trust(world, trusted(), CI)
    said = {"issuer": ACME, "attributes": Attributes(company="Acme"), "actors": actors}
    body = world.provided_session("user:dave", gate, keys=keys, **said)
    assert world.send(body, gate).says == ("accepted", "")
    given = late.signed(Actor("session", "user:dave", keys))

    if counts:
        assert late.admit(given) is not None
    else:
        with pytest.raises(UntrustedRecordError, match="too old"):
            late.admit(given)


@pytest.mark.parametrize("name", ["user:carol", "user:Carol", "user:\uff43arol"])
def test_nobody_approves_for_whom_the_decision_says_that_the_call_is_made(late: Late, name: str) -> None:
    """In whatever spelling: a comparison that forbids folds both sides."""
    given = late.signed(late.carol)

    assert late.admit(given, subjects=("user:alice", "bot")) is not None
    with pytest.raises(UntrustedRecordError, match="too old"):
        late.admit(given, subjects=(name, "bot"))


def stale(late: Late) -> SignedEvent:
    given = late.signed(late.carol)
    late.world.advance(EVENT_AGE_MS_MAX + 1)
    return given


def ahead(late: Late) -> SignedEvent:
    late.world.advance(EVENT_AHEAD_MS_MAX + 1)
    given = late.signed(late.carol)
    late.world.advance(-EVENT_AHEAD_MS_MAX - 1)
    return given


def after_its_session(late: Late) -> SignedEvent:
    short = late.world.person("dave", "manager", ttl_ms=1000)
    late.world.advance(60_000)
    return late.signed(short)


def self_under_another_name(late: Late) -> SignedEvent:
    """The agent's own user, by the bridge: a program's name is nobody's second name."""
    return late.signed(late.world.person("someone", "manager", user="bot"))


def in_anothers_name(late: Late) -> SignedEvent:
    """Carol's key, under a name that is not hers."""
    value, headers = late.world.signed(late.world.approval(late.asked, KEY), late.carol, principal_id="user:dave")
    found = dict(headers)
    return SignedEvent(event=value, proof=found[PROOF_HEADER] or b"", kid=found[KID_HEADER] or b"")


def not_an_approval(late: Late) -> SignedEvent:
    body = late.world.denial(late.asked, KEY)
    value, headers = late.world.signed(body, late.carol)
    found = dict(headers)
    return SignedEvent(event=value, proof=found[PROOF_HEADER] or b"", kid=found[KID_HEADER] or b"")


@pytest.mark.parametrize(
    "made_up",
    [
        pytest.param(lambda late: late.signed(late.carol, late.world.pay(99)), id="for another call"),
        pytest.param(lambda late: late.signed(late.carol, request=bytes(32)), id="for no call"),
        pytest.param(lambda late: late.signed(late.carol, parameters_sha256=bytes(32)), id="for other parameters"),
        pytest.param(lambda late: late.signed(late.world.bot), id="by the requester itself"),
        pytest.param(
            lambda late: late.signed(late.world.open_session(late.world.register("agent", "other"))),
            id="by an agent's session",
        ),
        pytest.param(lambda late: late.signed(late.world.register("attester", "scanner")), id="by an attester's key"),
        pytest.param(lambda late: late.signed(late.world.bank), id="by the tool's key"),
        pytest.param(lambda late: late.signed(Actor("session", "user:eve", keys_of("eve"))), id="by an unknown key"),
        pytest.param(lambda late: replace(late.signed(late.carol), proof=bytes(72)), id="unsigned"),
        pytest.param(lambda late: replace(late.signed(late.carol), event=b"\x00" * 40), id="no event at all"),
        pytest.param(
            lambda late: replace(late.signed(late.world.bot), kid=late.carol.kid), id="signed by one, named another"
        ),
        pytest.param(stale, id="stale"),
        pytest.param(ahead, id="from the future"),
        pytest.param(after_its_session, id="after its session had ended"),
        pytest.param(self_under_another_name, id="by the requester under another name"),
        pytest.param(in_anothers_name, id="in another's name"),
        pytest.param(not_an_approval, id="a denial"),
    ],
)
def test_an_old_call_is_not_executed_with_an_approval(late: Late, made_up: Callable[[Late], SignedEvent]) -> None:
    """Each of them leaves the event too old."""
    with pytest.raises(UntrustedRecordError, match="too old"):
        late.admit(made_up(late))


def test_an_old_call_without_any_approval_is_not_executed(late: Late) -> None:
    """As before."""
    with pytest.raises(UntrustedRecordError, match="too old"):
        late.admit()


def test_a_call_whose_session_has_ended_is_not_executed(late: Late) -> None:
    """Who asked has gone: no approval brings the call back."""
    late.world.advance(late.world.tables.sessions.rows[late.world.bot.kid].expires_at - late.world.now - 1)
    given = late.signed(late.carol)

    assert late.admit(given, later_ms=1) is not None
    with pytest.raises(UntrustedRecordError, match="session has ended"):
        late.admit(given, later_ms=1 + CLOCK_SLACK_MS)


def test_what_was_executed_is_remembered_for_longer_than_it_may_be_admitted() -> None:
    """A session lives a day at most: a call that waited cannot be brought up after it was forgotten."""
    assert limits.SESSION_TTL_MS_MAX + EVENT_AHEAD_MS_MAX + 2 * limits.ISSUED_AHEAD_MS_MAX < KEEP_MS
