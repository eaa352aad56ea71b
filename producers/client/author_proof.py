"""A value of the vault is believed for its author's signature, not because the log's answer says so.

Each value comes with two events as they stood on intake: the `ContextWritten` that put it there, and the
`SessionOpened` that opened its author's session. The session may have left the registry since; the key that opened it
never does.

Proven: a session of the author has written this value under this key into this scope. Not proven: that the log accepted
the write, that the value was not changed or deleted since (`producers.home.heads` sees some of that), and that the
opening key was live at that time.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from processors.context.vault import OWN, chain_value
from processors.identity.issuers import is_provided
from processors.identity.login_proof import check_key
from processors.intake.authority import MAY_SIGN
from processors.policy.names import PERSON_PREFIX, WORKLOAD_PREFIX
from processors.proof import jcs
from processors.refusal import Refusal
from producers.kafka.registry_view import RegistryView
from producers.kafka.verified import UntrustedRecordError, carried_event
from schemas import codec, limits
from schemas.errors import EvidenceError
from schemas.events.bodies import BodyReference
from schemas.events.workflow import ContextWritten
from schemas.records import Event, SessionOpened, SignedEvent
from schemas.rows import KeyRow
from schemas.words import Role

_HEX = re.compile(r"(?:[0-9a-f]{2})*")


class VaultForgedError(EvidenceError):
    """VAULT_FORGED: a value is shown in another form than its author signed, or without any proof.

    The value is not believed. The message says which part does not fit; ask the operator of the monitor.
    """

    reason = "VAULT_FORGED"

    def __init__(self, why: str) -> None:
        super().__init__(f"{self.reason}: {why}; the value is not believed: ask the operator of the monitor")
        self.why = why


class LogIdentity(NamedTuple):
    """The log for which events were signed: its tenant and genesis."""

    tenant: str
    genesis: bytes


class ValuePlace(NamedTuple):
    """The place of a value: its log and scope, its key, and the session that asks for it."""

    tenant: str
    genesis: bytes
    scope: str
    scope_id: str
    key: str
    session_id: bytes

    @property
    def log(self) -> LogIdentity:
        """The log in which it stands."""
        return LogIdentity(self.tenant, self.genesis)


class ProvenValue(NamedTuple):
    """The signed parts of a value: the value itself, its author, and h of the scope's chain at its version."""

    value: Any
    author: str
    link: bytes
    bodies: tuple[BodyReference, ...] = ()  # `value` names the one that stands for it
    issued_at: int = 0


def check_written(
    reply: Mapping[str, Any], place: ValuePlace, *, version: int, at: int, registry: RegistryView
) -> ProvenValue:
    """Return the value that its author signed, from a reply at log time `at`. Requires a version above 0.

    Raises:
        VaultForgedError: the reply differs from it, or no session of the author has signed it.
        RegistryError: the registry cannot be read.
    """
    mine = _signed(reply, "written").kid == place.session_id
    event, leaf, opening = signed_in_session(reply, "written", place.log, registry=registry, known=mine)
    body = event.body
    if not isinstance(body, ContextWritten) or (body.scope, body.key) != (place.scope, place.key):
        raise VaultForgedError("the writer's event is about another key or scope")
    if place.scope == OWN and not mine:
        raise VaultForgedError("another session has written into this session's memory")
    _check_time(event, body, at)
    value = _value(body.value)
    if "value" not in reply or jcs.canonical(reply["value"]) != jcs.canonical(value):
        raise VaultForgedError("the writer has signed another value than the reply holds")
    if reply.get("author") != opening.principal_id:
        raise VaultForgedError("the reply names another author than the writer")
    before = _bytes(reply.get("before"), "before")
    link = chain_value(place.genesis, place.scope_id, before, version, place.key, leaf)
    return ProvenValue(value, opening.principal_id, link, body.bodies, event.header.issued_at)


