"""Two tenants of one deployment, with the same names and one organisation: nothing of one has an effect in the other.

`twins` share every key as well, as where one process holds one key for two tenants: then a signature is all that tells
the tenants apart, and its genesis does. `strangers` have keys of their own and the same names, as most tenants have.
Every kind of event of the union is tried, so a new one is tried too, and must be listed in BOUND or FREE.
"""

from __future__ import annotations

import dataclasses
import functools
from hashlib import sha256
from typing import Any, get_args

import pytest

from processors.effects import Output
from processors.evidence.verdict import verify
from processors.identity.following import FollowedRegistry
from processors.proof.signing import AUDIT_TAG, DECISION_TAG, RESULT_TAG, SignatureError
from processors.refusal import Refusal
from producers.home.keys import KeyPair
from producers.kafka.login_messages import verified_answer
from producers.kafka.verified import MonitorSigned, UntrustedRecordError, carried_event
from schemas import topics
from schemas.events.logins import LoginAnswer
from schemas.events.workflow import ContextRead, StateQueried
from schemas.records import AuditEntry, Body, Decision, InvocationRequested, Result, ResultReported, SignedEvent
from streams.bridge.answering import LoginAnswers
from tests.builders import Actor, Folded, keys_of
from tests.producers.forging import TwinRegistry, record_of
from tests.reference.log_builder import SmallLog
from tests.schemas.test_bounded_texts import BODIES, Examples, provider
from tests.workflow_world import MAIL, Workflow, reply

KINDS = sorted(kind.__name__ for kind in get_args(Body))
ORGANISATION = keys_of("the organisation").signing.public
# Without an example: the founding event is that of the world, and the rulings and offers have effects nowhere here.
ELSEWHERE = {"TenantFounded", "RecordsSkipped", "TimeAccepted", "ToolsOffered"}

# A body of one tenant that a key of the other signs there: the reason of its refusal, for what it names or proves.
BOUND = {
    "AdminAdded": "BAD_ROOT_SIGNATURES",
    "AdminRemoved": "BAD_ROOT_SIGNATURES",
    "RootRotated": "BAD_ROOT_SIGNATURES",
    "KeyRotated": "UNKNOWN_KEY",
    "PrincipalRegistered": "BAD_POSSESSION",
    "PrincipalRevoked": "UNKNOWN_PRINCIPAL",
    "SessionOpened": "BAD_POSSESSION",
    "SessionOpened.login": "BAD_POSSESSION",
    "SessionRenewed": "BAD_POSSESSION",
    "SessionRevoked": "UNKNOWN_SESSION",
    "ResultReported": "LATE_RESULT",
    "AttestationSet": "ATTESTATION_SESSION",
    "AttestationApproved": "APPROVAL_UNKNOWN",
    "AttestationDenied": "APPROVAL_UNKNOWN",
    "AttestationRevoked": "ATTESTATION_UNKNOWN",
    "DelegationRevoked": "DELEGATION_UNKNOWN",
    "TenantFounded": "NOT_GENESIS",
    "VerdictReported": "VERDICT_UNKNOWN",
}
# These name nothing of a tenant: signed in another, they are that tenant's own words, and act on its own state alone.
FREE = {
    "PolicyPublished", "PolicyWithdrawn", "InvocationRequested", "ClockTicked", "SessionClosed", "ContextWritten",
    "ContextRead", "ContextDeleted", "ContextListed", "DelegationGranted", "ApplicationEventLogged", "StateQueried",
    "RecordsSkipped", "TimeAccepted", "EngineActivated", "ToolsOffered", "IdentityProviderTrusted",
    "IdentityProviderDistrusted", "LoginRefused", "LoginEnded", "LimitsSet",
    "CataloguePublished", "CatalogueWithdrawn", "EnforcementSet",
}  # fmt: skip


