"""The records of gaps on the log: read, checked for holes, and listed by call.

A record counts if a session of the server's own program has signed it. Sessions leave the log after two days; a later
reader says so of their records, and still checks the chain.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any, NamedTuple

from macaw.gateway.gap_journal import JournalError, check_chain, first_head, head_of
from macaw.gateway.gaps import GAP_EVENT
from processors.proof import jcs
from processors.proof.signing import KID_HEADER, PROOF_HEADER
from producers.home.home import Home, TenantHome
from producers.kafka.consuming import headers_of
from producers.kafka.registry_view import RegistryView
from producers.kafka.sessions_view import SessionsView
from producers.kafka.verified import UntrustedRecordError, carried_event
from schemas import codec
from schemas.events.workflow import ApplicationEventLogged
from schemas.records import Event, SignedEvent
from schemas.topics import INTAKE
from streams.history.topics import TopicReader


class UndecidedCall(NamedTuple):
    """A call that ran without a decision. `outcome` is the gateway's word, empty where it does not know."""

    line: int
    at: int
    principal_id: str
    resource: str
    parameters: str
    outcome: str
    is_signed: bool


class FoundGaps(NamedTuple):
    """The calls in order, and the faults of their chain."""

    calls: tuple[UndecidedCall, ...]
    faults: tuple[str, ...]


class GapRecord(NamedTuple):
    """The content of a record, and whether a session of the server's program is known to have signed it."""

    said: Mapping[str, Any]
    is_signed: bool


def read_gaps(home: Home, folder: TenantHome, server: str) -> FoundGaps:
    """Return the gaps of a server that intake still has. Raises RegistryError, ReadTimeoutError."""
    with closing(RegistryView.of(home, folder)) as registry:
        sessions = SessionsView(registry, home.bootstrap, tenant=folder.tenant, security=home.security)
        with closing(sessions):
            records = list(_records(home, folder, server, sessions))
    return joined(records, first=first_head(folder.genesis, server))


def _records(home: Home, folder: TenantHome, server: str, sessions: SessionsView) -> Iterator[GapRecord]:
    with TopicReader(home.bootstrap, INTAKE, folder.tenant, security=home.security) as reader:
        for message in reader.all():
            try:
                event: Event = codec.decode_as(Event, message.value() or b"")
            except codec.SchemaError:
                continue  # others may write there: the log refuses it as well
            body = event.body
            if not isinstance(body, ApplicationEventLogged) or (body.event_type, body.target) != (GAP_EVENT, server):
                continue
            if event.header.principal_id != server:
                continue
            row = None if event.header.session_id is None else sessions.that_signed(event.header.session_id)
            is_signed = row is not None and row.principal_id == server
            if row is not None and not (is_signed and _holds(message, row.ed25519, folder)):
                continue  # another program's word about this server, or nobody's
            try:
                said = jcs.parse_strict(body.metadata.encode())
            except jcs.MalformedJSONError:
                continue  # no gateway writes such a thing
            if isinstance(said, dict):
                yield GapRecord(said, is_signed)


def _holds(message: Any, ed25519: bytes, folder: TenantHome) -> bool:
    headers = dict(headers_of(message))
    proof, kid = headers.get(PROOF_HEADER), headers.get(KID_HEADER)
    if not proof or not kid:
        return False
    signed = SignedEvent(event=message.value(), proof=proof, kid=kid)
    try:
        carried_event(signed, ed25519, tenant=folder.tenant, genesis=folder.genesis)
    except UntrustedRecordError:
        return False
    return True


def joined(records: list[GapRecord], *, first: str) -> FoundGaps:
    """Return the calls of records, and the holes between them. A number that comes twice counts once.

    A record of which no session is known may be anybody's: it never takes the place of a line that is signed.
    """
    signed = {_number(one): head_of(one) for said, is_signed in records if is_signed for one in _lines_of(said)}
    calls: dict[int, UndecidedCall] = {}
    faults: list[str] = []
    known: dict[int, str] = {}  # the digest of each line
    number, head = 1, first
    for said, is_signed in sorted(records, key=lambda one: (_first_of(one.said), not one.is_signed)):
        found, begins = _lines_of(said), _first_of(said)
        if not is_signed and any(signed.get(_number(one), head_of(one)) != head_of(one) for one in found):
            faults.append(f"a record that nobody is known to have signed has other lines from {begins} on: not counted")
            continue
        if any(known.get(_number(one), head_of(one)) != head_of(one) for one in found):
            faults.append(f"lines from {begins} on were told twice, and differ: the journal was replaced, or changed")
        if begins + len(found) <= number:
            continue  # told again after a crash
        if begins > number:
            faults.append(f"lines {number} to {begins - 1} are missing: they left the log, or were never told")
            head = str(said.get("before"))
        fresh = [one for one in found if _number(one) >= number] if begins < number else found
        try:
            head = check_chain(fresh, number=max(number, begins), before=head)
        except JournalError as exc:
            faults.append(str(exc))
            continue
        if head != said.get("head"):
            faults.append(f"the record of lines {begins} to {said.get('last')} names another end than its lines have")
        number = max(number, begins) + len(fresh)
        known |= {_number(one): head_of(one) for one in fresh}
        for line in fresh:
            _note(calls, line, is_signed=is_signed)
    return FoundGaps(tuple(calls[at] for at in sorted(calls)), tuple(faults))


def _note(calls: dict[int, UndecidedCall], line: Mapping[str, Any], *, is_signed: bool) -> None:
    if line.get("kind") == "begun":
        principal_id, resource, parameters = (str(line.get(name)) for name in ("principal", "resource", "parameters"))
        at = line.get("at")
        calls[_number(line)] = UndecidedCall(
            _number(line), at if isinstance(at, int) else 0, principal_id, resource, parameters, "", is_signed
        )
    elif isinstance(call := line.get("call"), int) and call in calls:
        calls[call] = calls[call]._replace(outcome=str(line.get("outcome")))


def _lines_of(said: Mapping[str, Any]) -> list[dict[str, Any]]:
    lines = said.get("lines")
    return [one for one in lines if isinstance(one, dict)] if isinstance(lines, list) else []


def _first_of(said: Mapping[str, Any]) -> int:
    first = said.get("first")
    return first if isinstance(first, int) else 0


def _number(line: Mapping[str, Any]) -> int:
    number = line.get("n")
    return number if isinstance(number, int) else 0
