"""Records of others on the topics of a log neither enter its archive nor hold it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from processors.effects import output_place
from processors.evidence.archive.codes import ArchiveCode, SegmentError
from processors.evidence.archive.contents import output_leaf
from processors.evidence.archive.segment import AUDIT_PLACE, OUTPUT_TOPICS, PARTITIONS, PLACES
from processors.evidence.archive.verdict import verify_archive
from processors.evidence.archive.writing import LogRecord
from processors.proof import signing
from processors.proof.signing import KID_HEADER, PROOF_HEADER
from producers.home.home import SET_ASIDE, TenantHome
from schemas import codec
from schemas.topics import AUDIT, INTAKE
from streams.archive import process
from streams.archive.archiver import Archiver
from streams.archive.keyring import Keyring
from streams.archive.marks import STORED
from streams.archive.store import FolderStore
from tests.archives import owner_of, records_of
from tests.reference.log_builder import build_log
from tests.streams.partitions_in_memory import Partitions

LOG = build_log()
WORLD = LOG.world
OWNER, RECORDS = owner_of(LOG), records_of(LOG)
MONITOR = WORLD.monitor.keys.signing
COUNT = len(RECORDS)


class Known:
    """The registry: the one monitor."""

    def monitor_key(self, _: Any, kid: bytes) -> bytes | None:
        return MONITOR.public if kid == MONITOR.kid else None

    def event(self, _: Any, leaf: bytes) -> None:
        return None


class Brokers:
    """The topics of the log with these audit records, for the consumers of an archiver."""

    def __init__(self, audit: Iterable[LogRecord]) -> None:
        self.audit, self.intake, self.outputs, self.registry = (Partitions() for _ in range(4))
        for record in audit:
            self.append(record)
        for record in RECORDS:
            if (received := record.received) is not None:
                self.intake.append(
                    INTAKE.of(OWNER.tenant),
                    0,
                    received.value,
                    list(received.headers),
                    offset=record.entry.offset,
                    time=received.appended_at,
                    of_key=record.key,
                )
            outputs = record.outputs or ()
            proofs = MONITOR.sign_leaves([output_leaf(one, OWNER) or b"" for one in outputs]) if outputs else []
            for one, proof in zip(outputs, proofs, strict=True):
                headers = [(PROOF_HEADER, proof), (KID_HEADER, MONITOR.kid)]
                self.outputs.append(OUTPUT_TOPICS[one.topic].of(OWNER.tenant), one.partition, one.value, headers)

    def append(self, record: LogRecord) -> None:
        headers = [(PROOF_HEADER, record.proof), (KID_HEADER, record.kid)]
        self.audit.append(AUDIT.of(OWNER.tenant), 0, record.value, headers, time=record.time)

    def ends(self, tenant: str) -> tuple[tuple[int, int], ...]:
        found = [(0, 0)] * PLACES
        found[AUDIT_PLACE] = 0, self.audit.high(AUDIT.of(tenant), 0)
        found[1 - AUDIT_PLACE] = 0, self.intake.high(INTAKE.of(tenant), 0)
        for (kind, partition), at in PARTITIONS.items():
            found[at] = 0, self.outputs.high(OUTPUT_TOPICS[kind].of(tenant), partition)
        return tuple(found)


class Home:
    """An installation's keys and store of this log."""

    def __init__(self, path: Path) -> None:
        self.keyring = Keyring(path)
        self.keyring.make_lasting()
        self.owner = self.keyring.owner(WORLD.tenant, WORLD.deployment, WORLD.genesis)
        self.store = FolderStore(path / "archive")

    def archiver(self, **bounds: int) -> Archiver:
        archiver = Archiver(self.store, self.owner, self.keyring, **bounds)
        archiver._registry = Known()  # type: ignore[assignment]
        return archiver

    def check_whole(self) -> None:
        verdict = verify_archive(lambda: ((n, self.store.get(n)) for n in self.store.names()), self.owner, self.keyring)
        assert (verdict.code, verdict.entries, verdict.outputs_absent) == (ArchiveCode.WHOLE, COUNT, 0), verdict


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def forged(real: LogRecord, **changes: Any) -> LogRecord:
    """Return an entry that a thief of the monitor's key signed."""
    entry = replace(real.entry, **{"now": real.entry.now + 1, **changes})
    place = output_place(signing.AUDIT_TAG, WORLD.genesis, AUDIT.of(WORLD.tenant), 0, "AuditEntry")
    [proof] = MONITOR.sign_leaves([place.leaf(codec.encode(entry))])
    return replace(real, entry=entry, value=codec.frame(entry), proof=proof, kid=MONITOR.kid)


