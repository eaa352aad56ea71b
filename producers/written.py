"""A value of the vault is believed for its writer's signature, not for the word of whoever answers.

With a value come two events as they stood on intake: the `ContextWritten` that put it there, and the `SessionOpened`
that let the writer's key speak. The session may have left the registry long ago; the key that opened it never does.

What this proves: a session of the author has written this value under this key into this scope. What it cannot prove:
that the log has accepted the write, that nobody has written or deleted since (`producers.heads` sees some of that), and
that the key which opened the session was live when it did.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from processors.context.vault import OWN, chain_value
from processors.identity.registry import check_offer
from processors.intake.authority import MAY_SIGN
from processors.policy.names import PERSON_PREFIX
from processors.proof import jcs
from processors.refusal import Refusal
from producers.answers import UntrustedRecordError, carried_event
from producers.registry_view import RegistryView
from schemas import codec, limits
from schemas.records import Event, SessionOpened, SignedEvent
from schemas.rows import KeyRow
from schemas.words import Role
from schemas.workflow import ContextWritten

_HEX = re.compile(r"(?:[0-9a-f]{2})*")


class VaultForgedError(RuntimeError):
    """VAULT_FORGED: what is told of a value is not what its writer signed, or nothing shows that anybody did.

    Nothing of it is believed. The message says what does not fit; ask whoever runs the monitor.
    """

    reason = "VAULT_FORGED"

    def __init__(self, why: str) -> None:
        super().__init__(f"{self.reason}: {why}; the value is not believed: ask whoever runs the monitor")
        self.why = why


class Log(NamedTuple):
    """Whose log events were signed for."""

    tenant: str
    genesis: bytes


class Place(NamedTuple):
    """Where a value stands: in which log and scope, under which key, and which session asks for it."""

    tenant: str
    genesis: bytes
    scope: str
    scope_id: str
    key: str
    session_id: bytes

    @property
    def log(self) -> Log:
        """The log that it stands in."""
        return Log(self.tenant, self.genesis)


class Written(NamedTuple):
    """What a writer signed: a value, its author, and h of the scope's chain at its version."""

    value: Any
    author: str
    link: bytes


def check_written(
    told: Mapping[str, Any], place: Place, *, version: int, at: int, registry: RegistryView | None
) -> Written:
    """Return what the writer signed of the value that a reply tells at log time `at`. Requires a version above 0.

    Without a registry no session is believed but the one that asks.

    Raises:
        VaultForgedError: it is not what is told, or no session of the author has signed it.
        RegistryError: the registry cannot be read.
    """
    mine = _signed(told, "written").kid == place.session_id
    event, leaf, opening = signed_in_session(told, "written", place.log, registry=registry, known=mine)
    body = event.body
    if not isinstance(body, ContextWritten) or (body.scope, body.key) != (place.scope, place.key):
        raise VaultForgedError("the writer's event puts nothing under this key of this scope")
    if place.scope == OWN and not mine:
        raise VaultForgedError("another session has written into this session's memory")
    _check_time(event, body, at)
    value = _value(body.value)
    if "value" not in told or jcs.canonical(told["value"]) != jcs.canonical(value):
        raise VaultForgedError("the writer has signed another value than the one that is told")
    if told.get("author") != opening.principal_id:
        raise VaultForgedError("the writer is another than the author who is told")
    before = _bytes(told.get("before"), "before")
    link = chain_value(place.genesis, place.scope_id, before, version, place.key, leaf)
    return Written(value, opening.principal_id, link)


def signed_in_session(
    told: Mapping[str, Any], name: str, log: Log, *, registry: RegistryView | None, known: bool = False
) -> tuple[Event, bytes, SessionOpened]:
    """Return the event that a reply tells under `name`, its leaf, and how its session was `opened`, told beside it.

    `known`: it is the session that asks, so who opened it need not be looked up.

    Raises:
        VaultForgedError: no session that a registered key has opened has signed it.
        RegistryError: the registry cannot be read.
    """
    written, opened = _signed(told, name), _signed(told, "opened")
    opening, opened_event = _opening(opened, log, None if known else _opener(opened.kid, registry))
    event, leaf = _event(written, log, opening.key.ed25519, "the writer's event")
    _check_author(event, opening, written.kid, opened_event)
    return event, leaf, opening


