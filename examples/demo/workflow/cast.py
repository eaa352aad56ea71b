"""The cast: a tenant with the operator's policies, two persons, five agents, and the tools of an office."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from examples.demo.installation import EXAMPLES, START_SECONDS, DemoError, publish_files
from examples.demo.stage import RunningHosts
from examples.demo.workflow.office import Building
from macaw.installation.development import open_person_session, read_person
from macaw.installation.tenancy import create_tenant, register_agent, register_enrolment
from producers.client import Client
from producers.home.home import Home, TenantHome

FILES = EXAMPLES / "workflow"
TENANT = "bluesparrow"
SESSION_MS = 3_600_000
ALICE, CAROL = "alice", "carol"
CLERK, PAYER, COURIER, INTERN = "invoice-agent", "payments-agent", "courier-agent", "intern-agent"
VISITOR = "visitor-agent"  # registered, without a role


@dataclass(slots=True)
class Cast:
    """All persons and agents, each with an open session, and the building with the stores of the tools."""

    folder: TenantHome
    building: Building
    hosts: RunningHosts
    clients: dict[str, Client]

    def __getitem__(self, name: str) -> Client:
        return self.clients[name]


def open_cast(home: Home, base: Path, stack: ExitStack) -> Cast:
    """Found the tenant, publish the policies of `examples/workflow`, and start the tools, agents and persons.

    Raises:
        DemoError: the monitor does not answer.
    """
    folder = create_tenant(home, TENANT, development=True)
    if register_enrolment(home, folder, development=True, seconds=START_SECONDS) is None:
        raise DemoError("the monitor does not answer; read monitor.log in the demo's folder")
    publish_files(home, folder, [FILES / "policies"])
    building = Building(base / "office")
    hosts = RunningHosts(home, folder, building.tools(), group_managed=False)
    stack.callback(hosts.stop)
    clients = {}
    for name in (CLERK, PAYER, COURIER, INTERN, VISITOR):
        register_agent(home, folder, name, attributes={} if name == VISITOR else {"roles": ["invoice-clerk"]})
        clients[name] = stack.enter_context(Client.connect(folder.tenant, name, home=home))
    for name in (ALICE, CAROL):
        open_person_session(home, folder, name, read_person(FILES / "persons.yaml", name), ttl_ms=SESSION_MS)
        clients[name] = stack.enter_context(Client.for_person(folder.tenant, name, home=home))
    return Cast(folder, building, hosts, clients)
