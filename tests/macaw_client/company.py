"""A company whose programs are written for the original: its configuration is theirs, and so are its persons' names."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from macaw.installation.enrolments import create_enrolment
from producers.client.enrolling import PROGRAMS
from producers.tools import tool
from schemas.events.attributes import Attributes
from schemas.records import EnrolmentGrant
from schemas.words import Role
from streams.identity_files.claims_file import FILE_NAME
from streams.local.choose import BrokerInfo
from tests.identity_providers.nano import NanoIdP
from tests.identity_providers.provider import CLIENT, Person
from tests.streams.bridge.office import Office, opened
from tests.waiting import PATIENCE_SECONDS

POLICIES: list[dict[str, Any]] = [
    {
        "policy_id": "service:desk",
        "resources": ["tool:bank/*", "tool:ledger", "tool:desk/*"],
        "constraints": {
            "parameters": {"tool:bank/transfer": {"to": ["bob", "carol"], "amount": {"max": 1000}}},
            "denied_parameters": {"tool:bank/say": {"text": ["*secret*"]}},
        },
    },
    {
        "policy_id": "tool:bank/transfer",
        "resources": ["**"],
        "attestations": ["large::{params.amount > 100}"],
        "constraints": {"attestations": {"large": {"approval_criteria": "role:manager", "timeout": 30}}},
    },
    {
        "policy_id": "role:analyst",
        "resources": ["tool:bank/*", "tool:calc/*", "tool:calc-sum", "tool:_mcp_sample", "tool:*/generate"],
    },
    {
        "policy_id": "service:calc",
        "resources": ["tool:calc/*", "tool:_mcp_sample", "tool:*/_mcp_sample", "tool:bank/*"],
    },
    {
        "policy_id": "service:guest",
        "resources": ["tool:calc/*", "tool:calc-sum", "tool:second/*", "tool:guest/*", "resource:**"],
    },
    {"policy_id": "service:second", "resources": ["tool:calc/*", "tool:second/*"]},
]


class SeedIdP(NanoIdP):
    """The provider, with a person whose login name is an address."""

    def _users(self) -> dict[str, object]:
        alice = self.people["alice"]
        name = "alice@company.com"
        self.people[name] = Person(name, name, alice.company, alice.business_unit, alice.team, alice.roles)
        return super()._users()


class Bank:
    """Tools with each kind of end."""

    def __init__(self) -> None:
        self.transfers: list[tuple[str, float]] = []

    @tool
    def transfer(self, to: str, amount: float) -> dict[str, object]:
        self.transfers.append((to, amount))
        return {"to": to, "amount": amount}

    @tool
    def count(self) -> int:
        return len(self.transfers)

    @tool
    def say(self, text: str) -> dict[str, object]:
        return {"text": text}

    @tool
    def fail(self) -> None:
        raise RuntimeError("the ledger is closed")

    @tool(timeout_seconds=20)
    def slow(self) -> str:
        time.sleep(5)
        return "late"


@dataclass(frozen=True)
class Company:
    """The office, the folder of its installation, and the bank."""

    office: Office
    base: Path
    bank: Bank

    def password(self, person: str) -> str:
        return self.office.idp.people[person].password

    def kinds_of(self, session: str) -> list[str]:
        """Return the kinds of the events of a session on the log, in order; `session` begins its id."""
        events = (event for _, event in self.office.intake())
        return [type(one.body).__name__ for one in events if (one.header.session_id or b"").hex().startswith(session)]

    def run(
        self, script: str, *, seconds: float = PATIENCE_SECONDS, **environ: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a program in a process of its own, as a person would."""
        return subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "MACAW_HOME": str(self.base), **environ},
            cwd=self.base,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )


@contextmanager
def company(
    broker: BrokerInfo, base: Path, provider: Callable[[Path], NanoIdP] = SeedIdP, *, roles: tuple[str, ...] = ()
) -> Iterator[Company]:
    """Run the company until the block ends. Its programs get `roles`, and may offer tools of any name."""
    bank = Bank()
    policies = [json.dumps(one) for one in POLICIES]
    with opened(broker, base, policies, provider=provider, bank=bank) as office:
        configure(base, office)
        grant = EnrolmentGrant(
            roles=(Role.SERVICE,), name_pattern="*", count_max=100, attributes=Attributes(offers=("**",), roles=roles)
        )
        create_enrolment(office.here.home, office.here.folder, PROGRAMS, grant)
        yield Company(office, base, bank)


def configure(base: Path, office: Office) -> None:
    """Write the provider into config.json, in the original's form, with members that are not ours."""
    file = base / ".macaw" / "config.json"
    known: Mapping[str, Any] = json.loads(file.read_text())
    section = {
        "issuer": office.idp.issuer,
        "client_id": CLIENT,
        "client_secret": office.idp.client_secret,
        "audience": office.idp.audience,
    }
    file.write_text(json.dumps({**known, "iam_provider": "oidc", "iam_config": section, "api_key": "wk_none"}))
    file.chmod(0o600)
    assert (base / FILE_NAME).exists()
