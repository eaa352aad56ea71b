"""Whatever is said, by whomever, with the most extreme values: one entry, no fault, and the same again in a replay.

`tests/babel.py` says it. A state that is restored half way, its rows in another order, goes on alike.
"""

from __future__ import annotations

import pytest

from processors.proof.signing import VerifiedHeads
from processors.step import step
from schemas import codec
from tests.babel import Babel
from tests.engines import EVERY

SEEDS = range(24)
RECORDS = 80


def spoken(seed: int) -> Babel:
    """Return a tenant after everybody has spoken."""
    world = Babel(f"babel {seed}", engines=EVERY)
    world.begin(seed)
    for _ in range(RECORDS):
        world.say()
    return world


@pytest.mark.parametrize("seed", SEEDS)
def test_anybody_may_say_anything_and_a_replay_and_a_restart_agree(seed: int) -> None:
    """No record breaks a rule; folded again from the beginning, or from rows restored half way, all is the same."""
    world = spoken(seed)
    whole = [folded.outputs for folded in world.log]

    again, heads = world.fresh_tables(), VerifiedHeads()
    middle = len(world.records) * 2 // 3
    assert [step(again, one, heads) for one in world.records[:middle]] == whole[:middle]
    rows = [(name, key, row) for name, table in again.by_name.items() for key, row in table.rows.items()]
    world.dice.shuffle(rows)
    restored = world.fresh_tables()
    for name, key, row in rows:
        restored.by_name[name].restore(key, codec.decode_as(type(row), codec.frame(row)))
    restored.resume_at(next_index=again.next_index, prev=again.prev, now=again.now)
    for tables in (again, restored):
        assert [step(tables, one, heads) for one in world.records[middle:]] == whole[middle:]
        assert {name: table.rows for name, table in tables.by_name.items()} == world.rows()


def test_the_babel_is_not_only_refused() -> None:
    """Or the law above would say little: most kinds are accepted somewhere, and many reasons are met."""
    log = [folded for seed in SEEDS for folded in spoken(seed).log]
    seen = {folded.says for folded in log}
    kinds = {folded.entry.kind for folded in log if folded.says[0] != "refused"}

    assert {outcome for outcome, _ in seen} == {"accepted", "refused", "allowed", "denied", "pending"}
    assert len(seen) > 40
    assert len(kinds) > 11
