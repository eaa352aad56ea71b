"""`macaw key`: public facts are shown, secrets never; a key changes its place in one step or not at all."""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path

import pytest

from macaw.installation.locking import only_one
from producers.home.home import Home, TenantHome
from producers.home.keystores import passphrases
from tests.cli.commands import assert_one_sentence, run
from tests.passphrase_keys import PASSPHRASE, secret
from tests.producers.test_key_passphrases import at_a_terminal
from tests.softhsm import PIN, SoftHSM

Shown = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _nothing_given(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (passphrases.FILE_VARIABLE, passphrases.COMMAND_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(passphrases, "_TYPED", {})


def configure(home: Path, section: dict[str, object]) -> TenantHome:
    config = home / ".macaw" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "keys": section}))
    return Home.open(home).tenant()


def rows(capsys: Shown, *more: str) -> dict[str, dict[str, str]]:
    ran = run(capsys, "key", "list", "--json", *more)
    assert ran.status == 0
    return {row["name"]: row for row in json.loads(ran.out)}


def test_keys_are_listed_with_their_public_facts(known: Path, capsys: Shown) -> None:
    folder = Home.open(known).tenant()
    folder.keys.create(folder.key_file("tool", "bank"), "tool")
    folder.keys.create(folder.key_file("tool", "bank").with_name("bank#1.key"), "tool")
    folder.keys.create(folder.key_file("agent", "Ann/é"), "agent")
    folder.keys.create(folder.path / "calls" / f"{'0' * 32}.key", "call")
    admin = folder.key("admin")

    found = rows(capsys)
    assert list(found)[:4] == ["admin", "enrol", "monitor", "root"]
    assert list(found)[4:] == ["agents/Ann/é", "agents/shopper", "tools/bank#1", "tools/bank"]
    assert found["admin"] == {
        "name": "admin",
        "kid": admin.kid.hex(),
        "store": "file",
        "public": admin.signing.public.hex(),
        "file": str(folder.path / "admin.key"),
    }
    table = run(capsys, "key", "list").out
    assert admin.kid.hex()[:16] in table
    assert "agents/shopper" in table


def test_a_file_that_cannot_be_read_does_not_hide_the_others(known: Path, capsys: Shown) -> None:
    path = Home.open(known).tenant().path / "admin.key"
    path.chmod(0o644)
    ran = run(capsys, "key", "list")

    assert_one_sentence(ran, 1)
    assert "chmod 600" in ran.err
    assert "monitor" in ran.out


def test_a_passphrase_is_set_changed_and_removed(known: Path, capsys: Shown, tmp_path: Path) -> None:
    folder = configure(known, {"passphrase": f"file:{tmp_path / 'now'}"})
    path, pair = folder.path / "admin.key", folder.key("admin")
    secret(tmp_path / "now")
    secret(tmp_path / "next", "a passphrase of another day")

    assert run(capsys, "key", "passphrase", "admin", "--from", "file:now").status == 0
    assert folder.key("admin") == pair
    assert rows(capsys)["admin"]["store"] == "passphrase"
    assert run(capsys, "key", "passphrase", "admin", "--from", "file:next").status == 0
    before = path.read_bytes()
    ran = run(capsys, "key", "passphrase", "admin", "--from", "file:now")
    assert_one_sentence(ran, 1)
    assert "does not open it" in ran.err
    assert path.read_bytes() == before
    secret(tmp_path / "now", "a passphrase of another day")
    assert run(capsys, "key", "passphrase", "admin", "--remove").status == 0
    assert folder.key("admin") == pair
    assert rows(capsys)["admin"]["store"] == "file"
    assert sorted(one.name for one in folder.path.glob("admin*")) == ["admin.key"]


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["passphrase", "nobody"], 1, "`macaw key list` shows the names"),
        (["passphrase", "../admin"], 1, "`macaw key list` shows the names"),
        (["passphrase", "admin"], 1, "there is no terminal to ask at"),
        (["passphrase", "admin", "--from", "file:short"], 1, "at least 8 characters, got 5"),
        (["passphrase", "admin", "--from", "hunter2hunter2"], 2, "must be file:PATH or |COMMAND"),
        (["move", "admin", "--to", "usb"], 1, "the stores are file, passphrase, keyring"),
        (["import", "missing.key", "agents/new"], 1, "No such file"),
        (["import", "short", "agents/new"], 1, "short is not a key file"),
        (["import", "short", "agents/shopper"], 1, "never written over"),
        (["import", "short", "people/new"], 1, "is not a name for a key"),
        (["import", "short", "calls/new"], 1, "is not a name for a key"),
        (["list", "--tenant", "globex"], 1, "globex"),
    ],
)
def test_what_cannot_be_done_is_told_in_one_sentence(
    known: Path, capsys: Shown, arguments: list[str], status: int, says: str
) -> None:
    secret(known / "short", "short")
    files = {path: path.read_bytes() for path in (known / ".macaw").rglob("*.key")}
    ran = run(capsys, "key", *arguments)

    assert_one_sentence(ran, status)
    assert says in ran.err
    assert "hunter2" not in ran.err
    assert files == {path: path.read_bytes() for path in (known / ".macaw").rglob("*.key")}


