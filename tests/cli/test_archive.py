"""`macaw archive` as an operator uses it: run, look, verify, trim, and keep or destroy."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient

from macaw.cli import main
from macaw.installation.locking import update_config
from processors.evidence.archive.bodies import month_of
from processors.evidence.archive.writing import LogRecord
from schemas.topics import INTAKE
from streams.archive.keyring import Keyring
from streams.archive.marks import STORED, VERIFIED
from streams.local.choose import BrokerInfo
from tests.archives import KeysInMemory, records_of, segments_of
from tests.archiving import busy_tenant, calls
from tests.cli.commands import Ran, assert_one_sentence, run
from tests.installation import Installation, monitoring
from tests.reference.log_builder import build_log
from tests.streams.test_topics import set_config


@pytest.fixture
def busy(broker: BrokerInfo, tmp_path: Path, unique: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Installation]:
    monkeypatch.setenv("MACAW_HOME", str(tmp_path))
    monkeypatch.delenv("MACAW_BOOTSTRAP_SERVERS", raising=False)
    with busy_tenant(broker, tmp_path, unique) as running:
        yield running


def status(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    found = run(capsys, "archive", "status", "--json")
    assert found.status == 0, found.err
    return dict(json.loads(found.out))


def verdict(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, dict[str, Any]]:
    found = run(capsys, "archive", "verify", "--json", *argv)
    return found.status, json.loads(found.out)


def segments(running: Installation) -> list[Path]:
    return sorted((running.home.path / "archive" / running.folder.tenant).iterdir())


@pytest.mark.broker
def test_a_log_is_archived_verified_and_trimmed_and_the_tenant_goes_on(
    busy: Installation, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(capsys, "archive", "run", "--once").status == 0
    before = status(capsys)
    code, found = verdict(capsys)

    assert (code, found["verdict"], found["absent"]) == (0, "WHOLE", 0)
    assert before["lag_records"] == 0
    assert before["verified_offset"] == 0
    assert found["next_offset"] == before["next_offset"] == before["intake"]["high"]
    assert before["segments"] == 1
    assert before["profile"] == "6-years"

    too_far = run(capsys, "archive", "trim", "--to", str(found["next_offset"]))
    assert too_far.status == 1
    assert "TRIM_REFUSED" in too_far.err
    assert status(capsys)["intake"]["low"] == 0
    trimmed = run(capsys, "archive", "trim", "--to", "3")
    assert trimmed.status == 0, trimmed.err
    assert "began at offset 0 and begins at 3" in trimmed.err
    trimmed = run(capsys, "archive", "trim")
    assert f"begins at {found['next_offset'] - 1}" in trimmed.err
    assert "nothing to trim" in run(capsys, "archive", "trim").err
    after = status(capsys)
    assert after["intake"]["low"] == after["verified_offset"] - 1

    calls(busy, 1)
    assert run(capsys, "archive", "run", "--once").status == 0
    assert verdict(capsys)[1]["verdict"] == "WHOLE"


@pytest.mark.broker
def test_a_monitor_starts_again_on_a_trimmed_intake(
    broker: BrokerInfo,
    tmp_path: Path,
    unique: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MACAW_HOME", str(tmp_path))
    monkeypatch.delenv("MACAW_BOOTSTRAP_SERVERS", raising=False)
    with busy_tenant(broker, tmp_path, unique) as running:
        assert run(capsys, "archive", "run", "--once").status == 0
        assert run(capsys, "archive", "trim").status == 0
    with monitoring(broker, running.home, [unique]):
        calls(running, 1)


@pytest.mark.broker
def test_each_damage_has_its_code_and_its_place(busy: Installation, capsys: pytest.CaptureFixture[str]) -> None:
    """Edited, cut, swapped, lost, too large, of another tenant, of another installation, and behind."""
    for _ in range(3):
        assert run(capsys, "archive", "run", "--once").status == 0
        calls(busy, 1)
    assert run(capsys, "archive", "run", "--once").status == 0
    paths = segments(busy)
    assert len(paths) == 4
    kept = {path: path.read_bytes() for path in paths}
    second = int(paths[1].name.partition(".")[0])

    def restore() -> None:
        for path, data in kept.items():
            path.write_bytes(data)

    def edited(at: int) -> bytes:
        data = kept[paths[1]]
        return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]

    for code, damage in (
        ("EDITED", lambda: paths[1].write_bytes(edited(500))),
        ("CUT", lambda: paths[1].write_bytes(kept[paths[1]][:-1])),
        ("TRAILING_BYTES", lambda: paths[1].write_bytes(kept[paths[1]] + b"\0")),
        ("SWAPPED", lambda: paths[1].write_bytes(kept[paths[2]])),
        ("NOT_A_SEGMENT", lambda: paths[1].write_bytes(b"x" * 2000)),
    ):
        damage()
        status_, found = verdict(capsys, "--offline")
        assert (status_, found["verdict"], found["segment"], found["segments"]) == (1, code, paths[1].name, 1)
        assert run(capsys, "archive", "trim").status == 1
        restore()
    paths[1].unlink()
    assert verdict(capsys, "--offline")[1]["verdict"] == "LOST_SEGMENT"
    assert verdict(capsys, "--offline")[1]["index"] == second
    restore()
    assert verdict(capsys)[0] == 0
    paths[3].unlink()  # what is left is whole, and shorter than it was
    assert verdict(capsys, "--offline")[1]["verdict"] == "LOST_SEGMENT"
    assert "LOST_SEGMENT" in run(capsys, "archive", "run", "--once").err + verdict(capsys)[1]["verdict"]
    assert not paths[3].exists()
    for name in (STORED, VERIFIED):
        (Keyring(busy.folder.path).path / name).unlink()
    assert verdict(capsys, "--max-lag", "0")[1]["verdict"] == "LAGS"
    restore()
    (paths[0].parent / "notes.txt").write_text("mine")
    assert verdict(capsys, "--offline")[1]["verdict"] == "BAD_NAME"
    (paths[0].parent / "notes.txt").unlink()
    assert status(capsys)["intake"]["low"] == 0, "nothing was trimmed on the way"


@pytest.mark.broker
def test_a_legal_hold_keeps_everything_where_it_is(busy: Installation, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "archive", "run", "--once").status == 0
    assert run(capsys, "archive", "hold", "--reason", "case 17").status == 0
    assert status(capsys)["hold"] == "case 17"
    again = run(capsys, "archive", "hold", "--reason", "case 18")
    assert_one_sentence(again, 1)
    assert "has a legal hold already" in again.err

    for command in ("trim", "expire"):
        refused = run(capsys, "archive", command)
        assert_one_sentence(refused, 1)
        assert "LEGAL_HOLD" in refused.err
        assert "case 17" in refused.err
    assert status(capsys)["intake"]["low"] == 0
    assert run(capsys, "archive", "hold", "--release").status == 0
    assert run(capsys, "archive", "trim").status == 0


@pytest.mark.broker
def test_retention_that_deletes_what_is_not_verified_fails_the_plan(
    busy: Installation, broker: BrokerInfo, capsys: pytest.CaptureFixture[str]
) -> None:
    tenant = busy.folder.tenant
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    assert run(capsys, "archive", "run", "--once").status == 0

    def planned(*argv: str) -> Ran:
        return run(capsys, "topic", "plan", *argv)

    refused = planned()  # the tenant was founded before there was an archive
    assert refused.status == 1
    assert "RETENTION_BELOW_ARCHIVE" in refused.err
    assert "retention.ms=2592000000" in refused.err
    assert json.loads(planned("--json").out)["refused"]
    assert run(capsys, "topic", "apply").status == 0
    assert planned().status == 0
    for key, value in (("retention.ms", "1000"), ("retention.bytes", "1000000"), ("cleanup.policy", "compact")):
        set_config(admin, INTAKE.of(tenant), **{key: value})
        assert f"{key}={value}" in planned().err
        assert planned().status == 1
        assert run(capsys, "topic", "apply").status == 0
    update_config(busy.home.path.parent, {"archive": "off"})
    assert planned().status == 0  # the archive that was made still counts
    set_config(admin, INTAKE.of(tenant), retention_ms="2592000000")
    assert planned().status == 1


def test_without_a_place_each_command_says_so(known: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Keyring(known / ".macaw" / "tenants" / "acme").make_lasting()
    for command in (("status",), ("verify", "--offline"), ("trim",), ("expire",)):
        said = run(capsys, "archive", *command)
        assert_one_sentence(said, 1)
        assert "no archive is configured" in said.err
    update_config(known, {"archive": "off"})
    said = run(capsys, "archive", "run", "--once")
    assert_one_sentence(said, 1)
    assert "'off'" in said.err


def test_an_archive_without_decisions_and_results_does_not_pass(
    known: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A holder of the keys can blank them, and nothing is noted yet beside the keys."""
    log = build_log()
    world, home = log.world, known / ".macaw" / "tenants" / "acme"
    update_config(known, {"archive": "tenants/{tenant}/archive", "deployment": world.deployment})
    (home / "genesis").write_text(world.genesis.hex())
    ring = Keyring(home)
    ring.make_lasting()
    ring.make_month(month_of(log.entries[0].now))
    owner = ring.owner("acme", world.deployment, world.genesis)
    records = records_of(log)

    def stored(records: list[LogRecord]) -> None:
        [(name, data)] = segments_of(records, owner, ring).items()  # type: ignore[arg-type]
        (home / "archive").mkdir(exist_ok=True)
        (home / "archive" / name).write_bytes(data)

    stored([replace(one, outputs=None) for one in records])
    code, found = verdict(capsys, "--offline")
    assert (code, found["verdict"], found["absent"], found["outputs_absent"]) == (1, "WHOLE", 0, len(records))
    assert f"results of {len(records)} entries" in run(capsys, "archive", "verify", "--offline").err
    assert verdict(capsys, "--offline", "--allow-absent")[0] == 0
    (ring.path / VERIFIED).unlink()
    stored(records)
    assert verdict(capsys, "--offline")[0] == 0


