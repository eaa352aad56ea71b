"""The registry as a client or host sees it: followed from the pinned genesis, every event verified."""

from __future__ import annotations

import logging
import math
import threading
import time
from typing import Any, NamedTuple

from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME

from processors.identity.following import FollowedRegistry
from processors.identity.keys import is_live
from processors.identity.sessions import keys_behind
from processors.intake.identify import Received
from processors.proof.signing import INTAKE_PARTITION, KID_HEADER, PROOF_HEADER, kid_of
from processors.refusal import Refusal
from processors.state.tables import Tables
from producers.home.clock import clock_ms
from producers.home.home import Home, TenantHome
from producers.home.security import UNSECURED, Security
from producers.kafka.consuming import headers_of
from producers.kafka.followed_topic import CATCH_UP_SECONDS, FollowedTopic
from schemas import limits
from schemas.events.keys import KeyRotated
from schemas.records import SignedEvent
from schemas.rows import KeyRow, ResourceRow, SessionRow
from schemas.topics import REGISTRY
from schemas.words import Role, SessionKind

log = logging.getLogger(__name__)

_OF_SESSIONS = tuple(f"{kind}/".encode() for kind in SessionKind)
ROTATED_MS = 5_000  # that the clocks of two brokers may differ by, between a rotation and the last record before it
COMMIT_SECONDS = 5.0  # within which each partition of a transaction shows its records, also on a busy broker
VAIN_SECONDS = 60.0  # for which no unknown key is awaited, after one was awaited in vain
LATE_MS = 3_600_000  # the longest time that a record from before a rotation may be on its way to its reader


def appended_at(message: Any) -> int | None:
    """Return the append time (ms) of a record as the broker says it, None for a time that its sender wrote."""
    kind, at = message.timestamp()
    return at if kind == TIMESTAMP_LOG_APPEND_TIME else None


class Appended(NamedTuple):
    """The append time of a record (ms), None if it is not the broker's; and how long it may have been on its way."""

    at: int | None
    late_ms: int | None  # None: it may be of any age


