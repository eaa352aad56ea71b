"""A tenant whose intake was trimmed, at any place: its evidence, its explanations and its state, from its archive."""

from __future__ import annotations

import json
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import OFFSET_END, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from macaw.installation.archives import archive_of
from macaw.installation.tenancy import create_tenant, publish_policies, register_agent, register_enrolment
from macaw.policies.asking import explain_call, standing_of
from macaw.policies.files import read_documents
from macaw.policies.history import live_history
from macaw.policies.in_force import read_policies
from macaw.policies.simulation import simulate
from producers.client import Client, DeniedError
from producers.home.home import Home, TenantHome
from schemas import codec
from schemas.errors import MacawError
from schemas.records import Decision
from schemas.topics import AUDIT, DECISIONS, INTAKE, RESULTS, STATE
from streams.archive.keyring import Keyring
from streams.archive.partitions import ArchivedPartitions
from streams.archive.places import location
from streams.history.evidence_folder import verify_folder
from streams.history.export import export_audit
from streams.history.kept_log import Archive, OpenArchive, TrimmedError
from streams.history.partitions import whole_partition
from streams.history.replay import Replayed, replay
from streams.history.topics import TopicReader
from streams.local.choose import BrokerInfo
from tests.archiving import Bank
from tests.installation import Installation, monitoring
from tests.paying import PAYER
from tests.streams.archiving import SEGMENT_ENTRIES, archive
from tests.streams.loop_world import turn_until
from tests.waiting import PATIENCE_SECONDS

pytestmark = [pytest.mark.broker, pytest.mark.real_broker("the embedded broker deletes no records")]

CALLS = 30
PLACES = [3, 40, None]


@dataclass
class Trimmed:
    """A tenant with more than 60 records, all archived, and its intake trimmed; no monitor runs."""

    home: Home
    folder: TenantHome
    broker: BrokerInfo
    records: int = 0
    ids: list[str] = field(default_factory=list)

    @property
    def archive(self) -> OpenArchive:
        return archive_of(self.home, self.folder)

    @property
    def place(self) -> Path:
        return Path(location(self.home, self.folder.tenant))

    def export(self, target: Path, archive: OpenArchive | None) -> tuple[str, int]:
        """Return the verdict on an export, and how many events it lacks."""
        export_audit(self.home.bootstrap, target=target, archive=archive, **self.log())
        verdict = verify_folder(target, genesis=self.folder.genesis)
        assert verdict.size == self.records, verdict
        return str(verdict.code), verdict.events_absent

    def replayed(self, archive: OpenArchive | None) -> Replayed:
        return replay(self.home.bootstrap, archive=archive, **self.log())

    def log(self) -> dict[str, Any]:
        folder = self.folder
        return {"tenant": folder.tenant, "deployment": self.home.deployment, "genesis": folder.genesis}

    def calls(self) -> list[str]:
        """Return the ids of all calls, in order."""
        with TopicReader(self.home.bootstrap, DECISIONS, self.folder.tenant) as reader:
            found = [codec.decode_as(Decision, message.value() or b"") for message in reader.all()]
        return [one.event_id.hex() for one in sorted(found, key=lambda one: one.audit_index)]

    def trim(self, topic: str, offset: int | None, partition: int = 0) -> None:
        """Remove the records before an offset, or all of them."""
        with AdminClient({"bootstrap.servers": self.home.bootstrap}) as admin:
            place = TopicPartition(topic, partition, OFFSET_END if offset is None else offset)
            admin.delete_records([place])[place].result(PATIENCE_SECONDS)

    def damage_state(self) -> None:
        producer = Producer({"bootstrap.servers": self.home.bootstrap})
        producer.produce(STATE.of(self.folder.tenant), b"junk", key=b"calls", partition=0)
        assert producer.flush(PATIENCE_SECONDS) == 0

    def served(self) -> Installation:
        return Installation(self.home, self.folder, self.broker)


