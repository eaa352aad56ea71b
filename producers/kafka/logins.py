"""Logging in: a token goes sealed to a bridge of the tenant, and a session key of ours comes to speak for its subject.

The token never leaves this process in the clear: it is sealed to a bridge's key, which the registry proves back to the
pinned genesis, and the session key signs it together with the bridge and the tenant. No other bridge can use it.

A login without an answer may have opened its session. Only this process has the key of that session, so the login is
tried again with another key.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

from processors.identity.issuers import speaks_for
from processors.identity.tokens.reasons import TokenRefusedError
from processors.identity.tokens.verify import claimed_issuer
from processors.proof import sealing
from processors.proof.sealing import SealingError
from processors.proof.signing import MalformedProofError, SignatureError
from processors.refusal import Refusal
from producers.home.keys import KeyPair
from producers.home.process import OfOneProcess
from producers.home.security import UNSECURED, Security
from producers.kafka.consuming import patiently, take, watermarks
from producers.kafka.followed_topic import RegistryError
from producers.kafka.login_messages import sealed_login, signed_login, verified_answer
from producers.kafka.outcomes import explain, next_step
from producers.kafka.registry_view import RegistryView
from schemas import codec, limits, topics
from schemas.errors import InputError, OutcomeError, UnavailableError
from schemas.events.logins import LoginAnswer
from schemas.reasons import Reason
from schemas.rows import KeyRow
from schemas.topics import KEYED_PARTITIONS, LOGIN_ANSWERS, LOGINS
from schemas.words import Outcome, Role

log = logging.getLogger(__name__)

LOGIN_SECONDS = 30.0
ATTEMPT_SECONDS = 8.0  # for one bridge to answer
STALE_SECONDS = 30.0  # an idle listener looks anew where the answers end
SEND_SECONDS = 10.0
# Refusals of this attempt alone. KEY_TAKEN: a bridge that restarted read the login a second time.
_TRY_AGAIN = frozenset({"LOGIN_BUSY", "LOGIN_LATE", "LOGIN_SILENT", str(Reason.KEY_TAKEN)})


class SessionRefusedError(OutcomeError):
    """A login was refused. `reason` is the stable code; no part of the token stands in the message."""

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class NoBridgeError(UnavailableError):
    """No bridge of the tenant speaks for the token's issuer, or none answers."""


class NotATokenError(InputError):
    """The text is not a token that names its issuer."""


@dataclass(frozen=True, slots=True)
class LoggedIn:
    """A session that a login has opened or renewed: its key, its principal, and its end (ms since the epoch)."""

    key: KeyPair = field(repr=False)
    principal_id: str
    expires_at: int


@dataclass(slots=True, eq=False)
class _Asked:
    key: KeyPair
    bridge: bytes
    login: bytes
    answer: Future[LoginAnswer] = field(default_factory=Future)


