"""Intake followed a second time, whatever was unreadable or ahead of its time in it: the same bytes, or none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from hypothesis import given, settings
from hypothesis import strategies as st

from processors.intake.identify import Received, Ruling
from processors.refusal import Refusal
from processors.step import step
from producers.kafka.consuming import UnreadableBatchError
from schemas import codec
from schemas.events.rulings import RecordsSkipped, TimeAccepted
from schemas.records import AuditEntry, Body
from streams.history.folded import RuledIntake
from tests.builders import invocation
from tests.world import HOUR_MS, Office


@dataclass
class Topic:
    """An intake with batches that nobody can read."""

    records: dict[int, Received] = field(default_factory=dict)
    unreadable: list[range] = field(default_factory=list)

    def read(self, start: int) -> Iterator[Received]:
        for offset in range(start, max([*self.records, *(b.stop - 1 for b in self.unreadable)]) + 1):
            if any(offset in batch for batch in self.unreadable):
                raise UnreadableBatchError("intake", offset, "damaged")
            yield replace(self.records[offset])

    def behind(self, offset: int) -> int:
        return next(batch.stop for batch in self.unreadable if offset in batch)


@dataclass
class Log:
    """What a worker has folded: its intake, and the entries that it wrote."""

    office: Office
    topic: Topic
    entries: list[AuditEntry]


def played(plan: Sequence[tuple[str, int]]) -> Log:
    """Return the log of calls in time, calls ahead of it, and batches that cannot be read, ruled on by an admin."""
    office, topic = Office.opened("ruled"), Topic()
    world = office.world
    topic.records = {received.offset: received for received in world.records}
    begin, late = world.offset, set()
    offset = begin
    for kind, amount in plan:
        if kind == "bad":
            topic.unreadable.append(range(offset, offset + amount))
            offset += amount
            continue
        value, headers = world.signed(invocation(office.resource, {"n": offset}), office.session)
        jump = amount * HOUR_MS if kind == "late" else 0
        late |= {offset} if jump else set()
        topic.records[offset] = world.receive(value, headers, offset=offset, appended_at=world.now + jump)
        offset += 1
    bodies: list[Body] = [
        RecordsSkipped(first=begin, last=offset - 1, reason="damaged"),
        TimeAccepted(first=begin, last=offset - 1, now=world.now, reason="ahead"),
    ]
    for at, body in enumerate(bodies, offset):
        value, headers = world.signed(body, world.admin)
        topic.records[at] = world.receive(value, headers, offset=at)
    skip, accept = Ruling(b"", topic.records[offset]), Ruling(b"", topic.records[offset + 1])
    tables, entries = world.fresh_tables(), []
    for at in range(offset + 2):
        received = topic.records.get(at) or Received(0, at, 0, None, (), skip)
        entries.append(world.fold_into(tables, replace(received, ruling=accept) if at in late else received).entry)
    return Log(office, topic, entries)


def followed(log: Log, entries: Sequence[AuditEntry]) -> list[AuditEntry]:
    """Return the entries that come out when somebody else follows the log. Raises Refusal, UnreadableBatchError."""
    world = log.office.world
    tables, made = world.fresh_tables(), []
    intake = RuledIntake(log.topic, world.fresh_tables())
    for entry in entries:
        received = intake.take(entry)
        if received is None:
            break
        made.append(codec.decode_as(AuditEntry, step(tables, received, world.heads)[-1].value or b""))
    return made


PLANS = st.lists(
    st.tuples(st.sampled_from(["call", "late", "bad"]), st.integers(1, 3)), min_size=1, max_size=8
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(plan=PLANS, mended=st.booleans())
def test_a_log_with_rulings_comes_out_the_same(plan: list[tuple[str, int]], mended: bool) -> None:
    """Also where the disk gives back what a worker could not read: it was skipped, and stays so."""
    log = played(plan)
    if mended:
        for batch in log.topic.unreadable:
            log.topic.records |= {at: log.office.world.receive(b"found again", [], offset=at) for at in batch}
        log.topic.unreadable.clear()

    assert followed(log, log.entries) == log.entries
    outcomes = {e.offset: e.outcome for e in log.entries}
    assert [o for o, outcome in outcomes.items() if outcome == "skipped"] == [
        e.offset for e in log.entries if e.kind == "RecordsSkipped" and e.ruling is not None
    ]


@settings(max_examples=60, deadline=None)
@given(plan=PLANS, data=st.data())
def test_a_log_that_says_something_else_of_a_record_does_not_come_out(
    plan: list[tuple[str, int]], data: st.DataObject
) -> None:
    """Whatever an entry says instead: it is refused, cannot be read, or comes out as it should have been."""
    log = played(plan)
    at = data.draw(st.integers(0, len(log.entries) - 1))
    entry = log.entries[at]
    lie = data.draw(
        st.sampled_from(
            [
                {"outcome": "skipped"},
                {"outcome": "accepted"},
                {"ruling": None},
                {"ruling": log.entries[-1].event},
                {"ruling": log.entries[-2].event},
                {"ruling": bytes(32)},
                {"offset": entry.offset + 1},
                {"outcome": "skipped", "ruling": log.entries[-2].event},
                {"outcome": "skipped", "ruling": log.entries[-2].event, "offset": entry.offset + 1},
            ]
        )
    )
    entries = [*log.entries]
    entries[at] = replace(entry, **lie)
    if entries[at] == entry:
        return
    try:
        made = followed(log, entries)
    except (Refusal, UnreadableBatchError):
        return
    assert made != entries