class Pair:
    """Two tenants after the same history, and an event of every kind in each."""

    def __init__(self, here: str, there: str) -> None:
        self.here = Examples(here, tenant="acme", organisation_key=ORGANISATION)
        self.there = Examples(there, tenant="bolt", organisation_key=ORGANISATION)

    def of(self, kind: str) -> tuple[Any, Actor, Actor]:
        """Return an event of the first tenant, its signer, and its namesake in the second."""
        if kind == "TenantFounded":
            return self.here.world.founding, self.here.world.admin, self.there.world.admin
        body, by = self.here.of(kind)
        return body, by, self.there.of(kind)[1]

    def signed(self, kind: str) -> tuple[bytes, Any]:
        """Return an event as it stands on the first tenant's intake."""
        body, by, _ = self.of(kind)
        header = {"causation_id": self.here.open.entry.event} if isinstance(body, ResultReported) else {}
        return self.here.world.signed(body, by, **header)


@functools.cache
def twins() -> Pair:
    return Pair("twin", "twin")


@functools.cache
def strangers() -> Pair:
    return Pair("here", "there")


def refused(world: Workflow, value: bytes, headers: Any) -> str:
    """Return the reason of a refusal, having looked that it changed nothing; the record is taken back."""
    world.tables.commit()
    before = world.rows(without=["sequences"])
    folded: Folded = world.attempt(value, headers)
    assert folded.entry.outcome == "refused", folded.says
    assert {output.topic for output in folded.outputs} <= {topics.RESULTS, topics.AUDIT}
    assert world.rows(without=["sequences"]) == before
    return folded.entry.reason


def spoken(pair: Pair) -> list[str]:
    return [kind for kind in [*KINDS, "SessionOpened.login"] if kind not in ELSEWHERE or kind == "TenantFounded"]


def test_every_kind_of_event_is_tried_here():
    """A new body needs an example, and a word on what binds it to its tenant."""
    assert {kind.partition(".")[0] for kind in BOUND} | FREE == set(KINDS) == set(BODIES)
    assert not set(BOUND) & FREE
    assert FREE | set(BOUND) >= ELSEWHERE


# ---- events, proofs and ids


@pytest.mark.parametrize("kind", spoken(strangers()))
def test_an_event_of_one_tenant_is_of_an_unknown_key_in_another(kind):
    """As it was signed, whoever appends it there: the same names do not help."""
    assert refused(strangers().there.world, *strangers().signed(kind)) == "UNKNOWN_KEY"


@pytest.mark.parametrize("kind", spoken(twins()))
def test_a_key_that_two_tenants_know_signs_for_one_of_them_alone(kind):
    """The signer is known in both, under the same name, with the same session; the signature names the genesis.

    A worker of both tenants remembers verified heads for all of them: that does not help either.
    """
    pair = twins()
    pair.there.world.heads = pair.here.world.heads
    value, headers = pair.signed(kind)
    if kind != "TenantFounded":
        pair.here.world.tables.commit()
        pair.here.world.attempt(value, headers)  # its head is remembered now
    assert refused(pair.there.world, value, headers) == "BAD_SIGNATURE"


@pytest.mark.parametrize("kind", BOUND)
def test_what_one_tenant_proved_or_named_is_nothing_in_another(kind):
    """A key of the second tenant signs the very body of the first, there: proofs and ids in it do not hold."""
    pair = strangers()
    body, _, namesake = pair.of(kind)
    if kind == "PrincipalRevoked":  # by the name alone it is the second tenant's own principal; a key is not
        assert body.kid is not None
    assert refused(pair.there.world, *pair.there.world.signed(body, namesake)) == BOUND[kind]


@pytest.mark.parametrize("kind", ["PrincipalRegistered", "PrincipalRegistered.enrolment", "SessionOpened",
                                  "SessionOpened.login", "SessionRenewed", "KeyRotated", "AdminAdded", "AdminRemoved",
                                  "RootRotated"])  # fmt: skip
def test_a_proof_of_possession_or_a_consent_counts_for_its_own_genesis(kind):
    """Twins share all keys, so ids hold in both, and only the proofs inside the body are for another tenant."""
    pair = twins()
    body, _, namesake = pair.of(kind)
    reason = refused(pair.there.world, *pair.there.world.signed(body, namesake))
    assert reason in {"BAD_POSSESSION", "BAD_ROOT_SIGNATURES"}


