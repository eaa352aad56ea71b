"""`macaw doctor` on a real installation, with one fault at a time: each is told, with the next command."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient

from macaw.installation import diagnosis
from macaw.installation.diagnosis import Diagnosed, Level, Part, check_clock, diagnose
from producers.home.home import Home, TenantHome
from schemas.topics import BODIES
from streams.archive.places import verified_offset
from streams.archive.process import ArchiveProcess
from streams.cluster.access import NOBODY
from streams.cluster.founding import create_topics
from streams.cluster.plan import ClusterPlan
from streams.cluster.topics import open_admin
from streams.local.choose import BrokerInfo
from streams.local.probe import find_free_port
from tests.cli.commands import run
from tests.streams.bridge.office import Office, opened
from tests.waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.broker
POLICY = json.dumps({"policy_id": "agent:bot", "resources": ["tool:**"]})
NOW = 1_800_000_000_000


@pytest.fixture(scope="module")
def office(broker: BrokerInfo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    with opened(broker, tmp_path_factory.mktemp("office"), [POLICY]) as made:
        yield made


@pytest.fixture
def installation(office: Office, tmp_path: Path) -> tuple[Home, TenantHome]:
    """A copy of the office's folder, which a test may spoil, with an archive of everything up to now."""
    shutil.copytree(office.here.home.path, tmp_path / ".macaw")
    home = Home.create(tmp_path, {"archive": "tenants/{tenant}/archive"})
    process = ArchiveProcess(home)
    assert process.look(at_once=True)
    process.close()
    with open_admin(home.bootstrap, home.security) as admin:
        verified = verified_offset(home, office.tenant)
        ClusterPlan.read(admin, office.tenant, replication=1, access=NOBODY, verified=verified).apply(admin)
    return home, home.tenant(office.tenant)


def found(home: Home, folder: TenantHome) -> list[Diagnosed]:
    return list(diagnose(home, folder))


def worst(findings: list[Diagnosed], part: Part) -> Diagnosed:
    return max((one for one in findings if one.part is part), key=lambda one: one.level)


def faults(findings: list[Diagnosed]) -> set[Part]:
    return {one.part for one in findings if one.level is Level.FAULT}


