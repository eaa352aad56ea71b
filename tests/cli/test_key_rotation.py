"""`macaw key rotate` and `macaw key check`, on a real log: under load, interrupted anywhere, and by thieves."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from macaw.cli import main
from macaw.installation import rotation
from macaw.installation.development import open_person_session
from macaw.installation.registrations import register_with_admin
from macaw.installation.rotation import prepare_monitor, rotate_key
from macaw.installation.tenancy import publish_policies, register_agent
from producers.client import Client
from producers.home.home import HomeError
from producers.home.keys import KeyPair
from producers.home.keystores.stores import KeyStores
from producers.kafka.connection import Connection
from producers.kafka.outcomes import RefusedError
from producers.kafka.registry_view import RegistryView
from schemas.events.keys import KeyRotated
from streams.local.choose import BrokerInfo
from streams.worker.monitor import KeyEnds
from tests.installation import Installation, installed
from tests.paying import PAYER, Bank
from tests.waiting import PATIENCE_SECONDS, wait_until

pytestmark = pytest.mark.broker


@contextmanager
def calling(here: Installation, threads: int = 2) -> Iterator[list[int]]:
    """Make calls without a pause; yield the numbers that were answered. A call that fails fails the test."""
    answered: list[int] = []
    failures: list[BaseException] = []
    stop = threading.Event()

    def run(first: int) -> None:
        try:
            with Client.connect(here.folder.tenant, "shopper", home=here.home) as agent:
                number = first
                while not stop.is_set():
                    assert agent.invoke("tool:bank/pay", {"number": number}) == {"paid": number}
                    answered.append(number)
                    number += threads
        except BaseException as exc:  # noqa: BLE001 - told in the test's own thread
            failures.append(exc)

    running = [threading.Thread(target=run, args=(n,)) for n in range(threads)]
    for one in running:
        one.start()
    try:
        yield answered
    finally:
        stop.set()
        for one in running:
            one.join(PATIENCE_SECONDS)
    assert not failures, failures


def more(answered: list[int], count: int = 20) -> None:
    """Wait until so many further calls were answered."""
    want = len(answered) + count
    wait_until(lambda: len(answered) >= want, lambda: f"{len(answered)} of {want} calls were answered")


def verified(here: Installation, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Assert that the log can be computed again, and that its export verifies."""
    monkeypatch.setenv("MACAW_HOME", str(here.home.path.parent))
    assert main(["replay", "--tenant", here.folder.tenant]) == 0
    assert main(["audit", "export", str(target), "--tenant", here.folder.tenant]) == 0
    arguments = ["audit", "verify", str(target), "--genesis", here.folder.genesis.hex(), "--allow-unwitnessed"]
    assert main(arguments) == 0


@contextmanager
def bank_of(here: Installation) -> Iterator[Bank]:
    """Serve a bank that one agent may use."""
    bank = Bank()
    register_agent(here.home, here.folder, "shopper", attributes={"roles": ["payer"]})
    publish_policies(here.home, here.folder, [json.dumps(PAYER)], {})
    with here.hosting("bank", bank):
        yield bank


@pytest.fixture
def here(broker: BrokerInfo, tmp_path: Path, unique: str) -> Iterator[Installation]:
    with installed(broker, tmp_path / "home", unique, development=True) as made:
        yield made