def test_a_delegation_of_one_tenant_leads_nowhere_in_another():
    """A call on behalf of a person of the first tenant, in the second."""
    pair = strangers()
    there = pair.there.world
    asked = InvocationRequested(resource=MAIL, parameters="{}", intents=(), prompts=())
    there.tables.commit()
    folded = there.attempt(*there.signed(asked, there.bot, on_behalf_of=pair.here.given))
    assert folded.says == ("denied", "DELEGATION_BROKEN")


def test_questions_and_the_vault_of_one_tenant_know_nothing_of_another():
    """A waiting call by its leaf, a shared value by its name, a session's scope by the session's id."""
    pair = strangers()
    here, there = pair.here.world, pair.there.world
    here.put(here.bot, "secret", 1, scope="team")
    leaf = pair.here.asked.entry.event.hex()
    asked = StateQueried(what="invocation", argument=f'"{leaf}"')
    assert refused(there, *there.signed(asked, there.bot)) == "APPROVAL_UNKNOWN"
    there.tables.commit()
    read = there.attempt(*there.signed(ContextRead(scope="team", key="secret"), there.bot))
    assert (reply(read)["value"], reply(read)["version"]) == (None, 0)
    scope = f"session:{here.bot.kid.hex()}"
    assert refused(there, *there.signed(ContextRead(scope=scope, key="k"), there.bot)) == "VAULT_FORM"


def test_a_provider_that_one_tenant_trusts_opens_nothing_in_another():
    """A bridge of the second tenant, registered for every issuer, opens no session of one that the first trusts."""
    pair = strangers()
    here, there = pair.here.world, pair.there.world
    trusted = provider("only-here")
    assert here.send(trusted, here.admin).says == ("accepted", "")
    keys = keys_of("dora")
    came = {"issuer": trusted.issuer}
    opening = there.provided_session("user:only-here/dora", pair.there.gate, keys=keys, **came)
    assert refused(there, *there.signed(opening, pair.there.gate)) in {"WRONG_ROLE", "UNKNOWN_PROVIDER"}


# ---- records of others: followers, hosts, clients, verifiers


def test_a_registry_record_of_one_tenant_is_followed_by_nobody_of_another():
    """Every record that clients and hosts of the first tenant followed, in front of a follower of the second."""
    for pair in (strangers(), twins()):
        followed = FollowedRegistry(pair.there.world.fresh_tables())
        for output in registry_of(pair.there):
            followed.follow(pair.there.world.receive(output.value, output.headers))
        before = dict(followed.tables.keys.rows)
        for output in registry_of(pair.here):
            with pytest.raises(Refusal, match=r"UNKNOWN_KEY|BAD_SIGNATURE|NOT_GENESIS"):
                followed.follow(pair.here.world.receive(output.value, output.headers))
        assert followed.tables.keys.rows == before


def test_a_session_of_one_tenant_is_no_session_of_another():
    """Its opening, as a call carries it, judged by a host of the second tenant that knows the same bridge's key."""
    pair = twins()
    followed = FollowedRegistry(pair.there.world.fresh_tables())
    for output in registry_of(pair.there):
        followed.follow(pair.there.world.receive(output.value, output.headers))
    openings = [
        one for one in pair.here.world.followed if one.topic is topics.SESSIONS and b"session/" in (one.key or b"")
    ]
    assert openings
    for output in openings:
        with pytest.raises(Refusal, match="BAD_SIGNATURE"):
            followed.session(pair.here.world.receive(output.value, output.headers))


def registry_of(one: Examples) -> list[Output]:
    return [output for output in one.world.followed if output.topic is topics.REGISTRY]


@dataclasses.dataclass
class Place:
    """A world where a registry is followed."""

    world: Workflow


def test_no_output_of_one_tenants_monitor_is_believed_in_another():
    """Decisions, results and audit entries, signed by a monitor's key that both tenants know."""
    pair = twins()
    place, registry = Place(pair.here.world), TwinRegistry(Place(pair.there.world))
    ours = MonitorSigned(TwinRegistry(place), tenant="acme", genesis=pair.here.world.genesis)
    theirs = MonitorSigned(registry, tenant="bolt", genesis=pair.there.world.genesis)
    kinds = {
        topics.DECISIONS: (DECISION_TAG, Decision),
        topics.RESULTS: (RESULT_TAG, Result),
        topics.AUDIT: (AUDIT_TAG, AuditEntry),
    }
    tried = set()
    for folded in pair.here.world.log:
        for output in folded.outputs:
            if output.topic in kinds:
                record, (tag, cls) = record_of(place, output), kinds[output.topic]
                ours.verify(record, tag, cls)
                with pytest.raises(UntrustedRecordError):
                    theirs.verify(record, tag, cls)
                tried.add(output.topic)
    assert tried == set(kinds)


