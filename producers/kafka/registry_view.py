"""The registry as a client or host sees it: followed from the pinned genesis, every event verified."""

from __future__ import annotations

import logging
import math
import threading
import time
from typing import Any, NamedTuple

from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, Consumer, KafkaException, TopicPartition

from processors.identity.following import follow
from processors.intake.identify import Received
from processors.proof.signing import INTAKE_PARTITION, VerifiedHeads
from processors.refusal import Refusal
from processors.state.tables import Tables
from producers.home.clock import clock_ms
from producers.home.home import Home, TenantHome
from producers.home.process import OfOneProcess
from producers.home.security import UNSECURED, Security
from producers.kafka.consuming import LogSetBackError, ReadPosition, ReadTimeoutError, headers_of, take, watermarks
from schemas.errors import EvidenceError
from schemas.events.keys import KeyRotated
from schemas.rows import KeyRow, ResourceRow, SessionRow
from schemas.topics import REGISTRY, reader_group
from schemas.words import RegistryKind

log = logging.getLogger(__name__)

CATCH_UP_SECONDS = 10.0
ROTATED_MS = 5_000  # that the clocks of two brokers may differ by, between a rotation and the last record before it
LATE_MS = 3_600_000  # the longest time that a record from before a rotation may be on its way to its reader
FRESH_SECONDS = 2.0  # for so long a running process may not see a revocation


class RegistryError(EvidenceError):
    """The registry cannot be read, or does not begin with the pinned genesis."""


def appended_at(message: Any) -> int | None:
    """Return the append time (ms) of a record as the broker says it, None for a time that its sender wrote."""
    kind, at = message.timestamp()
    return at if kind == TIMESTAMP_LOG_APPEND_TIME else None


class Appended(NamedTuple):
    """The append time of a record (ms), None if it is not the broker's; and how long it may have been on its way."""

    at: int | None
    late_ms: int | None  # None: it may be of any age


