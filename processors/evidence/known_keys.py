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
from schemas.events.logins import SessionRenewed
from schemas.events.tools import ToolsOffered
from schemas.reasons import Reason
from schemas.records import AuditEntry, Event, PrincipalRegistered, SessionOpened, SessionRevoked, TenantFounded
from schemas.words import Outcome

SESSION_KINDS = frozenset(
    {"SessionOpened", "SessionRenewed", "SessionClosed", "SessionRevoked", "LoginEnded", "ToolsOffered"}
)
SESSIONS_REMEMBERED = 2 * limits.LIMIT_CAP_TIMES * limits.SESSIONS_MAX  # those that may live, and as many that left


class KnownKeys:
    """The keys and sessions in the registry events of a folder, in the order of its entries."""

    def __init__(self) -> None:
        self._keys: set[bytes] = set()
        self._sessions: OrderedDict[bytes, None] = OrderedDict()
        self._is_whole = True

    def lose(self, *, is_renewal_gone: bool) -> None:
        """Note that the event of a session is not in the folder.

        A renewal that is gone may have been of any session: none that was opened before can be checked.
        """
        self._is_whole = False
        if is_renewal_gone:
            self._sessions.clear()

    def learn(self, event: Event) -> None:
        """Note the keys that a registry event of the folder brings."""
        body = event.body
        if not isinstance(body, SessionOpened | ToolsOffered):
            self._keys.update(map(kid_of, _keys_of(body)))
            return
        self._sessions[kid_of(body.key.ed25519)] = None  # the key of an offer goes with its session
        while len(self._sessions) > SESSIONS_REMEMBERED:
            self._sessions.popitem(last=False)

    def can_check(self, entry: AuditEntry, event: Event) -> bool:
        """Return True if a reader can check the event of an entry with the keys of the folder."""
        if self._is_whole:
            return True
        body, is_accepted = event.body, entry.outcome == Outcome.ACCEPTED
        if is_accepted and isinstance(body, SessionRevoked | SessionRenewed) and body.session not in self._sessions:
            return False
        return entry.reason == Reason.UNKNOWN_KEY or entry.event_kid in self._keys or entry.event_kid in self._sessions


def _keys_of(body: object) -> tuple[bytes, ...]:
    """Return the public keys that a registry event brings."""
    if isinstance(body, TenantFounded):
        shared = () if body.organisation_key is None else (body.organisation_key,)
        return (*body.root_keys, *shared, body.admin.ed25519, body.monitor.ed25519)
    if isinstance(body, PrincipalRegistered | KeyRotated):
        return (body.key.ed25519,)
    if isinstance(body, AdminAdded | RootRotated):
        act = codec.decode(codec.by_digest()[body.act[:32]], body.act[32:])
        return (act.admin.ed25519,) if isinstance(act, AdminAddition) else act.root_keys
    return ()
