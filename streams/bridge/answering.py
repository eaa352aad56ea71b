"""A bridge's answers to logins: each is signed by the bridge, and sealed to the session key that asked."""

from __future__ import annotations

import logging
import os
from hashlib import sha256
from typing import Any

from confluent_kafka import KafkaException, Producer

from processors.proof import sealing, signing
from processors.proof.sealing import SealingError
from processors.proof.signing import KID_HEADER, PROOF_HEADER, Place
from producers.home.keys import KeyPair
from producers.home.security import UNSECURED, Security
from schemas import codec, limits, topics
from schemas.events.logins import LoginAnswer, LoginAnswered
from schemas.topics import LOGIN_ANSWERS

log = logging.getLogger(__name__)

SEND_SECONDS = 15.0
FLUSH_SECONDS = 2.0


class LoginAnswers:
    """Answers the logins of one tenant. Thread-safe.

    An answer is not repeated: a client that hears none logs in again, with another session key.
    """

    def __init__(
        self, bootstrap: str, *, tenant: str, genesis: bytes, key: KeyPair, security: Security = UNSECURED
    ) -> None:
        self._topic, self._genesis, self._key = LOGIN_ANSWERS.of(tenant), genesis, key
        self._producer = Producer(
            {
                **security,
                "bootstrap.servers": bootstrap,
                "enable.idempotence": True,
                "acks": "all",
                "linger.ms": 0,
                "message.max.bytes": limits.LOGIN_MESSAGE_BYTES_MAX,  # of a batch too, as Kafka counts
                "message.timeout.ms": int(SEND_SECONDS * 1000),
                "log_level": 2,
            }
        )

    def give(self, session: bytes, x25519: bytes, login: bytes, answer: LoginAnswer) -> None:
        """Send the answer to a login: `login` is the digest of its record, `x25519` the key that opens the answer."""
        # Each client of the tenant reads this topic, and answers are few: a plain digest would tell who logged in.
        payload = os.urandom(sealing.SALT_BYTES) + codec.frame(answer)
        body = LoginAnswered(session=session, login=login, payload_sha256=sha256(payload).digest())
        schema, datum = codec.unframe(codec.frame(body))
        partition = topics.keyed_partition(session)
        place = Place.of(signing.LOGIN_ANSWER_TAG, self._genesis, self._topic, partition, schema.sha256)
        half = self._key.sealing
        try:
            sealed = sealing.seal(
                payload,
                half.public,
                [(session, half.shared_with(x25519))],
                content_key=os.urandom(sealing.KEY_BYTES),
                nonces=os.urandom(2 * sealing.NONCE_BYTES),
            )
        except SealingError as exc:
            log.warning("a login cannot be answered: %s", exc)
            return
        [proof] = self._key.signing.sign_leaves([place.leaf(datum)])
        headers = [(PROOF_HEADER, proof), (KID_HEADER, self._key.kid), (sealing.PAYLOAD_HEADER, sealed)]
        self._produce(session, schema.prefix + datum, headers, partition)

    def _produce(self, key: bytes, value: bytes, headers: list[tuple[str, bytes]], partition: int) -> None:
        try:
            self._producer.produce(
                self._topic, value, key=key, partition=partition, headers=list(headers), on_delivery=_told
            )
            self._producer.poll(0)
        except (BufferError, KafkaException) as exc:
            log.warning("an answer to a login is lost: %s", exc)

    def serve(self) -> None:
        """Serve the library's callbacks; call it now and then."""
        self._producer.poll(0)

    def close(self) -> None:
        """Send the queued answers, for at most FLUSH_SECONDS."""
        self._producer.flush(FLUSH_SECONDS)


def _told(error: Any, _: Any) -> None:
    if error is not None:
        log.warning("an answer to a login is lost: %s", error.str())
