"""A tenant's log leaves the broker whole, is judged without one, and can be computed again."""

from __future__ import annotations

import itertools
import os
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from confluent_kafka import Producer

from macaw.installation.tenancy import publish_policies, register_agent
from processors.effects import Output
from processors.evidence.folder_format import DATA_FILES, ENTRIES, ENTRY_BYTES_MAX, MANIFEST, Source, schema_file
from processors.evidence.packing import PackError, pack
from processors.proof.signing import VerifiedHeads
from processors.step import step
from producers.client import Client, DeniedError
from schemas import codec
from schemas.topics import AUDIT, DECISIONS, INTAKE, RESULTS
from streams.cluster.founding import create_topics
from streams.history.evidence_folder import EvidenceFolder, EvidenceFolderError, verify_folder
from streams.history.export import Exported, ExportError, export_audit, write_folder
from streams.history.replay import Difference, Replayed, ReplayError, Values, compare, places, replay
from streams.local.choose import BrokerInfo
from tests.archiving import POLICY, Bank
from tests.installation import Installation, installed
from tests.reference.log_builder import build_log, build_world
from tests.waiting import PATIENCE_SECONDS
from tests.world import World

LOG = build_log()
GENESIS = LOG.world.genesis


def small_folder(target: Path) -> Path:
    write_folder(LOG_PIECES, target)
    return target


LOG_PIECES = list(pack(LOG.pairs, origin="test/acme", tenant="acme", genesis=GENESIS))
SCHEMA = schema_file(codec.current("AuditEntry").sha256)


# --- the folder on disk


def test_a_folder_is_written_whole_and_for_its_owner_only(tmp_path: Path) -> None:
    """It holds every event in clear."""
    target = small_folder(tmp_path / "evidence")

    assert verify_folder(target, genesis=GENESIS).code == "UNWITNESSED"
    assert stat.S_IMODE(target.stat().st_mode) == 0o700
    assert {stat.S_IMODE(p.stat().st_mode) for p in target.rglob("*") if p.is_file()} == {0o600}
    assert list(tmp_path.iterdir()) == [target]


def test_an_empty_folder_may_be_written_into_and_no_other(tmp_path: Path) -> None:
    """What stands there already could be mixed up with evidence, or be evidence."""
    (tmp_path / "evidence").mkdir()

    assert verify_folder(small_folder(tmp_path / "evidence"), genesis=GENESIS).code == "UNWITNESSED"
    with pytest.raises(OSError, match="not empty"):
        small_folder(tmp_path / "evidence")


def test_a_broken_export_leaves_nothing(tmp_path: Path) -> None:
    """Half a folder would look like a truncated log."""

    def breaking() -> Iterator[tuple[str, bytes]]:
        yield from itertools.islice(LOG_PIECES, 5)
        raise PackError("broken")

    with pytest.raises(PackError):
        write_folder(breaking(), tmp_path / "evidence")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_malformed(tmp_path: Path) -> None:
    """Could not check is a verdict, and not a good one."""
    assert verify_folder(tmp_path / "nowhere", genesis=GENESIS).code == "MALFORMED"
    assert verify_folder(tmp_path, genesis=GENESIS).code == "MALFORMED"
    (tmp_path / "file").write_bytes(b"")
    assert verify_folder(tmp_path / "file", genesis=GENESIS).code == "MALFORMED"


@pytest.mark.parametrize(
    "name", ["notes.txt", ".hidden", "schemas/notes.txt", "schemas/" + "0" * 63 + ".avsc", "entries.bin.old"]
)
def test_a_file_that_does_not_belong_there_is_malformed(tmp_path: Path, name: str) -> None:
    """Also one that no manifest names: a reader must not wonder what it is."""
    target = small_folder(tmp_path / "evidence")
    (target / name).write_bytes(b"")

    assert verify_folder(target, genesis=GENESIS).code == "MALFORMED"


def test_links_pipes_and_directories_are_not_read(tmp_path: Path) -> None:
    """A folder from a stranger must not make the verifier read, or wait for, something else."""
    elsewhere = tmp_path / "elsewhere"
    for make in (lambda path: path.symlink_to(elsewhere), os.mkfifo, os.mkdir):
        for number, name in enumerate((MANIFEST, *DATA_FILES, SCHEMA)):
            target = small_folder(tmp_path / f"{make.__name__}-{number}")
            (target / name).rename(elsewhere)
            make(target / name)
            verdict = verify_folder(target, genesis=GENESIS)
            assert verdict.code == "MALFORMED"
            assert name in verdict.detail


def test_a_linked_folder_is_not_followed(tmp_path: Path) -> None:
    """Neither as a whole nor for its schemas."""
    target = small_folder(tmp_path / "evidence")
    (tmp_path / "link").symlink_to(target)
    assert verify_folder(tmp_path / "link", genesis=GENESIS).code == "MALFORMED"

    (target / "schemas").rename(tmp_path / "schemas")
    (target / "schemas").symlink_to(tmp_path / "schemas")
    assert verify_folder(target, genesis=GENESIS).code == "MALFORMED"


