"""The registry as a client or host sees it: followed from the pinned genesis, every event verified."""

from __future__ import annotations

import logging
import math
import threading
import time
from typing import Any

from confluent_kafka import Consumer, KafkaException, TopicPartition

from processors.identity.following import follow
from processors.intake.identify import Received
from processors.proof.signing import INTAKE_PARTITION, VerifiedHeads
from processors.refusal import Refusal
from processors.state.tables import Tables
from producers.consuming import LogSetBackError, Position, ReadTimeoutError, headers_of, take, watermarks
from producers.process import OfOneProcess
from producers.security import UNSECURED, Security
from schemas.rows import KeyRow, ResourceRow, SessionRow
from schemas.topics import REGISTRY, reader_group
from schemas.words import RegistryKind

log = logging.getLogger(__name__)

CATCH_UP_SECONDS = 10.0
FRESH_SECONDS = 2.0  # how long a revocation may stay unseen by who runs already


class RegistryError(RuntimeError):
    """The registry cannot be read, or does not begin with the pinned genesis."""


class RegistryView(OfOneProcess):
    """Keys, tools and sessions of one tenant, as signed. Thread-safe; `refresh` reads what is new.

    Who is trusted (`live_key`, `session`) is never answered from a view older than FRESH_SECONDS: it reads on first,
    and raises RegistryError where it cannot.
    """

    _closed: frozenset[bytes] = frozenset()  # sessions that were ended before their time
    _current_at = -math.inf  # by time.monotonic: all that was committed then has been read

    def __init__(
        self, bootstrap: str, *, tenant: str, genesis: bytes, deployment: str, security: Security = UNSECURED
    ) -> None:
        self._topic = REGISTRY.of(tenant)
        self._tables = Tables(tenant=tenant, deployment=deployment, genesis=genesis)
        self._heads = VerifiedHeads()
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
        self._position = Position(0)

    @property
    def tables(self) -> Tables:
        """The rows as followed so far; for lookups that need no refresh."""
        return self._tables

    def close(self) -> None:
        if not self.is_elsewhere:
            self._consumer.close()

    def refresh(self, *, seconds: float = CATCH_UP_SECONDS) -> None:
        """Read everything that is committed: however much that is, as long as `seconds` never pass without a record.

        Raises:
            RegistryError: the broker fails, or nothing comes in time.
            LogSetBackError: the end lies before what was read.
            ForkedError: this is another process than the one that made the view.
        """
        self.check_process()
        with self._lock:
            try:
                self._catch_up(seconds)
            except (KafkaException, ReadTimeoutError) as exc:
                raise RegistryError(f"cannot read {self._topic}: {exc}") from exc

    def _catch_up(self, seconds: float) -> None:
        # The time before the end is asked for: what is committed while we read is not promised.
        asked_at = time.monotonic()
        _, high = watermarks(self._consumer, self._topic)
        if high < self._position.offset:
            # Read on from there it would lack what comes up to here; read anew it may trust a key that was revoked.
            raise LogSetBackError(
                f"{self._topic} ends at {high} and was read to {self._position.offset}: the brokers came back with an "
                "older log; connect, or start, again to go by what stands there now"
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
        """Return a session that nobody has ended as of FRESH_SECONDS ago or later. Raises RegistryError.

        Its time to live is the caller's to look at.
        """
        row = self.session_that_signed(session_id)
        return None if row is None or row.revoked or session_id in self._closed else row

    def session_that_signed(self, session_id: bytes) -> SessionRow | None:
        """Return a session as it is now, ended ones included: what it signed while it lived was said by its owner.

        Raises:
            RegistryError: the registry cannot be read.
        """
        self._freshen()
        row: SessionRow | None = self._find(self._tables.sessions.rows, session_id)
        return row

    def knows(self, resource: str) -> bool:
        """Whether a resource was offered as far as was read; asks nobody."""
        return resource.encode("utf-8", "surrogatepass") in self._tables.resources.rows

    def prompts_of(self, resource: str) -> tuple[str, ...]:
        """Return the parameters that a resource takes as authenticated prompts, none where nobody offers it."""
        row: ResourceRow | None = self._find(self._tables.resources.rows, resource.encode("utf-8", "surrogatepass"))
        return row.prompts if row is not None else ()

    def owner_of(self, resource: str) -> str | None:
        """Return the principal id of the tool that offers a resource."""
        row = self._find(self._tables.resources.rows, resource.encode())
        return row.principal_id if row else None

    def live_key(self, kid: bytes, role: str) -> KeyRow | None:
        """Return a key of this role that is not past its registration, nor revoked as of FRESH_SECONDS ago or later.

        Raises:
            RegistryError: the registry cannot be read, so nobody can say.
        """
        self._freshen()
        row = self.key(kid)
        now = time.time_ns() // 1_000_000
        if row is None or row.role != role or row.revoked_at is not None:
            return None
        return row if row.expires_at is None or now < row.expires_at else None

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
            follow(self._tables, received, self._heads)
        except Refusal as refusal:
            # Not a reason to trust less than before: the record changes nothing, as on the log.
            name = key.decode(errors="backslashreplace")
            log.warning("%s: %s is not followed: %s %s", self._topic, name, refusal.reason, refusal.detail)
        else:
            self._note_end(key)

    def _note_end(self, key: bytes) -> None:
        """Take note of a session that its own event, or somebody who may, has just ended."""
        kind, session_id = self._named(key)
        row = self._tables.sessions.get(session_id)
        # The key is not signed, the event is: it must have ended the session that the key names.
        if kind == RegistryKind.ENDED and row is not None and row.expires_at <= self._tables.now:
            self._closed |= {session_id}

    def _forget(self, key: bytes) -> None:
        kind, session_id = self._named(key)
        # Anybody's bytes may stand in a key: what names no session of ours changes nothing. What ended stays ended.
        if kind == RegistryKind.SESSION and self._tables.sessions.get(session_id) is not None:
            self._tables.sessions.delete(session_id)
            self._tables.commit()
            self._closed -= {session_id}

    def _named(self, key: bytes) -> tuple[str, bytes]:
        """Return the kind and the digest that a key names, empty where it names nothing of ours."""
        kind, _, name = key.decode(errors="backslashreplace").partition("/")
        if kind not in {RegistryKind.SESSION, RegistryKind.ENDED}:
            return "", b""
        try:
            return kind, bytes.fromhex(name)
        except ValueError:
            log.warning("%s: a record of %r is ignored", self._topic, name)
            return "", b""
