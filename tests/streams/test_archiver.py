"""A log on the brokers becomes an archive: whole, once, and whatever stops the archiver."""

from __future__ import annotations

import logging
import resource
import signal
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer, TopicPartition

from macaw.installation.locking import update_config
from processors.evidence.archive.bodies import Absent
from processors.evidence.archive.codes import ArchiveCode, SegmentError
from processors.evidence.archive.verdict import ArchiveVerdict, verify_archive
from processors.proof.signing import KID_HEADER, PROOF_HEADER
from producers.home.home import Home
from schemas import codec
from schemas.records import AuditEntry
from schemas.topics import AUDIT, DECISIONS, INTAKE, RESULTS
from streams.archive.archiver import Archiver
from streams.archive.log_source import Consumers, LogLostError, UnknownSignerError
from streams.archive.places import TenantArchive, open_archive
from streams.archive.process import ArchiveProcess
from streams.archive.store import StoreError
from streams.cluster.topics import open_admin
from streams.history.partitions import whole_partition
from streams.local.choose import BrokerInfo
from tests.archiving import busy_tenant, calls
from tests.builders import keys_of
from tests.installation import Installation
from tests.waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.broker


@pytest.fixture
def busy(broker: BrokerInfo, tmp_path: Path, unique: str) -> Iterator[Installation]:
    with busy_tenant(broker, tmp_path, unique) as running:
        yield running


def archive_of(running: Installation) -> TenantArchive:
    return open_archive(running.home, running.folder, make_keys=True)


def archiver_of(running: Installation, **bounds: Any) -> Archiver:
    archive = archive_of(running)
    return Archiver(archive.store, archive.owner, archive.keyring, **bounds)


@pytest.fixture
def consumers(busy: Installation) -> Iterator[Consumers]:
    opened = Consumers(busy.home.bootstrap, busy.folder.tenant)
    yield opened
    opened.close()


def verdict_on(running: Installation) -> ArchiveVerdict:
    archive = archive_of(running)
    store = archive.store
    return verify_archive(lambda: ((n, store.get(n)) for n in store.names()), archive.owner, archive.keyring)


def on_brokers(running: Installation, topic: Any, partition: int = 0) -> list[tuple[int, bytes | None]]:
    tenant, is_committed = running.folder.tenant, topic is not INTAKE
    with whole_partition(running.home.bootstrap, topic.of(tenant), partition, committed=is_committed) as whole:
        return [(one.offset, one.value) for one in whole.read(whole.low)]


