"""A tenant with a program `shop` that has a gate, a stranger who may call what it offers, and a treasurer."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from macaw.installation.development import open_person_session
from macaw.installation.tenancy import admin_connection, publish_policies, register_agent
from macaw.installation.tenant_limits import set_settings
from producers.client import Client
from streams.local.choose import BrokerInfo
from tests.installation import Installation, installed
from tests.waiting import wait_until

SHOP = {
    "policy_id": "service:shop",
    "resources": ["tool:shop/**"],
    "denied_resources": ["tool:shop/secret"],
    "attestations": ["treasurer::{tool.id == 'tool:shop/wire'}"],
    "constraints": {
        "parameters": {
            "tool:shop/refund": {"amount": {"max": 100}},
            "tool:shop/generate": {"max_tokens": {"max": 5000}},
        },
        "attestations": {"treasurer": {"approval_criteria": "role:treasurer", "timeout": 300}},
    },
}
TOKEN = "npm_" + "4eC39HqLyjWD" * 3  # a secret, to the verifier of results


@contextmanager
def shop(broker: BrokerInfo, base: Path) -> Iterator[Installation]:
    tenant = f"t{secrets.token_hex(4)}"
    with installed(broker, base, tenant, development=True) as here:
        for name in ("shop", "stranger"):
            register_agent(here.home, here.folder, name, role="service", attributes={"offers": ["tool:shop/**"]})
        stranger = {"policy_id": "service:stranger", "resources": ["tool:**"]}
        publish_policies(here.home, here.folder, [json.dumps(SHOP), json.dumps(stranger)], {})
        carol = {"user": "carol", "roles": ["treasurer"]}
        open_person_session(here.home, here.folder, "carol", carol, ttl_ms=3_600_000)
        yield here


@contextmanager
def withholding(here: Installation) -> Iterator[None]:
    """Let the log withhold results that hold a secret."""
    with admin_connection(here.home, here.folder) as admin:
        set_settings(admin, {"results.secrets": "withhold"})
        try:
            yield
        finally:
            set_settings(admin, {"results.secrets": None})


@contextmanager
def approving(here: Installation) -> Iterator[list[str]]:
    """Let the treasurer say yes to the call of the block that asks for one; the list has it then."""
    approved: list[str] = []
    with Client.for_person(here.folder.tenant, "carol", home=here.home) as carol:
        before = {one["request"] for one in carol.list_attestations()}  # their callers have left

        def approve() -> None:
            [asked] = wait_until(lambda: [one for one in carol.list_attestations() if one["request"] not in before])
            assert carol.approve_attestation(asked, reason="as agreed")
            approved.append(str(asked["request"]))

        with ThreadPoolExecutor(1) as pool:
            saying = pool.submit(approve)
            yield approved
            saying.result()
