"""A tenant with a program `shop` that has a gate, and a stranger who may call what it offers."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from macaw.installation.tenancy import publish_policies, register_agent
from streams.local.choose import BrokerInfo
from tests.installation import Installation, installed

SHOP = {
    "policy_id": "service:shop",
    "resources": ["tool:shop/**"],
    "denied_resources": ["tool:shop/secret"],
    "constraints": {"parameters": {"tool:shop/refund": {"amount": {"max": 100}}}},
}


@contextmanager
def shop(broker: BrokerInfo, base: Path) -> Iterator[Installation]:
    tenant = f"t{secrets.token_hex(4)}"
    with installed(broker, base, tenant) as here:
        for name in ("shop", "stranger"):
            register_agent(here.home, here.folder, name, role="service", attributes={"offers": ["tool:shop/**"]})
        stranger = {"policy_id": "service:stranger", "resources": ["tool:**"]}
        publish_policies(here.home, here.folder, [json.dumps(SHOP), json.dumps(stranger)], {})
        yield here
