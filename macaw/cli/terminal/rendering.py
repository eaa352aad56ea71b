"""Records of a tenant's topics as lines for people and as JSON for programs.

Sealed data stays sealed: only the size of a payload is shown. Keys on a topic are public ones.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from macaw.cli.terminal.output import jsonable, short
from processors.proof.sealing import PAYLOAD_HEADER
from processors.proof.signing import EVENT_TAG, NO_GENESIS, Place
from producers.kafka.consuming import headers_of
from schemas import codec
from schemas.events.enforcement import EnforcementSet
from schemas.events.engines import EngineActivated
from schemas.events.workflow import AttestationApproved, AttestationDenied
from schemas.records import (
    AuditEntry,
    DeadLetter,
    Decision,
    Event,
    InvocationRequested,
    PolicyPublished,
    PrincipalRegistered,
    PrincipalRevoked,
    Result,
    ResultReported,
    SessionOpened,
    TenantFounded,
)
from schemas.topics import INTAKE

IDS_SHOWN_MAX = 4


def time_of(milliseconds: int) -> str:
    """Return a time of the log as RFC 3339, in UTC and to the millisecond."""
    whole, rest = divmod(milliseconds, 1000)
    return f"{datetime.fromtimestamp(whole, UTC):%Y-%m-%dT%H:%M:%S}.{rest:03d}Z"


@dataclass(frozen=True, slots=True)
class Shown:
    """The parts of a line after its time and place."""

    kind: str
    who: str = ""
    leaf: bytes | None = None
    outcome: str = ""
    what: str = ""


class Renderer:
    """Renders records of one tenant; the genesis makes the leaf of an event, by which all others refer to it."""

    def __init__(self, tenant: str, genesis: bytes) -> None:
        self._tenant, self._genesis = tenant, genesis

    def line(self, message: Any) -> str:
        """Return one line. It holds text from agents unchanged: escape it before it is shown."""
        shown = self._shown(message)
        place = f"{message.partition()}/{message.offset()}"
        parts = (shown.kind, shown.who, short(shown.leaf) if shown.leaf else "", shown.outcome, shown.what)
        return "  ".join((time_of(message.timestamp()[1]), f"{place:>7}", *(part for part in parts if part)))

    def json(self, message: Any) -> dict[str, Any]:
        """Return all fields that are not sealed; bytes as hex."""
        found: dict[str, Any] = {
            "topic": message.topic(),
            "partition": message.partition(),
            "offset": message.offset(),
            "time": message.timestamp()[1],
            "key": jsonable(message.key()),
            "headers": [_header(name, value) for name, value in headers_of(message)],
        }
        value = message.value()
        if value is None:
            return {**found, "record": None}
        try:
            schema, record, leaf = self._decoded(value)
        except codec.SchemaError as exc:
            return {**found, "undecodable": exc.code, "value": value.hex()}
        if isinstance(record, Event):
            body = {"kind": type(record.body).__name__, **jsonable(record.body)}
            return {
                **found,
                "schema": schema,
                "leaf": leaf.hex(),
                "record": {"header": jsonable(record.header), "body": body},
            }
        return {**found, "schema": schema, "record": jsonable(record)}

    def _decoded(self, value: bytes) -> tuple[str, Any, bytes]:
        """Return (schema name, record, leaf as an event). Raises SchemaError."""
        schema, body = codec.unframe(value)
        record = codec.decode(schema, body)
        founding = isinstance(record, Event) and isinstance(record.body, TenantFounded)
        genesis = NO_GENESIS if founding else self._genesis
        place = Place.of(EVENT_TAG, genesis, INTAKE.of(self._tenant), 0, schema.sha256)
        return schema.name, record, place.leaf(body)

    def _shown(self, message: Any) -> Shown:
        value = message.value()
        if value is None:
            return Shown("forgotten", what=_key(message.key()))
        try:
            _, record, leaf = self._decoded(value)
        except codec.SchemaError as exc:
            return Shown("undecodable", outcome=exc.code, what=f"{len(value)} bytes")
        return _of_event(record, leaf) if isinstance(record, Event) else _of_output(record, message)


def _of_event(event: Event, leaf: bytes) -> Shown:
    return Shown(type(event.body).__name__, event.header.principal_id, leaf, what=_said(event.body))


def _of_output(record: Any, message: Any) -> Shown:
    match record:
        case Decision():
            told = record.reason, record.detail, _observed(record)
            what = " ".join(filter(None, (record.resource, *told)))
            shown = Shown("Decision", record.principal_id, record.event, record.outcome, what)
        case Result():
            what = " ".join(filter(None, (record.reason, record.detail)))
            shown = Shown("Result", f"to {short(record.to)}", record.event, record.outcome, what)
        case AuditEntry():
            observed = f"observed {record.observed}" if record.observed else ""
            what = " ".join(filter(None, (record.reason, record.fault, observed)))
            shown = Shown(f"#{record.index} {record.kind}", "", record.event, record.outcome, what)
        case DeadLetter():
            shown = Shown(f"#{record.audit_index} DeadLetter", outcome=record.reason, what=f"{record.size} bytes")
        case _:
            shown = Shown(type(record).__name__, what=_key(message.key()))
    return shown


def _observed(decision: Decision) -> str:
    """Return the answer that enforcement would have given, where observe mode or a break-glass allowed the call."""
    one = decision.observed
    return "" if one is None else f"observed {one.outcome} {one.reason} {one.detail}".rstrip()


def _said(body: object) -> str:
    """Return the gist of an event, without the parameters and results of calls."""
    match body:
        case InvocationRequested():
            said = body.resource
        case ResultReported():
            said = f"{body.outcome} for decision {short(body.decision)}"
        case SessionOpened():
            said = f"for {body.ttl_ms // 1000} s"
        case PrincipalRegistered():
            said = f"{body.role} {body.key.principal_id}"
        case PrincipalRevoked():
            said = f"{body.principal_id}: {body.reason}"
        case PolicyPublished():
            more = " …" if len(body.documents) > IDS_SHOWN_MAX else ""
            said = " ".join(map(_policy_id, body.documents[:IDS_SHOWN_MAX])) + more
        case EnforcementSet():
            thing = " ".join(filter(None, (body.scope, body.name, f"for {body.person}" if body.person else "")))
            said = f"{body.kind} {'on' if body.on else 'off'}: {thing}: {body.reason}"
        case EngineActivated():
            said = f"engine {body.engine}: {body.reason}"
        case TenantFounded():
            said = f"{body.deployment}/{body.tenant}"
        case _:
            said = _answer(body)
    return said


def _answer(body: object) -> str:
    """Return the gist of an answer to a request for approval, "" for any other event."""
    if not isinstance(body, (AttestationApproved, AttestationDenied)):
        return ""
    return f"{body.key}: said by {body.said_by}" if body.said_by else body.key


def _policy_id(document: str) -> str:
    # A refused document is shown too, so it may have any form.
    try:
        return str(json.loads(document)["policy_id"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return "?"


def _key(key: bytes | None) -> str:
    """Return a key as `table/name`, the name in hex where it is not text."""
    table, slash, name = (key or b"").partition(b"/")
    try:
        shown = name.decode("ascii")
    except UnicodeDecodeError:
        shown = name.hex()
    return f"{table.decode('ascii', 'backslashreplace')}{'/' if slash else ''}{shown}"


def _header(name: str, value: bytes | None) -> dict[str, Any]:
    if name == PAYLOAD_HEADER:
        return {"name": name, "sealed_bytes": len(value or b"")}
    return {"name": name, "value": jsonable(value)}
