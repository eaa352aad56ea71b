"""Any bytes on intake: whatever comes, the fold says what became of it, and only what was signed is ever decided."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.proof.signing import KID_HEADER, PROOF_HEADER
from schemas import codec
from schemas.records import ClockTicked
from tests.builders import invocation
from tests.spoiling import framed_as, proof_and_kid
from tests.world import Office


@pytest.fixture
def office() -> Office:
    """A tenant at work."""
    return Office.opened()


@settings(max_examples=300, deadline=None)
@given(value=st.none() | st.binary(max_size=200), proof=st.none() | st.binary(max_size=120), kid=st.binary(max_size=40))
def test_any_bytes_are_an_audit_entry_never_an_exception(value, proof, kid):
    """Whatever stands on intake, the fold says what became of it and decides nothing."""
    folded = SHARED.world.attempt(value, [(PROOF_HEADER, proof), (KID_HEADER, kid), ("other", None)])

    assert folded.entry.outcome == "refused"
    assert not folded.decisions


@settings(max_examples=300, deadline=None)
@given(body=st.binary(max_size=120), schema_id=st.sampled_from(sorted(codec.published())))
def test_any_datum_under_any_published_schema_is_an_audit_entry(body, schema_id):
    """A known prefix before random bytes changes nothing about that."""
    folded = SHARED.world.attempt(framed_as(schema_id)(bytes(5) + body), SHARED_HEADERS)

    assert folded.entry.outcome == "refused"


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_a_spliced_or_mangled_event_is_never_decided(data):
    """Bytes of a good event cut, doubled or replaced anywhere are refused."""
    value = SHARED_VALUE
    at = data.draw(st.integers(0, len(value)))
    to = data.draw(st.integers(at, len(value)))
    patch = data.draw(st.binary(max_size=12))
    mangled = value[:at] + patch + value[to:]
    folded = SHARED.world.attempt(mangled, SHARED_HEADERS)

    assert (folded.says == ("allowed", "")) is (mangled == value)


SHARED = Office.opened("shared")
SHARED_VALUE, SHARED_HEADERS = SHARED.world.signed(
    invocation(SHARED.resource, {"to": "alice@example.org", "text": "lorem ipsum " * 30}), SHARED.session
)
SHARED.world.tables.commit()


def flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def test_every_one_bit_flip_of_a_signed_call_is_refused():
    """No bit of the value or of the two headers of a lone signed call can change and the call still be allowed."""
    value, headers = SHARED_VALUE, SHARED_HEADERS
    proof, kid = proof_and_kid((value, headers))
    assert SHARED.world.attempt(value, headers).says == ("allowed", "")
    seen = set()

    for bit in range(len(value) * 8):
        seen.add(refusal_of(flipped(value, bit), proof, kid))
    for bit in range(len(proof) * 8):
        seen.add(refusal_of(value, flipped(proof, bit), kid))
    for bit in range(len(kid) * 8):
        assert refusal_of(value, proof, flipped(kid, bit)) == "UNKNOWN_KEY"
    assert {"UNDECODABLE", "UNKNOWN_SCHEMA", "BAD_SIGNATURE", "HEAD_TOO_LARGE", "MALFORMED_PROOF"} <= seen


def refusal_of(value: bytes, proof: bytes, kid: bytes) -> str:
    folded = SHARED.world.attempt(value, [(PROOF_HEADER, proof), (KID_HEADER, kid)])
    assert folded.entry.outcome == "refused"
    assert not folded.decisions
    return folded.entry.reason


def test_a_refusal_between_two_records_of_one_burst_spares_the_others(office):
    """Each record of a burst is judged alone: a bad one among good ones is refused alone."""
    world = office.world
    drafts = [world.draft(invocation(office.resource), office.session) for _ in range(5)]
    headers = world.sign(drafts, office.session)
    values = [draft.value for draft in drafts]
    values[2] = flipped(values[2], len(values[2]) * 8 - 9)

    outcomes = [world.fold(value, headed).entry.outcome for value, headed in zip(values, headers, strict=True)]
    assert outcomes == ["allowed", "allowed", "refused", "allowed", "allowed"]


def test_records_of_a_burst_cannot_trade_proofs(office):
    """A proof is good for its own place in the burst only."""
    world = office.world
    drafts = [world.draft(invocation(office.resource), office.session) for _ in range(2)]
    headers = world.sign(drafts, office.session)

    assert world.fold(drafts[0].value, headers[1]).says == ("refused", "BAD_SIGNATURE")


def test_a_monitor_tick_that_is_refused_is_still_answered_and_counted(office):
    """What a monitor signs is judged like everything else."""
    folded = office.world.send(ClockTicked(deadline=0), office.world.monitor, principal_id="admin")

    assert folded.says == ("refused", "WRONG_PRINCIPAL")
    assert len(folded.results) == 1
