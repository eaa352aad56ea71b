"""Everything that can be wrong with a record: one reason for each cause, one audit entry, and life goes on.

A refused record decides nothing and changes no row, save the sequence of a key whose signature was good and in order.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from processors.effects import EVENT_PROOF_HEADER
from processors.intake.identify import raw_digest
from processors.proof import signing
from processors.proof.signing import KID_HEADER, PROOF_HEADER
from schemas import limits, topics
from schemas.events.attributes import Attributes
from tests.builders import noise
from tests.spoiling import (
    Sent,
    admin_in_a_session,
    another_record,
    body_of_another,
    call_by_its_agent,
    doubled,
    duplicate,
    duplicate_of_a_refused_event,
    equivocation,
    expired_key,
    expired_session,
    framed_as,
    head_of,
    issued_in_future,
    key_of_another_role,
    numbered_in_future,
    of_another_principal,
    of_another_session,
    oversized_call,
    oversized_call_of_nobody,
    oversized_result,
    proof_and_kid,
    replayed,
    revoked_key,
    signed_by_another,
    stale,
    unknown_key,
    with_field,
    with_header,
    with_more,
    with_value,
    without,
    without_its_session,
    wrong_signature,
)
from tests.world import Office, World


@pytest.fixture
def office() -> Office:
    """A tenant at work, everything so far committed."""
    made = Office.opened()
    made.world.tables.commit()
    return made


def changed_rows(before: dict[str, dict[bytes, Any]], world: World) -> set[tuple[str, bytes]]:
    """Return (table, key) of every row that is new, gone or other than before."""
    after = world.rows()
    keys = {(name, key) for rows in (before, after) for name, table in rows.items() for key in table}
    return {(name, key) for name, key in keys if before[name].get(key) != after[name].get(key)}


@dataclass(frozen=True)
class Case:
    """How to spoil a record, and what must be said of it."""

    reason: str
    spoil: Callable[[Office], Sent]
    known: bool = False  # the signer is known by now, and is told
    silent: bool = False  # known, but has its answer already
    moves: bool = False  # the signature was good and in order: the key's sequence moves on
    read: bool = True  # the bytes were an event


CASES = {
    # the bytes
    "value-none": Case("UNDECODABLE", with_value(lambda _: None), read=False),
    "value-empty": Case("UNDECODABLE", with_value(lambda _: b""), read=False),
    "prefix-only": Case("UNDECODABLE", with_value(lambda v: v[:5]), read=False),
    "prefix-cut": Case("UNDECODABLE", with_value(lambda v: v[:4]), read=False),
    "first-byte-not-zero": Case("UNDECODABLE", with_value(lambda v: b"\x01" + v[1:]), read=False),
    "cut-short": Case("UNDECODABLE", with_value(lambda v: v[:-1]), read=False),
    "no-such-body": Case("UNDECODABLE", with_value(lambda v: v[:5] + b"\xff" * 40), read=False),
    "trailing-byte": Case("TRAILING_BYTES", with_value(lambda v: v + b"\x00"), read=False),
    "twice-the-datum": Case("TRAILING_BYTES", with_value(lambda v: v + v[5:]), read=False),
    "unknown-schema-id": Case("UNKNOWN_SCHEMA", with_value(framed_as(99_999)), read=False),
    "schema-id-zero": Case("UNKNOWN_SCHEMA", with_value(framed_as(0)), read=False),
    "schema-of-another-record": Case("UNKNOWN_SCHEMA", another_record, read=False),
    "a-mebibyte-trailing": Case("TRAILING_BYTES", with_value(lambda v: v + bytes(2**20)), read=False),
    "oversized-call": Case("OVERSIZED", oversized_call, known=True, moves=True),
    "oversized-result": Case("OVERSIZED", oversized_result, known=True, moves=True),
    "oversized-call-of-nobody": Case("UNKNOWN_KEY", oversized_call_of_nobody),
    "event-id-of-15-bytes": Case("MALFORMED_HEADER", with_field(event_id=bytes(15))),
    "event-id-empty": Case("MALFORMED_HEADER", with_field(event_id=b"")),
    "salt-of-17-bytes": Case("MALFORMED_HEADER", with_field(salt=bytes(17))),
    "salt-empty": Case("MALFORMED_HEADER", with_field(salt=b"")),
    "session-id-of-31-bytes": Case("MALFORMED_HEADER", with_field(session_id=bytes(31))),
    "causation-id-of-16-bytes": Case("MALFORMED_HEADER", with_field(causation_id=bytes(16))),
    "on-behalf-of": Case("MALFORMED_HEADER", with_field(on_behalf_of=noise("delegation")[:31])),
    "traceparent-too-long": Case("MALFORMED_HEADER", with_field(traceparent="ü" * (limits.TRACEPARENT_CHARS_MAX + 1))),
    "traceparent-of-a-whole-event": Case("MALFORMED_HEADER", with_field(traceparent="0" * 200_000)),
    # the proof
    "proof-missing": Case("MALFORMED_PROOF", without(PROOF_HEADER)),
    "proof-twice": Case("MALFORMED_PROOF", doubled(PROOF_HEADER)),
    "proof-and-another": Case("MALFORMED_PROOF", with_more(PROOF_HEADER, bytes(72))),
    "proof-and-null": Case("MALFORMED_PROOF", with_more(PROOF_HEADER, None)),
    "proof-null": Case("MALFORMED_PROOF", with_header(PROOF_HEADER, lambda _: None)),
    "proof-empty": Case("MALFORMED_PROOF", with_header(PROOF_HEADER, lambda _: b"")),
    "proof-of-71-bytes": Case("MALFORMED_PROOF", with_header(PROOF_HEADER, lambda p: p[:-1])),
    "proof-with-a-path-too-many": Case("MALFORMED_PROOF", with_header(PROOF_HEADER, lambda p: p + bytes(32))),
    "proof-of-eleven-hashes": Case("MALFORMED_PROOF", with_header(PROOF_HEADER, lambda p: p + bytes(352))),
    "proof-index-at-size": Case("MALFORMED_PROOF", with_header(PROOF_HEADER, head_of(1, index=1))),
    "proof-size-zero": Case("MALFORMED_PROOF", with_header(PROOF_HEADER, head_of(0))),
    "proof-path-missing": Case("MALFORMED_PROOF", with_header(PROOF_HEADER, head_of(2))),
    "head-too-large": Case("HEAD_TOO_LARGE", with_header(PROOF_HEADER, head_of(1025))),
    "head-far-too-large": Case("HEAD_TOO_LARGE", with_header(PROOF_HEADER, head_of(2**32 - 1))),
    "kid-missing": Case("MALFORMED_PROOF", without(KID_HEADER)),
    "kid-twice": Case("MALFORMED_PROOF", doubled(KID_HEADER)),
    "kid-and-another": Case("MALFORMED_PROOF", with_more(KID_HEADER, bytes(32))),
    "kid-and-a-short-one": Case("MALFORMED_PROOF", with_more(KID_HEADER, b"short")),
    "kid-and-null": Case("MALFORMED_PROOF", with_more(KID_HEADER, None)),
    "kid-null": Case("MALFORMED_PROOF", with_header(KID_HEADER, lambda _: None)),
    "kid-of-31-bytes": Case("MALFORMED_PROOF", with_header(KID_HEADER, lambda k: k[:-1])),
    "kid-in-hex": Case("MALFORMED_PROOF", with_header(KID_HEADER, lambda k: k.hex().encode())),
    # the signature and what it is for
    "wrong-signature": Case("BAD_SIGNATURE", wrong_signature),
    "signed-with-another-key": Case("BAD_SIGNATURE", signed_by_another),
    "signature-of-another-event": Case("BAD_SIGNATURE", body_of_another),
    "zero-signature": Case("BAD_SIGNATURE", with_header(PROOF_HEADER, lambda p: bytes(64) + p[64:])),
    "for-another-topic": Case("BAD_SIGNATURE", with_field(place_topic=topics.RESULTS)),
    "for-another-partition": Case("BAD_SIGNATURE", with_field(place_partition=1)),
    "for-another-genesis": Case("BAD_SIGNATURE", with_field(place_genesis=noise("another tenant"))),
    "for-no-genesis": Case("BAD_SIGNATURE", with_field(place_genesis=signing.NO_GENESIS)),
    "for-another-tenant": Case("BAD_SIGNATURE", with_field(place_tenant="acmf")),
    "as-a-decision": Case("BAD_SIGNATURE", with_field(place_tag=signing.DECISION_TAG)),
    "as-a-result": Case("BAD_SIGNATURE", with_field(place_tag=signing.RESULT_TAG)),
    # the key
    "unknown-key": Case("UNKNOWN_KEY", unknown_key),
    "kid-of-nobody": Case("UNKNOWN_KEY", with_header(KID_HEADER, lambda _: bytes(32))),
    "revoked-key": Case("REVOKED_KEY", revoked_key),
    "expired-key": Case("EXPIRED_KEY", expired_key),
    "expired-session": Case("EXPIRED_SESSION", expired_session, known=True, moves=True),
    "key-of-another-role": Case("WRONG_ROLE", key_of_another_role, known=True, moves=True),
    "call-by-the-agents-own-key": Case("WRONG_ROLE", call_by_its_agent, known=True, moves=True),
    "of-another-principal": Case("WRONG_PRINCIPAL", of_another_principal, known=True, moves=True),
    "of-nobody": Case("WRONG_PRINCIPAL", with_field(principal_id=""), known=True, moves=True),
    "of-another-session": Case("WRONG_PRINCIPAL", of_another_session, known=True, moves=True),
    "without-its-session": Case("WRONG_PRINCIPAL", without_its_session, known=True, moves=True),
    "admin-in-a-session": Case("WRONG_PRINCIPAL", admin_in_a_session, known=True, moves=True),
    # time and order
    "replayed": Case("REPLAYED", replayed, known=True, silent=True),
    "duplicate": Case("DUPLICATE", duplicate, known=True, silent=True),
    "duplicate-of-a-refused-event": Case("DUPLICATE", duplicate_of_a_refused_event, known=True, silent=True),
    "equivocation": Case("EQUIVOCATION", equivocation, known=True),
    "stale": Case("STALE", stale, known=True, moves=True),
    "issued-in-future": Case("FUTURE", issued_in_future, known=True),
    "numbered-in-future": Case("FUTURE", numbered_in_future, known=True),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_each_cause_is_refused_with_its_reason_and_life_goes_on(office, case):
    """One audit entry with the cause's own reason, no decision, no row but the sequence, and the next call is heard."""
    world = office.world
    bystander = world.register("agent", "bystander", attributes=Attributes(user="b"))
    world.publish_policy({"policy_id": "user:b", "resources": ["tool:**"]})
    value, headers = case.spoil(office)
    before, index, prev = world.rows(), world.tables.next_index, world.tables.prev

    folded = world.fold(value, headers)
    assert folded.says == ("refused", case.reason)
    entry = folded.entry
    assert (entry.index, entry.prev, entry.offset, entry.now) == (index, prev, world.offset - 1, world.now)
    assert folded.outputs[-1].topic is topics.AUDIT
    assert not folded.decisions
    assert not folded.of(topics.REGISTRY)

    kids = [v for n, v in headers if n == KID_HEADER]
    signer = {("sequences", kids[0])} if case.moves else set()
    assert changed_rows(before, world) == signer

    answers = [(result.outcome, result.reason, result.to) for result in folded.results]
    assert answers == ([("refused", case.reason, kids[0])] if case.known and not case.silent else [])
    assert [letter.reason for letter in folded.dead_letters] == ([] if case.read else [case.reason])
    assert (entry.kind == "Undecodable") is not case.read
    if not case.read:
        assert entry.event == raw_digest(value)

    assert world.call(world.open_session(bystander), office.resource).says == ("allowed", "")


