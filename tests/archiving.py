"""A tenant with a log that is worth archiving, on a broker."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from confluent_kafka import Producer

from macaw.installation.locking import update_config
from macaw.installation.tenancy import publish_policies, register_agent
from producers.client import Client, DeniedError
from producers.home.home import Home
from producers.tools import tool
from schemas.topics import INTAKE
from streams.local.choose import BrokerInfo
from tests.installation import Installation, installed
from tests.paying import PAYER
from tests.waiting import PATIENCE_SECONDS

POLICY = json.dumps(PAYER)


class Bank:
    """One tool."""

    @tool
    def transfer(self, to: str, amount: float) -> dict[str, object]:
        """Move money."""
        return {"to": to, "sent": amount}


@contextmanager
def busy_tenant(broker: BrokerInfo, base: Path, tenant: str) -> Iterator[Installation]:
    """Monitor a tenant whose log has calls, a denial, undecodable bytes and an event without a proof in it."""
    with installed(broker, base, tenant):
        update_config(base, {"archive": "archive"})
        home = Home.open(base)
        running = Installation(home, home.tenant(tenant), broker)
        register_agent(home, running.folder, "shopper", attributes={"roles": ["payer"]})
        publish_policies(home, running.folder, [POLICY], {})
        calls(running, 5)
        intruder = Producer({"bootstrap.servers": broker.bootstrap})
        intruder.produce(INTAKE.of(tenant), b"garbage", partition=0)
        intruder.produce(INTAKE.of(tenant), None, partition=0)
        assert intruder.flush(PATIENCE_SECONDS) == 0
        calls(running, 1)
        yield running


def calls(running: Installation, count: int) -> None:
    """Make some calls that are allowed, and one that is denied."""
    with (
        running.hosting("bank", Bank()),
        Client.connect(running.folder.tenant, "shopper", home=running.home) as client,
    ):
        for n in range(count):
            assert client.invoke("tool:bank/transfer", {"to": "bob", "amount": n}) == {"to": "bob", "sent": n}
        with pytest.raises(DeniedError):
            client.invoke("tool:mail/send", {})
