"""Brokers that come back with an older log, and producers that die: a client goes on, or ends with a name for it."""

from __future__ import annotations

import math
import secrets
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from producers.client import Client, LogSetBackError
from producers.home.home import Home
from producers.kafka.connection import Connection
from producers.tools.host import HostSettings, ToolHost
from streams.local.choose import BrokerInfo
from tests.installation import Installation
from tests.producers.dying import kill
from tests.producers.workflow_bank import Bank, banking
from tests.waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.broker

PAY = ("tool:bank/pay", {"amount": 1})


@pytest.fixture(scope="module")
def running(broker: BrokerInfo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with banking(broker, tmp_path_factory.mktemp("home"), f"b{secrets.token_hex(4)}", Bank()) as here:
        yield here


@pytest.fixture
def client(running: Installation) -> Iterator[Client]:
    with Client.connect(running.folder.tenant, "payer", home=running.home) as connected:
        yield connected


def dies(client: Client) -> Callable[[], bool]:
    """Kill a client's producer; return what says whether it has a new one."""
    producer = client._connection.link.intake._sender._producer
    kill(producer)
    return lambda: client._connection.link.intake._sender._producer is not producer


def test_a_client_whose_producer_dies_goes_on_with_a_new_one(client: Client) -> None:
    """Idle, under way, and again; nothing is paid twice."""
    for _ in range(3):
        dies(client)
        assert client.invoke(*PAY) == {"paid": 1}
        future = client.submit(*PAY)
        replaced = dies(client)
        assert future.result(PATIENCE_SECONDS).result.outcome == "ok"
        assert client.invoke(*PAY) == {"paid": 1}
        assert replaced()


def test_answers_that_end_before_what_was_read_are_named(client: Client) -> None:
    """Whoever waits is told at once, and whoever comes; nobody waits a hundred seconds for what cannot come."""
    hearing = client._connection.link.hearing
    with hearing._lock:
        hearing._places = dict.fromkeys(hearing._places, 10**9)

    for _ in range(2):
        with pytest.raises(LogSetBackError, match="connect again, and look before you ask again"):
            client.invoke(*PAY, seconds=PATIENCE_SECONDS)


def test_a_registry_that_ends_before_what_was_read_is_not_believed(client: Client) -> None:
    """It may lack a revocation that was seen."""
    registry = client._connection.registry
    registry.refresh()
    registry._topic._positions[0].offset += 10**6

    with pytest.raises(LogSetBackError, match="older log"):
        registry.refresh()
    registry._topic._positions[0].offset -= 10**6


def test_a_host_whose_registry_was_set_back_ends_and_says_so(
    running: Installation, client: Client, tmp_path: Path
) -> None:
    """It would go by keys that were revoked; warnings alone would leave its callers without an answer for good."""
    shutil.copytree(running.home.path, tmp_path / ".macaw")  # another installation: it shares nothing with the client
    home = Home.open(tmp_path)
    folder = home.tenant(running.folder.tenant)
    connection = Connection(home, folder, folder.keys.load(folder.key_file("tool", "bank")), "bank")
    assert connection.link is not client._connection.link
    path = folder.path / "executed" / "other.db"
    settings = HostSettings(bootstrap=running.home.bootstrap, group_managed=False, executed_path=path)
    connection.registry.refresh()
    connection.registry._topic._positions[0].offset += 10**6
    connection.registry._topic._current_at = -math.inf
    host = ToolHost(connection, "bank", [], settings)
    with ThreadPoolExecutor(1) as pool:
        runs = pool.submit(host.run)
        assert host.ready.wait(PATIENCE_SECONDS)
        client.invoke(*PAY)
        assert isinstance(runs.exception(PATIENCE_SECONDS), LogSetBackError)
    connection.close()
