"""A worker whose decision key has ended decides nothing more: it needs no broker to show."""

from __future__ import annotations

import pytest

from processors.proof.signing import SigningKey, VerifiedHeads
from producers.home.keys import KeyPair
from schemas.records import PrincipalRevoked
from streams.worker.fold import DecisionKeyError, TenantFold
from streams.worker.sealing import Sealer
from streams.worker.state_head import StateMac
from tests.world import Office


def test_nothing_is_decided_with_a_revoked_decision_key() -> None:
    """The batch ends with the record that revokes the key, and the next one is refused whole."""
    office = Office.opened("revoked monitor")
    world = office.world
    keys = world.monitor.keys
    fold = TenantFold(world.fresh_tables(), keys.signing, Sealer(keys.sealing), StateMac(keys.signing), VerifiedHeads())
    world.send(PrincipalRevoked(principal_id="monitor", reason="stolen"), world.admin)
    office.call()

    folded = fold.fold(world.records)

    assert folded == len(world.records) - 1
    assert fold.fold(world.records[folded:]) == 0  # what was folded is sent first
    assert fold.take()
    fold.commit()
    with pytest.raises(DecisionKeyError):
        fold.fold(world.records[folded:])


def test_a_key_that_is_not_registered_is_named() -> None:
    """As when a token was exchanged: the message says which key is here, and how to compare."""
    office = Office.opened("another key")
    world = office.world
    other = KeyPair.generate()
    assert isinstance(other.signing, SigningKey)
    fold = TenantFold(world.fresh_tables(), world.monitor.keys.signing, Sealer(other.sealing), StateMac(other.signing))
    assert fold.fold(world.records)
    fold.take()
    fold.commit()
    fold.signing = other.signing
    office.call()

    with pytest.raises(DecisionKeyError, match=f"{other.kid.hex()[:16]}, which is not registered: .*macaw key list"):
        fold.fold(world.records[-1:])
