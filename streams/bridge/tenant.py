"""The bridge of one tenant: it reads sealed logins from Kafka, and keeps its keys and its knowledge of trust fresh."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, TopicPartition

from processors.identity.bridging import BridgeIdentity, LoginReason, LoginRefusedError
from processors.identity.claims.model import ClaimsMapping
from processors.identity.issuers import is_provided, speaks_for
from processors.proof.sealing import PAYLOAD_HEADER, Opens
from producers.home.clock import clock_ms
from producers.home.files import create_private, read_private
from producers.home.home import Home, HomeError, TenantHome
from producers.kafka.connection import Connection
from producers.kafka.consuming import FETCH_BOUNDS, UNREADABLE, Quiet, headers_of, take, watermarks
from producers.kafka.sealing_rotation import rotate_sealing
from schemas import codec
from schemas.events.attributes import Attributes
from schemas.events.logins import SealedLogin
from schemas.rows import ProviderRow
from schemas.topics import LOGINS, reader_group
from schemas.words import Role
from streams.bridge.answering import LoginAnswers
from streams.bridge.desk import LoginDesk
from streams.bridge.key_cache import KeyCache
from streams.bridge.logout_desk import Voice
from streams.bridge.refusals import RefusedLogins
from streams.identity_files.claims_file import FILE_NAME, ClaimsFileError, read_claims_file

log = logging.getLogger(__name__)

BATCH_MAX = 128
BACKLOG_MAX = 2048  # records before the start that are looked at: more do not come in the life of a login
FRESH_SECONDS = 2.0  # between two looks at the registry
HALVES_SECONDS = 5.0  # between two looks at the key files
ROTATE_SECONDS = 24 * 3600.0  # the life of the half that opens logins
ROTATE_AGAIN_SECONDS = 300.0  # after a rotation that failed
REF_SECRET = "login-refs.secret"  # noqa: S105 - the name of a file
REF_SECRET_BYTES = 32


class TenantBridge:
    """Serves the logins of one tenant with one bridge key, in one thread: `run` until `stop`."""

    def __init__(self, home: Home, folder: TenantHome, path: Path, keys: KeyCache) -> None:
        """Connect with the key in `path`.

        Raises:
            HomeError, KeyAccessError: a file is missing or malformed, or the key is not registered as a bridge.
            ConnectError, RegistryError, SecurityError, KafkaException: the brokers do not answer.
        """
        self._home, self._folder, self._path = home, folder, path
        self._stop = threading.Event()
        self._mapping_read: tuple[tuple[int, int] | None, ClaimsMapping | ClaimsFileError | None] = (None, None)
        pair = folder.keys.load(path)
        with ExitStack() as opened:
            self._connection = opened.enter_context(Connection.registered(home, folder, pair, path.stem))
            row = self._connection.registry.live_key(pair.kid, Role.BRIDGE)
            if row is None:
                raise HomeError(
                    f"the key in {path} is not registered as a bridge of {folder.tenant}: run `macaw bridge register`"
                )
            self._trust = RegisteredTrust(self._connection, row.attributes)
            self._answers = LoginAnswers(
                home.bootstrap, tenant=folder.tenant, genesis=folder.genesis, key=pair, security=home.security
            )
            opened.callback(self._answers.close)
            self._refused = RefusedLogins(self._connection.publisher.publish)
            self._halves: list[Opens] = [pair.sealing]
            identity = BridgeIdentity(folder.genesis, pair.kid, ref_secret(folder))
            self.voice = Voice(identity, self._trust, self._connection.send)
            self.desk = LoginDesk(
                identity,
                halves=lambda: self._halves,
                trust=self._trust,
                keys=keys,
                publish=self._connection.send,
                answers=self._answers,
                refusals=self._refused,
                clock=clock_ms,
                mapping=self._mapping,
            )
            self._consumer = self._reader()
            opened.callback(self._consumer.close)
            self._opened = opened.pop_all()
        self._kid = pair.kid

    @property
    def kid(self) -> bytes:
        """The kid of the bridge's key."""
        return self._kid

    def stop(self) -> None:
        """Ask `run` to return."""
        self._stop.set()

    def run(self) -> None:
        """Serve until `stop`, then answer the waiting logins and end the connections.

        Raises:
            KafkaException, RegistryError: the brokers do not answer.
        """
        quiet, tended, fresh, halves, rotate_at = Quiet(self._consumer), 0.0, 0.0, 0.0, 0.0
        with self._opened:
            while not self._stop.is_set():
                messages = take(self._consumer, BATCH_MAX, quiet.seconds)
                quiet.after(len(messages))
                for message in messages:
                    self._take(message)
                now = time.monotonic()
                if now - tended >= 0.1:
                    tended = now
                    self.desk.tend()
                    self._refused.tend()
                    self._answers.serve()
                if now - fresh >= FRESH_SECONDS:
                    fresh = now
                    self._trust.refresh()
                if now - halves >= HALVES_SECONDS:
                    halves = now
                    self._reload_halves()
                if now >= rotate_at:
                    rotate_at = now + self._rotate()
            self.desk.tend(at_once=True)
            self._refused.tend(at_once=True)

    def _reader(self) -> Consumer:
        """Return the consumer of logins, at the first record that may still count."""
        consumer = Consumer(
            {
                **self._home.security,
                **FETCH_BOUNDS,
                "bootstrap.servers": self._home.bootstrap,
                "group.id": reader_group(self._folder.tenant),
                "enable.auto.commit": False,
                "auto.offset.reset": "latest",  # what was deleted before it was read is older than a login lives
                "isolation.level": "read_committed",
                "fetch.wait.max.ms": 20,
                "log_level": 2,
            }
        )
        low, high = watermarks(consumer, LOGINS.of(self._folder.tenant))
        self._began_at = high
        consumer.assign([TopicPartition(LOGINS.of(self._folder.tenant), 0, max(low, high - BACKLOG_MAX))])
        return consumer

    def _take(self, message: Any) -> None:
        """Take one record. A record for another bridge is passed over, and so is one that says nothing."""
        if (error := message.error()) is not None:
            log.warning("logins of %s: %s", self._folder.tenant, error)
            if error.name() in UNREADABLE:
                self._pass_over()
            return
        value = message.value() or b""
        sealed_headers = [v for name, v in headers_of(message) if name == PAYLOAD_HEADER]
        try:
            sealed: SealedLogin = codec.decode_as(SealedLogin, value)
        except codec.SchemaError:
            return
        if sealed.bridge == self._kid and len(sealed_headers) == 1 and sealed_headers[0]:
            is_old = (message.offset() or 0) < self._began_at
            self.desk.take(sealed, value, sealed_headers[0], is_old=is_old)

    def _pass_over(self) -> None:
        """Read on where the topic ends now: a batch that cannot be read would come again for ever.

        Kafka refuses such a batch, but not on a topic of another `compression.type`. Clients ask again for the logins
        that are passed over.
        """
        topic = LOGINS.of(self._folder.tenant)
        _, high = watermarks(self._consumer, topic)
        self._consumer.assign([TopicPartition(topic, 0, high)])

    # ---- what is kept fresh

    def _reload_halves(self) -> None:
        """Read the halves that open again: another process may have rotated them, and an old one ends.

        Where an admin has rotated the whole key, this bridge ends: its process begins anew with the new key.
        """
        pair = self._folder.keys.load(self._path)
        if pair.kid != self._kid:
            log.info("%s: the bridge has a new key, %s", self._folder.tenant, pair.kid.hex()[:16])
            self.stop()
            return
        self._halves = [pair.sealing, *(one for one in pair.others() if one.public != pair.sealing.public)]

    def _rotate(self) -> float:
        """Rotate the half that opens logins once it is a day old; return the seconds until the next look."""
        age = time.time() - self._path.stat().st_mtime
        if age < ROTATE_SECONDS:
            return ROTATE_SECONDS - age
        try:
            rotate_sealing(self._connection, self._path, reason="the daily rotation")
        except Exception as exc:  # noqa: BLE001 - logins go on with the present half, and this is tried again
            log.warning("%s: the key that opens logins is not rotated: %s", self._folder.tenant, exc)
            return ROTATE_AGAIN_SECONDS
        self._reload_halves()
        log.info("%s: the key that opens logins is rotated", self._folder.tenant)
        return ROTATE_SECONDS

    def _mapping(self) -> ClaimsMapping | None:
        """Return the mapping of claims in the installation's file, None without one. Raises LoginRefusedError."""
        file = self._home.path.parent / FILE_NAME
        try:
            found = file.stat()
        except FileNotFoundError:
            return None
        mark = (found.st_mtime_ns, found.st_size)
        if self._mapping_read[0] != mark:
            try:
                self._mapping_read = (mark, read_claims_file(file))
            except ClaimsFileError as exc:
                log.error("no login counts until the mapping of claims is corrected: %s", exc)  # noqa: TRY400
                self._mapping_read = (mark, exc)
        mapping = self._mapping_read[1]
        if isinstance(mapping, ClaimsFileError):
            raise LoginRefusedError(LoginReason.LOGIN_MAPPING)
        return mapping


