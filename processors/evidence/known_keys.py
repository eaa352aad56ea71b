"""The keys that a reader of a folder will know, where events of sessions are gone.

Keys never leave the registry, sessions do. An export without the archive of a trimmed intake lacks the openings of
sessions that have left; no reader can check the signatures of such a session, so its events stay out of the folder as
well, and count as absent.
"""

from __future__ import annotations

from collections import OrderedDict

from processors.proof.signing import kid_of
from schemas import codec, limits
from schemas.events.keys import AdminAdded, AdminAddition, KeyRotated, RootRotated
from schemas.reasons import Reason
from schemas.records import AuditEntry, Event, PrincipalRegistered, SessionOpened, SessionRevoked, TenantFounded

SESSION_KINDS = frozenset({"SessionOpened", "SessionClosed", "SessionRevoked"})
SESSIONS_REMEMBERED = 2 * limits.SESSIONS_MAX  # those that may live, and as many that have left


class KnownKeys:
    """The keys and sessions in the registry events of a folder, in the order of its entries."""

    def __init__(self) -> None:
        self._keys: set[bytes] = set()
        self._sessions: OrderedDict[bytes, None] = OrderedDict()
        self._is_whole = True

    def lose(self) -> None:
        """Note that the event of a session is not in the folder."""
        self._is_whole = False

    def learn(self, event: Event) -> None:
        """Note the keys that a registry event of the folder brings."""
        body = event.body
        if isinstance(body, SessionOpened):
            self._sessions[kid_of(body.key.ed25519)] = None
            while len(self._sessions) > SESSIONS_REMEMBERED:
                self._sessions.popitem(last=False)
            return
        self._keys.update(map(kid_of, _keys_of(body)))

    def can_check(self, entry: AuditEntry, event: Event) -> bool:
        """Return True if a reader can check the event of an entry with the keys of the folder."""
        if self._is_whole:
            return True
        if isinstance(event.body, SessionRevoked) and event.body.session not in self._sessions:
            return False
        return entry.reason == Reason.UNKNOWN_KEY or entry.event_kid in self._keys or entry.event_kid in self._sessions


def _keys_of(body: object) -> tuple[bytes, ...]:
    """Return the public keys that a registry event brings."""
    if isinstance(body, TenantFounded):
        return (*body.root_keys, body.admin.ed25519, body.monitor.ed25519)
    if isinstance(body, PrincipalRegistered | KeyRotated):
        return (body.key.ed25519,)
    if isinstance(body, AdminAdded | RootRotated):
        act = codec.decode(codec.by_digest()[body.act[:32]], body.act[32:])
        return (act.admin.ed25519,) if isinstance(act, AdminAddition) else act.root_keys
    return ()