@pytest.mark.parametrize("entries", [1, 3, COUNT])
def test_copies_of_entries_neither_enter_an_archive_nor_hold_it(home: Home, entries: int) -> None:
    """Anybody who may write the topic can append a monitor's entry again, with its own headers."""
    order = [one for at, record in enumerate(RECORDS) for one in (record, RECORDS[at // 2], record)]
    brokers = Brokers(order)
    archiver = home.archiver(segment_entries=entries)
    assert archiver.run_once(brokers) == COUNT  # type: ignore[arg-type]
    for record in RECORDS:
        brokers.append(record)
    assert archiver.run_once(brokers) == 0  # type: ignore[arg-type]
    assert home.archiver().run_once(brokers) == 0  # type: ignore[arg-type]
    home.check_whole()


def test_a_signed_entry_with_a_gap_or_another_prev_is_left_out(home: Home) -> None:
    """Of a thief of the key; honest entries before it and behind it are archived."""
    gap, other = forged(RECORDS[5], index=10**9), forged(RECORDS[5], prev=bytes(32))
    brokers = Brokers([*RECORDS[:5], gap, other])
    with pytest.raises(SegmentError, match=r"OTHER_HEAD.*macaw audit foreign"):
        home.archiver().run_once(brokers)  # type: ignore[arg-type]
    assert home.archiver().end.next_index == 5
    assert home.archiver().run_once(brokers, {"audit/0": frozenset({5, 6})}) == 0  # type: ignore[arg-type]
    for record in RECORDS[5:]:
        brokers.append(record)
    with pytest.raises(SegmentError, match="OTHER_HEAD"):
        home.archiver().run_once(brokers)  # type: ignore[arg-type]
    home.check_whole()
    assert home.archiver().run_once(brokers) == 0  # type: ignore[arg-type]


def test_a_log_that_lost_an_entry_is_said_at_each_attempt(home: Home) -> None:
    brokers = Brokers([*RECORDS[:4], *RECORDS[5:]])
    for _ in range(2):
        with pytest.raises(SegmentError, match="OTHER_HEAD"):
            home.archiver().run_once(brokers)  # type: ignore[arg-type]
    assert home.archiver().end.next_index == 4


def test_an_entry_of_a_thief_is_set_aside(home: Home) -> None:
    thief = forged(RECORDS[6])
    brokers = Brokers([*RECORDS[:6], thief, *RECORDS[6:]])
    assert home.archiver().run_once(brokers, {"audit/0": frozenset({6})}) == COUNT  # type: ignore[arg-type]
    home.check_whole()


def test_a_thiefs_entry_that_was_archived_is_dropped_with_what_lies_behind(home: Home) -> None:
    """As docs/incidents.md says: the archiver is held until its segment and later ones are moved away."""
    brokers = Brokers([*RECORDS[:6], forged(RECORDS[6]), *RECORDS[6:]])
    aside = {"audit/0": frozenset({6})}
    for known in ({}, aside):
        with pytest.raises(SegmentError, match="OTHER_HEAD"):
            home.archiver(segment_entries=2).run_once(brokers, known)  # type: ignore[arg-type]
    names = home.store.names()
    for name in names[3:]:
        (home.store.path / name).unlink()
    (home.keyring.path / STORED).unlink()
    assert home.archiver().run_once(brokers, aside) == COUNT - 6  # type: ignore[arg-type]
    home.check_whole()


def test_the_process_reads_the_list_of_the_tenant_anew_at_each_round(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    brokers = Brokers([*RECORDS[:6], forged(RECORDS[6]), *RECORDS[6:]])
    brokers.lag = lambda *_: 1  # type: ignore[attr-defined]
    folder = TenantHome(WORLD.tenant, home.keyring.path.parent)
    folder.put_aside({"audit/0": frozenset({6})})
    installation = SimpleNamespace(tenants=lambda: ["acme"], tenant=lambda _: folder, bootstrap="", security={})
    monkeypatch.setattr(process, "Consumers", lambda *_, **__: brokers)
    monkeypatch.setattr(process, "open_archive", lambda *_, **__: home)
    monkeypatch.setattr(process, "Archiver", lambda *_: home.archiver())
    running = process.ArchiveProcess(installation)  # type: ignore[arg-type]
    assert running.look(at_once=True)
    home.check_whole()
    (folder.path / SET_ASIDE).write_text("{}")
    assert not running.look(at_once=True)
