"""The keys of a tenant as its registry topic has them, followed from the genesis: the possible signers of an entry."""

from __future__ import annotations

from confluent_kafka import Consumer, Message, TopicPartition

from processors.evidence.archive.bodies import signed_leaf
from processors.evidence.archive.segment import Owner
from processors.identity.following import follow
from processors.intake.identify import Received
from processors.proof.signing import INTAKE_PARTITION, VerifiedHeads
from processors.refusal import Refusal
from processors.state.tables import Tables
from producers.kafka.consuming import headers_of, read_to, watermarks
from schemas.rows import KeyRow
from schemas.topics import REGISTRY
from schemas.words import RegistryKind, Role, SessionKind
from streams.history.partitions import IDLE_SECONDS

_SESSIONS = frozenset(SessionKind)  # of a tenant that is older than the topic of sessions


class RegisteredKeys:
    """The registry of one tenant without its sessions, read on when a key is asked for that is not known yet."""

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        deployment = owner.origin.removesuffix(f"/{owner.tenant}")
        self._tables = Tables(tenant=owner.tenant, deployment=deployment, genesis=owner.genesis)
        self._heads = VerifiedHeads()
        self._position = 0
        self._events: dict[bytes, Received] | None = None

    def monitor_key(self, consumer: Consumer, kid: bytes) -> bytes | None:
        """Return the Ed25519 key with this kid if it is or was a monitor's. Raises ReadTimeoutError, KafkaException."""
        row: KeyRow | None = self._tables.keys.get(kid)
        if row is None:
            self._read_on(consumer)
            row = self._tables.keys.get(kid)
        return row.ed25519 if row is not None and row.role == Role.MONITOR else None

    def event(self, consumer: Consumer, leaf: bytes) -> Received | None:
        """Return the registration with a leaf, as the topic has it. The topic is read once for all of them."""
        if self._events is None:
            self._events = {}
            topic = REGISTRY.of(self._owner.tenant)
            low, high = watermarks(consumer, topic)
            for message in read_to(consumer, TopicPartition(topic, 0, low), high, idle_seconds=IDLE_SECONDS):
                if (received := _event_in(message)) is not None:
                    is_founding = _kind_of(message) == RegistryKind.TENANT
                    self._events[signed_leaf(received.value, self._owner, is_founding=is_founding)] = received
        return self._events.get(leaf)

    def _read_on(self, consumer: Consumer) -> None:
        topic = REGISTRY.of(self._owner.tenant)
        low, high = watermarks(consumer, topic)
        place = TopicPartition(topic, 0, max(self._position, low))
        for message in read_to(consumer, place, high, idle_seconds=IDLE_SECONDS):
            if (received := _event_in(message)) is not None:
                try:
                    follow(self._tables, received, self._heads)
                except Refusal:
                    continue  # it changes nothing, as on the log
        self._position = max(self._position, high)


def _event_in(message: Message) -> Received | None:
    """Return the event of a record, None for a tombstone and for sessions, which sign no audit entry."""
    value = message.value()
    if value is None or _kind_of(message) in _SESSIONS:
        return None
    return Received(INTAKE_PARTITION, 0, 0, value, headers_of(message))


def _kind_of(message: Message) -> str:
    return (message.key() or b"").partition(b"/")[0].decode("ascii", "replace")