def founded(broker: BrokerInfo, base: Path) -> Trimmed:
    """Found a tenant and let it speak."""
    name = f"t{secrets.token_hex(4)}"
    home = Home.create(base, {"bootstrap": broker.bootstrap, "deployment": "test", "archive": "archives"})
    folder = create_tenant(home, name)
    made = Trimmed(Home.open(base), folder, broker)
    home = made.home
    with monitoring(broker, home, [name]):
        register_enrolment(home, folder)
        register_agent(home, folder, "shopper", attributes={"roles": ["payer"]})
        publish_policies(home, folder, [json.dumps(PAYER)], {})
        with made.served().hosting("bank", Bank()), Client.connect(name, "shopper", home=home) as client:
            for n in range(CALLS):
                assert client.invoke("tool:bank/transfer", {"to": "bob", "amount": n})
            with pytest.raises(DeniedError):
                client.invoke("tool:mail/send", {})
    made.records, made.ids = made.replayed(None).entries, made.calls()
    assert made.records > 2 * CALLS + 5
    return made


@pytest.fixture(scope="module", params=PLACES, ids=str)
def trimmed(request: pytest.FixtureRequest, broker: BrokerInfo, tmp_path_factory: pytest.TempPathFactory) -> Trimmed:
    made = founded(broker, tmp_path_factory.mktemp("trimmed"))
    archive(made.home, made.folder)
    made.trim(INTAKE.of(made.folder.tenant), request.param)
    return made


def test_the_evidence_is_whole(trimmed: Trimmed, tmp_path: Path) -> None:
    """Exported with every event, verified, and decided again to the last byte."""
    assert trimmed.export(tmp_path / "evidence", trimmed.archive) == ("UNWITNESSED", 0)
    report = trimmed.replayed(trimmed.archive)
    assert (report.difference, report.shredded, report.entries) == (None, None, trimmed.records)


def test_without_the_archive_an_export_keeps_the_registry(trimmed: Trimmed, tmp_path: Path) -> None:
    """It verifies, and says of which entries only the monitor's word is left; nothing else pretends to go on."""
    code, absent = trimmed.export(tmp_path / "evidence", None)
    assert code == "UNWITNESSED"
    assert absent < trimmed.records - 4  # the founding, the registrations and the session are there
    with pytest.raises(TrimmedError, match=r"TRIMMED: .*no archive"):
        trimmed.replayed(None)
    with pytest.raises(TrimmedError), live_history(trimmed.home, trimmed.folder, None):
        pass


def test_calls_old_and_new_are_explained(trimmed: Trimmed) -> None:
    ids = trimmed.ids
    for wanted, outcome in ((ids[0], "allowed"), (ids[-1], "denied")):
        with live_history(trimmed.home, trimmed.folder, trimmed.archive) as history:
            found = explain_call(history, wanted)
        assert (found.decision.event_id.hex(), found.decision.outcome) == (wanted, outcome)


def test_policies_are_known_and_simulated(trimmed: Trimmed, tmp_path: Path) -> None:
    """In force, as they apply to a session, and as others would have decided."""
    home, folder = trimmed.home, trimmed.folder
    in_force = read_policies(home, folder, trimmed.archive)
    assert ([*in_force.policies], in_force.lost) == ([PAYER["policy_id"]], 0)
    with live_history(home, folder, trimmed.archive) as history:
        assert standing_of(history, "shopper").as_of == trimmed.records - 1
    (tmp_path / "new.json").write_text(json.dumps(PAYER | {"resources": ["tool:mail/*"]}))
    documents = [one.document for one in read_documents([tmp_path / "new.json"])]
    with live_history(home, folder, trimmed.archive) as history:
        found = simulate(history, documents)
    assert (found.calls, len(found.flips), found.missing) == (CALLS + 1, CALLS, 0)


