"""A bank whose calls people approve and whose steps attest one another, on a real broker."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from macaw.installation.development import open_person_session
from macaw.installation.tenancy import publish_policies, register_agent
from producers.client import Client
from producers.kafka.waiting import WaitingCall
from producers.tools import context, tool
from streams.local.choose import BrokerInfo
from tests.installation import Installation, installed

STANDING = {"approval_criteria": "user:carol", "timeout": 300, "one_time": False, "time_to_live": 600}
NEEDS = {
    "attestations": [
        "manager::{tool.id == 'tool:bank/pay' and params.amount > 100}",
        "checked::{tool.id == 'tool:bank/confirm'}",
        "standing::{tool.id == 'tool:bank/statement'}",
    ],
    "constraints": {
        "attestations": {"manager": {"approval_criteria": "role:manager", "timeout": 300}, "standing": STANDING}
    },
}
POLICIES: list[dict[str, Any]] = [
    {"policy_id": "role:payer", "resources": ["tool:*", "vault:**"], **NEEDS},
    {"policy_id": "role:clerk", "resources": ["tool:bank/*"]},
]


class Bank:
    """Tools of which some attest, and one whose text is a prompt."""

    def __init__(self) -> None:
        self.paid: list[float] = []

    @tool
    def pay(self, amount: float) -> dict[str, object]:
        self.paid.append(amount)
        return {"paid": amount}

    @tool(attests=("checked",))
    def check(self, supplier: str) -> bool:
        if supplier == "undeclared":
            context.attestations.set("other", True)
        context.attestations.set("checked", {"supplier": supplier}, one_time=True, time_to_live=60)
        if supplier == "unknown":
            raise LookupError("no such supplier")
        return True

    @tool(auto_attest={"mailed": {"one_time": True, "ttl_seconds": 60}})
    async def mail(self) -> str:
        return "sent"

    @tool
    def statement(self) -> str:
        return "statement"

    @tool
    def confirm(self) -> str:
        return "confirmed"

    @tool(prompts=("prompt",))
    def complete(self, prompt: str) -> str:
        return prompt.upper()


@contextmanager
def banking(broker: BrokerInfo, base: Path, tenant: str, bank: Bank) -> Iterator[Installation]:
    """Found a tenant with the bank, a payer, a clerk, and two people of whom one is a manager."""
    with installed(broker, base, tenant, development=True) as here:
        furnish(here)
        with here.hosting("bank", bank):
            yield here


def furnish(here: Installation) -> None:
    """Let the agents and the people in, and put the policies into force."""
    for name, roles in (("payer", ["payer"]), ("clerk", ["clerk"])):
        register_agent(here.home, here.folder, name, attributes={"roles": roles})
    publish_policies(here.home, here.folder, [json.dumps(one) for one in POLICIES], {})
    for name, roles in (("carol", ["manager"]), ("dave", ["intern"])):
        open_person_session(here.home, here.folder, name, {"user": name, "roles": roles}, ttl_ms=3_600_000)


def approving(person: Client, *, say: str = "approve_attestation") -> Callable[[WaitingCall], None]:
    """Return what answers the one open request as soon as it is known."""

    def answer(call: WaitingCall) -> None:
        [request] = [one for one in person.list_attestations() if one["request"] == call.event]
        assert getattr(person, say)(request, reason="as agreed")

    return answer
