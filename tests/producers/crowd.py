"""Persons by the hundred: each with a policy of its own, and a session that one connection of a bridge has opened."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from macaw.installation.development import bridge_connection
from macaw.installation.tenancy import admin_connection, register_agent
from processors.identity.attributes import attributes_from
from processors.identity.issuers import DEVELOPMENT_ISSUER
from producers.client import Client
from producers.kafka.connection import Connection
from producers.tools import tool
from schemas import limits
from schemas.records import Body, PolicyPublished, SessionOpened
from schemas.words import Outcome, Role
from streams.local.choose import BrokerInfo
from tests.installation import Installation, installed
from tests.waiting import PATIENCE_SECONDS

TTL_MS = 3_600_000
SERVICES = {"desk": ["tool:office/*"], "annex": ["tool:office/*"], "idle": ["tool:other/*"]}


class Office:
    """A tool that names the user of a call. Only that user's own policy allows the name."""

    def __init__(self) -> None:
        self.gate = threading.Event()

    @tool
    def held(self, user: str) -> str:
        """Answer once the gate is open."""
        assert self.gate.wait(PATIENCE_SECONDS)
        return user

    @tool
    def whose(self, user: str) -> dict[str, str]:
        return {"user": user}


def ask(user: str) -> tuple[str, dict[str, str]]:
    """Return the call of a user."""
    return "tool:office/whose", {"user": user}


def policy_of(user: str, **more: object) -> str:
    """Return a policy that lets a person name herself alone."""
    own = {"parameters": {"tool:office/*": {"user": [user]}}, **more}
    return json.dumps({"policy_id": f"user:{user}", "resources": ["tool:office/*", "vault:**"], "constraints": own})


@contextmanager
def desk_of(broker: BrokerInfo, base: Path, tenant: str, office: Office | None = None) -> Iterator[Installation]:
    """Found a tenant with the tool and its services, of which one may not call it."""
    with installed(broker, base, tenant, development=True) as here:
        for name in SERVICES:
            register_agent(here.home, here.folder, name, attributes={"roles": [name]})
        publish(here, [json.dumps({"policy_id": f"role:{name}", "resources": of}) for name, of in SERVICES.items()])
        with here.hosting("office", office or Office()):
            yield here


def publish(here: Installation, documents: Sequence[str]) -> None:
    """Put any number of new policies into force."""
    size = limits.DOCUMENTS_PER_EVENT_MAX
    parts = [tuple(documents[at : at + size]) for at in range(0, len(documents), size)]
    with admin_connection(here.home, here.folder) as admin:
        _accepted(admin, [PolicyPublished(documents=part, previous=(None,) * len(part)) for part in parts])


def people(here: Installation, users: Sequence[str]) -> dict[str, Client]:
    """Open a session for each user and return their clients."""
    found = {user: Connection.of_fresh_session(here.home, here.folder, f"user:{user}") for user in users}
    with bridge_connection(here.home, here.folder) as bridge:
        _accepted(
            bridge,
            [
                SessionOpened(
                    principal_id=f"user:{user}",
                    key=connection.key.offer(Role.SESSION, f"user:{user}", connection.genesis),
                    ttl_ms=TTL_MS,
                    attributes=attributes_from({"user": user}),
                    issuer=DEVELOPMENT_ISSUER,
                )
                for user, connection in found.items()
            ],
        )
    return {user: Client(connection) for user, connection in found.items()}


def _accepted(connection: Connection, bodies: Sequence[Body]) -> None:
    for sent in [connection.send(body) for body in bodies]:
        answer = sent.answer.result(PATIENCE_SECONDS).result
        assert answer.outcome == Outcome.ACCEPTED, (answer.reason, answer.detail)