def _opener(kid: bytes, registry: RegistryView | None) -> KeyRow:
    """Return the registered key that opened a session, also where it has ended since."""
    row = registry.key(kid) if registry is not None else None
    if row is None or row.role not in MAY_SIGN[SessionOpened]:
        raise VaultForgedError("no key of the registry has opened the writer's session")
    return row


def _opening(opened: SignedEvent, log: Log, opener: KeyRow | None) -> tuple[SessionOpened, Event]:
    """Return how a session was opened. Without an opener only its own key is looked at: it is the one that asks."""
    if opener is None:
        event = _decoded(opened)
    else:
        event, _ = _event(opened, log, opener.ed25519, "the opening of the writer's session")
    body = event.body
    if not isinstance(body, SessionOpened) or body.key.principal_id != body.principal_id:
        raise VaultForgedError("what is shown beside the writer's event opens no session")
    try:
        check_offer(body.key, Role.SESSION, log.genesis)
    except Refusal as exc:
        raise VaultForgedError(f"the key of the writer's session: {exc.reason}") from exc
    if opener is not None:
        speaks = body.principal_id == opener.principal_id
        if opener.role == Role.BRIDGE:
            speaks = body.principal_id.startswith(PERSON_PREFIX)
        if not speaks or event.header.principal_id != opener.principal_id:
            raise VaultForgedError("the key that opened the writer's session does not speak for the author")
    return body, event


def _check_author(event: Event, opening: SessionOpened, kid: bytes, opened: Event) -> None:
    """The event speaks for its own session, in that session's time."""
    if (event.header.principal_id, event.header.session_id) != (opening.principal_id, kid):
        raise VaultForgedError("the writer's event speaks for another principal or session")
    late = limits.ISSUED_BEHIND_MS_MAX + limits.ISSUED_AHEAD_MS_MAX  # of the one event to the log, and the other before
    since = event.header.issued_at - opened.header.issued_at
    if not -late <= since <= opening.ttl_ms + late:
        raise VaultForgedError("the writer's session was not open when the event was issued")


def _check_time(event: Event, body: ContextWritten, at: int) -> None:
    if body.ttl_ms is not None and at >= event.header.issued_at + limits.ISSUED_BEHIND_MS_MAX + body.ttl_ms:
        raise VaultForgedError("the value's time is over")


def _signed(told: Mapping[str, Any], name: str) -> SignedEvent:
    found = told.get(name)
    if not isinstance(found, dict):
        raise VaultForgedError(f"the reply holds no {name!r} event")
    event, proof, kid = (_bytes(found.get(part), f"{name}.{part}") for part in ("event", "proof", "kid"))
    return SignedEvent(event=event, proof=proof, kid=kid)


def _bytes(found: object, name: str) -> bytes:
    if not (isinstance(found, str) and _HEX.fullmatch(found)):
        raise VaultForgedError(f"the reply holds no bytes {name!r}")
    return bytes.fromhex(found)


def _event(signed: SignedEvent, log: Log, ed25519: bytes, what: str) -> tuple[Event, bytes]:
    try:
        return carried_event(signed, ed25519, tenant=log.tenant, genesis=log.genesis)
    except UntrustedRecordError as exc:
        raise VaultForgedError(f"{what}: {exc}") from exc


def _decoded(signed: SignedEvent) -> Event:
    try:
        event: Event = codec.decode_as(Event, signed.event)
    except codec.SchemaError as exc:
        raise VaultForgedError(f"the opening of the writer's session: {exc.code}") from exc
    return event


def _value(text: str) -> jcs.JSONValue:
    try:
        return jcs.parse_strict(text.encode("utf-8", "surrogatepass"))
    except jcs.MalformedJSONError as exc:
        raise VaultForgedError("the writer has signed no strict JSON") from exc