def test_keys_are_rotated_under_load_and_no_call_is_lost(
    here: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Monitor twice, bridge, enrolment, approver, sealing of the tool: every call answered, none executed twice."""
    home, folder = here.home, here.folder
    monkeypatch.setenv("MACAW_HOME", str(home.path.parent))
    with bank_of(here) as bank:
        open_person_session(home, folder, "alice", {}, ttl_ms=60_000)
        register_with_admin(home, folder, "approver", "desk", {"roles": ["desk"]})
        before = {path: folder.keys.load(path).kid for path in folder.path.rglob("*.key")}
        with calling(here) as answered:
            more(answered)
            for arguments in (
                ["monitor"],
                ["bridge", "development"],
                ["enrolment"],
                ["approver", "desk"],
                ["sealing", "tools/bank"],
                ["monitor", "--days", "90"],
                ["sealing", "tools/bank"],
            ):
                assert main(["key", "rotate", *arguments, "--tenant", folder.tenant]) == 0, capsys.readouterr()
                more(answered)
        open_person_session(home, folder, "alice", {}, ttl_ms=60_000)
        register_agent(home, folder, "late", attributes={})
    assert sorted(bank.paid) == sorted(answered), "every call was executed once, and answered"
    changed = {path.name for path, kid in before.items() if path.exists() and folder.keys.load(path).kid != kid}
    assert changed - {"alice.key"} == {"monitor.key", "development.key", "enrol.key", "desk.key"}
    assert not list(folder.path.rglob("*.new")), "no successor is left over"
    assert folder.monitor_key_files() == [folder.path / "monitor.key"]
    verified(here, tmp_path / "evidence", monkeypatch)


STEPS: dict[str, tuple[object, str]] = {
    "the successor is made": (rotation, "_act"),
    "the log was asked": (Connection, "ask"),
    "the log has answered": (KeyStores, "replace"),
}


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("name", ["monitor", "enrol"])
def test_a_rotation_that_was_interrupted_is_gone_on_with(here: Installation, step: str, name: str) -> None:
    """Killed at any step, the installation works, and the next run ends what was begun: one rotation, not two."""
    home, folder = here.home, here.folder
    path, old = folder.path / f"{name}.key", folder.key(name).kid
    where, what = STEPS[step]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(where, what, _interrupted)
        with pytest.raises(KeyboardInterrupt):
            rotate_key(home, folder, path, reason="planned")
    register_agent(home, folder, "between", attributes={})
    coming = [p for p in folder.path.glob(f"{name}.*") if p != path]
    assert len(coming) == 1
    new = folder.keys.load(coming[0]).kid
    done = rotate_key(home, folder, path, reason="planned")
    assert (done.old, done.new, folder.key(name).kid) == (old, new, new)
    assert [p for p in folder.path.glob(f"{name}.*") if p != path] == []
    register_agent(home, folder, "after", attributes={})
    with closing(RegistryView.of(home, folder)) as view:
        row = view.key(old)
        assert row is not None
        assert view.live_key(new, row.role) is not None
        assert len(list(view.tables.keys.of(row.principal_id))) == 2, "one rotation, not two"


def _interrupted(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_a_prepared_decision_key_is_the_one_that_comes(here: Installation) -> None:
    """It can be copied to other machines before the log hears of it; twice gives the same."""
    home, folder = here.home, here.folder
    coming = prepare_monitor(folder)
    assert prepare_monitor(folder) == coming
    kid = folder.keys.load(coming).kid
    register_agent(home, folder, "before", attributes={})
    assert rotate_key(home, folder, folder.path / "monitor.key", reason="planned").new == kid
    register_agent(home, folder, "after", attributes={})


def test_a_key_that_the_log_refuses_is_not_kept(here: Installation) -> None:
    """A successor that exists already, under any role: the next rotation makes another."""
    home, folder = here.home, here.folder
    path = folder.path / "enrol.key"
    taken = folder.key_file("agent", "shopper")
    register_agent(home, folder, "shopper", attributes={})
    folder.keys.put(folder.path / "enrol.key.new", folder.keys.load(taken), "file")
    with pytest.raises(RefusedError) as raised:
        rotate_key(home, folder, path, reason="planned")
    assert raised.value.reason == "KEY_TAKEN"
    assert not (folder.path / "enrol.key.new").exists()
    assert rotate_key(home, folder, path, reason="planned").principal_id == "enrol"


def test_an_ended_key_is_not_rotated_a_second_time(here: Installation, tmp_path: Path) -> None:
    """As where another machine has rotated it: the message names the live key; nothing is made on the log."""
    home, folder = here.home, here.folder
    kept = (folder.path / "enrol.key").read_bytes()
    live = rotate_key(home, folder, folder.path / "enrol.key", reason="planned").new
    (folder.path / "enrol.key").write_bytes(kept)
    with pytest.raises(HomeError, match=rf"has ended, so it cannot be rotated \(live now: {live.hex()[:16]}\)"):
        rotate_key(home, folder, folder.path / "enrol.key", reason="planned")


def test_keys_of_programs_are_not_rotated_by_an_admin(here: Installation) -> None:
    register_agent(here.home, here.folder, "shopper", attributes={})
    with pytest.raises(HomeError, match="register a further key"):
        rotate_key(here.home, here.folder, here.folder.key_file("agent", "shopper"), reason="planned")


def test_two_rotations_at_once_give_one_successor(here: Installation) -> None:
    """Two machines rotate the same key: the log takes one, the other is refused, and its successor is discarded."""
    home, folder = here.home, here.folder
    old, first, second = folder.key("monitor"), KeyPair.generate(), KeyPair.generate()
    folder.keys.put(folder.coming_monitor_file(first.kid), first, "file")
    bodies = [
        KeyRotated(kid=old.kid, key=new.offer("monitor", "monitor", folder.genesis), reason="planned")
        for new in (first, second)
    ]
    with Connection(home, folder, folder.key("admin"), "admin") as admin:
        sent = [admin.send(body) for body in bodies]
        answers = [one.answer.result(PATIENCE_SECONDS).result for one in sent]
    assert [(one.outcome, one.reason) for one in answers] == [("accepted", ""), ("refused", "EXPIRED_KEY")]


@pytest.mark.parametrize("name", ["monitor", "enrol", "shopper"])
def test_a_thief_cannot_rotate(here: Installation, name: str) -> None:
    """Neither the key that he has nor another: an admin rotates, and the old key ends for him too."""
    home, folder = here.home, here.folder
    thief = register_agent(home, folder, "shopper", attributes={}) if name == "shopper" else folder.key(name)
    for target, role, principal in (("monitor", "monitor", "monitor"), ("enrol", "enrolment", "enrol")):
        body = KeyRotated(
            kid=folder.key(target).kid,
            key=KeyPair.generate().offer(role, principal, folder.genesis),
            reason="mine now",
        )
        with Connection(home, folder, thief, name) as connection, pytest.raises(RefusedError) as raised:
            connection.ask(body)
        assert raised.value.reason in {"WRONG_PRINCIPAL", "WRONG_ROLE"}


def test_keys_that_end_soon_are_told(
    here: Installation,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """`macaw key check` has a status for timers; the monitor says it in its log."""
    home, folder = here.home, here.folder
    monkeypatch.setenv("MACAW_HOME", str(home.path.parent))
    check = ["key", "check", "--tenant", folder.tenant]
    assert main(check) == 0
    assert main(["key", "rotate", "enrolment", "--days", "20", "--tenant", folder.tenant]) == 0
    capsys.readouterr()
    assert main(check) == 1
    assert "enrol: ends at " in capsys.readouterr().err
    assert main([*check, "--days", "10"]) == 0
    ends = KeyEnds()
    with caplog.at_level(logging.WARNING), closing(RegistryView.of(home, folder)) as view:
        view.refresh()
        ends.tell(view.tables)
        ends.tell(view.tables)
    assert caplog.text.count("the enrolment key") == 1
