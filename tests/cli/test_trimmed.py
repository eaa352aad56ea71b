"""Commands on a tenant whose intake was trimmed as retention does: with the archive as before, without it in words."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import TopicPartition

from macaw.installation.tenancy import create_tenant, publish_policies, register_agent, register_enrolment
from processors.state.engines import installed
from producers.home.home import Home
from schemas.topics import INTAKE
from streams.cluster.topics import open_admin
from streams.local.choose import BrokerInfo
from tests.archiving import POLICY, calls
from tests.cli.commands import assert_one_sentence, run
from tests.cli.held_engines import hold
from tests.engines import STRICTER
from tests.installation import Installation, monitoring
from tests.waiting import PATIENCE_SECONDS

pytestmark = [pytest.mark.broker, pytest.mark.real_broker("the embedded broker deletes no records")]


@pytest.fixture
def made(broker: BrokerInfo, tmp_path: Path, unique: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Installation]:
    """A tenant with some calls, the first 3 records of its intake archived and gone; its monitor runs."""
    monkeypatch.setenv("MACAW_HOME", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "1000")
    monkeypatch.chdir(tmp_path)
    home = Home.create(tmp_path, {"bootstrap": broker.bootstrap, "deployment": "test", "archive": "archives"})
    folder = create_tenant(home, unique)
    home = Home.open(tmp_path)
    running = Installation(home, folder, broker)
    with monitoring(broker, home, [unique]):
        register_enrolment(home, folder)
        register_agent(home, folder, "shopper", attributes={"roles": ["payer"]})
        publish_policies(home, folder, [POLICY], {})
        calls(running, 3)
        assert run_quietly("archive", "run", "--once") == 0
        trim(running, 3)
        calls(running, 1)
        yield running


def run_quietly(*argv: str) -> int:
    from macaw.cli import main

    return main(argv)


def trim(running: Installation, offset: int) -> None:
    place = TopicPartition(INTAKE.of(running.folder.tenant), 0, offset)
    with open_admin(running.home.bootstrap) as admin:
        admin.delete_records([place])[place].result(PATIENCE_SECONDS)


def ids(capsys: pytest.CaptureFixture[str]) -> list[str]:
    log = run(capsys, "log", "decisions", "--from-start", "--json").out.splitlines()
    found = sorted((json.loads(line)["record"] for line in log), key=lambda one: one["audit_index"])
    return [one["event_id"] for one in found]


def test_everything_goes_on_with_the_archive(
    made: Installation, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The scene of a tenant on day 31: export, verify, replay, explain, effective, simulate, plan, list."""
    (made.home.path.parent / "new.json").write_text(json.dumps({"policy_id": "role:payer", "resources": ["tool:x/*"]}))
    ran = run(capsys, "audit", "export", "evidence")
    assert (ran.status, ", 0 of them without their event" in ran.err) == (0, True), ran
    assert run(capsys, "audit", "verify", "evidence", "--allow-unwitnessed").status == 0
    ran = run(capsys, "replay")
    assert (ran.status, "every byte the same" in ran.out) == (0, True), ran
    first, *_, last = ids(capsys)
    for wanted, outcome in ((first, "allowed"), (last, "denied")):
        found = json.loads(run(capsys, "policy", "explain", wanted, "--json").out)
        assert found["recorded"]["outcome"] == outcome
    assert "tool:bank/*" in run(capsys, "policy", "effective", "--session", "shopper").out
    ran = run(capsys, "policy", "simulate", "--policy", "new.json", "--json")
    assert json.loads(ran.out)["flips"] == 4
    with monkeypatch.context() as newer:
        hold(newer, {**installed(), **STRICTER})
        ran = run(capsys, "engine", "plan", "--json")
        assert (ran.status, json.loads(ran.out)["simulated"]["flips"]) == (0, 4), ran
    ran = run(capsys, "policy", "list", "--json")
    assert ([one["policy_id"] for one in json.loads(ran.out)], ran.err) == (["role:payer"], "")


def test_without_an_archive_the_registry_is_exported_and_the_rest_says_what_helps(
    made: Installation, capsys: pytest.CaptureFixture[str]
) -> None:
    """No command pretends to have the beginning."""
    assert run(capsys, "archive", "place", "off").status == 0
    trim(made, 6)

    ran = run(capsys, "audit", "export", "evidence")
    assert ran.status == 0, ran.err
    assert ", 0 of them" not in ran.err
    assert run(capsys, "audit", "verify", "evidence", "--allow-unwitnessed").status == 1
    ran = run(capsys, "audit", "verify", "evidence", "--allow-unwitnessed", "--allow-absent")
    assert (ran.status, ran.out.startswith("UNWITNESSED: ")) == (0, True), ran
    for argv in (["replay"], ["policy", "explain", ids(capsys)[-1]], ["policy", "effective", "--session", "shopper"]):
        ran = run(capsys, *argv)
        assert_one_sentence(ran, 1)
        assert "begins at offset 6" in ran.err
        assert "docs/incidents.md" in ran.err


def test_an_archive_that_lags_is_told_by_name(made: Installation, capsys: pytest.CaptureFixture[str]) -> None:
    """An export tells its hole, and what needs the whole log stops."""
    high = json.loads(run(capsys, "archive", "status", "--json").out)["intake"]["high"]
    trim(made, high)

    ran = run(capsys, "replay")
    assert_one_sentence(ran, 1)
    assert "ARCHIVE_GAP" in ran.err
    ran = run(capsys, "audit", "export", "evidence")
    assert ran.status == 0
    assert f"to {high - 1} of intake" in ran.err


def test_an_expired_month_is_told_by_name(
    made: Installation, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Replay decides what stands before it, and says that it stopped; nobody is told half an explanation."""
    from streams.archive.keyring import Keyring

    keys = Keyring(made.folder.path)
    trim(made, 8)
    for month in keys.months():
        keys.destroy(month, b"{}")

    ran = run(capsys, "replay")
    assert (ran.status, ran.out.startswith("SHREDDED: the event of entry 3 ")) == (1, True), ran
    told = json.loads(run(capsys, "replay", "--json").out)
    assert (told["shredded"], told["entries"], told["difference"]) == (3, 3, None)
    ran = run(capsys, "policy", "explain", ids(capsys)[-1])
    assert_one_sentence(ran, 1)
    assert "SHREDDED" in ran.err
    with monkeypatch.context() as newer:
        hold(newer, {**installed(), **STRICTER})
        assert "events are missing from this log: their effects are not counted" in run(capsys, "engine", "plan").out
        assert json.loads(run(capsys, "engine", "plan", "--json").out)["simulated"]["events_missing"] > 0
    ran = run(capsys, "audit", "export", "evidence")
    assert ran.status == 0
    assert ", 0 of them" not in ran.err
    ran = run(capsys, "audit", "verify", "evidence", "--allow-unwitnessed", "--allow-absent")
    assert (ran.status, ran.out.startswith("UNWITNESSED: ")) == (0, True), ran
