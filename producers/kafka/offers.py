"""The offers of sessions as their callers know them: the executor of a call, its key, and its declaration.

The log tells which session offers an operation, and gives the events that prove it: its offer, signed by the session,
and of a program the opening of that session, signed by a key of the registry. Both are verified here, so that a monitor
alone cannot put a key of its own in the place of the tool's. A person's session is named by its id, which is the digest
of its key.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from processors.identity.offers import may_offer
from processors.proof.signing import kid_of
from processors.refusal import Refusal
from producers.kafka.registry_view import RegistryView
from producers.kafka.verified import UntrustedRecordError, carried_event
from schemas.events.tools import ToolDeclaration, ToolsOffered
from schemas.records import SignedEvent

KEPT_MAX = 4096
FRESH_SECONDS = 2.0  # for so long the newest instance of a name is not asked for again
_FIELDS = ("event", "proof", "kid")


@dataclass(frozen=True, slots=True)
class Offered:
    """One session that offers tools. Nothing here is secret."""

    session_id: bytes
    principal_id: str
    kid: bytes
    ed25519: bytes
    x25519: bytes
    label: str
    declared: Mapping[str, ToolDeclaration]

    @property
    def recipients(self) -> tuple[tuple[bytes, bytes], ...]:
        """The kid and the X25519 key to which bodies of its calls are sealed."""
        return ((self.kid, self.x25519),)


class OfferBook:
    """The offers of a tenant as one process knows them. Thread-safe; it asks no broker by itself."""

    def __init__(self, registry: RegistryView, *, tenant: str, genesis: bytes) -> None:
        self._registry, self._tenant, self._genesis = registry, tenant, genesis
        self._lock = threading.Lock()
        self._by_session: OrderedDict[bytes, Offered] = OrderedDict()
        self._newest: OrderedDict[str, tuple[float, Offered]] = OrderedDict()
        self._secretive: OrderedDict[str, ToolDeclaration] = OrderedDict()  # also of instances that have gone

    def of_session(self, session_id: bytes, resource: str) -> Offered | None:
        """Return a session's offer as far as it is known, None if it is not known to hold the operation."""
        with self._lock:
            found = self._by_session.get(session_id)
        return found if found is not None and resource in found.declared else None

    def newest(self, resource: str) -> Offered | None:
        """Return the newest instance that offers an operation, None if that was not asked lately."""
        with self._lock:
            found = self._newest.get(resource)
        return found[1] if found is not None and time.monotonic() - found[0] < FRESH_SECONDS else None

    def secretive(self, resource: str) -> ToolDeclaration | None:
        """Return how some instance has declared an operation with secrets, also if it is gone; None without one."""
        with self._lock:
            return self._secretive.get(resource)

    def forget(self, resource: str, session_id: bytes) -> None:
        """Forget that this session executes the operation, so that the log is asked again."""
        with self._lock:
            self._by_session.pop(session_id, None)
            self._newest.pop(resource, None)

    def take(self, told: Mapping[str, Any], resource: str | None = None, *, session_id: bytes | None = None) -> Offered:
        """Take over the log's answer about one instance; with `resource` it is the newest that offers this.

        `session_id` is the session that was asked for: no other one takes its calls, secrets and bodies.

        Raises:
            UntrustedRecordError: the events do not prove the answer.
            RegistryError: the registry cannot be read.
        """
        offered = self._verified(told, resource)
        if session_id is not None and offered.session_id != session_id:
            raise UntrustedRecordError("the log's answer is about another session than the one that was asked for")
        with self._lock:
            _keep(self._by_session, offered.session_id, offered)
            for declared in offered.declared.values():
                if declared.opaque_paths:
                    _keep(self._secretive, declared.resource, declared)
            if resource is not None:
                _keep(self._newest, resource, (time.monotonic(), offered))
        return offered

    def _check_opened(self, opened: SignedEvent, session_id: bytes, principal_id: str, resource: str | None) -> None:
        """Raise UntrustedRecordError unless a key of the registry has opened this session for this principal.

        As the owner of a resource it counts only where its registration lets its sessions offer that name.
        """
        try:
            found_id, row = self._registry.session_opened(opened)
        except Refusal as refusal:
            raise UntrustedRecordError(f"the session of an instance does not count: {refusal.reason}") from refusal
        if (found_id, row.principal_id) != (session_id, principal_id):
            raise UntrustedRecordError("the opening of an instance's session is that of another one")
        tables, patterns = self._registry.tables, row.attributes.offers
        if resource is not None and not may_offer(tables, principal_id, patterns, resource):
            raise UntrustedRecordError("the registration of an instance does not let it offer this name")

    def _verified(self, told: Mapping[str, Any], resource: str | None) -> Offered:
        try:
            session_id, ed25519 = bytes.fromhex(told["session"]), bytes.fromhex(told["ed25519"])
            opened, signed = _signed(told["opened"]), _signed(told["offered"])
        except (KeyError, TypeError, ValueError) as exc:
            raise UntrustedRecordError(f"the log's answer about an instance is malformed: {exc!r}") from exc
        if signed is None or signed.kid != session_id:
            raise UntrustedRecordError("the offer of an instance is another session's")
        # A session id is the digest of the session's key, so the offer is that of the session that was asked for.
        event, _ = carried_event(signed, ed25519, tenant=self._tenant, genesis=self._genesis)
        body = event.body
        if not isinstance(body, ToolsOffered) or body.key.principal_id != event.header.principal_id:
            raise UntrustedRecordError("the event about an instance is no offer of its principal")
        if opened is not None:
            self._check_opened(opened, session_id, event.header.principal_id, resource)
        elif resource is not None:
            raise UntrustedRecordError("nothing proves that the session is one of the owner")
        return Offered(
            session_id=session_id,
            principal_id=event.header.principal_id,
            kid=kid_of(body.key.ed25519),
            ed25519=body.key.ed25519,
            x25519=body.key.x25519,
            label=body.label,
            declared={one.resource: one for one in body.tools},
        )


def _signed(told: Any) -> SignedEvent | None:
    if told is None:
        return None
    return SignedEvent(**{name: bytes.fromhex(told[name]) for name in _FIELDS})


def _keep(kept: OrderedDict[Any, Any], key: Any, value: Any) -> None:
    kept[key] = value
    kept.move_to_end(key)
    while len(kept) > KEPT_MAX:
        kept.popitem(last=False)
