"""What hosts and clients remember of cryptography: a hit says what the check would say, and no more."""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from typing import Any

import pytest
from nacl import bindings

from processors.proof import signing
from processors.proof.sealing import NONCE_BYTES, RememberedKey, SealingError, SealingKey, open_sealed, seal
from producers.home.keys import KeyPair
from producers.kafka.verified import MonitorSigned, UntrustedRecordError
from producers.tools.admission import AdmittedCall, admit
from schemas import codec, limits, topics
from schemas.records import CallPayload, Decision, InvocationRequested, PrincipalRevoked
from tests.builders import keys_of
from tests.producers.forging import TwinRegistry, TwinSessions, record_of
from tests.world import Office


class Counted:
    """A function that goes on working, and its number of calls."""

    def __init__(self, function: Any) -> None:
        self.function, self.calls = function, 0

    def __call__(self, *given: Any) -> Any:
        self.calls += 1
        return self.function(*given)


@pytest.fixture
def verifications(monkeypatch: pytest.MonkeyPatch) -> Counted:
    counted = Counted(signing.verify_signature)
    monkeypatch.setattr(signing, "verify_signature", counted)
    return counted


@pytest.fixture
def agreements(monkeypatch: pytest.MonkeyPatch) -> Counted:
    counted = Counted(bindings.crypto_box_beforenm)
    monkeypatch.setattr(bindings, "crypto_box_beforenm", counted)
    return counted


# ---- events that are carried inside payloads


class Carried:
    """A call that was decided, and the event that its caller signed."""

    def __init__(self) -> None:
        self.office = Office.opened("carried")
        [self.decision] = self.office.call().of(topics.DECISIONS)
        world = self.office.world
        self.trusted = MonitorSigned(TwinRegistry(self.office), tenant=world.tenant, genesis=world.tables.genesis)
        payload: CallPayload = codec.decode(codec.current("CallPayload"), self.decision.payload or b"")
        self.event, self.proof, self.kid = payload.event, payload.proof, payload.kid
        self.key = self.office.session.keys.signing.public

    @property
    def known(self) -> set[Any]:
        return set(self.trusted._carried_heads._known)

    def verify(self, **changed: bytes) -> Any:
        given = {"value": self.event, "proof": self.proof, "kid": self.kid, "ed25519": self.key} | changed
        return self.trusted.verify_event(**given)[0].body


@pytest.fixture
def carried() -> Carried:
    return Carried()


def test_an_event_that_came_before_is_not_verified_again(carried: Carried, verifications: Counted) -> None:
    for _ in range(3):
        assert isinstance(carried.verify(), InvocationRequested)
    assert verifications.calls == 1