def test_a_key_from_a_backup_is_brought_here(known: Path, capsys: Shown, tmp_path: Path) -> None:
    """A plain one, and one under a passphrase, into a store of choice."""
    folder = configure(known, {"passphrase": f"file:{secret(tmp_path / 'passphrase')}"})
    pair = folder.key("admin")
    backup = tmp_path / "backup.key"
    (folder.path / "admin.key").rename(backup)
    assert run(capsys, "key", "import", str(backup), "admin", "--to", "passphrase").status == 0
    assert folder.key("admin") == pair
    again = folder.path / "admin.key"
    assert run(capsys, "key", "import", str(again), "agents/copied").status == 0
    assert folder.keys.load(folder.key_file("agent", "copied")) == pair
    assert rows(capsys)["agents/copied"]["store"] == "file"


def test_one_command_at_a_time(known: Path, capsys: Shown) -> None:
    with only_one(Home.open(known).tenant().path / "keys.lock", "x"):
        ran = run(capsys, "key", "passphrase", "admin", "--remove")
    assert_one_sentence(ran, 1)
    assert "another `macaw key`" in ran.err


def test_a_key_moves_to_a_token_and_stays_there(known: Path, capsys: Shown, softhsm: SoftHSM) -> None:
    softhsm.token("macaw")
    folder = configure(known, {"tokens": {"hsm": softhsm.uri("token=macaw")}})
    pair = folder.key("root")
    ran = run(capsys, "key", "move", "root", "--to", "hsm")

    assert ran.status == 0
    assert "root has moved from file to hsm" in ran.err
    assert folder.key("root").signing.sign(b"message") == pair.signing.sign(b"message")
    assert rows(capsys)["root"]["store"] == "hsm"
    for arguments in (("move", "root", "--to", "file"), ("passphrase", "root", "--remove")):
        ran = run(capsys, "key", *arguments)
        assert_one_sentence(ran, 1)
    softhsm.read_again()
    softhsm.set_pin("wrong-wrong")
    assert rows(capsys)["root"]["kid"] == pair.kid.hex()  # public facts need no PIN
    (folder.path / "agents" / "shopper.key").unlink()
    ran = run(capsys, "key", "move", "admin", "--to", "hsm")
    assert_one_sentence(ran, 1)
    assert "its PIN is wrong" in ran.err
    assert folder.key("admin")


def test_a_move_to_where_a_key_lies_is_told(known: Path, capsys: Shown) -> None:
    text = (known / ".macaw" / "tenants" / "acme" / "admin.key").read_bytes()
    ran = run(capsys, "key", "move", "admin", "--to", "file")
    assert ran.status == 0
    assert "admin lies in file already: nothing was changed" in ran.err
    assert (known / ".macaw" / "tenants" / "acme" / "admin.key").read_bytes() == text


def test_no_key_command_shows_a_secret(
    known: Path, capsys: Shown, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, softhsm: SoftHSM
) -> None:
    """Not on stdout, not in a sentence, and not in the traceback that MACAW_DEBUG shows."""
    monkeypatch.setenv("MACAW_DEBUG", "1")
    softhsm.token("macaw")
    section = {"tokens": {"hsm": softhsm.uri("token=macaw")}, "passphrase": f"file:{secret(tmp_path / 'passphrase')}"}
    folder = configure(known, section)
    pairs = [folder.key(name) for name in ("root", "admin", "monitor", "enrol")]
    path = str(folder.path / "admin.key")
    shown = ""
    for arguments in (
        ("list", "--json"),
        ("passphrase", "admin", "--from", f"file:{tmp_path / 'passphrase'}"),
        ("passphrase", "admin", "--from", f"file:{path}"),
        ("passphrase", "admin", "--from", f"|cat {path}"),
        ("move", "admin", "--to", path),
        ("import", str(tmp_path / "passphrase"), "agents/a"),
        ("import", path, "agents/b", "--to", "hsm"),
        ("move", "root", "--to", "hsm"),
        ("move", "root", "--to", "file"),
        ("list",),
    ):
        ran = run(capsys, "key", *arguments)
        shown += ran.out + ran.err
    secret(tmp_path / "passphrase", "something else")
    ran = run(capsys, "key", "move", "admin", "--to", "file")
    shown += ran.out + ran.err

    assert "Traceback" in shown
    for text in (PASSPHRASE, PIN, "something else"):
        assert text not in shown
    for pair in pairs:
        for half in (pair.signing.seed, pair.sealing.secret):  # type: ignore[attr-defined]
            assert half.hex() not in shown
            assert base64.b64encode(half).decode().rstrip("=") not in shown


def test_a_person_types_a_new_passphrase_twice(known: Path) -> None:
    """At a real terminal; two that differ change nothing."""
    folder = Home.open(known).tenant()
    pair, path = folder.key("admin"), folder.path / "admin.key"
    before = path.read_bytes()
    argv = [sys.executable, "-m", "macaw.cli", "key", "passphrase", "admin"]
    shown = at_a_terminal(argv, known, [PASSPHRASE, "another one entirely"])
    assert "the two were not the same; nothing was changed" in shown
    assert path.read_bytes() == before
    shown = at_a_terminal(argv, known, [PASSPHRASE, PASSPHRASE])
    assert "is under the new passphrase" in shown
    assert PASSPHRASE not in shown
    shown = at_a_terminal([*argv, "--remove"], known, [PASSPHRASE])
    assert "in the clear now" in shown
    assert folder.key("admin") == pair