def test_decisions_and_results_outlive_their_retention_too(trimmed: Trimmed) -> None:
    """With the archive all are compared, without it all but those that are gone; the entries name their digests."""
    whole = trimmed.replayed(trimmed.archive)
    assert whole.unkept == 0
    for topic, partition in ((RESULTS, 0), (RESULTS, 1), (DECISIONS, 2), (DECISIONS, 3)):
        name = topic.of(trimmed.folder.tenant)
        with whole_partition(trimmed.home.bootstrap, name, partition) as found:
            middle = found.low + (found.high - found.low) // 2
        trimmed.trim(name, middle if partition % 2 else None, partition)
    assert trimmed.replayed(trimmed.archive) == whole
    with intake_whole(trimmed) as archive:
        bare = trimmed.replayed(archive)
    assert (bare.difference, bare.counts["audit"]) == (None, whole.counts["audit"])
    assert 0 < bare.unkept == whole.compared - bare.compared


@contextmanager
def intake_whole(made: Trimmed) -> Iterator[OpenArchive]:
    """Give an archive that has intake and nothing else."""

    @contextmanager
    def opened() -> Iterator[Archive | None]:
        with made.archive() as found:
            assert isinstance(found, ArchivedPartitions)
            of = found.partition
            found.partition = lambda topic, partition: of(topic, partition) if topic is INTAKE else None  # type: ignore[method-assign]
            yield found

    yield opened


def test_damaged_state_is_folded_again_and_the_tenant_goes_on(trimmed: Trimmed, tmp_path: Path) -> None:
    trimmed.damage_state()
    tenant = trimmed.folder.tenant
    with monitoring(trimmed.broker, trimmed.home, [tenant]) as monitor:
        with (
            trimmed.served().hosting("bank", Bank()),
            Client.connect(tenant, "shopper", home=trimmed.home) as client,
        ):
            assert client.invoke("tool:bank/transfer", {"to": "eve", "amount": 1}) == {"to": "eve", "sent": 1}
        assert monitor.paused == {}
    report = trimmed.replayed(trimmed.archive)
    assert report.difference is None
    assert report.entries > trimmed.records
    trimmed.records = report.entries


# --- archives that do not serve


TRIM = 40


def lost_segment(made: Trimmed, place: Path) -> None:
    sorted(place.iterdir())[1].unlink()


def lost_first(made: Trimmed, place: Path) -> None:
    min(place.iterdir()).unlink()


def edited(made: Trimmed, place: Path) -> None:
    file = sorted(place.iterdir())[1]
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def lags(made: Trimmed, place: Path) -> None:
    for file in sorted(place.iterdir())[2:]:
        file.unlink()


def of_another_tenant(made: Trimmed, place: Path) -> None:
    shutil.rmtree(place)
    shutil.copytree(OTHER["place"], place)


def shredded(made: Trimmed, place: Path) -> None:
    keys = Keyring(made.folder.path)
    for month in keys.months():
        keys.destroy(month, b"{}")


def without_keys(made: Trimmed, place: Path) -> None:
    keys = Keyring(made.folder.path).path
    keys.rename(keys.with_name("elsewhere"))


OTHER: dict[str, Path] = {}
SPOILT = {
    lost_segment: "LOST_SEGMENT",
    lost_first: "LOST_SEGMENT",
    edited: "EDITED",
    lags: "ARCHIVE_GAP",
    of_another_tenant: "OTHER_TENANT",
    shredded: "SHREDDED",
    without_keys: "RESUME_FAILED",
}


@pytest.fixture(scope="module")
def one(broker: BrokerInfo, tmp_path_factory: pytest.TempPathFactory) -> Trimmed:
    """A tenant with damaged state, and another tenant's archive beside its own."""
    other = founded(broker, tmp_path_factory.mktemp("other"))
    archive(other.home, other.folder)
    OTHER["place"] = other.place
    made = founded(broker, tmp_path_factory.mktemp("one"))
    archive(made.home, made.folder)
    made.trim(INTAKE.of(made.folder.tenant), TRIM)
    made.damage_state()
    return made


