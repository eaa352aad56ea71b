"""The desk of a bridge, without brokers: waiting for keys and for the log, bounds, and the end of every login."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import pytest

from processors.proof import sealing
from processors.proof.sealing import SealingKey
from producers.kafka.appending import PublishError
from schemas import codec, limits
from schemas.events.logins import LoginAnswer, LoginProof, LoginRequested, SealedLogin
from schemas.records import SessionOpened
from schemas.rows import ProviderRow
from streams.bridge import desk as desks
from streams.bridge.desk import LoginDesk
from streams.bridge.reasons import FetchError, FetchReason
from streams.bridge.refusals import TELL_SECONDS, RefusedLogins
from streams.identity_files.claims_file import parse_claims
from tests.builders import keys_of
from tests.identity_tokens.minting import (
    ISSUER,
    NOW_MS,
    all_keys,
    claims,
    compact,
    header,
    public_jwk,
    set_of,
    token,
)
from tests.processors.test_bridging import login
from tests.streams.bridge.surroundings import BRIDGE, IDENTITY, TRUST, Keys, Sent

MAPPING = parse_claims(b'providers:\n  "%s": {org: company, email: user}\n' % ISSUER.encode())


@dataclass
class Room:
    """A desk with everything around it in lists."""

    now: int = NOW_MS
    keys: Keys = field(default_factory=Keys)
    trusted: dict[str, ProviderRow] = field(default_factory=lambda: {ISSUER: TRUST})
    sent: list[Sent] = field(default_factory=list)
    given: list[tuple[bytes, LoginAnswer]] = field(default_factory=list)
    noted: list[tuple[str | None, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.desk = LoginDesk(
            IDENTITY,
            halves=lambda: [BRIDGE.sealing],
            trust=self,
            keys=self.keys,  # type: ignore[arg-type]
            publish=self.publish,  # type: ignore[arg-type]
            answers=self,
            refusals=self,
            clock=lambda: self.now,
            mapping=lambda: MAPPING,
        )

    def row(self, issuer: str) -> ProviderRow | None:
        return self.trusted.get(issuer)

    def rows(self) -> Mapping[str, ProviderRow]:
        return self.trusted

    def publish(self, body: Any) -> Sent:
        self.sent.append(Sent(body))
        return self.sent[-1]

    def give(self, session: bytes, x25519: bytes, digest: bytes, answer: LoginAnswer) -> None:
        self.given.append((digest, answer))

    def note(self, issuer: str | None, reason: str, _: bytes) -> None:
        self.noted.append((issuer, reason))

    def take(self, made: LoginRequested, to: bytes | None = None) -> bytes:
        """Seal a login to the bridge, give it to the desk, and return its digest."""
        payload, once = codec.frame(made), SealingKey.from_secret(os.urandom(32))
        shared = once.shared_with(to or BRIDGE.sealing.public)
        header = sealing.seal(
            payload, once.public, [(BRIDGE.kid, shared)], content_key=os.urandom(32), nonces=os.urandom(48)
        )
        sealed = SealedLogin(
            session=sha256(made.ed25519).digest(), bridge=BRIDGE.kid, payload_sha256=sha256(payload).digest()
        )
        value = codec.frame(sealed)
        self.desk.take(sealed, value, header)
        return sha256(value).digest()

    @property
    def reasons(self) -> list[str]:
        return [answer.reason for _, answer in self.given]


def made(text: str | None = None, *, nonce: bytes = b"n" * 16) -> LoginRequested:
    proof = LoginProof(nonce=nonce, expires_at=NOW_MS + limits.LOGIN_MS)
    return login(text or token(email="alice@acme.example", org="Acme"), bridge=IDENTITY, proof=proof)


def test_a_login_is_answered_once_the_log_has_spoken():
    room = Room()
    digest = room.take(made())
    assert (room.given, room.desk.waiting) == ([], 1)
    [sent] = room.sent
    assert isinstance(sent.body, SessionOpened)

    sent.end()
    [(answered, answer)] = room.given
    assert (answered, answer.outcome, answer.principal_id) == (digest, "accepted", "user:alice@acme.example")
    assert (answer.expires_at, room.desk.waiting, room.noted) == (NOW_MS + 300_000, 0, [])


def test_the_logs_own_refusal_is_passed_on_and_is_not_told_to_the_log_again():
    room = Room()
    room.take(made())
    room.sent[0].end("refused", "ATTRIBUTE_INVALID")
    assert (room.reasons, room.noted) == (["ATTRIBUTE_INVALID"], [])


def test_a_login_sealed_to_another_key_is_noted_and_not_answered():
    """It proves no key of its sender's."""
    room = Room()
    room.take(made(), to=keys_of("another").sealing.public)
    assert (room.given, room.noted) == ([], [(None, "LOGIN_SEALED")])


def test_an_issuer_without_trust_stands_nowhere():
    """Its name is a text of a stranger."""
    room = Room(trusted={})
    room.take(made())
    assert (room.reasons, room.noted, room.keys.asked) == (["LOGIN_ISSUER"], [(None, "LOGIN_ISSUER")], [])


def test_a_login_waits_for_keys_and_others_go_on():
    room = Room(keys=Keys(have=None))
    room.take(made())
    assert (room.sent, room.desk.waiting) == ([], 1)
    room.keys.have = all_keys()
    room.take(made(nonce=b"m" * 16))
    assert len(room.sent) == 1

    room.keys.asked[0][2].set_result(all_keys())
    assert len(room.sent) == 2


