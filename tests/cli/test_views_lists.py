"""`macaw views attestations|approvals|context|delegations`: what the query API says, for people and for programs."""

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import uvicorn

from macaw.cli import main
from macaw.installation.locking import update_config
from streams.http import door_of
from streams.views.api import QueryAPI
from streams.views.counting.counts import Counts
from tests.streams.views_shown import GRANTED, ID, RECORD, REQUEST, WRITTEN, Shown
from tests.waiting import PATIENCE_SECONDS, wait_until

NASTY = "\x1b[2Jnasty\n"


@pytest.fixture
def shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shown]:
    """The real API on a port of its own, over rows that the real rule has folded; the command line is told where."""
    shown = Shown(tmp_path, time.time_ns() // 1_000_000)
    clock = lambda: shown.now  # noqa: E731 - an argument
    shown.counts = Counts()
    front = QueryAPI(shown.home, shown.rows, shown.progress, clock, counts=shown.counts).front()
    config = uvicorn.Config(door_of(front), log_config=None, port=0)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    wait_until(lambda: server.started, "the server has not started")
    port = server.servers[0].sockets[0].getsockname()[1]
    folder = tmp_path / ".macaw" / "tenants" / "acme"
    (folder / "genesis").write_text(bytes(32).hex())
    here = f"127.0.0.1:{port}"  # something listens there, and that is all that is asked of the brokers
    update_config(tmp_path, {"bootstrap": here, "tenant": "acme", "views": f"http://{here}"})
    monkeypatch.setenv("MACAW_HOME", str(tmp_path))
    yield shown
    server.should_exit = True
    thread.join(PATIENCE_SECONDS)


def run(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    capsys.readouterr()
    status = main(("views", *argv))
    return status, *capsys.readouterr()


def fill(shown: Shown) -> None:
    later = {"at": shown.now}
    shown.put(replace(REQUEST, ends_at=shown.now + 60_000, principal_id=NASTY, **later))
    shown.put(replace(RECORD, id=b"r" * 32, key="checked", **later))
    shown.put(replace(WRITTEN, **later))
    ends = shown.now + 3_600_000
    shown.put(replace(GRANTED, expires_at=ends, **later))
    shown.put(replace(GRANTED, delegation=b"d" * 32, parent=ID, delegator="bot", delegate="deep", expires_at=ends))


def test_approvals_say_who_may_and_who_has(shown: Shown, capsys: pytest.CaptureFixture[str]) -> None:
    """And a name that somebody chose does not move the cursor."""
    fill(shown)
    status, out, _ = run(capsys, "approvals")

    assert status == 0
    assert "1 of 2: role:manager" in out
    assert "\x1b" not in out
    assert "\\x1bnasty" in out or "\\x1b[2Jnasty" in out
    assert run(capsys, "approvals", "--status", "denied")[1].count("\n") == 1  # only the heading


def test_each_list_is_shown(shown: Shown, capsys: pytest.CaptureFixture[str]) -> None:
    fill(shown)

    assert "checked" in run(capsys, "attestations", "--kind", "record")[1]
    assert "manager" not in run(capsys, "attestations", "--kind", "record")[1]
    assert "ledger" in run(capsys, "context", "--scope", "team")[1]
    tree = run(capsys, "delegations")[1].splitlines()
    assert [line.split()[0] for line in tree[1:]] == ["user:alice", "bot"]
    assert tree[2].startswith("  bot")


def test_json_is_the_apis_own(shown: Shown, capsys: pytest.CaptureFixture[str]) -> None:
    fill(shown)

    found = json.loads(run(capsys, "delegations", "--json")[1])
    assert found == shown.get("delegations").json()["delegations"]


def test_what_the_api_refuses_is_said_in_one_sentence(shown: Shown, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capsys, "attestations", "--session", "12")

    assert (status, out) == (1, "")
    assert err == "macaw: the views answer 400: session must be 64 digits of 0-9, a-f\n"


def test_without_views_it_says_what_to_start(shown: Shown, capsys: pytest.CaptureFixture[str]) -> None:
    config = shown.home.path / "config.json"
    config.write_text(json.dumps({k: v for k, v in json.loads(config.read_text()).items() if k != "views"}))

    status, _, err = run(capsys, "context")
    assert status == 1
    assert "no views are configured: run `macaw up`" in err
