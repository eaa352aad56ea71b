"""A running installation for tests: a home in a folder, a tenant, and a monitor in a thread of this process."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from confluent_kafka.admin import AdminClient

from macaw.installation.monitored import monitored
from macaw.installation.tenancy import create_tenant, register_enrolment
from producers.home.home import Home, TenantHome
from producers.kafka.connection import Connection
from producers.tools import collect_tools
from producers.tools.host import HostSettings, ToolHost
from producers.tools.registration import register_tool
from schemas.topics import INTAKE_PATTERN
from streams.local.choose import BrokerInfo
from streams.worker.monitor import Monitor
from streams.worker.settings import LoopSettings
from tests.waiting import PATIENCE_SECONDS


@dataclass(frozen=True)
class Installation:
    """What a test needs to act as operator, agent or tool."""

    home: Home
    folder: TenantHome
    broker: BrokerInfo

    @property
    def group_managed(self) -> bool:
        return self.broker.is_real

    @contextmanager
    def hosting(self, app: str, tools: object, **settings: Any) -> Iterator[ToolHost]:
        """Serve an object's tools in a thread until the block ends."""
        found = collect_tools(tools)
        key = register_tool(self.home, self.folder, app, found)
        connection = Connection(self.home, self.folder, key, app)
        host = ToolHost(
            connection,
            app,
            found,
            HostSettings(
                bootstrap=self.home.bootstrap,
                group_managed=self.group_managed,
                executed_path=self.folder.path / "executed" / f"{app}.db",
                **settings,
            ),
        )
        thread = threading.Thread(target=host.run)
        thread.start()
        try:
            yield host
        finally:
            host.stop()
            thread.join(PATIENCE_SECONDS)
            connection.close()


def assigned_topics(broker: BrokerInfo, tenants: Sequence[str]) -> Callable[[], Iterable[str]]:
    """Return what a worker without a group takes: the intake topics of these tenants."""
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    mine = {f"macaw.{tenant}.intake" for tenant in tenants}
    return lambda: [
        t for t in admin.list_topics(timeout=PATIENCE_SECONDS).topics if re.match(INTAKE_PATTERN, t) and t in mine
    ]


@contextmanager
def monitoring(broker: BrokerInfo, home: Home, tenants: Sequence[str]) -> Iterator[Monitor]:
    """Run a monitor for exactly these tenants until the block ends."""
    settings = LoopSettings(
        bootstrap=broker.bootstrap,
        group=f"macaw.monitor.{tenants[0]}",
        transactional_id=f"macaw.monitor.{tenants[0]}",
        assigned=assigned_topics(broker, tenants),
    )
    monitor = Monitor(settings, lambda name: monitored(home, name) if name in tenants else None)
    thread = threading.Thread(target=monitor.run)
    thread.start()
    try:
        yield monitor
    finally:
        monitor.stop()
        thread.join(PATIENCE_SECONDS)


@contextmanager
def unanswered(seconds: float = 6.0) -> Iterator[None]:
    """Let a question to the log wait only so long in the block: nobody is there to answer, and the event gets there."""
    waits = (Connection.ask.__kwdefaults__, Connection.accepted.__kwdefaults__)
    with mock.patch.dict(waits[0], seconds=seconds), mock.patch.dict(waits[1], seconds=seconds):
        yield


@contextmanager
def installed(
    broker: BrokerInfo, base: Path, tenant: str, *, development: bool = False, **founding: Any
) -> Iterator[Installation]:
    """Found a tenant and monitor it until the block ends."""
    home = Home.create(base, {"bootstrap": broker.bootstrap, "deployment": "test"})
    folder = create_tenant(home, tenant, development=development, **founding)
    home = Home.open(base)
    with monitoring(broker, home, [tenant]):
        assert register_enrolment(home, folder, development=development) is not None
        yield Installation(home, folder, broker)