class RegisteredTrust:
    """The trust in providers as the registry has it, for the issuers that a bridge is registered for."""

    def __init__(self, connection: Connection, registered: Attributes) -> None:
        self._registry, self._registered = connection.registry, registered

    def refresh(self) -> None:
        """Read the registry on. Raises RegistryError."""
        self._registry.refresh()

    def row(self, issuer: str) -> ProviderRow | None:
        """Return the row of a trusted issuer that this bridge is registered for, None for another one."""
        if not is_provided(issuer) or not speaks_for(self._registered, issuer):
            return None
        row = self._registry.tables.providers.get(issuer.encode("utf-8", "surrogatepass"))
        return None if row is None or row.ended_at is not None else row

    def rows(self) -> Mapping[str, ProviderRow]:
        """Return every row, by issuer."""
        return {key.decode(): row for key, row in list(self._registry.tables.providers.rows.items())}


def ref_secret(folder: TenantHome) -> bytes:
    """Return the secret under references to logins, made when it is first needed.

    Bridges of one tenant on several machines need the same file, or a provider's logout ends the logins of one alone.
    """
    file = folder.path / REF_SECRET
    if not file.exists():
        with suppress(FileExistsError):  # another bridge of this installation made it
            create_private(file, f"{os.urandom(REF_SECRET_BYTES).hex()}\n".encode())
    try:
        secret = bytes.fromhex(read_private(file, 1024).decode("ascii").strip())
    except ValueError:
        secret = b""
    if len(secret) != REF_SECRET_BYTES:
        raise HomeError(f"{file} does not hold a secret: it must be 64 hex digits; move it away to have one made")
    return secret