def test_a_log_is_archived_whole_and_reads_back_as_it_stands(busy: Installation, consumers: Consumers) -> None:
    archiver = archiver_of(busy, segment_entries=7)
    count = archiver.run_once(consumers)

    verdict = verdict_on(busy)
    log = archive_of(busy).read()
    assert (verdict.code, verdict.entries, verdict.absent, verdict.outputs_absent) == (ArchiveCode.WHOLE, count, 0, 0)
    assert verdict.segments == -(-count // 7)
    assert [(a.offset, a.record.value) for a in log.audit()] == on_brokers(busy, AUDIT)[:count]
    intake = [(one.offset, one.value) for one in log.intake() if not isinstance(one, Absent)]
    assert intake == on_brokers(busy, INTAKE)[:count]
    for topic in (DECISIONS, RESULTS):
        for partition in range(4):
            stored = [(one.offset, one.value) for one in log.outputs(topic, partition)]
            assert stored == on_brokers(busy, topic, partition)
    assert archiver.run_once(consumers) == 0


def test_an_archiver_goes_on_where_the_last_one_ended(busy: Installation, consumers: Consumers) -> None:
    first = archiver_of(busy).run_once(consumers)
    calls(busy, 3)
    second = archiver_of(busy).run_once(consumers)

    verdict = verdict_on(busy)
    assert second >= 7
    assert (verdict.code, verdict.entries, verdict.segments) == (ArchiveCode.WHOLE, first + second, 2)


def test_two_archivers_at_once_make_one_archive(busy: Installation) -> None:
    """Each has connections of its own; segments of one entry each, so that they meet at every name."""
    archivers = [archiver_of(busy, segment_entries=1) for _ in range(2)]
    ready, errors, entries = threading.Barrier(2), [], len(on_brokers(busy, AUDIT))

    def work(archiver: Archiver) -> None:
        consumers = Consumers(busy.home.bootstrap, busy.folder.tenant)
        try:
            ready.wait()
            for _ in range(100):
                if archiver.end.next_index < entries:  # a meeting ends a round
                    archiver.run_once(consumers)
        except BaseException as exc:  # noqa: BLE001 - the thread's error is the test's
            errors.append(exc)
        finally:
            consumers.close()

    threads = [threading.Thread(target=work, args=(one,)) for one in archivers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert errors == []
    verdict = verdict_on(busy)
    assert (verdict.code, verdict.entries) == (ArchiveCode.WHOLE, entries)
    assert archivers[0].end == archivers[1].end


def test_records_that_no_monitor_signed_are_not_archived(busy: Installation, consumers: Consumers) -> None:
    """Without access rules anybody can write to these topics. What is archived could not be taken back."""
    tenant = busy.folder.tenant
    _, entry = on_brokers(busy, AUDIT)[0]
    _, decision = next(found for p in range(4) for found in on_brokers(busy, DECISIONS, p))
    intruder = Producer({"bootstrap.servers": busy.home.bootstrap})
    for value in (b"noise", None, entry):
        intruder.produce(AUDIT.of(tenant), value, partition=0)
    for partition in range(4):
        for value in (b"noise", None, decision):
            intruder.produce(DECISIONS.of(tenant), value, partition=partition)
    assert intruder.flush(PATIENCE_SECONDS) == 0
    archiver = archiver_of(busy)
    archiver.run_once(consumers)
    known = archive_of(busy).read().span.next_index
    last = codec.decode_as(AuditEntry, on_brokers(busy, AUDIT)[known - 1][1] or b"")
    forged = replace(last, index=known, prev=archiver.end.leaf)  # all that a stranger can know of the next entry
    key = keys_of("stranger").signing
    headers = [(PROOF_HEADER, key.sign_leaves([bytes(32)])[0]), (KID_HEADER, key.kid)]
    intruder.produce(AUDIT.of(tenant), codec.frame(forged), partition=0, headers=headers)
    assert intruder.flush(PATIENCE_SECONDS) == 0
    with pytest.raises(UnknownSignerError, match="UNKNOWN_SIGNER"):
        archiver.run_once(consumers)
    assert archiver.end.next_index == known
    calls(busy, 2)

    count = known + archiver.run_once(consumers)
    verdict = verdict_on(busy)
    assert (verdict.code, verdict.entries, verdict.outputs_absent) == (ArchiveCode.WHOLE, count, 0)


def trim(running: Installation, topic: str, offset: int) -> None:
    with open_admin(running.home.bootstrap) as admin:
        for done in admin.delete_records([TopicPartition(topic, 0, offset)]).values():
            done.result(PATIENCE_SECONDS)


def test_what_retention_took_first_is_absent_and_registrations_come_from_the_registry(busy: Installation) -> None:
    """An archive that is set up on the thirty-first day: the founding is gone from intake."""
    gone = 6
    trim(busy, INTAKE.of(busy.folder.tenant), gone)
    process = ArchiveProcess(busy.home)
    try:
        assert process.look(at_once=True)
    finally:
        process.close()

    verdict = verdict_on(busy)
    archived = list(archive_of(busy).read().entries())
    absent = [one.entry.kind for one in archived if isinstance(one.body, Absent)]
    assert verdict.code == ArchiveCode.WHOLE, verdict
    assert 0 < verdict.absent == len(absent) < gone
    assert not {"TenantFounded", "PrincipalRegistered"} & set(absent)


def test_a_log_that_was_made_again_is_not_archived_on(busy: Installation, consumers: Consumers) -> None:
    """Its archive is of another history."""
    archiver = archiver_of(busy)
    archiver.run_once(consumers)
    archiver.end = archiver.end._replace(next_offsets=(10**6, *archiver.end.next_offsets[1:]))
    with pytest.raises(LogLostError, match="LOG_LOST"):
        archiver.run_once(consumers)


def test_a_full_disk_holds_the_archive_and_nothing_is_lost(
    busy: Installation, caplog: pytest.LogCaptureFixture
) -> None:
    """It says so, keeps trying, and goes on when there is room. The brokers keep everything."""
    before = on_brokers(busy, INTAKE)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    process = ArchiveProcess(busy.home)
    try:
        archive_of(busy)  # the keys are made before the disk is full
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
        with caplog.at_level(logging.ERROR):
            for _ in range(2):
                assert not process.look(at_once=True)
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert archive_of(busy).store.names() == []
        assert on_brokers(busy, INTAKE) == before
        assert process.look(at_once=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, ignored)
        process.close()
    told = [r.getMessage() for r in caplog.records if "is not archived" in r.getMessage()]
    assert len(told) == 2
    assert all("make room" in text and "must not be trimmed" in text for text in told)
    assert verdict_on(busy).code == ArchiveCode.WHOLE


def test_a_store_that_gives_back_other_bytes_is_not_believed(busy: Installation, consumers: Consumers) -> None:
    archive = archive_of(busy)

    class Forgetful:
        """A store that keeps half of what it is given."""

        def __getattr__(self, name: str) -> Any:
            return getattr(archive.store, name)

        def get(self, name: str) -> bytes:
            return archive.store.get(name)[:-1]

    archiver = Archiver(Forgetful(), archive.owner, archive.keyring)  # type: ignore[arg-type]
    with pytest.raises(SegmentError, match=r"EDITED.*read back"):
        archiver.run_once(consumers)
    assert archiver.end.next_index == 0


def test_one_tenants_broken_archive_does_not_hold_another_up(busy: Installation, tmp_path: Path) -> None:
    """The home knows a second tenant that has no log."""
    other = tmp_path / ".macaw" / "tenants" / "aaa"
    other.mkdir()
    (other / "genesis").write_text("0" * 64)
    process = ArchiveProcess(busy.home)
    try:
        assert not process.look(at_once=True)
    finally:
        process.close()
    assert verdict_on(busy).code == ArchiveCode.WHOLE


def test_an_archive_of_other_keys_is_not_written_on(busy: Installation, consumers: Consumers) -> None:
    """A home that was set up anew, with the store of the old one."""
    archiver_of(busy).run_once(consumers)
    for path in (busy.folder.path / "archive-keys").iterdir():
        path.unlink()
    with pytest.raises(SegmentError, match="WRONG_KEY"):
        archiver_of(busy)


def test_a_store_that_is_not_there_is_said(busy: Installation) -> None:
    update_config(busy.home.path.parent, {"archive": str(busy.folder.path / "genesis")})
    with pytest.raises(StoreError, match="cannot be opened"):
        open_archive(Home.open(busy.home.path.parent), busy.folder, make_keys=True)
