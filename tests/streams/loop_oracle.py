"""Says whether a tenant's log is what one undisturbed worker would have written: by folding its intake again."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from confluent_kafka import Consumer, Message, TopicPartition

from processors.evidence.audit_log import log_leaf
from processors.intake.identify import Ruling, read
from processors.proof.signing import VerifiedHeads
from processors.state.tables import Tables
from processors.step import step
from producers.kafka.consuming import ReadPosition, take
from schemas import codec, topics
from schemas.records import AuditEntry, Decision, InvocationRequested
from streams.history.records import received_of
from tests.streams.loop_world import Tenant, World
from tests.waiting import PATIENCE_SECONDS

OUTPUTS = (
    topics.DECISIONS, topics.RESULTS, topics.AUDIT, topics.REGISTRY, topics.SESSIONS, topics.DEAD_LETTERS,
)  # fmt: skip

Written = dict[tuple[str, int], list[tuple[bytes | None, bytes | None]]]


@dataclass(slots=True)
class Log:
    """What stands on a tenant's topics."""

    intake: list[Message]
    entries: list[AuditEntry]
    decisions: list[Decision]
    written: Written


def read_topic(world: World, topic: str, partition: int = 0, *, isolation: str = "read_committed") -> list[Message]:
    """Return a partition from its first record to its end."""
    return list(_read(world, [(topic, partition)], isolation))


def _read(world: World, places: list[tuple[str, int]], isolation: str) -> Iterator[Message]:
    """Yield the records of several partitions, read side by side, each up to its end mark."""
    settings = {
        "bootstrap.servers": world.broker.bootstrap,
        "group.id": f"{world.unique}.oracle",
        "isolation.level": isolation,
        "enable.partition.eof": True,
        "enable.auto.commit": False,
        "auto.offset.reset": "error",
        "fetch.wait.max.ms": 20,
        "log_level": 0,
    }
    # Asked without regard to transactions: the markers of one whose commit was answered may still be on their way.
    with Consumer({**settings, "isolation.level": "read_uncommitted"}) as asking:
        ends = {
            place: asking.get_watermark_offsets(TopicPartition(*place), timeout=PATIENCE_SECONDS) for place in places
        }
    consumer = Consumer(settings)
    try:
        open_ones = {place: ReadPosition(low) for place, (low, high) in ends.items() if low < high}
        consumer.assign([TopicPartition(*place, position.offset) for place, position in open_ones.items()])
        until = time.monotonic() + PATIENCE_SECONDS
        while open_ones:
            assert time.monotonic() < until, f"not read to the end: {open_ones}"
            for message in take(consumer, 1000, 0.1):
                place = (message.topic() or "", message.partition() or 0)
                if place not in open_ones:
                    continue
                if open_ones[place].note(message):
                    yield message
                if open_ones[place].offset >= ends[place][1]:
                    del open_ones[place]
    finally:
        consumer.close()


def read_log(world: World, tenant: Tenant) -> Log:
    """Read everything that a tenant's worker has written, committed records only."""
    written: Written = {(t.of(tenant.name), p): [] for t in OUTPUTS for p in range(t.partitions)}
    for message in _read(world, list(written), "read_committed"):
        written[message.topic() or "", message.partition() or 0].append((message.key(), message.value()))
    audit = written[topics.AUDIT.of(tenant.name), 0]
    decided = [v for (t, _), rows in written.items() if t == topics.DECISIONS.of(tenant.name) for _, v in rows]
    return Log(
        intake=read_topic(world, tenant.intake, isolation="read_uncommitted"),
        entries=[codec.decode_as(AuditEntry, value or b"") for _, value in audit],
        decisions=[codec.decode_as(Decision, value or b"") for value in decided],
        written=written,
    )


def expected_outputs(
    world: World, tenant: Tenant, intake: list[Message], entries: Sequence[AuditEntry] = ()
) -> tuple[Written, Tables]:
    """Fold intake from its first record and return what belongs on each partition, in order.

    The rulings that these entries name are followed.
    """
    fold = world.open_fold(tenant.name)
    assert fold is not None
    written: Written = {(t.of(tenant.name), p): [] for t in OUTPUTS for p in range(t.partitions)}
    heads, records = VerifiedHeads(), [received_of(message) for message in intake]
    ruled = {entry.offset: entry.ruling for entry in entries if entry.ruling is not None}
    leaves = {read(fold.tables, received).leaf: received for received in records} if ruled else {}
    for received in records:
        if (leaf := ruled.get(received.offset)) is not None:
            received.ruling = Ruling(leaf, replace(leaves[leaf]))
        for output in step(fold.tables, received, heads):
            place = (output.topic.of(tenant.name), output.partition)
            if place in written:
                written[place].append((output.key, output.value))
        fold.tables.commit()
    return written, fold.tables


def check_log(world: World, tenant: Tenant) -> Log:
    """Assert that each intake record was folded exactly once, in order, and that nothing else was written."""
    log = read_log(world, tenant)

    offsets = [m.offset() for m in log.intake]
    assert [e.index for e in log.entries] == list(range(len(offsets))), "audit indexes are not contiguous"
    assert [e.offset for e in log.entries] == offsets, "not every record was folded once, in order"
    prev = Tables(tenant=tenant.name, deployment="test", genesis=tenant.folder.genesis).prev
    for entry in log.entries:
        assert entry.prev == prev, f"the chain breaks at {entry.index}"
        prev = log_leaf(codec.current("AuditEntry").sha256, codec.encode(entry))
    _check_decisions(log)
    expected, _ = expected_outputs(world, tenant, log.intake, log.entries)
    assert log.written == expected, "the outputs are not those of a replay"
    return log


def _check_decisions(log: Log) -> None:
    """One decision for each verified call, none for anything else."""
    called = [e.event for e in log.entries if e.outcome in {"allowed", "denied"}]
    assert all(e.kind == InvocationRequested.__name__ for e in log.entries if e.outcome in {"allowed", "denied"})
    decided = Counter(d.event for d in log.decisions)
    assert not [event for event, times in decided.items() if times > 1], "a call was decided twice"
    assert set(decided) == set(called)