def signed_in_session(
    reply: Mapping[str, Any], name: str, log: LogIdentity, *, registry: RegistryView, known: bool = False
) -> tuple[Event, bytes, SessionOpened]:
    """Return the event under `name` in a reply, its leaf, and the opening of its session, from the reply's `opened`.

    With `known` it is the session that asks, so the key that opened it need not be looked up.

    Raises:
        VaultForgedError: no session that a registered key has opened has signed it.
        RegistryError: the registry cannot be read.
    """
    written, opened = _signed(reply, name), _signed(reply, "opened")
    opening, opened_event = _opening(opened, log, None if known else _opener(opened.kid, registry))
    event, leaf = _event(written, log, opening.key.ed25519, "the writer's event")
    _check_author(event, opening, written.kid, opened_event)
    return event, leaf, opening


def _opener(kid: bytes, registry: RegistryView) -> KeyRow:
    """Return the registered key that opened a session, also if the session has ended."""
    row = registry.key(kid)
    if row is None or row.role not in MAY_SIGN[SessionOpened]:
        raise VaultForgedError("no key of the registry has opened the writer's session")
    return row


def _opening(opened: SignedEvent, log: LogIdentity, opener: KeyRow | None) -> tuple[SessionOpened, Event]:
    """Return the opening of a session. Without an opener, for the session that asks, only its own key is checked."""
    if opener is None:
        event = _decoded(opened)
    else:
        event, _ = _event(opened, log, opener.ed25519, "the opening of the writer's session")
    body = event.body
    if not isinstance(body, SessionOpened) or body.key.principal_id != body.principal_id:
        raise VaultForgedError("the event beside the writer's does not open a session")
    try:
        check_key(log.genesis, opened.kid, body)
    except Refusal as exc:
        raise VaultForgedError(f"the key of the writer's session: {exc.reason}") from exc
    if opener is not None:
        speaks = body.principal_id == opener.principal_id
        if opener.role == Role.BRIDGE:
            speaks = body.principal_id.startswith((PERSON_PREFIX, WORKLOAD_PREFIX))
        if not speaks or event.header.principal_id != opener.principal_id:
            raise VaultForgedError("the key that opened the writer's session does not speak for the author")
    return body, event


def _check_author(event: Event, opening: SessionOpened, kid: bytes, opened: Event) -> None:
    """Check that an event speaks for its own session, within that session's time. Raises VaultForgedError."""
    if (event.header.principal_id, event.header.session_id) != (opening.principal_id, kid):
        raise VaultForgedError("the writer's event speaks for another principal or session")
    # One of the two events may come late to the log, and the other be issued ahead of it.
    late = limits.ISSUED_BEHIND_MS_MAX + limits.ISSUED_AHEAD_MS_MAX
    since = event.header.issued_at - opened.header.issued_at
    # A session of a provider may have been renewed since: its key speaks for a day at most (docs/wire.md 17).
    lasts_ms = limits.SESSION_TTL_MS_MAX if is_provided(opening.issuer) else opening.ttl_ms
    if not -late <= since <= lasts_ms + late:
        raise VaultForgedError("the writer's session was not open when the event was issued")


def _check_time(event: Event, body: ContextWritten, at: int) -> None:
    if body.ttl_ms is not None and at >= event.header.issued_at + limits.ISSUED_BEHIND_MS_MAX + body.ttl_ms:
        raise VaultForgedError("the value's time is over")


def _signed(reply: Mapping[str, Any], name: str) -> SignedEvent:
    found = reply.get(name)
    if not isinstance(found, dict):
        raise VaultForgedError(f"the reply holds no {name!r} event")
    event, proof, kid = (_bytes(found.get(part), f"{name}.{part}") for part in ("event", "proof", "kid"))
    return SignedEvent(event=event, proof=proof, kid=kid)


def _bytes(found: object, name: str) -> bytes:
    if not (isinstance(found, str) and _HEX.fullmatch(found)):
        raise VaultForgedError(f"the reply holds no hexadecimal text {name!r}")
    return bytes.fromhex(found)


def _event(signed: SignedEvent, log: LogIdentity, ed25519: bytes, what: str) -> tuple[Event, bytes]:
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
        raise VaultForgedError("the value that the writer signed is not strict JSON") from exc
