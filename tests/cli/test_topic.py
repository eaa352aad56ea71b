"""`macaw topic`: plan, apply and check, for people and for programs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient

from macaw.cli import main
from macaw.installation.locking import update_config
from schemas.topics import AUDIT, INTAKE, TENANT_TOPICS
from streams.cluster.topics import TOPICS
from streams.local.choose import BrokerInfo
from tests.streams.test_topics import create, set_config

NAMED = {"operator": ["User:olga"], "tenants": {"acme": {"agent": ["User:shopper"], "tool:bank": ["User:bank"]}}}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that the commands take for the place of an installation."""
    monkeypatch.setenv("MACAW_HOME", str(tmp_path))
    monkeypatch.delenv("MACAW_BOOTSTRAP_SERVERS", raising=False)
    monkeypatch.delenv("MACAW_DEBUG", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def installed(home: Path, broker: BrokerInfo, unique: str) -> str:
    """An installation on the run's broker; the tenant that is its default has nothing there yet."""
    update_config(home, {"bootstrap": broker.bootstrap, "broker_kind": str(broker.kind), "tenant": unique})
    return unique


@pytest.fixture
def admin(broker: BrokerInfo) -> AdminClient:
    return AdminClient({"bootstrap.servers": broker.bootstrap, "log_level": 2})


def run(capsys: pytest.CaptureFixture[str], *argv: str, status: int) -> tuple[str, str]:
    capsys.readouterr()
    got = main(("topic", *argv))
    out, err = capsys.readouterr()
    assert got == status, err
    return out, err


def shown(capsys: pytest.CaptureFixture[str], *argv: str, status: int) -> Any:
    return json.loads(run(capsys, *argv, "--json", status=status)[0])


# --- without a cluster


def test_a_plan_needs_no_installation(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """For an empty cluster: every topic with its settings, and every rule."""
    plan = shown(capsys, "plan", "--tenant", "acme", "--replication", "3", status=0)

    assert [t["topic"] for t in plan["topics"]] == [t.of("acme") for t in TOPICS]
    assert {t["plan"] for t in plan["topics"]} == {"create"}
    intake = plan["topics"][0]
    assert (intake["partitions"], intake["replication"]) == (1, 3)
    assert intake["config"]["message.timestamp.type"] == "LogAppendTime"
    assert intake["config"]["min.insync.replicas"] == "2"
    assert plan["topics"][3]["writers"] == ["monitor"]
    assert {"role": "monitor", "operation": "WRITE", "kind": "topic", "name": "macaw.acme.decisions",
            "prefixed": False, "principals": [], "plan": "-"} in plan["access"]  # fmt: skip


def test_a_plan_for_people_names_topics_roles_and_who_is_missing(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, err = run(capsys, "plan", status=0)

    assert "macaw.<tenant>.intake" in out
    assert "group macaw.<tenant>.tool.<id>" in out
    assert "  none " in out
    assert "the cluster has no authorizer: these access rules have no effect until it has one" in err


@pytest.mark.parametrize("command", ["check", "apply"])
def test_what_asks_a_cluster_wants_an_installation(
    home: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    _, err = run(capsys, command, "--tenant", "acme", status=1)

    assert err.startswith("macaw: no installation in ")
    assert err.count("\n") == 1


@pytest.mark.parametrize("command", ["plan", "check", "apply"])
@pytest.mark.parametrize(
    ("argv", "says"), [(("--tenant", "ops"), "is not a tenant id"), (("--replication", "0"), "--replication")]
)
def test_a_wrong_name_or_number_is_a_wrong_command_line(
    home: Path, capsys: pytest.CaptureFixture[str], command: str, argv: tuple[str, ...], says: str
) -> None:
    _, err = run(capsys, command, *argv, status=2)

    assert says in err


def test_a_plan_does_not_pass_over_a_configuration_that_cannot_be_read(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A plan for an empty cluster would look as if there were none."""
    (home / ".macaw").mkdir()
    (home / ".macaw" / "config.json").write_text("{")

    _, err = run(capsys, "plan", "--tenant", "acme", status=1)

    assert "config.json" in err


# --- on a cluster


@pytest.mark.broker
def test_check_fails_by_name_until_apply_has_mended(
    installed: str, admin: AdminClient, capsys: pytest.CaptureFixture[str]
) -> None:
    """From nothing, through a setting that somebody changed, to a cluster as wanted."""
    missing = shown(capsys, "check", status=1)["drift"]
    assert {d["resource"] for d in missing} >= {t.of(installed) for t in TENANT_TOPICS}
    assert {(d["key"], d["found"], d["remedy"]) for d in missing} == {("topic", "missing", "create")}

    applied = shown(capsys, "apply", status=0)
    assert (applied["tenant"], applied["drift"]) == (installed, [])
    assert len(applied["done"]) == len(missing)
    assert shown(capsys, "apply", status=0)["done"] == []
    assert shown(capsys, "check", status=0)["drift"] == []
    assert {t["plan"] for t in shown(capsys, "plan", status=0)["topics"]} == {"as wanted"}

    set_config(admin, AUDIT.of(installed), retention_ms="60000")
    await_topic_plan(capsys, AUDIT.of(installed), "alter retention.ms: 60000 -> -1")
    out, err = run(capsys, "check", status=1)
    assert out.splitlines()[1].split() == [AUDIT.of(installed), "retention.ms", "-1", "60000", "alter"]
    assert "differences: 1;" in err
    out, err = run(capsys, "apply", status=0)
    assert "retention.ms" in out
    assert "changes made: 1; differences left: 0" in err


def await_topic_plan(capsys: pytest.CaptureFixture[str], topic: str, want: str) -> None:
    """Wait until the broker shows what its controller has."""
    for _ in range(200):
        [found] = [t["plan"] for t in shown(capsys, "plan", status=0)["topics"] if t["topic"] == topic]
        if found == want:
            return
    raise AssertionError(found)


@pytest.mark.broker
def test_what_apply_refuses_is_named_and_its_status_is_1(
    installed: str, admin: AdminClient, capsys: pytest.CaptureFixture[str]
) -> None:
    create(admin, INTAKE.of(installed), partitions=2)

    _, err = run(capsys, "apply", status=1)

    assert f"left: {INTAKE.of(installed)}: partitions is 2, want 1; a partition count cannot change" in err
    assert {d["resource"] for d in shown(capsys, "check", status=1)["drift"]} == {INTAKE.of(installed)}
    assert INTAKE.of(installed) in run(capsys, "plan", status=0)[1]


@pytest.mark.broker
def test_replicas_come_from_the_configuration(installed: str, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    update_config(home, {"replication": "3"})
    assert {t["replication"] for t in shown(capsys, "plan", status=0)["topics"]} == {3}
    assert {t["replication"] for t in shown(capsys, "plan", "--replication", "1", status=0)["topics"]} == {1}


@pytest.mark.broker
def test_who_is_named_wants_an_authorizer(installed: str, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The run's broker has none: rules that nobody enforces must not look as if they held."""
    run(capsys, "apply", status=0)
    named = {**NAMED, "tenants": {installed: NAMED["tenants"]["acme"]}}  # type: ignore[index]
    (home / ".macaw" / "access.json").write_text(json.dumps(named))

    found = shown(capsys, "check", status=1)
    assert found["authorizer"] is False
    assert [(d["resource"], d["key"], d["found"]) for d in found["drift"]] == [("cluster", "authorizer", "missing")]
    assert (
        "this cluster has no authorizer and allows every operation: configure one" in run(capsys, "apply", status=1)[1]
    )
    (home / ".macaw" / "access.json").write_text('{"agent": ["User:*"]}')
    assert "access.json" in run(capsys, "check", status=1)[1]