def altered(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def test_no_other_event_signature_or_key_lives_of_one_that_is_remembered(
    carried: Carried, verifications: Counted
) -> None:
    """Each is checked, refused, and not remembered, however often it comes."""
    carried.verify()
    known, thief = carried.known, keys_of("thief").signing
    signatures = [{"proof": altered(carried.proof, at)} for at in range(0, signing.SIGNATURE_BYTES, 9)]
    lies = [
        *({"value": altered(carried.event, at)} for at in range(len(carried.event) - 40, len(carried.event), 7)),
        *signatures,
        {"kid": thief.kid, "ed25519": thief.public},
        {"ed25519": thief.public},
        {"kid": thief.kid},
    ]
    for lie in lies * 2:
        with pytest.raises(UntrustedRecordError):
            carried.verify(**lie)

    assert carried.known == known
    assert verifications.calls > 2 * len(signatures)
    carried.verify()


def test_a_session_that_ended_asks_for_nothing_although_its_head_is_remembered(carried: Carried) -> None:
    """Whether a key is live is asked each time."""
    office = carried.office

    def admitted() -> AdmittedCall | None:
        sessions = TwinSessions(office, carried.trusted.registry)
        return admit(
            record_of(office, carried.decision),  # type: ignore[arg-type]
            carried.trusted,
            sessions,
            tool=office.tool.principal_id,
            key=office.tool.keys,
            now_ms=office.world.tables.now,
        )

    assert admitted() is not None
    assert len(carried.known) == 1
    revoked = PrincipalRevoked(principal_id=office.agent.principal_id, reason="stolen")
    assert office.world.send(revoked, office.world.admin).says == ("accepted", "")
    carried.trusted.registry.refresh()
    with pytest.raises(UntrustedRecordError, match="session"):
        admitted()


def test_callers_do_not_push_out_what_the_monitor_signed(
    carried: Carried, monkeypatch: pytest.MonkeyPatch, verifications: Counted
) -> None:
    """The two have memories of their own, and both are bounded."""
    capacity = 4
    monkeypatch.setattr(limits, "CARRIED_HEADS_REMEMBERED_MAX", capacity)
    trusted = MonitorSigned(carried.trusted.registry, tenant=carried.trusted.tenant, genesis=carried.trusted.genesis)
    decided = record_of(carried.office, carried.decision)
    key = keys_of("flood").signing
    trusted.verify(decided, signing.DECISION_TAG, Decision)
    for n in range(3 * capacity):
        head = signing.head_bytes(1, n.to_bytes(32, "big"))
        trusted._carried_heads.verify(key.public, head, key.sign(head))
        assert len(trusted._carried_heads._known) <= capacity
    before = verifications.calls
    trusted.verify(decided, signing.DECISION_TAG, Decision)
    assert verifications.calls == before


# ---- keys agreed with a sender


def sealed_to(pair: KeyPair, sender: SealingKey, payload: bytes = b"paid") -> bytes:
    shared = [(pair.kid, sender.shared_with(pair.sealing.public))]
    return seal(payload, sender.public, shared, content_key=os.urandom(32), nonces=os.urandom(2 * NONCE_BYTES))


def opened(pair: KeyPair, header: bytes, sender: bytes, payload: bytes = b"paid") -> bytes:
    """Open as a host does: under the digest that the signed record names."""
    return pair.open_sealed(header, sender, sha256(payload).digest())


def memory(pair: KeyPair) -> dict[bytes, bytes]:
    assert isinstance(pair._opens, RememberedKey)
    return pair._opens._agreed


def strangers(count: int) -> Iterator[SealingKey]:
    return (SealingKey.from_secret(sha256(b"stranger" + n.to_bytes(4, "big")).digest()) for n in range(count))


def test_a_key_is_agreed_once_for_each_sender(agreements: Counted) -> None:
    pair, [one, two] = keys_of("bank"), strangers(2)
    headers = [(sealed_to(pair, sender), sender.public) for sender in (one, two, one, two)]
    before = agreements.calls
    for header, sender in headers:
        assert opened(pair, header, sender) == b"paid"
    assert agreements.calls - before == 2


def test_what_is_agreed_opens_nothing_of_another_sender_or_key(agreements: Counted) -> None:
    """A payload that was changed, or sealed by or to somebody else, stays shut after one that opened."""
    pair, [monitor, thief] = keys_of("bank"), strangers(2)
    header = sealed_to(pair, monitor)
    assert opened(pair, header, monitor.public) == b"paid"

    for at in range(0, len(header), 5):
        with pytest.raises(SealingError):
            opened(pair, altered(header, at), monitor.public)
    with pytest.raises(SealingError):
        opened(pair, sealed_to(pair, thief), monitor.public)
    with pytest.raises(SealingError):  # the thief's payload under the monitor's name
        opened(pair, monitor.public + sealed_to(pair, thief)[32:], monitor.public)
    with pytest.raises(SealingError):
        opened(keys_of("another"), header, monitor.public)
    with pytest.raises(SealingError):
        opened(pair, header, monitor.public, b"another payload")


def test_as_many_senders_as_like_fill_no_memory() -> None:
    pair = keys_of("bank")
    for sender in strangers(limits.AGREEMENTS_REMEMBERED_MAX + 3):
        assert opened(pair, sealed_to(pair, sender), sender.public) == b"paid"
        assert len(memory(pair)) <= limits.AGREEMENTS_REMEMBERED_MAX
    [first, *_] = strangers(1)
    assert first.public not in memory(pair)


@pytest.mark.parametrize("point", [bytes(32), b"\x01" + bytes(31)])
def test_a_point_of_small_order_is_never_remembered(point: bytes) -> None:
    pair = keys_of("bank")
    header = point + sealed_to(pair, next(strangers(1)))[32:]
    for _ in range(2):
        with pytest.raises(SealingError):
            opened(pair, header, point)
    assert not memory(pair)


def test_what_is_agreed_is_not_shown_copied_or_handed_on() -> None:
    """It stays with its pair, and is gone with it."""
    pair, [sender] = keys_of("bank"), strangers(1)
    opened(pair, sealed_to(pair, sender), sender.public)
    [agreed] = memory(pair).values()

    for shown in (repr(pair), str(pair), repr(pair._opens), f"{pair._opens}"):
        assert agreed.hex() not in shown
        assert repr(agreed)[2:-1] not in shown
    assert agreed not in pickle.dumps(pair)
    for other in (replace(pair), replace(pair, sealing=next(strangers(1))), pickle.loads(pickle.dumps(pair))):
        assert not memory(other)
    assert replace(pair) == pair


def test_a_pair_opens_exactly_what_its_key_opens() -> None:
    pair, [sender] = keys_of("bank"), strangers(1)
    for _ in range(2):
        header = sealed_to(pair, sender)
        plain = open_sealed(header, pair.kid, pair.sealing, sender.public, sha256(b"paid").digest())
        assert opened(pair, header, sender.public) == plain
