"""Decisions as the views read them from a broker: committed ones alone, and as far back as they are kept."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from schemas import codec
from schemas.records import Decision
from schemas.topics import DECISIONS, KEYED_PARTITIONS, keyed_partition
from streams.local.choose import EmbeddedBroker
from streams.views.counting.counts import Counts, Standing
from streams.views.counting.reader import DecisionsReader
from streams.views.progress import Phase, Progress
from streams.views.view import row_key
from tests.streams.test_views_counts import ONE, PERSON, TWO, decision, numbers
from tests.streams.views_world import Writer
from tests.waiting import PATIENCE_SECONDS, wait_until


@pytest.fixture(params=["best", "embedded"])
def bootstrap(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The broker of the run, and the embedded one."""
    if request.param == "best":
        yield request.getfixturevalue("broker").bootstrap
        return
    with EmbeddedBroker(tmp_path / "broker") as running:
        yield running.info.bootstrap


class Log:
    """Two tenants' decisions on a broker, a table of sessions, and a reader that counts them in this process."""

    def __init__(self, bootstrap: str, name: str) -> None:
        self.bootstrap, self.tenants = bootstrap, (name, f"{name}-b")
        self.writer = Writer(bootstrap, name)
        self.now = time.time_ns() // 1_000_000
        self.rows: dict[bytes, bytes] = {}
        self.progress = Progress(phase=Phase.FOLLOWING, as_of=self.now)

    def create(self, admin: AdminClient, tenant: str) -> None:
        """Make a tenant's topic, and put two sessions of it into the table."""
        topic = NewTopic(DECISIONS.of(tenant), KEYED_PARTITIONS, 1, config=DECISIONS.config())
        admin.create_topics([topic])[topic.topic].result(PATIENCE_SECONDS)
        for session in (ONE, TWO):
            row = replace(PERSON, tenant=tenant, session_id=session, opened_at=self.now)
            self.rows[row_key(tenant, session.hex())] = codec.frame(row)

    def write(self, tenant: str, *made: Decision, commit: bool = True) -> None:
        placed = [replace(one, origin=f"t/{tenant}", event_id=one.event[-16:]) for one in made]
        topic = DECISIONS.of(tenant)
        records = ((topic, one.event_id, codec.frame(one), keyed_partition(one.event_id)) for one in placed)
        self.writer.write_to(*records, commit=commit)

    @contextmanager
    def reading(self) -> Iterator[Counts]:
        """Let a reader run, as a process that has just started."""
        counts = Counts()
        reader = DecisionsReader(self.bootstrap, counts, self.rows, self.progress)
        loop = asyncio.new_event_loop()
        task = loop.create_task(reader.run())

        def work() -> None:
            with suppress(asyncio.CancelledError):
                loop.run_until_complete(task)

        thread = threading.Thread(target=work)
        thread.start()
        try:
            yield counts
        finally:
            loop.call_soon_threadsafe(task.cancel)
            thread.join(PATIENCE_SECONDS)
            loop.close()


def await_counts(counts: Counts, tenant: str, want: dict[bytes, tuple[int, int]]) -> None:
    """Wait until the counts are these calls and denials, by session, and are said to be current."""

    def found() -> dict[bytes, tuple[int, int]]:
        return {session: numbers(counts, session, tenant)[:2] for session in want if counts.of(tenant, session)}

    wait_until(
        lambda: found() == want and counts.standing(tenant) is Standing.CURRENT,
        lambda: f"got {found()}, want {want}",
        pause=0.05,
    )


@pytest.mark.broker
def test_committed_decisions_are_counted_by_each_reader(bootstrap: str, unique: str) -> None:
    """Aborted ones among them; a tenant that comes meanwhile; a second start; a topic that is cut off or made anew."""
    log = Log(bootstrap, unique)
    mine, other = log.tenants
    with AdminClient({"bootstrap.servers": bootstrap}) as admin:
        log.create(admin, mine)
        log.write(mine, *(decision(i, "denied" if i % 3 else "allowed") for i in range(30)))
        log.write(mine, *(decision(i, "denied") for i in range(30, 40)), commit=False)
        with log.reading() as counts:
            await_counts(counts, mine, {ONE: (30, 20), TWO: (0, 0)})
            log.create(admin, other)
            log.write(other, decision(0, "pending"), decision(1, "denied", event=0))
            log.write(mine, decision(30, "allowed", session=TWO), decision(31, "pending"))
            await_counts(counts, other, {ONE: (1, 1), TWO: (0, 0)})
            await_counts(counts, mine, {ONE: (31, 20), TWO: (1, 0)})
            assert counts.standing(f"{unique}-c") is Standing.UNKNOWN
        log.write(mine, decision(32, "denied", event=31), decision(32, "denied", event=31))
        with log.reading() as counts:
            await_counts(counts, mine, {ONE: (31, 21), TWO: (1, 0)})
            found = counts.of(mine, ONE)
            assert found is not None
            assert found.since == 0  # nothing is missing
            admin.delete_topics([DECISIONS.of(other)])[DECISIONS.of(other)].result(PATIENCE_SECONDS)
            wait_until(lambda: counts.standing(other) is Standing.UNKNOWN, "a deleted topic is counted on", pause=0.05)
            log.create(admin, other)
            log.writer = Writer(bootstrap, f"{unique}-anew")  # the first one counts on in the topic that is gone
            log.write(other, decision(0, "denied", session=TWO))
            await_counts(counts, other, {ONE: (0, 0), TWO: (1, 1)})


@pytest.mark.broker
def test_decisions_that_retention_has_removed_are_told(broker: Any, unique: str) -> None:
    log = Log(broker.bootstrap, unique)
    mine, _ = log.tenants
    with AdminClient({"bootstrap.servers": broker.bootstrap}) as admin:
        log.create(admin, mine)
        log.write(mine, *(decision(i, "allowed") for i in range(8)))
        cut = [TopicPartition(DECISIONS.of(mine), number, 1) for number in range(KEYED_PARTITIONS)]
        for one in admin.delete_records(cut).values():
            one.result(PATIENCE_SECONDS)
        with log.reading() as counts:
            await_counts(counts, mine, {ONE: (4, 0), TWO: (0, 0)})
            found = counts.of(mine, ONE)

    assert found is not None
    assert found.since >= log.now
