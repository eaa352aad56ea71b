"""The console beside a live tenant: each record is verified, none is lost or counted twice, and forgeries are told."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from macaw.adapters.gate import Gate
from macaw.adapters.refusals import PermissionDeniedError
from producers.agent.agent import Agent
from schemas import codec
from schemas.topics import DECISIONS
from streams.console.follower import Follower
from streams.console.process import store_path
from streams.console.questions import CallsAsked, Questions
from streams.console.store import CallStore
from streams.local.choose import BrokerInfo
from tests.adapters.gates import shop
from tests.console.stored import Stored
from tests.installation import Installation
from tests.waiting import wait_until

pytestmark = pytest.mark.broker
REFUND = "tool:shop/refund"


@pytest.fixture(scope="module")
def here(broker: BrokerInfo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with shop(broker, tmp_path_factory.mktemp("home")) as running:
        yield running


@contextmanager
def following(here: Installation, path: Path) -> Iterator[Follower]:
    follower = Follower(here.home, here.folder, CallStore(path, here.folder.genesis))
    follower.start()
    try:
        yield follower
    finally:
        follower.close()


def rows(path: Path, **filters: str) -> list[Any]:
    return [dict(row) for row in Questions(path).calls(CallsAsked(filters=filters)).rows]


def test_the_console_shows_what_the_log_says_and_no_forgery(here: Installation, tmp_path: Path) -> None:
    path = store_path(here.folder)
    with Agent.connect(here.folder.tenant, "shop", home=here.home) as agent:
        gate = Gate(agent)
        gate.run(REFUND, {"amount": 5}, lambda: "paid")
        with following(here, path) as follower:
            wait_until(lambda: follower.freshness.complete_at is not None)
            with pytest.raises(PermissionDeniedError):
                gate.run(REFUND, {"amount": 5000}, lambda: "never")
            wait_until(lambda: len(rows(path, outcome="denied")) == 1)
            wait_until(lambda: len(rows(path, outcome="allowed")) == 1 and rows(path, outcome="allowed")[0]["result"])
            assert rows(path, outcome="allowed")[0]["result"] == "ok"

            forged = Stored(tmp_path).denied(resource="tool:shop/forged", audit_index=7)
            producer = Producer({"bootstrap.servers": here.home.bootstrap})
            producer.produce(DECISIONS.of(here.folder.tenant), codec.frame(forged), forged.event_id, 0)
            assert producer.flush(10) == 0
            wait_until(lambda: follower.freshness.untrusted == 1)
            assert rows(path, resource="tool:shop/forged") == []

    before = rows(path)
    with following(here, path) as again:  # goes on behind the stored positions
        wait_until(lambda: again.freshness.complete_at is not None)
        assert again.freshness.untrusted == 1  # its banner does not go with the process
        assert rows(path) == before
    with following(here, tmp_path / "anew.sqlite") as anew:  # the store is made anew from the log
        wait_until(lambda: anew.freshness.complete_at is not None)
        assert rows(tmp_path / "anew.sqlite") == before
