"""A world whose sessions a host follows, and records on their topic as a thief of it would write them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from processors.proof.signing import KID_HEADER, PROOF_HEADER
from producers.client import Client
from producers.home.security import UNSECURED
from producers.kafka.sessions_view import SessionsView
from schemas import topics
from schemas.records import SignedEvent
from tests.builders import Actor, Folded
from tests.installation import Installation
from tests.producers.forging import TwinSessions
from tests.workflow_world import Workflow


class Place:
    """A world whose sessions somebody follows."""

    def __init__(self) -> None:
        self.world = Workflow.opened("sessions")
        self.view = TwinSessions(self)

    @property
    def bot(self) -> Actor:
        return self.world.bot

    def opening_of(self, session: Actor) -> SignedEvent:
        """Return the event that opened a session, as its row holds it."""
        opened = self.world.tables.sessions.rows[session.kid].opened
        assert opened is not None
        return opened

    def caller(self, session: Actor | None = None, opened: SignedEvent | None = None) -> Any:
        session = session or self.bot
        return self.view.of_call(session.kid, opened or self.opening_of(session))

    def record(self, key: bytes, of: Folded | None = None, **other: Any) -> None:
        """Put a record on the topic under a key, with the event of a record that was folded, or without a value."""
        [output] = of.of(topics.SESSIONS) if of else [self.world.followed[-1]._replace(value=None, headers=())]
        partition = other.pop("partition", topics.keyed_partition(self.bot.kid))
        self.world.followed.append(output._replace(topic=topics.SESSIONS, key=key, partition=partition, **other))

    def end_of_another(self) -> Folded:
        return self.world.close(self.world.open_session(self.world.agent))

    def signed(self, body: Any, by: Actor, **tampering: Any) -> SignedEvent:
        value, headers = self.world.signed(body, by, **tampering)
        found = dict(headers)
        return SignedEvent(event=value, proof=found[PROOF_HEADER] or b"", kid=found[KID_HEADER] or b"")


def ended_key(session: Actor) -> bytes:
    return b"ended/" + session.kid.hex().encode()


def session_key(session: Actor) -> bytes:
    return b"session/" + session.kid.hex().encode()


@contextmanager
def sessions_of(here: Installation, client: Client) -> Iterator[SessionsView]:
    """Give what a host that starts now sees of an installation's sessions."""
    registry, tenant = client._connection.registry, here.folder.tenant
    view = SessionsView(registry, here.broker.bootstrap, tenant=tenant, security=UNSECURED)
    try:
        yield view
    finally:
        view.close()


def is_open(here: Installation, client: Client, session_id: bytes) -> bool:
    """Whether a session was opened and has not ended."""
    with sessions_of(here, client) as view:
        return view.that_signed(session_id) is not None and not view.is_ended(session_id)
