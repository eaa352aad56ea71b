"""Archives in memory: what an archiver would have stored of a `SmallLog`, and spoiled copies of it."""

from __future__ import annotations

import hmac
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import pairwise

from processors.effects import Output
from processors.evidence.archive.bodies import key_id, month_of, seal_key
from processors.evidence.archive.codes import ArchiveCode, SegmentError
from processors.evidence.archive.contents import ArchiveEnd, beginning, end_of
from processors.evidence.archive.segment import (
    DIGEST_BYTES,
    OUTPUT_TOPICS,
    Owner,
    StoredOutput,
    parse_segment,
)
from processors.evidence.archive.verdict import ArchiveVerdict, verify_archive
from processors.evidence.archive.writing import LogRecord, SegmentWriter
from processors.step import step
from schemas.words import Outcome
from tests.builders import noise
from tests.reference.log_builder import SmallLog

LASTING = noise("lasting")


@dataclass
class KeysInMemory:
    """Keys of an installation: every month has one, but those that were destroyed or lost."""

    lasting: bytes = LASTING
    destroyed: set[int] = field(default_factory=set)
    lost: set[int] = field(default_factory=set)

    def of_month(self, month: int) -> bytes | None:
        if month in self.lost:
            raise SegmentError(ArchiveCode.WRONG_KEY, "the key of the month is not here")
        return None if month in self.destroyed else noise("month", month, self.lasting)


def owner_of(log: SmallLog, *, lasting: bytes = LASTING) -> Owner:
    world = log.world
    origin = f"{world.deployment}/{world.tenant}"
    return Owner(origin, world.tenant, world.genesis, key_id(lasting), seal_key(lasting))


def records_of(log: SmallLog) -> list[LogRecord]:
    """Return the log as an archiver reads it, with outputs at offsets as a broker would give them."""
    tables = log.world.fresh_tables()
    nexts = dict.fromkeys(((t, p) for t in range(2) for p in range(4)), 0)
    records = []
    for index, received in enumerate(log.world.records):
        outputs = tuple(_stored(step(tables, received, log.world.heads), nexts))
        record, beside = log.pairs[index]
        entry = log.entries[index]
        is_skip = entry.outcome == Outcome.SKIPPED
        ruling = received.ruling.event if received.ruling is not None else None
        records.append(
            LogRecord(
                entry=entry,
                offset=2 * index,  # markers of transactions take offsets
                time=entry.now,
                value=record.value,
                kid=record.kid,
                proof=record.proof,
                received=None if is_skip else beside,
                ruling=ruling if entry.ruling is not None else None,
                outputs=outputs,
            )
        )
    return records


def _stored(outputs: Sequence[Output], nexts: dict[tuple[int, int], int]) -> Iterator[StoredOutput]:
    for output in outputs:
        if output.topic in OUTPUT_TOPICS:
            place = OUTPUT_TOPICS.index(output.topic), output.partition
            yield StoredOutput(*place, nexts[place], output.value or b"")
            nexts[place] += 1


def segments_of(
    records: Sequence[LogRecord], owner: Owner, keys: KeysInMemory | None = None, *, cuts: Sequence[int] = ()
) -> dict[str, bytes]:
    """Return the segments of a log by name, cut before the entries of these indexes, and where a month begins."""
    keys = keys or KeysInMemory()
    bounds = {0, len(records), *(c for c in cuts if 0 < c < len(records))}
    months = [month_of(r.entry.now) for r in records]
    bounds |= {i for i in range(1, len(records)) if months[i] != months[i - 1]}
    end, made = beginning(owner), {}
    for start, stop in pairwise(sorted(bounds)):
        data = segment_bytes(records[start:stop], owner, end, keys)
        segment = parse_segment(data, owner)
        made[segment.header.name] = data
        end = end_of(segment)
    return made


def segment_bytes(records: Sequence[LogRecord], owner: Owner, end: ArchiveEnd, keys: KeysInMemory) -> bytes:
    month = month_of(records[0].entry.now)
    monthly = keys.of_month(month)
    assert monthly is not None
    salt = noise("salt", end.next_index, len(records))[:16]
    writer = SegmentWriter(owner, end, month=month, keys=(keys.lasting, monthly), salt=salt)
    for record in records:
        writer.add(record)
    data = writer.encode()
    assert writer.end(data) == end_of(parse_segment(data, owner))
    return data


def resealed(data: bytes, owner: Owner) -> bytes:
    """Return a changed segment under a digest and a seal that fit: what only a holder of the lasting key can make."""
    body = data[: -2 * DIGEST_BYTES]
    digest = sha256(body).digest()
    return body + digest + hmac.digest(owner.seal, digest, "sha256")


def redigested(data: bytes) -> bytes:
    """Return a changed segment with a digest that fits, and the seal as it was: what anybody can make."""
    body = data[: -2 * DIGEST_BYTES]
    return body + sha256(body).digest() + data[-DIGEST_BYTES:]


def verdict_on(segments: dict[str, bytes], owner: Owner, keys: KeysInMemory | None = None) -> ArchiveVerdict:
    return verify_archive(lambda: ((n, segments[n]) for n in sorted(segments)), owner, keys or KeysInMemory())