def test_a_whole_installation_has_no_fault(
    office: Office, installation: tuple[Home, TenantHome], monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """For people a line for each finding; for programs the same as JSON."""
    home, folder = installation
    monkeypatch.setenv("MACAW_HOME", str(home.path.parent))
    ran = run(capsys, "doctor", "--tenant", folder.tenant)

    assert ran.status == 0, ran.out
    assert {line.split()[1] for line in ran.out.splitlines() if "next:" not in line} == set(map(str, Part))
    assert f"ok       provider  {office.idp.issuer}: 1 usable keys" in ran.out
    assert "ok       bridge    a bridge answers for" in ran.out
    told = json.loads(run(capsys, "doctor", "--json", "--tenant", folder.tenant).out)
    assert (told["faults"], {one["level"] for one in told["findings"]} - {"warning"}) == (0, {"ok"})


def test_without_a_broker_the_rest_is_said_to_be_unchecked(
    installation: tuple[Home, TenantHome], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home, folder = installation
    monkeypatch.setattr(diagnosis, "BROKER_SECONDS", 1.0)
    monkeypatch.setenv("MACAW_HOME", str(home.path.parent))
    monkeypatch.setenv("MACAW_BOOTSTRAP_SERVERS", f"127.0.0.1:{find_free_port()}")
    ran = run(capsys, "doctor", "--json", "--tenant", folder.tenant)
    told = {one["part"]: one for one in json.loads(ran.out)["findings"]}

    assert ran.status == 1
    assert (told["broker"]["level"], told["keys"]["level"]) == ("fault", "ok")
    assert "macaw up" in told["broker"]["next"]
    for part in ("topics", "monitor", "clock", "bridge", "archive"):
        assert "not checked" in told[part]["text"]


def test_a_missing_topic_is_named(office: Office, installation: tuple[Home, TenantHome]) -> None:
    home, folder = installation
    name = BODIES.of(folder.tenant)
    with AdminClient({"bootstrap.servers": home.bootstrap}) as admin:
        admin.delete_topics([name])[name].result(PATIENCE_SECONDS)
        told = found(home, folder)
        create_topics(home.bootstrap, folder.tenant, replication=1, verified=verified_offset(home, folder.tenant))

    assert faults(told) == {Part.TOPICS}
    assert name in worst(told, Part.TOPICS).text
    assert worst(told, Part.TOPICS).next == f"macaw topic apply --tenant {folder.tenant}"


def test_a_provider_that_is_down_is_told(office: Office, installation: tuple[Home, TenantHome]) -> None:
    """The bridge has its keys still, so it answers."""
    office.idp.stop()
    try:
        told = found(*installation)
    finally:
        office.idp.start()

    assert faults(told) == {Part.PROVIDER}
    assert "FETCH_UNREACHABLE" in worst(told, Part.PROVIDER).text


def test_a_configured_issuer_without_trust_is_told(
    office: Office, installation: tuple[Home, TenantHome], monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = f"{office.idp.issuer}/other"
    monkeypatch.setenv("MACAW_IAM_ISSUER", wrong)
    monkeypatch.setenv("MACAW_IAM_CLIENT_ID", "macaw")
    told = [one for one in found(*installation) if one.part is Part.PROVIDER]

    assert [one.next for one in told if "does not trust it" in one.text] == [
        f"macaw idp trust {wrong} --audience AUDIENCE"
    ]
    assert any(one.level is Level.OK and f"{office.idp.issuer}: " in one.text for one in told)


def test_a_key_that_others_may_read_is_told(installation: tuple[Home, TenantHome]) -> None:
    home, folder = installation
    key, secret = folder.path / "admin.key", folder.path / "state.secret"
    for path in (key, secret):
        path.chmod(0o640)
    told = [one for one in diagnosis.check_keys(home, folder, None) if one.level is Level.FAULT]

    assert {one.next for one in told} >= {f"chmod 600 {key}", f"chmod 600 {secret}"}


def test_a_key_that_the_log_does_not_know_is_a_warning(installation: tuple[Home, TenantHome]) -> None:
    home, folder = installation
    folder.keys.create(folder.key_file("agent", "ghost"), "agent")
    told = list(diagnosis.check_keys(home, folder, diagnosis.read_registered(home, folder)))

    assert [(one.level, one.text) for one in told] == [(Level.WARNING, "the key agents/ghost is not on the log")]


def test_an_archive_that_lags_or_is_spoilt_is_told(
    installation: tuple[Home, TenantHome], monkeypatch: pytest.MonkeyPatch
) -> None:
    home, folder = installation
    list(diagnosis.check_monitor(home, folder))  # one record that is not archived
    assert [one.level for one in diagnosis.check_archive(home, folder)] == [Level.OK]
    monkeypatch.setattr(diagnosis, "LAG_SECONDS", 0.0)
    [told] = diagnosis.check_archive(home, folder)
    assert (told.level, told.next) == (Level.FAULT, "macaw archive run")

    for segment in (folder.path / "archive").rglob("*"):
        if segment.is_file():
            segment.write_bytes(b"spoilt")
    assert Part.ARCHIVE in faults(found(home, folder))


def test_a_bridge_that_is_missing_is_told(office: Office, installation: tuple[Home, TenantHome]) -> None:
    home, folder = installation
    registered = diagnosis.read_registered(home, folder)
    none = replace(registered, keys={})

    [told] = diagnosis.check_bridges(home, folder, none)
    assert (told.level, told.next) == (Level.FAULT, f"macaw bridge register --tenant {folder.tenant}")
    assert office.idp.issuer in told.text


def test_a_monitor_that_does_not_answer_is_told(
    installation: tuple[Home, TenantHome], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing answers within no time at all."""
    monkeypatch.setattr(diagnosis, "MONITOR_SECONDS", 0.0)
    told = list(diagnosis.check_monitor(*installation))

    assert [(one.part, one.level) for one in told] == [(Part.MONITOR, Level.FAULT), (Part.CLOCK, Level.WARNING)]


@pytest.mark.parametrize(
    ("log_time", "level"),
    [(NOW + 50, Level.OK), (NOW - 4_000, Level.OK), (NOW + 10_000, Level.WARNING), (NOW - 10**9, Level.FAULT)],
)
def test_the_clock_is_held_against_log_time(log_time: int, level: Level) -> None:
    assert check_clock(NOW, log_time, NOW + 100).level is level
