"""A key whose token has gone while it is in use: nothing is sent unsigned, and each caller is told."""

from __future__ import annotations

import os
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from processors.proof.sealing import NONCE_BYTES, SealingError, SealingKey, seal
from producers.home.keys import KeyPair
from producers.home.keystores.errors import TokenError
from producers.home.keystores.stores import KeyStores
from producers.kafka.intake import Author, Intake
from producers.kafka.publisher import Publisher, UnsignableError
from schemas.records import ResultReported
from tests.softhsm import SoftHSM
from tests.waiting import PATIENCE_SECONDS

MOCK: Any = {"test.mock.num.brokers": 1}  # a cluster of the library's own, in this process


@pytest.fixture
def keys(softhsm: SoftHSM, tmp_path: Path) -> KeyStores:
    softhsm.token("macaw")
    return KeyStores.read({"default": "hsm", "tokens": {"hsm": softhsm.uri("token=macaw")}}, tmp_path)


def test_a_publisher_tells_each_caller_and_lives_on(keys: KeyStores, tmp_path: Path) -> None:
    """No caller waits for ever for an event that could not be signed, and other keys of the process go on."""
    path = tmp_path / "bank.key"
    pair = keys.create(path, "tool")
    intake = Intake("127.0.0.1:1", tenant="acme", genesis=bytes(32), security=MOCK)
    publisher, other = (Publisher(intake, Author(key, "bank")) for key in (pair, KeyPair.generate()))
    report = ResultReported(decision=bytes(32), outcome="ok", body="1", attestations=())
    try:
        assert publisher.publish(report).result(PATIENCE_SECONDS) >= 0
        keys.discard(path)
        beside = [other.publish(report) for _ in range(3)]
        for appended in [publisher.publish(report) for _ in range(3)]:
            with pytest.raises(UnsignableError, match="the key does not sign: token 'hsm'") as raised:
                appended.result(PATIENCE_SECONDS)
            assert raised.value.never_sent
        assert publisher.is_running
        assert [one.result(PATIENCE_SECONDS) for one in beside] == [1, 2, 3]
    finally:
        publisher.close()
        intake.close()


def test_nothing_is_opened_without_the_token(keys: KeyStores, tmp_path: Path) -> None:
    path = tmp_path / "bank.key"
    pair = keys.create(path, "tool")
    keys.discard(path)

    with pytest.raises(TokenError):
        pair.sealing.shared_with(SealingKey.from_secret(bytes(range(32))).public)


def test_what_a_token_opened_once_is_not_opened_without_it(keys: KeyStores, tmp_path: Path) -> None:
    """What it agrees with a sender is not kept beside it."""
    path = tmp_path / "bank.key"
    pair, sender = keys.create(path, "tool"), SealingKey.from_secret(bytes(range(32)))
    shared = [(pair.kid, sender.shared_with(pair.sealing.public))]
    header = seal(b"paid", sender.public, shared, content_key=os.urandom(32), nonces=os.urandom(2 * NONCE_BYTES))
    digest = sha256(b"paid").digest()
    for _ in range(2):
        assert pair.open_sealed(header, sender.public, digest) == b"paid"
    with pytest.raises(SealingError):
        pair.open_sealed(header[:-1] + bytes([header[-1] ^ 1]), sender.public, digest)
    keys.discard(path)

    with pytest.raises(TokenError):
        pair.open_sealed(header, sender.public, digest)
