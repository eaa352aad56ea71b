"""The demo's installation: an embedded broker, two tenants, and the processes of a real installation."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from examples.demo.stage import RunningHosts, Stage
from macaw.installation.tenancy import create_tenant, publish_policies, register_agent, register_enrolment
from macaw.policies.files import read_documents
from producers.client import Client
from producers.home.home import Home, TenantHome
from streams.local.choose import EmbeddedBroker

COMPANY = "Blue Sparrow Tech"
EXAMPLES = Path(__file__).resolve().parents[1]
TENANTS = {"banking": "acme", "workspace": "globex"}
START_SECONDS = 60.0


class DemoError(RuntimeError):
    """The demo cannot run here; the message gives the reason."""


@dataclass(slots=True)
class Running:
    """A tenant of the demo: its tools on a stage, and a client for each role."""

    folder: TenantHome
    stage: Stage
    hosts: RunningHosts
    clients: dict[str, Client]

    def close(self) -> None:
        for client in self.clients.values():
            client.close()
        self.hosts.stop()


@contextmanager
def installation(base: Path) -> Iterator[Home]:
    """Start the embedded broker, the monitor and the views on a fresh home below `base`; stop all at the end."""
    with EmbeddedBroker(base / "broker") as broker:
        config = {"bootstrap": broker.info.bootstrap, "broker_kind": "embedded", "deployment": "demo"}
        home = Home.create(base, config)
        with started(base, "monitor"), started(base, "views"):
            yield home


@contextmanager
def started(base: Path, *command: str) -> Iterator[None]:
    """Run a process of the installation for the length of a block; its log is NAME.log in `base`."""
    process = _start(base, command)
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _start(base: Path, command: tuple[str, ...]) -> subprocess.Popen[bytes]:
    log = (base / f"{command[0]}.log").open("wb")
    with log:
        return subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, "-m", "macaw.cli", *command],
            env={**os.environ, "MACAW_HOME": str(base)},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def open_tenant(home: Home, suite: str, roles: Iterable[str]) -> Running:
    """Found the tenant of a suite, publish its policies, and start its tools and one agent for each role."""
    folder = create_tenant(home, TENANTS[suite])
    if register_enrolment(home, folder, seconds=START_SECONDS) is None:
        raise DemoError("the monitor does not answer; read monitor.log in the demo's folder")
    roles = sorted(set(roles))
    publish_files(home, folder, [EXAMPLES / "policies" / f"{name}.json" for name in ("company", *roles)])
    stage = Stage(home.path.parent / "environments", suite)
    hosts = RunningHosts(home, folder, stage.tools(), group_managed=False)
    clients = {}
    for role in roles:
        name = f"{role}-agent"
        register_agent(home, folder, name, attributes={"company": COMPANY, "roles": [role]})
        clients[role] = Client.connect(folder.tenant, name, home=home)
    return Running(folder, stage, hosts, clients)


def publish_files(home: Home, folder: TenantHome, places: Iterable[Path]) -> None:
    """Publish the policies in files and folders to a tenant without policies."""
    publish_policies(home, folder, [one.text for one in read_documents(places, organisation=False)], {})


def views_address(base: Path) -> str:
    """Wait until the views listen, and return their address. Raises DemoError."""
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        address: str | None = json.loads((base / ".macaw" / "config.json").read_text("utf-8")).get("views")
        if address:
            return address
        time.sleep(0.1)
    raise DemoError("the views do not start; read views.log in the demo's folder")
