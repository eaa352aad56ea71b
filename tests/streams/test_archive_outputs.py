"""Decisions and results are gathered whole, whatever a stranger appends to their partitions, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from processors.evidence.archive.contents import output_leaf
from processors.evidence.archive.segment import OUTPUT_TOPICS, PARTITIONS, PLACES, StoredOutput
from processors.evidence.archive.signers import MonitorKeys
from processors.proof.signing import KID_HEADER, PROOF_HEADER
from schemas import codec
from schemas.records import Decision
from streams.archive.log_outputs import AHEAD_BYTES_MAX, CLAIM_BYTES, OutputsReader
from tests.archives import owner_of, records_of
from tests.builders import keys_of
from tests.reference.log_builder import build_log
from tests.streams.partitions_in_memory import Headers, Partitions, Sent

LOG = build_log()
OWNER, RECORDS = owner_of(LOG), records_of(LOG)
MONITOR = LOG.world.monitor.keys


def signed(outputs: Iterable[StoredOutput], key: Any = MONITOR) -> list[tuple[StoredOutput, Headers]]:
    listed = list(outputs)
    proofs = key.signing.sign_leaves([output_leaf(one, OWNER) for one in listed]) if listed else []
    return [(one, [(PROOF_HEADER, p), (KID_HEADER, key.signing.kid)]) for one, p in zip(listed, proofs, strict=True)]


def topic_of(one: StoredOutput) -> tuple[str, int]:
    return OUTPUT_TOPICS[one.topic].of(OWNER.tenant), one.partition


def reader_of(partitions: Partitions, **more: Any) -> OutputsReader:
    keys = MonitorKeys(OWNER, lambda kid: MONITOR.signing.public if kid == MONITOR.signing.kid else None)
    ends = [0] * PLACES
    for (kind, partition), at in PARTITIONS.items():
        ends[at] = partitions.high(OUTPUT_TOPICS[kind].of(OWNER.tenant), partition)
    return OutputsReader(partitions, OWNER, keys, starts=[0] * PLACES, ends=ends, **more)  # type: ignore[arg-type]


def written() -> list[tuple[StoredOutput, Headers]]:
    return [one for record in RECORDS for one in signed(record.outputs or ())]


def gathered(sent: Iterable[tuple[StoredOutput, Headers]]) -> list[list[bytes] | None]:
    partitions = Partitions()
    for one, headers in sent:
        partitions.append(*topic_of(one), one.value, headers)
    reader = reader_of(partitions)
    found = [reader.of(record.entry, b"") for record in RECORDS]
    return [None if outputs is None else [one.value for one in outputs] for outputs in found]


WHOLE = [[one.value for one in record.outputs or ()] for record in RECORDS]


def test_a_copy_of_an_output_takes_nothing_away() -> None:
    """Anybody who may write a partition can append a record of the monitor again, with its headers."""
    honest = written()
    assert len(honest) > 3
    assert gathered(honest) == WHOLE
    for copied in range(len(honest)):
        behind = [*honest[: copied + 1], honest[copied], *honest[copied + 1 :]]
        assert gathered(behind) == WHOLE
        assert gathered([*honest, *[honest[copied]] * 3]) == WHOLE


def test_outputs_without_a_proof_or_by_a_stranger_take_nothing_away() -> None:
    honest = written()
    stranger = signed((one for one, _ in honest), keys_of("stranger"))
    bare = [(one, list[tuple[str, bytes]]()) for one, _ in honest]
    assert gathered([*stranger, *bare, *honest]) == WHOLE


def test_what_waits_is_bounded_with_its_headers() -> None:
    """Forged decisions of a far entry: with headers of any size, with no proof, and with one that nobody signed."""
    one = next(o for record in RECORDS for o in record.outputs or () if o.topic == 0)
    far = codec.frame(replace(codec.decode_as(Decision, one.value), audit_index=10**12))
    proof = keys_of("stranger").signing.sign_leaves([bytes(32)])[0]
    for fields, kept_max in (
        ([("x", bytes(1024 * 1024))], 0),
        ([(PROOF_HEADER, proof), (KID_HEADER, bytes(32)), ("x", bytes(1024 * 1024))], 600),
    ):
        partitions = Partitions()
        for _ in range(600):
            partitions.append(*topic_of(one), far, fields)
        reader = reader_of(partitions)
        while reader._poll():
            pass
        claims = [claim for found in reader._claimed.values() for claim in found]
        assert len(claims) <= kept_max
        assert sum(reader._sizes.values()) == sum(claim.size for claim in claims) >= CLAIM_BYTES * len(claims)
        assert all(len(value) < 1024 for claim in claims for value in (claim.kid, *claim.proof[::3]))


def test_small_forged_outputs_meet_the_bound_too() -> None:
    """A record of 200 bytes takes a kilobyte in memory: it is counted as that."""
    one = next(o for record in RECORDS for o in record.outputs or () if o.topic == 0)
    far = codec.frame(replace(codec.decode_as(Decision, one.value), audit_index=10**12))
    [(_, headers)] = signed([one._replace(value=far)], keys_of("stranger"))
    partitions = Partitions()
    count = 5 * AHEAD_BYTES_MAX // (CLAIM_BYTES + len(far))
    partitions.append(*topic_of(one), far, headers, offset=count)
    reader = reader_of(partitions)
    for at in range(count):
        sent = Sent(*topic_of(one), at, far, headers)
        reader._keep((one.topic, one.partition), sent)  # type: ignore[arg-type]
        assert sum(reader._sizes.values()) <= 4 * AHEAD_BYTES_MAX
    assert partitions.paused


def test_outputs_that_are_set_aside_are_read_past() -> None:
    """A thief of the monitor's key signs a second decision of an entry: it is not the log's."""
    honest = written()
    one = next(one for one, _ in honest if one.topic == 0)
    decision = codec.decode_as(Decision, one.value)
    forged = signed([one._replace(value=codec.frame(replace(decision, reason="forged")))])
    partitions = Partitions()
    for output, headers in [*forged, *honest]:
        partitions.append(*topic_of(output), output.value, headers)
    reader = reader_of(partitions, set_aside={f"decisions/{one.partition}": frozenset({0})})
    found = [reader.of(record.entry, b"") for record in RECORDS]
    assert [[o.value for o in outputs or ()] for outputs in found] == WHOLE
    assert gathered([*forged, *honest]) != WHOLE