def test_only_listed_names_are_opened(tmp_path: Path) -> None:
    """Whatever a manifest says."""
    target = small_folder(tmp_path / "evidence")
    with EvidenceFolder(target) as folder, pytest.raises(EvidenceFolderError, match="no file"):
        next(folder.read("../evidence/manifest.json"))


# --- replay in memory


def stored_of(world: World) -> dict[tuple[object, int], list[bytes | None]]:
    """Return what a monitor would have written, by partition."""
    tables = world.fresh_tables()
    found: dict[tuple[object, int], list[bytes | None]] = {place: [] for place in places()}
    outputs: list[Output] = [o for received in world.records for o in step(tables, received, VerifiedHeads())]
    for output in outputs:
        if (output.topic, output.partition) in found:
            found[output.topic, output.partition].append(output.value)
    return found


def compared(world: World, stored: dict[tuple[object, int], list[bytes | None]]) -> Replayed:
    records = iter(world.records)
    return compare(world.fresh_tables(), lambda _: next(records, None), {p: Values(v) for p, v in stored.items()})  # type: ignore[misc]


def test_a_replay_gives_the_same_bytes() -> None:
    """Every record, on every partition, in order."""
    world = build_world("replayed")
    stored = stored_of(world)

    report = compared(world, stored)

    assert report.difference is None
    assert report.entries == len(world.records)
    assert report.compared == sum(map(len, stored.values()))
    assert set(report.counts) == {"audit", "decisions", "results"}
    assert report.beyond == 0


def test_each_changed_record_is_found() -> None:
    """The first difference is named with its place."""
    world = build_world("replayed")
    stored = stored_of(world)
    for (topic, partition), values in stored.items():
        for at, value in enumerate(values):
            changed = [*values[:at], (value or b"")[:-1] + b"!", *values[at + 1 :]]
            found = compared(world, {**stored, (topic, partition): changed}).difference
            assert found == Difference(topic.of("acme"), partition, at, "other bytes")  # type: ignore[attr-defined]


def test_a_missing_and_an_added_record_are_found() -> None:
    """A decision that no call caused is as bad as a call without one."""
    world = build_world("replayed")
    stored = stored_of(world)
    place = next(p for p, v in stored.items() if p[0] is DECISIONS and v)
    less, more = {**stored, place: stored[place][:-1]}, {**stored, place: [*stored[place], stored[place][-1]]}
    garbage = {**stored, place: [*stored[place], b"garbage"]}
    name, last = "macaw.acme.decisions", len(stored[place])

    assert compared(world, less).difference == Difference(name, place[1], last - 1, "missing")
    for added in (more, garbage):
        found = compared(world, added).difference
        assert found == Difference(name, place[1], last, "not caused by any record of intake")


def test_a_replay_goes_as_far_as_the_audit_log() -> None:
    """What a monitor wrote while the replay ran was not compared, and the report says how much that is."""
    world = build_world("replayed")
    stored = stored_of(world)
    shorter = {**stored, (AUDIT, 0): stored[AUDIT, 0][:-2]}  # both of them were answered

    report = compared(world, shorter)

    assert report.difference is None
    assert (report.entries, report.beyond) == (len(world.records) - 2, 2)


def test_an_audit_log_longer_than_intake_is_a_difference() -> None:
    """An entry without a record is a record that was taken away."""
    world = build_world("replayed")
    stored = stored_of(world)
    world.records.pop()

    found = compared(world, stored).difference
    assert found is not None
    assert found.what == "not caused by any record of intake"


def test_another_rule_gives_other_bytes() -> None:
    """A monitor that was made to allow more."""
    world = build_world("replayed")
    stored = stored_of(world)
    world.records[7] = replace(world.records[7], appended_at=world.records[7].appended_at + 1)

    assert compared(world, stored).difference is not None


# --- on a broker


def read_entries(folder: Path) -> list[bytes]:
    """Return the entries of an exported folder."""
    source, entries = Source([(folder / ENTRIES).read_bytes()]), []
    while (entry := source.record(ENTRY_BYTES_MAX)) is not None:
        entries.append(entry)
    return entries


@pytest.fixture
def busy(broker: BrokerInfo, tmp_path: Path, unique: str) -> Iterator[Installation]:
    """A tenant whose log has calls, a denial, undecodable bytes and an event without a proof in it."""
    with installed(broker, tmp_path, unique) as running:
        register_agent(running.home, running.folder, "shopper", attributes={"roles": ["payer"]})
        publish_policies(running.home, running.folder, [POLICY], {})
        intruder = Producer({"bootstrap.servers": broker.bootstrap})
        with running.hosting("bank", Bank()), Client.connect(unique, "shopper", home=running.home) as client:
            for n in range(5):
                assert client.invoke("tool:bank/transfer", {"to": "bob", "amount": n}) == {"to": "bob", "sent": n}
            intruder.produce(INTAKE.of(unique), b"garbage", partition=0)
            intruder.produce(INTAKE.of(unique), None, partition=0)
            assert intruder.flush(PATIENCE_SECONDS) == 0
            with pytest.raises(DeniedError):
                client.invoke("tool:mail/send", {})
        yield running