def test_an_unknown_key_is_asked_for_once_and_then_refuses():
    other = set_of(public_jwk("ES256", kid="another"))
    room = Room(keys=Keys(have=other))
    room.take(made())
    [(terms, kid, future)] = room.keys.asked
    assert (terms.issuer, kid) == (ISSUER, "ES256")
    future.set_result(other)
    assert (room.reasons, len(room.keys.asked)) == (["TOKEN_KEY_UNKNOWN"], 1)


def test_keys_that_cannot_be_had_refuse_with_the_reason():
    room = Room(keys=Keys(have=None))
    room.take(made())
    room.keys.asked[0][2].set_exception(FetchError(FetchReason.FETCH_TLS))
    assert (room.reasons, room.noted) == (["FETCH_TLS"], [(ISSUER, "FETCH_TLS")])


def test_a_login_ends_with_its_time_whatever_it_waits_for():
    """For keys, or for the log; what comes later changes nothing."""
    room = Room(keys=Keys(have=None))
    room.take(made())
    room.keys.have = all_keys()
    room.take(made(nonce=b"m" * 16))
    room.now += limits.LOGIN_MS
    room.desk.tend()

    assert (room.reasons, room.desk.waiting) == (["LOGIN_LATE", "LOGIN_SILENT"], 0)
    assert room.sent[0].is_given_up
    room.keys.asked[0][2].set_result(all_keys())
    assert (len(room.given), len(room.sent)) == (2, 1)


def test_a_log_that_does_not_take_the_event_refuses_the_login():
    room = Room()
    room.take(made())
    room.sent[0].answer.set_exception(PublishError("no broker"))
    assert room.reasons == ["LOGIN_SILENT"]


def test_the_same_record_twice_is_one_login():
    room = Room()
    once = made()
    payload, key = codec.frame(once), SealingKey.from_secret(b"k" * 32)
    header = sealing.seal(
        payload, key.public, [(BRIDGE.kid, key.shared_with(BRIDGE.sealing.public))],
        content_key=b"c" * 32, nonces=bytes(48),
    )  # fmt: skip
    sealed = SealedLogin(
        session=sha256(once.ed25519).digest(), bridge=BRIDGE.kid, payload_sha256=sha256(payload).digest()
    )
    for _ in range(3):
        room.desk.take(sealed, codec.frame(sealed), header)
    assert len(room.sent) == 1


def test_a_slow_provider_leaves_room_for_the_others(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(desks, "WAITING_PER_ISSUER_MAX", 3)
    monkeypatch.setattr(desks, "WAITING_MAX", 5)
    room = Room(keys=Keys(have=None))
    for number in range(5):
        room.take(made(nonce=bytes([number]) * 16))
    assert room.reasons == ["LOGIN_BUSY"] * 2
    other = "https://other.example"
    room.trusted[other] = TRUST
    for number in range(3):
        room.take(made(token(iss=other, email="a@b"), nonce=bytes([100 + number]) * 16))
    assert (room.reasons, room.desk.waiting) == (["LOGIN_BUSY"] * 3, 5)
    room.now += limits.LOGIN_MS
    room.desk.tend()
    room.take(made(nonce=b"z" * 16))
    assert room.desk.waiting == 0  # its time is over too, so it was refused
    assert room.reasons[-1:] == ["LOGIN_TIME"]  # its maker hears of the clock


def test_invented_kids_take_no_place_of_a_login_with_known_keys(monkeypatch: pytest.MonkeyPatch):
    """Each agent can make such tokens without any account; a provider that is slow kept all of them waiting."""
    monkeypatch.setattr(desks, "WAITING_PER_ISSUER_MAX", 3)
    monkeypatch.setattr(desks, "WAITING_MAX", 3)
    room = Room()
    for number in range(4):
        room.take(made(compact(header(kid="invented"), claims(email="a@b")), nonce=bytes([number]) * 16))
    assert (room.reasons, room.desk.waiting) == (["LOGIN_BUSY"], 3)
    for number in range(4):
        room.take(made(nonce=bytes([100 + number]) * 16))
    assert (len(room.sent), room.reasons) == (3, ["LOGIN_BUSY"] * 2)

    room.sent[0].end()
    room.take(made(nonce=b"y" * 16))
    assert len(room.sent) == 4
    for _, _, waits in room.keys.asked:
        waits.set_result(all_keys())
    for sent in room.sent[1:]:
        sent.end()
    assert (room.reasons[-6:], room.desk.waiting) == (["TOKEN_KEY_UNKNOWN"] * 3 + [""] * 3, 0)
    room.take(made(nonce=b"x" * 16))
    assert len(room.sent) == 5


def test_refusals_are_told_at_once_and_then_together():
    """A flood of one reason is one record in five seconds; another reason is told at once."""
    told: list[Any] = []
    now = 100.0
    refused = RefusedLogins(told.append, clock=lambda: now)
    for number in range(1000):
        refused.note(ISSUER, "TOKEN_EXPIRED", bytes([number % 256]) * 32)
    refused.note(None, "LOGIN_SEALED", b"x" * 32)
    assert [(one.reason, one.count) for one in told] == [("TOKEN_EXPIRED", 1), ("LOGIN_SEALED", 1)]

    now += TELL_SECONDS
    refused.tend()
    refused.tend()
    assert [(one.reason, one.count, one.login[:1]) for one in told[2:]] == [("TOKEN_EXPIRED", 999, b"\x01")]
    refused.note(ISSUER, "TOKEN_EXPIRED", b"y" * 32)
    refused.tend(at_once=True)
    assert told[-1].login == b"y" * 32