def test_a_dead_letter_keeps_the_beginning_and_the_size_of_what_came(office):
    """Undecodable bytes are kept up to 64 KiB, with their true size and where they stood."""
    value = b"\x00" * (limits.DEAD_LETTER_BYTES_MAX + 10)
    folded = office.world.fold(value, [])

    (letter,) = folded.dead_letters
    assert letter.value == value[: limits.DEAD_LETTER_BYTES_MAX]
    assert (letter.size, letter.offset, letter.audit_index) == (len(value), folded.entry.offset, folded.entry.index)


@pytest.mark.parametrize("kept", [True, False])
def test_the_proof_of_a_refused_record_is_kept_as_evidence_if_there_is_one(office, kept):
    """The audit record carries the one proof header that came, whatever became of the event."""
    sent = wrong_signature(office) if kept else doubled(PROOF_HEADER)(office)
    audit = office.world.fold(*sent).outputs[-1]

    assert audit.headers == (((EVENT_PROOF_HEADER, proof_and_kid(sent)[0]),) if kept else ())


def test_a_founding_event_for_another_genesis_is_refused_before_the_tenant_stands():
    """Whoever comes first does not found the tenant: only the configured founding event does."""
    world, other = World("here"), World("elsewhere")
    (headers,) = other.sign([other.founding_draft], other.admin)

    assert world.fold(other.founding_draft.value, headers).says == ("refused", "NOT_GENESIS")
    assert not world.tables.tenant.rows
    assert not world.tables.keys.rows


def test_nothing_is_heard_before_the_tenant_stands():
    """Without a founding event no key is known."""
    world = World()

    assert world.tick().says == ("refused", "UNKNOWN_KEY")