def export(running: Installation, target: Path) -> Exported:
    tenant = running.folder.tenant
    return export_audit(
        running.home.bootstrap, tenant=tenant, deployment="test", genesis=running.folder.genesis, target=target
    )


def replayed(running: Installation) -> Replayed:
    folder = running.folder
    return replay(running.home.bootstrap, tenant=folder.tenant, deployment="test", genesis=folder.genesis)


@pytest.mark.broker
def test_a_log_is_exported_judged_and_replayed(busy: Installation, tmp_path: Path) -> None:
    """From a running monitor to a verdict without it, and back to the same bytes."""
    target = tmp_path / "evidence"
    exported = export(busy, target)

    verdict = verify_folder(target, genesis=busy.folder.genesis)
    report = replayed(busy)

    assert (verdict.code, verdict.index) == ("UNWITNESSED", None), verdict
    assert exported.size == verdict.size == report.entries
    assert exported.events_absent == verdict.events_absent == 0
    assert report.difference is None
    assert report.counts["audit"] == verdict.size
    assert report.counts["decisions"] == 6
    assert report.beyond == 0
    with pytest.raises(ExportError, match="not an empty folder"):
        export(busy, target)


@pytest.mark.broker
def test_what_is_no_entry_ends_no_export(busy: Installation, tmp_path: Path) -> None:
    """Noise, a record of another kind, an entry of another tenant: left out, and told where it stands."""
    export(busy, tmp_path / "before")
    before = verify_folder(tmp_path / "before", genesis=busy.folder.genesis)
    *_, last = read_entries(tmp_path / "before")
    entry = codec.decode(codec.current("AuditEntry"), last[36:])
    elsewhere = codec.frame(replace(entry, origin="test/elsewhere"))
    intruder = Producer({"bootstrap.servers": busy.home.bootstrap})
    for value in (b"noise", None, elsewhere, codec.current("Decision").prefix + b"x"):
        intruder.produce(AUDIT.of(busy.folder.tenant), value, partition=0)
    assert intruder.flush(PATIENCE_SECONDS) == 0

    written = export(busy, tmp_path / "after")
    after = verify_folder(tmp_path / "after", genesis=busy.folder.genesis)

    assert (written.foreign, len(written.foreign_at)) == (4, 4)
    assert (after.code, after.root) == (before.code, before.root)


@pytest.mark.broker
def test_a_forged_record_on_the_log_is_found(busy: Installation) -> None:
    """Somebody who may write to the topics, but holds no key."""
    tenant = busy.folder.tenant
    assert replayed(busy).difference is None
    intruder = Producer({"bootstrap.servers": busy.home.bootstrap})
    intruder.produce(RESULTS.of(tenant), b"forged", partition=1)
    assert intruder.flush(PATIENCE_SECONDS) == 0

    found = replayed(busy).difference

    assert found is not None
    assert (found.topic, found.partition, found.what) == (
        RESULTS.of(tenant),
        1,
        "not caused by any record of intake",
    )


@pytest.mark.broker
def test_a_forged_entry_does_not_leave_as_evidence(busy: Installation, tmp_path: Path) -> None:
    """A copy of the last entry, written to the audit topic by somebody else, is named in the export."""
    export(busy, tmp_path / "before")
    size = verify_folder(tmp_path / "before", genesis=busy.folder.genesis).size
    *_, last = read_entries(tmp_path / "before")
    intruder = Producer({"bootstrap.servers": busy.home.bootstrap})
    intruder.produce(AUDIT.of(busy.folder.tenant), codec.current("AuditEntry").prefix + last[36:], partition=0)
    assert intruder.flush(PATIENCE_SECONDS) == 0

    export(busy, tmp_path / "after")
    verdict = verify_folder(tmp_path / "after", genesis=busy.folder.genesis)

    assert (verdict.code, verdict.index) == ("BAD_LINK", size)
    assert replayed(busy).difference is not None


@pytest.mark.broker
def test_a_tenant_without_a_log_is_neither_exported_nor_replayed(
    broker: BrokerInfo, tmp_path: Path, unique: str
) -> None:
    """Nothing is not a good log."""
    create_topics(broker.bootstrap, unique)

    with pytest.raises(PackError, match="no audit entry"):
        export_audit(
            broker.bootstrap, tenant=unique, deployment="test", genesis=bytes(32), target=tmp_path / "evidence"
        )
    with pytest.raises(ReplayError, match="no audit entry"):
        replay(broker.bootstrap, tenant=unique, deployment="test", genesis=bytes(32))
    assert not (tmp_path / "evidence" / MANIFEST).exists()
