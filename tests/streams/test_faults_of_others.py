"""Faults of others than the worker: a client library that does not tell, a node of three that restarts."""

from functools import partial
from pathlib import Path

import pytest

from streams.local.kafka import KafkaBroker
from tests.streams.faults import play, revoked_in_call
from tests.streams.faults_broker import SETTINGS, play_on_own

pytestmark = [
    pytest.mark.broker,
    pytest.mark.real_broker("groups, generations, fencing and transaction timeouts are Apache Kafka's"),
]


def test_a_loop_that_is_not_told_of_a_revocation_folds_twice(tmp_path: Path) -> None:
    """What the epochs are for, and that a round can fail: without the callback both owners' transactions commit.

    Not in every round: where the group moves on once more meanwhile, it refuses the offset of who was not told.
    """
    deaf = {"deaf": partial(revoked_in_call, deaf=True)}
    doubled = 0
    with KafkaBroker(tmp_path / "broker", extra=SETTINGS) as broker:
        for seed in range(1, 4):
            tally = play("deaf", seed, broker.info, tmp_path, deaf)
            assert tally.invalid == 0, tally.said
            doubled += tally.doubled
            if doubled:
                break

    assert doubled > 0


def test_a_node_that_restarts_under_load_changes_nothing(tmp_path: Path) -> None:
    """One of three, in peace. Of a lone node less is claimed: `docs/testing.md`."""
    tally = play_on_own("node-restart", 1, tmp_path)

    assert tally.is_whole, (tally.plan, tally.said)
