"""A key whose token has gone while it is in use: nothing is sent unsigned, and each caller is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from processors.proof.sealing import SealingKey
from producers.home.keystores.errors import TokenError
from producers.home.keystores.stores import KeyStores
from producers.kafka.publisher import Publisher, UnsignableError
from schemas.records import ResultReported
from tests.softhsm import SoftHSM

MOCK: Any = {"test.mock.num.brokers": 1}  # a cluster of the library's own, in this process


@pytest.fixture
def keys(softhsm: SoftHSM, tmp_path: Path) -> KeyStores:
    softhsm.token("macaw")
    return KeyStores.read({"default": "hsm", "tokens": {"hsm": softhsm.uri("token=macaw")}}, tmp_path)


def test_a_publisher_tells_each_caller_and_lives_on(keys: KeyStores, tmp_path: Path) -> None:
    """No caller waits for ever for an event that could not be signed."""
    path = tmp_path / "bank.key"
    pair = keys.create(path, "tool")
    publisher = Publisher("127.0.0.1:1", tenant="acme", genesis=bytes(32), key=pair, principal_id="bank", security=MOCK)
    report = ResultReported(decision=bytes(32), outcome="ok", body="1", attestations=())
    try:
        assert publisher.publish(report).result(30) >= 0
        keys.discard(path)
        for appended in [publisher.publish(report) for _ in range(3)]:
            with pytest.raises(UnsignableError, match="the key does not sign: token 'hsm'") as raised:
                appended.result(30)
            assert raised.value.never_sent
        assert publisher.is_running
    finally:
        publisher.close()


def test_nothing_is_opened_without_the_token(keys: KeyStores, tmp_path: Path) -> None:
    path = tmp_path / "bank.key"
    pair = keys.create(path, "tool")
    keys.discard(path)

    with pytest.raises(TokenError):
        pair.sealing.shared_with(SealingKey.from_secret(bytes(range(32))).public)
