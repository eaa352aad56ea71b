"""Cleared results cost the same work in every replay: the index of heard texts has no order of its own."""

from __future__ import annotations

from itertools import permutations

import pytest

from processors.calls.origins import Origins
from processors.policy.errors import WorkExceededError
from processors.policy.evaluation import new_work
from processors.state.heard import HeardIndex
from schemas import limits
from tests.provenance_world import HEARD, IBAN, PAGE
from tests.results_world import Marked

UNSEEN = {"text": "word " * limits.HEARD_TEXT_BYTES_MAX}  # too long to be remembered: a text that was not seen


@pytest.mark.parametrize("body", [UNSEEN, PAGE])
def test_work_does_not_depend_on_the_order_of_the_index(body: object) -> None:
    world = Marked.opened("ordered")
    reports = [world.fetch(world.bot, body) for _ in range(4)]
    for one in reports[:2]:
        assert world.judged(one) == ("accepted", "")
    assert world.pay(world.bot) == HEARD
    tables, session = world.tables, world.tables.sessions.rows[world.bot.kid]
    spent = set()
    for order in permutations(sorted(tables.heard.rows)):
        for budget in (None, 90, 200):
            tables.heard_index = HeardIndex()
            for key in order:
                tables.heard_index.follow(key, None, tables.heard.rows[key])
            work = new_work() if budget is None else [budget, 0]
            try:
                heard = Origins(tables, world.bot.kid, session, None).from_resources("**", work, cleared_by="judge")
                told = heard.origin(IBAN, work, exact=True) if heard is not None else ""
            except WorkExceededError:
                told = "exceeded"
            spent.add((budget, told, *work))
    assert len(spent) == 3, spent