class RegistryView(OfOneProcess):
    """Keys, tools and sessions of one tenant, as signed. Thread-safe; `refresh` reads the records since.

    `live_key` and `session` never answer from a view older than FRESH_SECONDS: they read on first, and raise
    RegistryError if that fails.
    """

    _rotated: dict[bytes, int]  # append time (ms) of the rotation that ended a key; it may be revoked since
    _closed: frozenset[bytes] = frozenset()  # sessions that were ended before their time
    _current_at = -math.inf  # by time.monotonic: all that was committed then has been read

    def __init__(
        self, bootstrap: str, *, tenant: str, genesis: bytes, deployment: str, security: Security = UNSECURED
    ) -> None:
        self._topic = REGISTRY.of(tenant)
        self._tables = Tables(tenant=tenant, deployment=deployment, genesis=genesis)
        self._heads = VerifiedHeads()
        self._rotated = {}
        self._lock = threading.Lock()
        self._consumer = Consumer(
            {
                **security,
                "bootstrap.servers": bootstrap,
                "group.id": reader_group(tenant),
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "auto.offset.reset": "earliest",
                "enable.partition.eof": True,
                "fetch.wait.max.ms": 50,
                "log_level": 2,
            }
        )
        self._position = ReadPosition(0)

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

    def close(self) -> None:
        if not self.is_elsewhere:
            self._consumer.close()

    def refresh(self, *, seconds: float = CATCH_UP_SECONDS) -> None:
        """Read every committed record, however many there are, as long as `seconds` never pass without one.

        Raises:
            RegistryError: the broker fails, or no record comes in time.
            LogSetBackError: the end lies before the position up to which was read.
            ForkedError: this is another process than the one that made the view.
        """
        self.check_process()
        with self._lock:
            try:
                self._catch_up(seconds)
            except (KafkaException, ReadTimeoutError) as exc:
                raise RegistryError(f"cannot read {self._topic}: {exc}") from exc

    def _catch_up(self, seconds: float) -> None:
        # The time before the end is asked for: records that are committed while we read are not promised.
        asked_at = time.monotonic()
        _, high = watermarks(self._consumer, self._topic)
        if high < self._position.offset:
            # Reading on would skip the records up to here; reading anew could trust a key that was revoked.
            raise LogSetBackError(
                f"{self._topic} ends at {high} and was read to {self._position.offset}: the brokers came back with an "
                "older log; connect or start again to go on with the present one"
            )
        if self._position.offset < high:
            # Assigned only while it reads: an idle view asks the broker for nothing.
            self._consumer.assign([TopicPartition(self._topic, 0, self._position.offset)])
            try:
                self._read_to(high, asked_at + seconds, seconds)
            finally:
                self._consumer.unassign()
        self._current_at = asked_at

    def _freshen(self) -> None:
        if time.monotonic() - self._current_at > FRESH_SECONDS:
            self.refresh()

    def _read_to(self, high: int, until: float, seconds: float) -> None:
        while self._position.offset < high:
            if time.monotonic() > until:
                raise RegistryError(f"cannot read {self._topic} to its end: nothing came within {seconds} s")
            for message in take(self._consumer, 500, 0.05):
                if self._position.note(message):
                    self._fold(message)
                    until = time.monotonic() + seconds

    def key(self, kid: bytes) -> KeyRow | None:
        """Return a registered key, revoked ones included; reads on when it is not known yet."""
        row: KeyRow | None = self._find(self._tables.keys.rows, kid)
        return row

    def session(self, session_id: bytes) -> SessionRow | None:
        """Return a session that was not ended as of FRESH_SECONDS ago or later. Raises RegistryError.

        The caller checks its time to live.
        """
        row = self.session_that_signed(session_id)
        return None if row is None or row.revoked or session_id in self._closed else row

    def session_that_signed(self, session_id: bytes) -> SessionRow | None:
        """Return a session as it is now, also if it has ended: events that it signed before keep their signer.

        Raises:
            RegistryError: the registry cannot be read.
        """
        self._freshen()
        row: SessionRow | None = self._find(self._tables.sessions.rows, session_id)
        return row

    def knows(self, resource: str) -> bool:
        """Whether a resource is offered, as far as the registry was read; it asks no broker."""
        return resource.encode("utf-8", "surrogatepass") in self._tables.resources.rows

    def prompts_of(self, resource: str) -> tuple[str, ...]:
        """Return the parameters that a resource takes as authenticated prompts; none if the resource is not offered."""
        row: ResourceRow | None = self._find(self._tables.resources.rows, resource.encode("utf-8", "surrogatepass"))
        return row.prompts if row is not None else ()

    def owner_of(self, resource: str) -> str | None:
        """Return the principal id of the tool that offers a resource."""
        row = self._find(self._tables.resources.rows, resource.encode())
        return row.principal_id if row else None

    def live_key(self, kid: bytes, role: str) -> KeyRow | None:
        """Return a key of this role that is not past its registration, nor revoked as of FRESH_SECONDS ago or later.

        Raises:
            RegistryError: the registry cannot be read, so the answer is not known.
        """
        self._freshen()
        row = self.key(kid)
        now = clock_ms()
        if row is None or row.role != role or row.revoked_at is not None:
            return None
        return row if row.expires_at is None or now < row.expires_at else None

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
        if value is None:
            self._forget(key)
            return
        received = Received(INTAKE_PARTITION, 0, 0, value, headers_of(message))
        try:
            body = follow(self._tables, received, self._heads)
        except Refusal as refusal:
            # The record changes nothing, as on the log; earlier records stay trusted.
            name = key.decode(errors="backslashreplace")
            log.warning("%s: %s is not followed: %s %s", self._topic, name, refusal.reason, refusal.detail)
        else:
            self._note_end(key)
            if isinstance(body, KeyRotated) and (at := appended_at(message)) is not None:
                self._rotated[body.kid] = at

    def _note_end(self, key: bytes) -> None:
        """Take note of a session that was just ended, by its own event or by another principal that may end it."""
        kind, session_id = self._named(key)
        row = self._tables.sessions.get(session_id)
        # The key is not signed, the event is: it must have ended the session that the key names.
        if kind == RegistryKind.ENDED and row is not None and row.expires_at <= self._tables.now:
            self._closed |= {session_id}

    def _forget(self, key: bytes) -> None:
        kind, session_id = self._named(key)
        # A key is not signed: one that names no known session changes nothing, and an ended session stays ended.
        if kind == RegistryKind.SESSION and self._tables.sessions.get(session_id) is not None:
            self._tables.sessions.delete(session_id)
            self._tables.commit()
            self._closed -= {session_id}

    def _named(self, key: bytes) -> tuple[str, bytes]:
        """Return the kind and the digest in a record's key, empty if it does not name a session."""
        kind, _, name = key.decode(errors="backslashreplace").partition("/")
        if kind not in {RegistryKind.SESSION, RegistryKind.ENDED}:
            return "", b""
        try:
            return kind, bytes.fromhex(name)
        except ValueError:
            log.warning("%s: a record of %r is ignored", self._topic, name)
            return "", b""
