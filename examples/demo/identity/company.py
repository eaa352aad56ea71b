"""The company of the demo: its tenant, its provider, the policies of its levels, and the desk that its people use."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from examples.demo.installation import START_SECONDS, DemoError, started
from examples.demo.stage import RunningHosts
from macaw.installation.bridges import register_bridge
from macaw.installation.providers import say_of_provider
from macaw.installation.tenancy import create_tenant, publish_policies, register_agent, register_enrolment
from producers.client import Client
from producers.home.home import Home, TenantHome
from producers.identity import Login, RemoteIdentityProvider
from producers.tools import collect_tools, tool
from schemas.events.attributes import Attributes
from schemas.events.providers import IdentityProviderTrusted
from streams.identity_files.claims_file import FILE_NAME
from streams.local.probe import LOOPBACK
from tests.identity_providers.keycloak import Keycloak, shared_server
from tests.identity_providers.keycloak_home import choose_home, why_no_keycloak
from tests.identity_providers.nano import NanoIdP
from tests.identity_providers.provider import AUDIENCE, IdentityProvider

TENANT, COMPANY, SERVICE = "fintech", "FinTech Corp", "analyst-agent"
ALICE, BOB = "alice", "bob"
READ, EXPORT, PAYROLL, DELETE = (f"tool:desk/{name}" for name in ("read", "export", "payroll", "delete"))
ROWS_MAX = 500

# One document for each level. What a level forbids, no level below can allow (docs/mapl.md).
POLICIES: tuple[dict[str, Any], ...] = (
    {"policy_id": f"company:{COMPANY}", "resources": ["tool:desk/*"], "denied_resources": [DELETE]},
    {"policy_id": "bu:Analytics", "resources": ["tool:desk/*"], "denied_resources": [PAYROLL]},
    {
        "policy_id": "team:Reporting",
        "resources": ["tool:desk/*"],
        "constraints": {"parameters": {EXPORT: {"rows": {"max": ROWS_MAX}}}},
    },
    {
        "policy_id": "user:alice@fintech.example",
        "resources": ["tool:desk/*"],
        "constraints": {"denied_parameters": {READ: {"report": ["board*"]}}},
    },
    {"policy_id": f"service:{SERVICE}", "resources": ["tool:desk/*"]},
)


class Desk:
    """The company's reports."""

    @tool
    def read(self, report: str) -> dict[str, str]:
        """Read a report."""
        return {"report": report, "text": "revenue rose by 4 %"}

    @tool
    def export(self, report: str, rows: int) -> dict[str, Any]:
        """Export rows of a report."""
        return {"report": report, "rows": rows}

    @tool
    def payroll(self, month: str) -> dict[str, str]:
        """Read the payroll of a month."""
        return {"month": month, "sum": "812000"}

    @tool
    def delete(self, report: str) -> dict[str, str]:
        """Delete a report."""
        return {"deleted": report}


@dataclass(slots=True)
class Company:
    """The tenant with its provider, its agent, and the logins of its people."""

    home: Home
    folder: TenantHome
    idp: IdentityProvider
    hosts: RunningHosts
    service: Client
    tokens: list[str] = field(default_factory=list, repr=False)

    def log_in(self, person: str) -> tuple[Login, Client]:
        """Log a person in at the provider, and open a session with the token."""
        provider = RemoteIdentityProvider(
            self.idp.issuer,
            client_id=self.idp.client_id,
            client_secret=self.idp.client_secret,
            scopes="openid",
            home=self.home,
        )
        login = provider.login(person, self.idp.people[person].password)
        self.tokens.append(login.access_token)
        return login, Client.login(self.folder.tenant, login.access_token, home=self.home)


@contextmanager
def provider_for(console: Console, base: Path) -> Iterator[IdentityProvider]:
    """Start Keycloak where this machine has Java and it, or Maven to fetch it; else nanoidp."""
    why = why_no_keycloak(choose_home())
    with ExitStack() as stack:
        if why is None:
            console.print("the provider is Keycloak; its first start here fetches and builds it")
            folder = base / "keycloak"
            folder.mkdir()
            server = stack.enter_context(shared_server(folder))
            yield stack.enter_context(Keycloak(server))
        else:
            console.print(f"the provider is nanoidp, because {why}", highlight=False)
            yield stack.enter_context(NanoIdP(base / "nanoidp"))


def open_company(home: Home, base: Path, idp: IdentityProvider, stack: ExitStack) -> Company:
    """Found the tenant, trust its provider, and start bridge, desk and agent. Raises DemoError."""
    folder = found_tenant(home, base, idp, POLICIES, stack)
    hosts = RunningHosts(home, folder, {"desk": collect_tools(Desk())}, group_managed=False)
    stack.callback(hosts.stop)
    register_agent(home, folder, SERVICE, attributes={}, role="service")
    service = stack.enter_context(Client.connect(folder.tenant, SERVICE, home=home))
    return Company(home, folder, idp, hosts, service)


def found_tenant(
    home: Home, base: Path, idp: IdentityProvider, policies: Iterable[dict[str, Any]], stack: ExitStack
) -> TenantHome:
    """Found the tenant with its policies, trust its provider, and start the bridge. Raises DemoError."""
    folder = create_tenant(home, TENANT)
    if register_enrolment(home, folder, seconds=START_SECONDS) is None:
        raise DemoError("the monitor does not answer; read monitor.log in the demo's folder")
    say_of_provider(home, folder, trust_in(idp))
    (base / FILE_NAME).write_text(idp.mapping_yaml, "utf-8")
    register_bridge(home, folder)
    stack.enter_context(started(base, "bridge", "run"))
    publish_policies(home, folder, [json.dumps(document) for document in policies], {})
    return folder


def trust_in(idp: IdentityProvider) -> IdentityProviderTrusted:
    """Return the trust of the company in its provider: for its own people, and for nobody else's company."""
    return IdentityProviderTrusted(
        issuer=idp.issuer,
        kind="oidc",
        subjects="user",
        name_pattern="user:*@fintech.example",
        attributes=Attributes(company=COMPANY, business_unit="*", team="*", email="*@fintech.example", roles=("*",)),
        audiences=(AUDIENCE,),
        algorithms=("RS256",),
        private_hosts=(LOOPBACK,),
    )
