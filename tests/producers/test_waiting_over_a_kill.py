"""A monitor that is killed while a call waits for people: nothing is lost, and nothing happens twice."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import pytest

from macaw.installation.tenancy import create_tenant, register_enrolment
from producers.client import Client, NoAnswerError
from producers.home.home import Home
from producers.kafka.waiting import WaitingCall
from streams.local.choose import BrokerInfo
from tests.installation import Installation
from tests.producers.workflow_bank import Bank, furnish
from tests.waiting import PATIENCE_SECONDS, wait_until

pytestmark = [
    pytest.mark.broker,
    pytest.mark.real_broker("groups, generations and transaction timeouts are Apache Kafka's"),
]
T = TypeVar("T")

ROOT = Path(__file__).parents[2]


@contextmanager
def monitor_process(base: Path, log: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run `macaw monitor` for an installation until the block ends."""
    environ = {**os.environ, "MACAW_HOME": str(base), "PYTHONPATH": str(ROOT)}
    with (base / log).open("wb") as file:
        child = subprocess.Popen(
            [sys.executable, "-m", "macaw.cli", "monitor"], cwd=ROOT, env=environ, stdout=file, stderr=file
        )
    try:
        yield child
    finally:
        child.kill()
        child.wait()


def patiently(ask: Callable[[], T]) -> T:
    """Ask again while nobody answers: a group notices only after a while that a member is gone."""

    def asked() -> tuple[T] | None:
        try:
            return (ask(),)
        except NoAnswerError:
            return None

    (answer,) = wait_until(asked, "an answer", pause=0) or ()
    return answer


def test_a_call_that_waits_outlives_a_killed_monitor(broker: BrokerInfo, tmp_path: Path, unique: str) -> None:
    """kill -9 while people are asked: the next monitor knows of it, takes the approval, and the tool runs once."""
    home = Home.create(tmp_path, {"bootstrap": broker.bootstrap, "deployment": "test"})
    folder = create_tenant(home, unique, development=True)
    here = Installation(Home.open(tmp_path), folder, broker)
    bank = Bank()
    with monitor_process(tmp_path, "first.log") as first:
        assert register_enrolment(here.home, folder, seconds=PATIENCE_SECONDS) is not None
        furnish(here)
        with (
            here.hosting("bank", bank) as host,
            ThreadPoolExecutor(1) as pool,
            Client.connect(unique, "payer", home=here.home) as payer,
            Client.for_person(unique, "carol", home=here.home) as carol,
        ):
            told: list[WaitingCall] = []
            waits = threading.Event()

            def on_pending(call: WaitingCall) -> None:
                told.append(call)
                waits.set()

            result = pool.submit(payer.invoke, "tool:bank/pay", {"amount": 5000}, on_pending=on_pending)
            assert waits.wait(PATIENCE_SECONDS)
            first.kill()
            first.wait()

            with monitor_process(tmp_path, "second.log"):
                [request] = patiently(carol.list_attestations)
                assert (request["request"], request["approved_by"]) == (told[0].event, [])
                assert bank.paid == []
                assert carol.approve_attestation(request)

                assert result.result(PATIENCE_SECONDS) == {"paid": 5000}
                assert carol.list_attestations() == []
            assert (bank.paid, host.tally.executed) == ([5000], 1)
