"""One spoiled record for each thing that can be wrong with it; everything else about it is in order."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from processors.proof.signing import KID_HEADER, PROOF_HEADER
from schemas import codec, limits
from schemas.events.keys import AdminAddition
from schemas.records import ResultReported
from tests.builders import Actor, invocation, keys_of
from tests.world import HOUR_MS, Headers, Office

Sent = tuple[bytes | None, Headers]


def good(office: Office, **tampering: Any) -> Sent:
    """Return a call that is allowed, but for the tampering."""
    return office.world.signed(invocation(office.resource), office.session, **tampering)


def reheaded(sent: Sent, *headers: tuple[str, bytes | None]) -> Sent:
    """Return a record with other headers."""
    return sent[0], list(headers)


def proof_and_kid(sent: Sent) -> tuple[bytes, bytes]:
    found = dict(sent[1])
    proof, kid = found[PROOF_HEADER], found[KID_HEADER]
    assert proof is not None
    assert kid is not None
    return proof, kid


def wrong_signature(office: Office) -> Sent:
    sent = good(office)
    proof, kid = proof_and_kid(sent)
    return reheaded(sent, (PROOF_HEADER, bytes([proof[0] ^ 1]) + proof[1:]), (KID_HEADER, kid))


def signed_by_another(office: Office) -> Sent:
    """The session's call, signed with the agent's own key under the session's kid."""
    draft = office.world.draft(invocation(office.resource), office.session)
    proof, _ = proof_and_kid((draft.value, office.world.sign([draft], office.agent)[0]))
    return draft.value, [(PROOF_HEADER, proof), (KID_HEADER, office.session.kid)]


def body_of_another(office: Office) -> Sent:
    """A good signature under another event of the same key."""
    return good(office)[0], good(office)[1]


def without(name: str) -> Callable[[Office], Sent]:
    def spoil(office: Office) -> Sent:
        sent = good(office)
        return reheaded(sent, *(pair for pair in sent[1] if pair[0] != name))

    return spoil


def with_more(name: str, value: bytes | None) -> Callable[[Office], Sent]:
    def spoil(office: Office) -> Sent:
        sent = good(office)
        return reheaded(sent, *sent[1], (name, value))

    return spoil


def doubled(name: str) -> Callable[[Office], Sent]:
    def spoil(office: Office) -> Sent:
        sent = good(office)
        return reheaded(sent, *sent[1], (name, dict(sent[1])[name]))

    return spoil


def with_header(name: str, change: Callable[[bytes], bytes | None]) -> Callable[[Office], Sent]:
    """Replace one header's value by what `change` makes of it."""

    def spoil(office: Office) -> Sent:
        sent = good(office)
        return reheaded(sent, *((n, change(v) if n == name and v is not None else v) for n, v in sent[1]))

    return spoil


def head_of(size: int, index: int = 0) -> Callable[[bytes], bytes]:
    return lambda proof: proof[:64] + index.to_bytes(4, "big") + size.to_bytes(4, "big") + proof[72:]


def unknown_key(office: Office) -> Sent:
    stranger = Actor("session", "bot", keys_of("stranger"))
    return office.world.signed(invocation(office.resource), stranger)


def revoked_key(office: Office) -> Sent:
    extra = office.world.register("agent", "leaver")
    office.world.revoke("leaver")
    return office.world.signed(office.world.session_of(extra, keys=keys_of("late")), extra)


def expired_key(office: Office) -> Sent:
    extra = office.world.register("agent", "temp", expires_at=office.world.now + 1000)
    office.world.advance(1000)
    office.world.tick()  # what is kept of the key is written
    return office.world.signed(office.world.session_of(extra, keys=keys_of("late")), extra)


def expired_session(office: Office) -> Sent:
    office.world.advance(HOUR_MS)
    return good(office)


def key_of_another_role(office: Office) -> Sent:
    return office.world.signed(office.world.publication({"policy_id": "agent:bot", "resources": ["**"]}), office.agent)


def call_by_its_agent(office: Office) -> Sent:
    """The agent's registered key is not its session's: it opens sessions and calls nothing."""
    return office.world.signed(invocation(office.resource), office.agent)


def with_value(change: Callable[[bytes], bytes | None]) -> Callable[[Office], Sent]:
    def spoil(office: Office) -> Sent:
        value, headers = good(office)
        assert value is not None
        return change(value), headers

    return spoil


def framed_as(schema_id: int) -> Callable[[bytes], bytes]:
    return lambda value: b"\x00" + schema_id.to_bytes(4, "big") + value[5:]


def another_record(office: Office) -> Sent:
    """A whole, published record that is no event."""
    offer = office.world.offer(keys_of("x"), "admin", "x")
    return codec.frame(AdminAddition(admin=offer)), good(office)[1]


def oversized_call(office: Office) -> Sent:
    return office.world.signed(invocation(office.resource, {"x": "a" * limits.EVENT_BYTES_MAX}), office.session)


def oversized_result(office: Office) -> Sent:
    body = json.dumps("a" * limits.RESULT_EVENT_BYTES_MAX)
    reported = ResultReported(decision=bytes(32), outcome="ok", body=body, attestations=())
    return office.world.signed(reported, office.tool)


def oversized_call_of_nobody(office: Office) -> Sent:
    return oversized_call(office)[0], unknown_key(office)[1]


def replayed(office: Office) -> Sent:
    first, second = good(office), good(office)
    assert office.world.fold(*first).says == office.world.fold(*second).says == ("allowed", "")
    return first


def duplicate(office: Office) -> Sent:
    sent = good(office)
    assert office.world.fold(*sent).says == ("allowed", "")
    return sent


def duplicate_of_a_refused_event(office: Office) -> Sent:
    sent = key_of_another_role(office)
    assert office.world.fold(*sent).says == ("refused", "WRONG_ROLE")
    return sent


def equivocation(office: Office) -> Sent:
    seq = office.world.next_seq(office.session)
    assert office.world.fold(*good(office, seq=seq)).says == ("allowed", "")
    return good(office, seq=seq)


def stale(office: Office) -> Sent:
    return good(office, issued_at=office.world.now - limits.ISSUED_BEHIND_MS_MAX - 1)


def issued_in_future(office: Office) -> Sent:
    return good(office, issued_at=office.world.now + limits.ISSUED_AHEAD_MS_MAX + 1)


def numbered_in_future(office: Office) -> Sent:
    return good(office, seq=(office.world.now + limits.SEQ_AHEAD_MS_MAX) * 1000 + 1)


def with_field(**tampering: Any) -> Callable[[Office], Sent]:
    return lambda office: good(office, **tampering)


def of_another_session(office: Office) -> Sent:
    other = office.world.open_session(office.agent)
    return good(office, session_id=other.kid)


def without_its_session(office: Office) -> Sent:
    return good(office, session_id=None)


def admin_in_a_session(office: Office) -> Sent:
    """A key of no session claims one."""
    document = {"policy_id": "agent:bot", "resources": ["**"]}
    return office.world.signed(office.world.publication(document), office.world.admin, session_id=office.session.kid)


def of_another_principal(office: Office) -> Sent:
    other = office.world.register("agent", "other")
    return good(office, principal_id=other.principal_id)