def test_a_profile_that_does_not_exist_is_named(known: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Keyring(known / ".macaw" / "tenants" / "acme").make_lasting()
    update_config(known, {"archive": "a", "archive_profile": "a week"})
    said = run(capsys, "archive", "expire", "--dry-run")
    assert_one_sentence(said, 1)
    assert "6-months, 3-years, 6-years" in said.err


def test_an_archive_without_its_keys_says_where_they_belong(known: Path, capsys: pytest.CaptureFixture[str]) -> None:
    update_config(known, {"archive": "a"})
    said = run(capsys, "archive", "verify", "--offline")
    assert_one_sentence(said, 1)
    assert "archive-keys" in said.err
    assert KeysInMemory().lasting.hex() not in said.err
    assert main(["archive", "hold"]) == 2


def test_a_place_is_shown_and_written(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "archive", "place", "s3://evidence/macaw").status == 0
    assert json.loads((home / ".macaw" / "config.json").read_text())["archive"] == "s3://evidence/macaw"
    assert run(capsys, "archive", "place").out == "s3://evidence/macaw\n"
    for wrong in ("", " ", "s3://", "s3:///", "a/{name}", "{tenant"):
        said = run(capsys, "archive", "place", wrong)
        assert_one_sentence(said, 1)
    assert run(capsys, "archive", "place").out == "s3://evidence/macaw\n"
