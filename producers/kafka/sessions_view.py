"""Sessions as a tool host sees them: which session a call or an approval comes from, and whether it was ended.

A caller's session comes with its call, as the signed event that opened it and the one that renewed it, if it was
renewed, and is verified by these. The `sessions` topic can only take away: any record under `ended/<id>`, of any
content, ends a session here for good. So this view keeps the ids of ended sessions and nothing of open ones. The
session of an approver is looked up on its partition.

A monitor that leaves out an end is not noticed: the session's key can then sign calls until its signed time is over.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from hashlib import sha256
from typing import Any, NamedTuple

from processors.proof.signing import KID_HEADER, PROOF_HEADER
from processors.refusal import Refusal
from producers.home.clock import clock_ms
from producers.home.security import Security
from producers.kafka.consuming import headers_of
from producers.kafka.digests import Digests
from producers.kafka.followed_topic import FollowedTopic, RegistryError
from producers.kafka.registry_view import RegistryView
from schemas import limits, topics
from schemas.records import SignedEvent
from schemas.rows import SessionRow
from schemas.words import SessionKind

log = logging.getLogger(__name__)

LOOKUP_SECONDS = 30.0
VERIFIED_MAX = 1024  # sessions whose opening was verified; each with the attributes of its principal
# No session lives longer after its end was read, wherever the clocks of its opener and of the log stood.
KEPT_SECONDS = (limits.SESSION_TTL_MS_MAX + 3_600_000) / 1000
ENDED_MAX = 10_000_000  # within that time, about 200 MB of digests; a host of a log with more refuses all calls


class _Verified(NamedTuple):
    """A session with a verified opening, and perhaps a renewal: the digest of these events, and the row."""

    proof: bytes
    row: SessionRow


class SessionsView:
    """The sessions of one tenant. Thread-safe. No answer is older than FRESH_SECONDS."""

    def __init__(self, registry: RegistryView, bootstrap: str, *, tenant: str, security: Security) -> None:
        self._begin(registry)
        self._topic = FollowedTopic(bootstrap, topics.SESSIONS, tenant, self._fold, security)

    def _begin(self, registry: RegistryView) -> None:
        self._registry = registry
        self._lock = threading.Lock()
        self._verified: OrderedDict[bytes, _Verified] = OrderedDict()
        self._ended, self._ended_before = Digests(), Digests()
        self._ended_since = time.monotonic()

    def close(self) -> None:
        """End the connection."""
        self._topic.close()

    def refresh(self) -> None:
        """Read the ends of sessions up to now. Raises RegistryError, LogSetBackError, ForkedError."""
        self._topic.refresh()

    def is_ended(self, session_id: bytes) -> bool:
        """Whether a session was ended before its time, as of FRESH_SECONDS ago or later.

        Raises:
            RegistryError: the ends of sessions cannot be read, so the answer is not known.
            LogSetBackError, ForkedError.
        """
        self._topic.freshen()
        with self._lock:
            if len(self._ended) >= ENDED_MAX:
                raise RegistryError(
                    f"{self._topic.name} holds more than {ENDED_MAX} ends of sessions within a day, more than a host "
                    "keeps: see who writes there"
                )
            return session_id in self._ended or session_id in self._ended_before

    def of_call(
        self, session_id: bytes, opened: SignedEvent | None, renewed: SignedEvent | None = None
    ) -> SessionRow | None:
        """Return the session that a call comes from, unless it was ended before its time.

        `opened` and `renewed` are the events that came with the call. One that does not hold, or is about another
        session, makes the call nobody's. The caller of this method checks the session's time to live.

        Raises:
            RegistryError: the registry or the ends of sessions cannot be read, so the answer is not known.
        """
        if opened is None or self.is_ended(session_id):
            return None
        known = self._remembered(session_id)
        if known is not None and known.proof == _digest_of(opened, renewed):
            return known.row if self._registry.still_counts(known.row) else None
        return self._judged(session_id, opened, renewed, None)

    def that_signed(self, session_id: bytes) -> SessionRow | None:
        """Return a session as it is now, also if it has ended: events that it signed before keep their signer.

        Raises:
            RegistryError: the registry or the session's partition cannot be read.
        """
        is_ended = self.is_ended(session_id)
        known = self._remembered(session_id)
        # After its time it may have been renewed: what it signed since then counts.
        if known is not None and not is_ended and clock_ms() < known.row.expires_at:
            return known.row if self._registry.still_counts(known.row) else None
        session, renewal, end = (
            topics.named_key(kind, session_id) for kind in (SessionKind.SESSION, SessionKind.RENEWED, SessionKind.ENDED)
        )
        partition = topics.keyed_partition(session_id)
        found = self._topic.last_of(partition, {session, renewal, end}, seconds=LOOKUP_SECONDS)
        opened, renewed = _signed(found.get(session)), _signed(found.get(renewal))
        if opened is None:
            return None
        # Without the event of its end it counts as revoked: what does not end a session is judged as a revocation.
        ended = (_signed(found.get(end)) or opened) if is_ended or end in found else None
        return self._judged(session_id, opened, renewed, ended)

    def _judged(
        self, session_id: bytes, opened: SignedEvent, renewed: SignedEvent | None, ended: SignedEvent | None
    ) -> SessionRow | None:
        try:
            found_id, row = self._registry.session_opened(opened, ended, renewed=renewed)
        except Refusal as refusal:
            log.warning("session %s does not count: %s %s", session_id.hex(), refusal.reason, refusal.detail)
            return None
        if found_id != session_id:
            log.warning("session %s is not opened: the event opens session %s", session_id.hex(), found_id.hex())
            return None
        if ended is None:
            with self._lock:
                self._verified[session_id] = _Verified(_digest_of(opened, renewed), row)
                if len(self._verified) > VERIFIED_MAX:
                    self._verified.popitem(last=False)
        return row

    def _remembered(self, session_id: bytes) -> _Verified | None:
        with self._lock:
            known = self._verified.get(session_id)
            if known is not None:
                self._verified.move_to_end(session_id)
            return known

    def _fold(self, message: Any) -> None:
        kind, _, name = (message.key() or b"").decode(errors="backslashreplace").partition("/")
        if kind != SessionKind.ENDED:
            return
        try:
            session_id = bytes.fromhex(name)
        except ValueError:
            return
        if len(session_id) == Digests.SIZE:
            self._note_end(session_id)

    def _note_end(self, session_id: bytes) -> None:
        with self._lock:
            now = time.monotonic()
            if now - self._ended_since > KEPT_SECONDS:
                self._ended, self._ended_before, self._ended_since = Digests(), self._ended, now
            if len(self._ended) < ENDED_MAX:  # a full set answers nothing
                self._ended.add(session_id)


def _digest_of(opened: SignedEvent, renewed: SignedEvent | None) -> bytes:
    """Return the digest of the events by which a session was judged."""
    digest = sha256(sha256(opened.event).digest())
    if renewed is not None:
        digest.update(sha256(renewed.event).digest())
    return digest.digest()


def _signed(message: Any) -> SignedEvent | None:
    """Return the event in a record of the topic, None without one, or without a proof and a kid."""
    value = None if message is None else message.value()
    if value is None:
        return None
    found = headers_of(message)
    proof, kid = ([v for n, v in found if n == name] for name in (PROOF_HEADER, KID_HEADER))
    if len(proof) != 1 or len(kid) != 1 or proof[0] is None or kid[0] is None:
        return None
    return SignedEvent(event=value, proof=proof[0], kid=kid[0])
