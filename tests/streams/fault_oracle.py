"""Judges what a round of faults left behind: counts what is lost, doubled, forked or stuck, from the topics alone."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, KafkaException, TopicPartition

from processors.evidence.verdict import VerdictCode
from processors.state.tables import Tables
from producers.kafka.consuming import ReadTimeoutError
from schemas import codec, limits, topics
from schemas.records import Decision, Result
from schemas.rows import StateHead
from streams.history.evidence_folder import verify_folder
from streams.history.export import ExportError, export_audit
from streams.history.state_rows import row_key
from streams.worker.state_head import HEAD_KEY, StateMac
from tests.streams.loop_oracle import Log, Written, check_log, expected_outputs, read_log, read_topic
from tests.streams.loop_world import Tenant, World
from tests.waiting import PATIENCE_SECONDS

# The broker looks once a second for transactions past their timeout; the markers follow.
OPEN_SECONDS_MAX = limits.TRANSACTION_TIMEOUT_MS / 1000 + 3

Finding = tuple[str, int, str]  # a column of the tally, how many, and why


def judge(world: World, tenant: Tenant, evidence: Path, *, whole: bool = True) -> list[Finding]:
    """Return what is wrong with a tenant whose workers have come to the end of intake.

    Without `whole` they may have stopped short of it: then the log must be right as far as it goes. `evidence` is a
    folder that is made: what a stranger would get.
    """
    if open_ones := await_no_transaction(world, tenant):
        # Who reads as committed reads no further.
        return [("stuck", len(open_ones), f"{tenant.name}: behind an open transaction: {open_ones}")]
    log = read_log(world, tenant)
    if not whole:
        end = log.entries[-1].offset if log.entries else -1
        log = replace(log, intake=[m for m in log.intake if (m.offset() or 0) <= end])
    expected, tables = expected_outputs(world, tenant, log.intake)
    found = [
        *_records(log),
        *_decisions(tenant, log, expected),
        *_forks(log, expected),
        *_calls(tenant, log, tables),
        *_state(world, tenant, tables),
        *_evidence(world, tenant, log, evidence),
    ]
    if whole:
        found += [*_heard(tenant, log, expected, tables), *_committed(world, tenant, log)]
    found = [(column, int(count), why) for column, count, why in found if count]
    if whole and not found:
        found += _disagreement(world, tenant)
    return [(column, count, f"{tenant.name}: {why}") for column, count, why in found]


def _disagreement(world: World, tenant: Tenant) -> Iterator[Finding]:
    """Have the oracle of the other tests look too: it asserts what is counted here."""
    try:
        check_log(world, tenant)
    except AssertionError as exc:
        yield "forked", 1, str(exc)[:500]


def await_no_transaction(world: World, tenant: Tenant) -> list[str]:
    """Wait until no transaction is open on the tenant's topics; return those where one stays open."""
    shared = {"bootstrap.servers": world.broker.bootstrap, "group.id": f"{world.unique}.oracle", "log_level": 0}
    places = [TopicPartition(t.of(tenant.name), p) for t in topics.TENANT_TOPICS for p in range(t.partitions)]
    until = time.monotonic() + OPEN_SECONDS_MAX
    with ExitStack() as stack:
        stable, high = (
            stack.enter_context(Consumer({**shared, "isolation.level": level}))
            for level in ("read_committed", "read_uncommitted")
        )
        while True:
            # The stable end first: what is appended in between must not look open.
            ends = [(_end(stable, place), place) for place in places]
            places = [place for end, place in ends if end < _end(high, place)]
            if not places or time.monotonic() > until:
                return [f"{p.topic}/{p.partition}" for p in places]
            time.sleep(0.05)


def _end(consumer: Consumer, place: TopicPartition) -> int:
    _, end = consumer.get_watermark_offsets(place, timeout=PATIENCE_SECONDS)
    return int(end)


def _records(log: Log) -> Iterator[Finding]:
    """Yield intake records without one audit entry."""
    appended = {m.offset() for m in log.intake}
    entered = Counter(entry.offset for entry in log.entries)
    yield "lost", len(appended - entered.keys()), "records without an audit entry"
    yield "doubled", entered.total() - len(entered), "audit entries for records that had one"
    yield "forked", len(entered.keys() - appended), "audit entries about no record"


def _decisions(tenant: Tenant, log: Log, expected: Written) -> Iterator[Finding]:
    """Yield calls without one decision, and decisions about no call."""
    decided = Counter(d.event for d in log.decisions)
    wanted = _wanted(tenant, expected)
    yield "lost", len(wanted - decided.keys()), "calls without a decision"
    yield "doubled", decided.total() - len(decided), "decisions for calls that had one"
    yield "forked", len(decided.keys() - wanted), "decisions about no call"


def _wanted(tenant: Tenant, expected: Written) -> set[bytes]:
    rows = [values for (topic, _), values in expected.items() if topic == topics.DECISIONS.of(tenant.name)]
    decisions: list[Decision] = [codec.decode_as(Decision, value or b"") for values in rows for _, value in values]
    return {decision.event for decision in decisions}