def test_a_call_of_one_tenant_is_carried_into_no_host_of_another():
    """A host verifies the caller's event that a decision carries under its own tenant and genesis."""
    pair = twins()
    value, headers = pair.signed("InvocationRequested")
    by = pair.here.of("InvocationRequested")[1]
    signed = SignedEvent(event=value, proof=dict(headers)["macaw-proof"], kid=by.kid)
    carried_event(signed, by.keys.signing.public, tenant="acme", genesis=pair.here.world.genesis)
    for tenant, genesis in (
        ("bolt", pair.there.world.genesis),
        ("acme", pair.there.world.genesis),
        ("bolt", pair.here.world.genesis),
    ):
        with pytest.raises(UntrustedRecordError, match="SignatureError"):
            carried_event(signed, by.keys.signing.public, tenant=tenant, genesis=genesis)


def test_an_export_of_one_tenant_is_none_of_another():
    """Under the other's genesis it is a splice, and with one file of the other it is not whole any more."""
    pair = strangers()
    here, there = SmallLog.of(pair.here.world).folder(), SmallLog.of(pair.there.world).folder()
    assert str(verify(here, genesis=pair.here.world.genesis).code) == "UNWITNESSED"
    assert str(verify(here, genesis=pair.there.world.genesis).code) == "SPLICE"
    for name in ("entries.bin", "proofs.bin", "events.bin", "registry.bin"):
        mixed = here.with_file(name, there.files[name]).remade()
        assert str(verify(mixed, genesis=pair.here.world.genesis).code) not in {"OK", "UNWITNESSED"}


class Kept(LoginAnswers):
    """Answers of a bridge that are kept in the place of Kafka."""

    def __init__(self, tenant: str, genesis: bytes, key: KeyPair) -> None:  # no producer
        self._topic, self._genesis, self._key = topics.LOGIN_ANSWERS.of(tenant), genesis, key
        self.kept: list[Any] = []

    def _produce(self, key: bytes, value: bytes, headers: Any, partition: int) -> None:
        self.kept.append(Message(self._topic, partition, key, value, headers))


@dataclasses.dataclass
class Message:
    """A record as a consumer hands it over."""

    at: str
    on: int
    of: bytes
    holds: bytes
    carries: Any

    def topic(self) -> str:
        return self.at

    def partition(self) -> int:
        return self.on

    def offset(self) -> int:
        return 0

    def key(self) -> bytes:
        return self.of

    def value(self) -> bytes:
        return self.holds

    def headers(self) -> Any:
        return list(self.carries)


def test_one_bridge_key_for_two_tenants_is_harmless_its_answers_and_logins_count_in_one():
    """A client of the second tenant believes no answer that the same bridge signed for the first, wherever it lies."""
    pair = twins()
    client, login = keys_of("client"), sha256(b"a login").digest()
    gate, registry = pair.there.gate, TwinRegistry(Place(pair.there.world))
    answer = LoginAnswer(outcome="accepted", reason="", detail="", principal_id="user:a/dave", expires_at=1)
    for tenant, genesis, holds in (
        ("bolt", pair.there.world.genesis, True), ("acme", pair.here.world.genesis, False),
        ("bolt", pair.here.world.genesis, False),
    ):  # fmt: skip
        answers = Kept(tenant, genesis, gate.keys)
        answers.give(client.kid, client.sealing.public, login, answer)
        moved = dataclasses.replace(answers.kept[0], at=topics.LOGIN_ANSWERS.of("bolt"))
        if holds:
            assert verified_answer(moved, registry, pair.there.world.genesis, client, gate.kid, login) == answer
        else:
            with pytest.raises(SignatureError):
                verified_answer(moved, registry, pair.there.world.genesis, client, gate.kid, login)
