"""A company's tenant with a real provider, tools, and a bridge that runs, all on one machine."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, TopicPartition

from macaw.installation.bridges import register_bridge
from macaw.installation.providers import say_of_provider
from macaw.installation.tenancy import publish_policies
from producers.client import Client, SessionRefusedError
from producers.kafka.connection import Connection
from schemas import codec, topics
from schemas.events.attributes import Attributes
from schemas.events.providers import IdentityProviderTrusted
from schemas.records import Event
from streams.bridge.logout_serving import LogoutDoor
from streams.bridge.process import BridgeProcess
from streams.identity_files.claims_file import FILE_NAME
from streams.local.choose import BrokerInfo
from streams.local.probe import LOOPBACK
from tests.identity_providers.nano import NanoIdP
from tests.identity_providers.provider import AUDIENCE
from tests.installation import Installation, installed
from tests.waiting import PATIENCE_SECONDS, wait_until


@dataclass(frozen=True)
class Office:
    """A company's tenant with its provider, and a bridge that runs."""

    here: Installation
    idp: NanoIdP

    @property
    def tenant(self) -> str:
        return self.here.folder.tenant

    def token(self, person: str = "alice", **how: Any) -> str:
        return self.idp.token(person, **how)

    def login(self, token: str | None = None, **how: Any) -> Client:
        return Client.login(self.tenant, token or self.token(), home=self.here.home, **how)

    def refused(self, token: str, **how: Any) -> str:
        """Return the code of a login that must not count."""
        with pytest.raises(SessionRefusedError) as told:
            self.login(token, **how).close()
        assert not any(part in str(told.value) for part in token.split(".") if len(part) > 8)
        return told.value.reason

    def trust(self, **terms: Any) -> None:
        """Trust the provider, on the usual terms but for `terms`."""
        usual = IdentityProviderTrusted(
            issuer=self.idp.issuer,
            kind="oidc",
            subjects="user",
            name_pattern="user:*",
            attributes=Attributes(company="*", business_unit="*", team="*", email="*", roles=("*",)),
            audiences=(AUDIENCE,),
            algorithms=("RS256",),
            private_hosts=(LOOPBACK,),
        )
        say_of_provider(self.here.home, self.here.folder, replace(usual, **terms))
        self.await_trust(self.idp.issuer)

    def await_trust(self, issuer: str) -> None:
        """Wait until a client that connects now reads that the issuer is trusted.

        A transaction's marker reaches its topics one by one: the answer may be read before the registry's row.
        """
        with Connection(self.here.home, self.here.folder, self.here.folder.key("admin"), "admin") as admin:

            def is_read() -> bool:
                admin.registry.refresh()
                row = admin.registry.tables.providers.get(issuer.encode())
                return row is not None and row.ended_at is None

            wait_until(is_read, f"{issuer} is not trusted")

    def intake(self) -> list[tuple[bytes, Event]]:
        """Return all records of intake."""
        consumer = reader(self.here)
        with closing(consumer):
            topic = topics.INTAKE.of(self.tenant)
            low, high = consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=PATIENCE_SECONDS)
            consumer.assign([TopicPartition(topic, 0, low)])
            found: list[tuple[bytes, Event]] = []
            while not found or len(found) < high - low:
                message = consumer.poll(5)
                assert message is not None
                assert message.error() is None
                found.append((message.value(), codec.decode_as(Event, message.value())))
            return found


def reader(here: Installation) -> Consumer:
    return Consumer(
        {
            "bootstrap.servers": here.broker.bootstrap,
            "group.id": "a reader",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
        }
    )


@contextmanager
def serving(here: Installation, logout: LogoutDoor | None = None) -> Iterator[BridgeProcess]:
    """Run the bridges of an installation in threads of this process."""
    process = BridgeProcess(here.home, logout)
    thread = threading.Thread(target=process.run)
    thread.start()
    try:
        yield process
    finally:
        process.stop()
        thread.join(PATIENCE_SECONDS)


@contextmanager
def opened(
    broker: BrokerInfo,
    base: Path,
    policies: Sequence[str],
    *,
    terms: Mapping[str, Any] | None = None,
    provider: Callable[[Path], NanoIdP] = NanoIdP,
    **tools: object,
) -> Iterator[Office]:
    """Found the company, trust its provider, and serve logins and tools until the block ends."""
    with ExitStack() as stack:
        idp = stack.enter_context(provider(base / "idp"))
        here = stack.enter_context(installed(broker, base, f"office-{time.time_ns() // 1_000_000}"))
        (base / FILE_NAME).write_text(idp.mapping_yaml)
        made = Office(here, idp)
        made.trust(**(terms or {}))
        register_bridge(here.home, here.folder)
        publish_policies(here.home, here.folder, policies, {})
        for app, served in tools.items():
            stack.enter_context(here.hosting(app, served))
        stack.enter_context(serving(here))
        yield made
