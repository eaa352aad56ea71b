"""Decisions and results are gathered whole, whatever a stranger appends to their partitions, in bounded memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
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

LOG = build_log()
OWNER, RECORDS = owner_of(LOG), records_of(LOG)
MONITOR = LOG.world.monitor.keys
Headers = list[tuple[str, bytes]]


@dataclass
class Sent:
    """A record as the client library gives it."""

    place: tuple[int, int]
    at: int
    data: bytes
    fields: Headers

    def topic(self) -> str:
        return OUTPUT_TOPICS[self.place[0]].of(OWNER.tenant)

    def partition(self) -> int:
        return self.place[1]

    def offset(self) -> int:
        return self.at

    def value(self) -> bytes:
        return self.data

    def headers(self) -> Headers:
        return self.fields

    def error(self) -> None:
        return None


class Partitions:
    """What stands on the partitions, given in one order as a broker may; pauses are obeyed."""

    def __init__(self) -> None:
        self.waiting: list[Sent] = []
        self.ends: Counter[tuple[int, int]] = Counter()
        self.paused: set[tuple[str, int]] = set()

    def append(self, place: tuple[int, int], value: bytes, headers: Headers) -> None:
        self.waiting.append(Sent(place, self.ends[place], value, headers))
        self.ends[place] += 1

    def consume(self, count: int, _: float) -> list[Sent]:
        ready = [one for one in self.waiting if (one.topic(), one.partition()) not in self.paused][:count]
        for one in ready:
            self.waiting.remove(one)
        return ready

    def poll(self, seconds: float) -> Sent | None:
        return next(iter(self.consume(1, seconds)), None)

    def assign(self, places: Iterable[Any]) -> None:
        pass

    def unassign(self) -> None:
        pass

    def pause(self, places: Iterable[Any]) -> None:
        self.paused |= {(one.topic, one.partition) for one in places}

    def resume(self, places: Iterable[Any]) -> None:
        self.paused -= {(one.topic, one.partition) for one in places}


def signed(outputs: Iterable[StoredOutput], key: Any = MONITOR) -> list[tuple[StoredOutput, Headers]]:
    listed = list(outputs)
    proofs = key.signing.sign_leaves([output_leaf(one, OWNER) for one in listed]) if listed else []
    return [(one, [(PROOF_HEADER, p), (KID_HEADER, key.signing.kid)]) for one, p in zip(listed, proofs, strict=True)]


def reader_of(partitions: Partitions, **more: Any) -> OutputsReader:
    keys = MonitorKeys(OWNER, lambda kid: MONITOR.signing.public if kid == MONITOR.signing.kid else None)
    ends = [0] * PLACES
    for place, at in PARTITIONS.items():
        ends[at] = partitions.ends[place]
    return OutputsReader(partitions, OWNER, keys, starts=[0] * PLACES, ends=ends, **more)  # type: ignore[arg-type]


def written() -> list[tuple[StoredOutput, Headers]]:
    return [one for record in RECORDS for one in signed(record.outputs or ())]


def gathered(sent: Iterable[tuple[StoredOutput, Headers]]) -> list[list[bytes] | None]:
    partitions = Partitions()
    for one, headers in sent:
        partitions.append((one.topic, one.partition), one.value, headers)
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
            partitions.append((one.topic, one.partition), far, fields)
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
    for _ in range(count):
        partitions.ends[one.topic, one.partition] += 1
    reader = reader_of(partitions)
    for at in range(count):
        reader._keep((one.topic, one.partition), Sent((one.topic, one.partition), at, far, headers))  # type: ignore[arg-type]
        assert sum(reader._sizes.values()) <= 4 * AHEAD_BYTES_MAX
    assert partitions.paused
