"""Rotation of the half of a key that opens payloads, by the key itself: its kid stays the same."""

from __future__ import annotations

import os
from pathlib import Path

from processors.proof.sealing import SealingKey
from producers.home.keys import KeyPair
from producers.home.keystores.stores import NEW
from producers.kafka.connection import CONTROL_SECONDS, Connection
from producers.kafka.outcomes import NoAnswerError, RefusedError
from schemas.errors import UnavailableError
from schemas.events.keys import KeyRotated
from schemas.rows import KeyRow

OVERTAKEN_SECONDS = (3.0, 6.0)  # after each a rotation that was not answered is published once more


class RotationBusyError(UnavailableError):
    """Another rotation of the same key is under way."""


def rotate_sealing(connection: Connection, path: Path, *, reason: str) -> KeyRow:
    """Replace the opening half of the connection's key, which lies in `path`, and return the key's row from before.

    The half before is kept for a day. A running host, client or bridge finds the new half by itself. A run that was
    interrupted is gone on with. Requires a registered key.

    Raises:
        RefusedError: the log refused it; the new half is discarded.
        KeyStaysError: the key lies on a token.
        RotationBusyError: an admin rotates the whole key meanwhile.
        NoAnswerError, PublishError: no answer came; run again to go on.
    """
    keys, pair = connection.tenant.keys, connection.key
    row = connection.registry.key(pair.kid)
    assert row is not None
    new = path.with_name(path.name + NEW)
    if not new.exists():
        fresh = KeyPair(pair.signing, SealingKey.from_secret(os.urandom(32)))
        keys.put(new, fresh, keys.facts(path).store)
    if keys.facts(new).kid != pair.kid:
        raise RotationBusyError(
            f"{new} is the successor of an admin's rotation, which is under way: nothing was changed"
        )
    fresh = keys.load(new)
    if row.x25519 != fresh.sealing.public:
        offer = fresh.offer(row.role, row.principal_id, connection.genesis)
        try:
            _ask_beside_a_host(connection, pair.kid, KeyRotated(kid=pair.kid, key=offer, reason=reason))
        except RefusedError:
            keys.discard(new)
            raise
    keys.succeed(path)
    return row


def _ask_beside_a_host(connection: Connection, kid: bytes, body: KeyRotated) -> None:
    """Publish the rotation of a key that a running host signs with too, again if it was overtaken.

    A report of the host that is appended first has the higher sequence number, and the log answers no event that comes
    behind it. Raises as `Connection.ask`.
    """
    for seconds in (*OVERTAKEN_SECONDS, CONTROL_SECONDS):
        try:
            connection.ask(body, seconds=seconds)
        except (NoAnswerError, RefusedError) as exc:
            connection.registry.refresh()
            row = connection.registry.key(kid)
            if row is not None and row.x25519 == body.key.x25519:
                return  # an earlier one counted, and its answer was late
            if seconds == CONTROL_SECONDS or isinstance(exc, RefusedError):
                raise
        else:
            return