def _forks(log: Log, expected: Written) -> Iterator[Finding]:
    """Yield where the log is not that of one undisturbed worker."""
    order = [entry.offset for entry in log.entries]
    yield "forked", order != sorted(order), "audit entries are out of order"
    indexes = [entry.index for entry in log.entries]
    yield "forked", indexes != list(range(len(indexes))), "audit indexes are not 0, 1, 2 ..."
    for (topic, partition), rows in expected.items():
        there = log.written[topic, partition]
        if there == rows:
            continue
        rest = iter(rows)
        is_part = all(row in rest for row in there)  # in order, but some are not there
        what = f"{topic}/{partition} is not what a replay gives: {len(there)} records, want {len(rows)}"
        if not is_part:
            yield "forked", 1, what
        elif not topic.endswith((f".{topics.AUDIT.name}", f".{topics.DECISIONS.name}")):  # those are counted already
            yield "lost", len(rows) - len(there), what


def _calls(tenant: Tenant, log: Log, tables: Tables) -> Iterator[Finding]:
    """Yield where the open calls are not those that were allowed and have not ended."""
    results = [rows for (topic, _), rows in log.written.items() if topic == topics.RESULTS.of(tenant.name)]
    answers: list[Result] = [codec.decode_as(Result, value or b"") for rows in results for _, value in rows]
    ended = Counter(answer.decision for answer in answers if answer.outcome == "unknown")
    yield "doubled", ended.total() - len(ended), "calls that ended twice"
    allowed = sum(entry.outcome == "allowed" for entry in log.entries) - len(ended)
    yield "forked", len(tables.calls) != allowed, f"{len(tables.calls)} calls are open, want {allowed}"


def _heard(tenant: Tenant, log: Log, expected: Written, tables: Tables) -> Iterator[Finding]:
    """Yield what was said and is not on the log: records, calls, and the last sequence number of the caller."""
    yield "lost", max(0, tenant.appended - len(log.intake)), "acknowledged records left intake"
    yield "lost", max(0, tenant.calls - len(_wanted(tenant, expected))), "calls that count as not made"
    row = tables.sequences.get(tenant.caller.key.kid)
    got = None if row is None else row.seq
    is_last = not tenant.calls or got == tenant.caller.last_seq
    yield "forked", not is_last, f"the caller's sequence is {got}, it spoke up to {tenant.caller.last_seq}"


def _state(world: World, tenant: Tenant, tables: Tables) -> Iterator[Finding]:
    """Yield how the changelog differs from the tables that were folded from offset 0."""
    live: dict[bytes, bytes] = {}
    for message in read_topic(world, topics.STATE.of(tenant.name)):
        key, value = message.key() or b"", message.value()
        live.pop(key, None)
        if value is not None:
            live[key] = value
    head = live.pop(HEAD_KEY, None)
    rebuilt = {
        row_key(name, key): codec.frame(row)
        for name, table in tables.by_name.items()
        for key, row in table.rows.items()
    }
    differing = [key for key in live.keys() | rebuilt.keys() if live.get(key) != rebuilt.get(key)]
    yield "forked", len(differing), f"rows of the live state differ from a rebuilt one: {differing[:3]}"
    if head is None:
        yield "forked", 1, "the changelog has no head"
        return
    stored: StateHead = codec.decode_as(StateHead, head)
    mac = StateMac(tenant.folder.state_secret)
    for key, value in rebuilt.items():
        mac.restore(key, value)
    is_tail = stored.audit_index == tables.next_index - 1
    yield (
        "forked",
        not (is_tail and mac.matches(stored, tables.prev)),
        f"the head of audit index {stored.audit_index} does not fit",
    )


def _committed(world: World, tenant: Tenant, log: Log) -> Iterator[Finding]:
    """Yield where the group's offset is not the one after the last entry."""
    settings = {"bootstrap.servers": world.broker.bootstrap, "group.id": world.group, "log_level": 0}
    with Consumer({**settings, "isolation.level": "read_committed"}) as consumer:
        [place] = consumer.committed([TopicPartition(tenant.intake, 0)], timeout=PATIENCE_SECONDS)
    want = log.entries[-1].offset + 1 if log.entries else None
    yield "forked", place.offset != want, f"the committed offset is {place.offset}, the log says {want}"


def _evidence(world: World, tenant: Tenant, log: Log, target: Path) -> Iterator[Finding]:
    """Yield what the offline verifier says of an export, if it does not say that the log is whole."""
    genesis = tenant.folder.genesis
    named: Any = {"tenant": tenant.name, "deployment": "test", "genesis": genesis, "target": target}
    try:
        exported = export_audit(world.broker.bootstrap, **named)
    except (ExportError, ReadTimeoutError, KafkaException, ValueError) as exc:
        yield "forked", 1, f"the log cannot be exported: {exc}"
        return
    verdict = verify_folder(target, genesis=genesis)
    is_whole = verdict.code is VerdictCode.UNWITNESSED and verdict.size == exported.size == len(log.entries)
    yield "forked", not is_whole, f"offline: {verdict.code} at {verdict.index}: {verdict.detail}"