class Logins(OfOneProcess):
    """Logs in at the bridges of one tenant, any number of times. Thread-safe; one thread listens while logins wait."""

    def __init__(
        self,
        bootstrap: str,
        registry: RegistryView,
        *,
        tenant: str,
        genesis: bytes,
        security: Security = UNSECURED,
        session_key: Callable[[], KeyPair] = KeyPair.generate,
    ) -> None:
        """Connect when the first login is asked for. `registry` stays the caller's; `session_key` gives fresh keys."""
        self._registry, self._tenant, self._genesis = registry, tenant, genesis
        self._session_key = session_key
        self._settings = {**security, "bootstrap.servers": bootstrap, "log_level": 2}
        self._lock = threading.Lock()
        self._asked: dict[bytes, _Asked] = {}  # by session
        self._producer: Producer | None = None
        self._thread: threading.Thread | None = None
        self._listening, self._wake, self._stop = threading.Event(), threading.Event(), threading.Event()

    # ---- logging in

    def open(
        self, token: str, *, ttl_ms: int | None = None, provider: str | None = None, seconds: float = LOGIN_SECONDS
    ) -> LoggedIn:
        """Open a session with a token: for as long as the token lasts, at most `ttl_ms`.

        `provider` names the mapping of claims where several fit the token's issuer.

        Raises:
            NotATokenError: the text is not a token of bounded size that names its issuer.
            SessionRefusedError: a bridge or the log refused it.
            NoBridgeError: no bridge speaks for the issuer, or none answered within `seconds`.
            RegistryError, KafkaException, ForkedError.
        """
        return self._log_in(token, self._session_key, ttl_ms, provider, seconds, is_renewal=False)

    def renew(
        self, token: str, key: KeyPair, *, provider: str | None = None, seconds: float = LOGIN_SECONDS
    ) -> LoggedIn:
        """Let the open session of `key` live on with a newer token of the same subject. Raises as `open`."""
        return self._log_in(token, lambda: key, None, provider, seconds, is_renewal=True)

    def _log_in(
        self,
        token: str,
        key: Callable[[], KeyPair],
        ttl_ms: int | None,
        provider: str | None,
        seconds: float,
        *,
        is_renewal: bool,
    ) -> LoggedIn:
        self.check_process()
        try:
            issuer = claimed_issuer(token)
        except TokenRefusedError as exc:
            raise NotATokenError(f"the text is not a token to log in with: {exc}") from None
        until = time.monotonic() + seconds
        tried: list[bytes] = []
        why = "no bridge answered"
        while (left := until - time.monotonic()) > 0:
            kid, bridge = self._bridge(issuer, tried)
            tried.append(kid)
            pair = key()
            answer = self._attempt(
                token, pair, kid, bridge, ttl_ms, provider, min(left, ATTEMPT_SECONDS), is_renewal=is_renewal
            )
            if answer is None:
                why = f"the bridge {kid.hex()[:16]} did not answer"
            elif answer.outcome == Outcome.ACCEPTED and answer.principal_id is not None:
                return LoggedIn(pair, answer.principal_id, answer.expires_at or 0)
            elif answer.reason not in _TRY_AGAIN or (is_renewal and answer.reason == Reason.KEY_TAKEN):
                raise SessionRefusedError(_sentence(answer), reason=answer.reason)
            else:
                why = _sentence(answer)
                time.sleep(min(0.25, max(0.0, until - time.monotonic())))
        raise NoBridgeError(f"the login has no answer after {seconds:g} s: {why}; see whether a bridge runs")

    def _bridge(self, issuer: str, tried: list[bytes]) -> tuple[bytes, KeyRow]:
        """Return a live bridge that speaks for an issuer; first one that was not tried yet. Raises NoBridgeError."""
        self._registry.refresh()
        trust = self._registry.tables.providers.get(issuer.encode("utf-8", "surrogatepass"))
        if trust is None or trust.ended_at is not None:  # then no bridge of this tenant gets to read the token
            raise NoBridgeError(f"{self._tenant} does not trust the token's issuer: an admin runs `macaw idp trust`")
        rows = list(self._registry.tables.keys.rows.items())
        fitting = [
            (kid, row)
            for kid, row in rows
            if row.role == Role.BRIDGE
            and speaks_for(row.attributes, issuer)
            and self._registry.live_key(kid, Role.BRIDGE) is not None
        ]
        if not fitting:
            raise NoBridgeError(
                f"no bridge of {self._tenant} speaks for the token's issuer: an admin runs `macaw idp trust` and "
                "`macaw bridge register`"
            )
        fresh = [one for one in fitting if one[0] not in tried[-len(fitting) :]] or fitting
        return random.choice(fresh)  # noqa: S311 - it spreads load, and protects nothing

    def _attempt(
        self,
        token: str,
        pair: KeyPair,
        kid: bytes,
        bridge: KeyRow,
        ttl_ms: int | None,
        provider: str | None,
        seconds: float,
        *,
        is_renewal: bool,
    ) -> LoginAnswer | None:
        """Send one login to one bridge; return its answer, None without one in time."""
        login = signed_login(token, pair, self._genesis, kid, is_renewal=is_renewal, ttl_ms=ttl_ms, provider=provider)
        value, header = sealed_login(login, pair.kid, kid, bridge.x25519)
        asked = _Asked(pair, kid, sha256(value).digest())
        with self._lock:
            self._asked[pair.kid] = asked
        try:
            self._listen()
            self._send(pair.kid, value, header)
            return asked.answer.result(seconds)
        except FutureTimeoutError:
            return None
        finally:
            with self._lock:
                if self._asked.get(pair.kid) is asked:
                    del self._asked[pair.kid]

    def _send(self, session: bytes, value: bytes, header: bytes) -> None:
        """Append a login, without waiting for the broker's word: its answer is awaited. Raises KafkaException."""
        with self._lock:
            if self._producer is None:
                self._producer = Producer(
                    {
                        **self._settings,
                        "enable.idempotence": True,
                        "acks": "all",
                        "linger.ms": 0,
                        "message.max.bytes": limits.LOGIN_MESSAGE_BYTES_MAX,  # of a batch too, as Kafka counts
                        "message.timeout.ms": int(SEND_SECONDS * 1000),
                    }
                )
                # An idempotent producer without a connection asks for its id only twice a second.
                patiently(lambda: self._producer and self._producer.list_topics(LOGINS.of(self._tenant), timeout=5.0))
            self._producer.produce(
                LOGINS.of(self._tenant),
                value,
                key=session,
                partition=0,
                headers=[(sealing.PAYLOAD_HEADER, header)],
                on_delivery=_told,
            )
            self._producer.poll(0)

    # ---- listening

    def _listen(self) -> None:
        """See that the thread listens, from before the next login on. Raises KafkaException."""
        with self._lock:
            if self._stop.is_set():
                raise NoBridgeError("the logins of this client are closed: connect again")
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="logins", daemon=True)
                self._thread.start()
        self._wake.set()
        if not self._listening.wait(ATTEMPT_SECONDS):
            raise NoBridgeError("the brokers do not say where the answers to logins end: see whether they run")

    def _run(self) -> None:
        consumer = Consumer(
            {
                **self._settings,
                "group.id": topics.reader_group(self._tenant),
                "enable.auto.commit": False,
                "auto.offset.reset": "latest",
                "isolation.level": "read_committed",
                "fetch.wait.max.ms": 20,
            }
        )
        try:
            while not self._stop.is_set():
                if not self._asked:
                    self._wake.wait(1.0)
                    self._wake.clear()
                    continue
                self._hear(consumer)
        except KafkaException:
            log.exception("the answers to logins cannot be heard; the next login connects again")
        finally:
            self._listening.clear()
            consumer.close()

    def _hear(self, consumer: Consumer) -> None:
        """Hear answers until no login waits for a while."""
        topic = LOGIN_ANSWERS.of(self._tenant)
        ends = [watermarks(consumer, topic, partition)[1] for partition in range(KEYED_PARTITIONS)]
        consumer.assign([TopicPartition(topic, partition, end) for partition, end in enumerate(ends)])
        self._listening.set()
        idle_since = time.monotonic()
        while not self._stop.is_set():
            for message in take(consumer, 64, 0.05):
                if message.error() is None and message.key() in self._asked:
                    self._take(message)
            if self._asked:
                idle_since = time.monotonic()
            elif time.monotonic() - idle_since > 1.0:
                with self._lock:
                    if not self._asked:
                        self._listening.clear()
                        break
        consumer.unassign()

    def _take(self, message: Any) -> None:
        with self._lock:
            asked = self._asked.get(message.key())
        if asked is None:
            return
        try:
            answer = verified_answer(message, self._registry, self._genesis, asked.key, asked.bridge, asked.login)
        except RegistryError as exc:
            log.warning("an answer to a login cannot be judged now, and the login is tried again: %s", exc)
            return
        except (codec.SchemaError, Refusal, MalformedProofError, SignatureError, SealingError) as exc:
            log.warning("an answer to a login does not count: %s: %s", type(exc).__name__, exc)
            return
        if answer is not None and not asked.answer.done():
            asked.answer.set_result(answer)

    def close(self) -> None:
        """End the connections; logins that wait get no answer."""
        if self.is_elsewhere:
            return
        self._stop.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(5.0)


def _sentence(answer: LoginAnswer) -> str:
    parts = [f"the login was refused: {answer.reason}", explain(answer.reason), answer.detail, next_step(answer.reason)]
    return "; ".join(dict.fromkeys(part for part in parts if part))


def _told(error: Any, _: Any) -> None:
    if error is not None:
        log.warning("a login could not be sent: %s", error.str())