class RegistryView:
    """Principals, keys and tools of one tenant, as signed. Thread-safe; `refresh` reads the records since.

    `live_key` and `session_opened` never answer from a view older than FRESH_SECONDS: they read on first, and raise
    RegistryError if that fails.
    """

    def __init__(
        self, bootstrap: str, *, tenant: str, genesis: bytes, deployment: str, security: Security = UNSECURED
    ) -> None:
        self._begin(Tables(tenant=tenant, deployment=deployment, genesis=genesis))
        # Without the tenant's engine, events behind its activation would be passed over, revocations too.
        check = self._tables.check_engine
        self._topic = FollowedTopic(bootstrap, REGISTRY, tenant, self._fold, security, check=check)

    def _begin(self, tables: Tables) -> None:
        self._tables, self._followed = tables, FollowedRegistry(tables)
        self._writing = threading.Lock()  # a session is judged in the same tables, while nothing else is folded
        self._warned = False
        self._vain_at = -math.inf  # by time.monotonic: when a key was last awaited in vain
        self._rotated: dict[bytes, int] = {}  # append time (ms) of the rotation that ended a key; revoked since, maybe

    @classmethod
    def of(cls, home: Home, tenant: TenantHome) -> RegistryView:
        """Return the view of a tenant of this installation. Raises HomeError, SecurityError."""
        return cls(
            home.bootstrap,
            tenant=tenant.tenant,
            genesis=tenant.genesis,
            deployment=home.deployment,
            security=home.security,
        )

    @property
    def tables(self) -> Tables:
        """The rows as followed so far; for lookups that need no refresh."""
        return self._tables

    @property
    def is_set_back(self) -> bool:
        """Whether the registry ended before the position up to which it was read: it cannot be followed on."""
        return self._topic.is_set_back

    def ends(self, topic: str, partition: int) -> tuple[int, int]:
        """Return (first offset, end of the committed records) of a partition of any topic. Raises KafkaException."""
        return self._topic.ends(topic, partition)

    def close(self) -> None:
        """End the connection."""
        self._topic.close()

    def refresh(self, *, seconds: float = CATCH_UP_SECONDS) -> None:
        """Read every committed record.

        Raises:
            EngineMissingError: the tenant decides by an engine that is not installed here: nothing more is followed.
            RegistryError, LogSetBackError, ForkedError: as `FollowedTopic.refresh`.
        """
        self._topic.refresh(seconds=seconds)

    def key(self, kid: bytes) -> KeyRow | None:
        """Return a registered key, revoked ones included; reads on when it is not known yet."""
        row: KeyRow | None = self._find(self._tables.keys.rows, kid)
        return row

    def knows(self, resource: str) -> bool:
        """Whether a resource is offered, as far as the registry was read; it asks no broker."""
        return resource.encode("utf-8", "surrogatepass") in self._tables.resources.rows

    def takes_bodies(self, resource: str) -> bool:
        """Whether texts of a call may travel beside it, as far as the registry was read; it asks no broker."""
        row = self._tables.resources.rows.get(resource.encode("utf-8", "surrogatepass"))
        return row is not None and bool(row.body_paths)

    def offered(self, resource: str) -> ResourceRow | None:
        """Return a resource as its tool declares it, None if none does; reads on when it is not known yet."""
        row: ResourceRow | None = self._find(self._tables.resources.rows, resource.encode("utf-8", "surrogatepass"))
        return row

    def readers_of(self, resource: str) -> tuple[tuple[bytes, bytes], ...]:
        """Return the kid and the X25519 key of each live instance of the tool that offers a resource.

        Raises:
            RegistryError: the registry cannot be read, so the answer is not known.
        """
        row = self.offered(resource)
        principal = self._tables.principals.rows.get(row.principal_id.encode()) if row is not None else None
        kids = principal.kids if principal is not None else ()
        live = ((kid, self.live_key(kid, Role.TOOL)) for kid in kids)
        return tuple((kid, key.x25519) for kid, key in live if key is not None)

    def owner_of(self, resource: str) -> str | None:
        """Return the principal id of the tool that offers a resource."""
        row = self._find(self._tables.resources.rows, resource.encode())
        return row.principal_id if row else None

    def live_key(self, kid: bytes, role: str) -> KeyRow | None:
        """Return a key of this role that is not past its registration, nor revoked as of FRESH_SECONDS ago or later.

        Raises:
            RegistryError: the registry cannot be read, so the answer is not known.
        """
        self._topic.freshen()
        row = self.key(kid)
        return row if row is not None and row.role == role and is_live(row, clock_ms()) else None

    def is_revoked(self, kid: bytes) -> bool:
        """Whether a key is unknown, or was revoked as of FRESH_SECONDS ago or later. Raises RegistryError."""
        self._topic.freshen()
        row = self.key(kid)
        return row is None or row.revoked_at is not None

    def session_opened(
        self, opened: SignedEvent, ended: SignedEvent | None = None, *, renewed: SignedEvent | None = None
    ) -> tuple[bytes, SessionRow]:
        """Return the id of the session that a signed event opens, and its row, as its renewal and end have left it.

        Raises:
            Refusal: no registered key that is not revoked has opened a session with this event, or renewed it.
            RegistryError: the registry cannot be read, so the answer is not known.
        """
        for signed in (opened,) if renewed is None else (opened, renewed):
            self.is_revoked(signed.kid)  # reads on if the key is new
        with self._writing:
            end, renewal = (None if one is None else _received(one) for one in (ended, renewed))
            return self._followed.session(_received(opened), end, renewed=renewal)

    def still_counts(self, row: SessionRow) -> bool:
        """Whether a session that was judged before still counts, as of FRESH_SECONDS ago or later.

        No key that opened or renewed it is revoked, and it was not ended with all sessions of its provider.

        Raises:
            RegistryError: the registry cannot be read, so the answer is not known.
        """
        return not any(map(self.is_revoked, keys_behind(row))) and not self._followed.is_ended_with_provider(row)

    def key_that_signed(self, kid: bytes, role: str) -> KeyRow | None:
        """Return a live key, or one that was rotated: its statements from before its `expires_at` still count.

        Raises:
            RegistryError: the registry cannot be read, so the answer is not known.
        """
        live, row = self.live_key(kid, role), self.key(kid)
        if live is not None or row is None or kid not in self._rotated:
            return live
        return row if row.role == role and row.revoked_at is None else None

    def key_of(self, kid: bytes, role: str, appended: Appended) -> KeyRow | None:
        """Return the key under which a record of this role counts: a live one, or one that was rotated meanwhile.

        A record that was appended before a rotation may be read after it. How it was appended only the broker can say,
        so its topic must be under append time; and a thief of the old key has no more than ROTATED_MS from the rotation
        on, or `late_ms` if the broker lies for him. A revoked key, or one that came to its planned end, has nothing.

        Raises:
            RegistryError: the registry cannot be read, so the answer is not known.
        """
        row, rotated_at = self.key_that_signed(kid, role), self._rotated.get(kid)
        if rotated_at is None or row is None:
            return row
        if appended.at is None or appended.at > rotated_at + ROTATED_MS:
            return None
        return row if appended.late_ms is None or clock_ms() <= rotated_at + appended.late_ms else None

    def await_key(self, kid: bytes) -> None:
        """Read on until a key is known, for COMMIT_SECONDS at most: for a record that has just been read.

        Kafka commits a transaction to each partition by itself. A record that a new key signed, or the answer to its
        registration, can thus be read a moment before the registration, which stands in the same transaction. Records
        of strangers hold a reader up once in VAIN_SECONDS. Raises RegistryError.
        """
        until = time.monotonic() + COMMIT_SECONDS
        while self.key(kid) is None and time.monotonic() > self._vain_at + VAIN_SECONDS:
            if time.monotonic() > until:
                self._vain_at = time.monotonic()
                return
            time.sleep(0.02)

    def resources(self) -> dict[str, str]:
        """Return every resource with the tool that offers it."""
        self.refresh()
        return {key.decode(): row.principal_id for key, row in self._tables.resources.rows.items()}

    def _find(self, rows: dict[bytes, Any], key: bytes) -> Any:
        row = rows.get(key)
        if row is None:
            self.refresh()
            row = rows.get(key)
        return row

    def _fold(self, message: Any) -> None:
        key, value = message.key() or b"", message.value()
        if key.startswith(_OF_SESSIONS):
            self._warn_of_sessions()
        elif value is not None:  # a tombstone is not signed: it removes no principal and no key
            self._follow(key, Received(INTAKE_PARTITION, 0, 0, value, headers_of(message)), appended_at(message))

    def _follow(self, key: bytes, received: Received, at: int | None) -> None:
        try:
            with self._writing:
                event = self._followed.follow(received)
        except Refusal as refusal:
            # The record changes nothing, as on the log; earlier records stay trusted.
            name = key.decode(errors="backslashreplace")
            log.warning("%s: %s is not followed: %s %s", self._topic.name, name, refusal.reason, refusal.detail)
        else:
            if event is not None and isinstance(event.body, KeyRotated) and at is not None:
                self._note_rotation(event.body, at, event.header.issued_at)

    def _note_rotation(self, body: KeyRotated, at: int, issued_at: int) -> None:
        """Take note of when a key was rotated; not of a rotation of its X25519 half alone, which ends no key.

        A copy of the event, appended later, makes the time no later: its signer has signed when it was issued.
        """
        if kid_of(body.key.ed25519) != body.kid:
            self._rotated[body.kid] = min(at, issued_at + limits.ISSUED_BEHIND_MS_MAX)

    def _warn_of_sessions(self) -> None:
        if not self._warned:
            self._warned = True
            log.warning("%s: sessions that stand here are passed over: read docs/kafka.md, Sessions", self._topic.name)


def _received(signed: SignedEvent) -> Received:
    headers = ((PROOF_HEADER, signed.proof), (KID_HEADER, signed.kid))
    return Received(INTAKE_PARTITION, 0, 0, signed.event, headers)