def elsewhere(made: Trimmed, place: Path) -> Trimmed:
    """Return the tenant with a copy of its archive in another place."""
    shutil.copytree(made.place, place / made.folder.tenant)
    home = replace(made.home, config={**made.home.config, "archive": str(place)})
    return replace(made, home=home)


@pytest.mark.parametrize("spoil", SPOILT, ids=lambda spoil: spoil.__name__)
def test_an_archive_that_does_not_fit_is_named_and_nothing_is_decided(
    one: Trimmed, tmp_path: Path, spoil: Callable[[Trimmed, Path], None]
) -> None:
    """By the worker, which keeps the tenant paused, and by every command that would need it."""
    shutil.copytree(one.folder.path, kept_keys := tmp_path / "keys")
    spoilt = elsewhere(one, tmp_path / "archive")
    spoil(spoilt, spoilt.place)
    topic, before = INTAKE.of(one.folder.tenant), audit_end(one)
    try:
        with monitoring(one.broker, spoilt.home, [one.folder.tenant]) as monitor:
            turn_until([], lambda: time.sleep(0.02) is None and topic in monitor.paused)
            assert monitor.paused[topic].startswith(f"{SPOILT[spoil]}: "), monitor.paused
        assert audit_end(one) == before
        if spoil is shredded:
            shredded_is_told(spoilt, tmp_path)
        else:
            with pytest.raises(MacawError):
                spoilt.replayed(spoilt.archive)
    finally:
        shutil.rmtree(one.folder.path)
        shutil.copytree(kept_keys, one.folder.path)


def shredded_is_told(spoilt: Trimmed, tmp_path: Path) -> None:
    """An export lacks the events of that month; replay stops there; a call behind it is not explained."""
    home, folder, archived = spoilt.home, spoilt.folder, spoilt.archive
    code, absent = spoilt.export(tmp_path / "evidence", archived)
    assert code == "UNWITNESSED"
    assert 0 < absent < TRIM
    report = spoilt.replayed(archived)
    assert (report.difference, report.entries) == (None, report.shredded)
    with live_history(home, folder, archived) as history, pytest.raises(MacawError, match="SHREDDED"):
        explain_call(history, spoilt.ids[-1])
    with live_history(home, folder, archived) as history, pytest.raises(MacawError, match="SHREDDED"):
        standing_of(history, "shopper")
    assert read_policies(home, folder, archived).lost == 1


def audit_end(made: Trimmed) -> int:
    with TopicReader(made.home.bootstrap, AUDIT, made.folder.tenant) as reader:
        return len(list(reader.all()))


def test_without_an_archive_the_state_is_not_made_up(one: Trimmed) -> None:
    """The message says what is missing; with the archive the same tenant goes on."""
    topic = INTAKE.of(one.folder.tenant)
    bare = replace(one.home, config={**one.home.config, "archive": "off"})
    with monitoring(one.broker, bare, [one.folder.tenant]) as monitor:
        turn_until([], lambda: time.sleep(0.02) is None and topic in monitor.paused)
        told = monitor.paused[topic]
    assert told.startswith("STATE_MISMATCH: ")
    assert "no archive" in told
    assert "docs/incidents.md" in told
    with monitoring(one.broker, one.home, [one.folder.tenant]) as monitor:
        publish_policies(one.home, one.folder, [json.dumps(PAYER | {"policy_id": "role:other"})], {})
        assert monitor.paused == {}


def test_an_archive_that_lags_lets_an_export_tell_its_hole(one: Trimmed, tmp_path: Path) -> None:
    """What exists is evidence; the hole is counted, and named."""
    lagging = elsewhere(one, tmp_path / "archive")
    lags(lagging, lagging.place)
    target = tmp_path / "evidence"
    exported = export_audit(one.home.bootstrap, target=target, archive=lagging.archive, **one.log())
    assert exported.gap == range(2 * SEGMENT_ENTRIES, TRIM)
    assert exported.events_absent <= len(exported.gap)
    assert verify_folder(tmp_path / "evidence", genesis=one.folder.genesis).code == "UNWITNESSED"
