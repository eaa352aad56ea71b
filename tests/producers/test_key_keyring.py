"""Keys in the system's keyring: a real Secret Service, unlocked, locked and away."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from processors.proof.sealing import SealingKey
from producers.home.keys import KeyPair
from producers.home.keystores import keyring_store, stores
from producers.home.keystores.errors import KeyFileError, KeyringError
from producers.home.keystores.keyring_store import SERVICE
from producers.home.keystores.stores import NEW, OLDER, KeyStores


@pytest.fixture
def keys(tmp_path: Path) -> KeyStores:
    return KeyStores.read({"default": "keyring"}, tmp_path)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tenants" / "acme" / "agents" / "shopper.key"


def test_a_key_in_the_keyring_is_the_same_key(keyring_service: object, keys: KeyStores, path: Path) -> None:
    made = keys.create(path, "agent")

    assert keys.load(path) == made
    assert keys.facts(path).store == "keyring"
    assert keys.facts(path).publics == (made.signing.public, made.sealing.public)
    assert made.signing.seed.hex().encode() not in path.read_bytes()  # type: ignore[attr-defined]
    assert b"PRIVATE" not in path.read_bytes()
    assert json.loads(path.read_text())["entry"].startswith("acme/agents/shopper ")


def test_a_key_moves_there_and_back(keyring_service: object, keys: KeyStores, path: Path) -> None:
    """What it leaves behind is gone from there."""
    import keyring

    keys.put(path, pair := KeyPair.generate(), "file")
    keys.move(path, "keyring")
    assert keys.load(path) == pair
    entry = json.loads(path.read_text())["entry"]
    keys.move(path, "file")
    assert keys.load(path) == pair
    assert keyring.get_password(SERVICE, entry) is None


def entries() -> set[str]:
    """Return the names of all entries in the keyring."""
    import secretstorage

    collection = secretstorage.get_default_collection(secretstorage.dbus_init())
    return {item.get_attributes()["username"] for item in collection.search_items({"service": SERVICE})}


def entry_of(path: Path) -> str:
    return str(json.loads(path.read_text())["entry"])


def beside(path: Path) -> tuple[Path, Path]:
    return path.with_name(path.name + NEW), path.with_name(path.name + OLDER)


def prepared(keys: KeyStores, path: Path) -> KeyPair:
    """Keep a successor of the sealing half, as `rotate_sealing` does before it asks the log."""
    fresh = KeyPair(keys.load(path).signing, SealingKey.from_secret(os.urandom(32)))
    keys.put(beside(path)[0], fresh, keys.facts(path).store)
    return fresh


def test_a_move_to_where_a_key_lies_changes_nothing(keyring_service: object, keys: KeyStores, path: Path) -> None:
    made, text = keys.create(path, "agent"), path.read_bytes()
    for _ in range(2):
        keys.move(path, "keyring")
        assert keys.load(path) == made
    assert path.read_bytes() == text
    assert entries() == {entry_of(path)}


def test_no_entry_is_written_over_by_the_same_key(keyring_service: object, keys: KeyStores, path: Path) -> None:
    """Its label and its kid are the same: the name of the entry is another."""
    made = keys.create(path, "agent")
    ring = keyring_store.SystemKeyring()
    texts = [path.read_bytes(), ring.put(made, "acme/agents/shopper"), ring.put(made, "acme/agents/shopper")]
    assert len({json.loads(text)["entry"] for text in texts}) == 3
    ring.forget(texts[1])
    assert keys.load(path) == made


def test_an_entry_that_does_not_come_back_is_not_left(
    keyring_service: object, keys: KeyStores, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> KeyPair:
        raise KeyringError("not to be had")

    monkeypatch.setattr(keyring_store.SystemKeyring, "load", fails)
    with pytest.raises(KeyringError, match="not to be had"):
        keys.create(path, "agent")
    assert entries() == set()
    assert not path.exists()


def test_entries_named_without_a_random_end_are_still_read(
    keyring_service: object, keys: KeyStores, path: Path
) -> None:
    import keyring

    made = keys.create(path, "agent")
    entry = entry_of(path)
    old = entry.rpartition(" ")[0]
    keyring.set_password(SERVICE, old, keyring.get_password(SERVICE, entry) or "")
    keyring.delete_password(SERVICE, entry)
    path.write_text(path.read_text().replace(entry, old))
    assert keys.load(path) == made
    keys.move(path, "keyring")
    assert keys.load(path) == made


def test_rotations_one_after_another_keep_the_key(keyring_service: object, keys: KeyStores, path: Path) -> None:
    """Until the log has heard of the successor, the key is the one before; a refused successor goes alone."""
    keys.create(path, "tool")
    new, older = beside(path)
    for _ in range(3):
        now = keys.load(path)
        fresh = prepared(keys, path)
        assert keys.load(path) == now
        keys.succeed(path)
        assert keys.load(path) == fresh
        assert keys.load(older) == now
        assert entries() == {entry_of(path), entry_of(older)}  # what was older before is gone
        assert not new.exists()
    before = keys.load(path)
    prepared(keys, path)
    refused = entry_of(new)
    keys.discard(new)
    assert keys.load(path) == before
    assert entries() == {entry_of(path), entry_of(older)}
    assert refused not in entries()


def test_the_half_from_before_leaves_the_keyring(
    keyring_service: object, keys: KeyStores, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys.create(path, "tool")
    fresh = prepared(keys, path)
    keys.succeed(path)
    assert len(keys.load(path).others()) == 2
    monkeypatch.setattr(stores, "OLDER_SECONDS", -1)
    assert [one.public for one in keys.load(path).others()] == [fresh.sealing.public]
    assert not beside(path)[1].exists()
    assert entries() == {entry_of(path)}


@pytest.mark.parametrize("end", [NEW, OLDER])
def test_what_a_key_file_names_is_not_forgotten_with_the_file_beside_it(
    keyring_service: object, keys: KeyStores, path: Path, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    """As when a rotation was killed between its two steps, or files were made before entries had a random end."""
    made = keys.create(path, "tool")
    other = path.with_name(path.name + end)
    other.hardlink_to(path)
    monkeypatch.setattr(stores, "OLDER_SECONDS", -1)
    keys.load(path).others()
    keys.discard(other)
    assert not other.exists()
    assert keys.load(path) == made
    other.hardlink_to(path)
    keys.move(path, "file")
    assert keys.load(other) == made
    keys.discard(other)
    assert entries() == set()


def test_replaced_and_discarded_keys_leave_the_keyring(keyring_service: object, keys: KeyStores, path: Path) -> None:
    import keyring

    keys.create(path, "session")
    first = json.loads(path.read_text())["entry"]
    new = path.with_name("shopper.key.new")
    made = keys.create(new, "session")
    assert keys.replace(new, path) == path
    assert keys.load(path) == made
    assert keyring.get_password(SERVICE, first) is None
    entry = json.loads(path.read_text())["entry"]
    keys.discard(path)
    assert keyring.get_password(SERVICE, entry) is None
    keys.discard(path)
    assert not path.exists()


def test_a_locked_keyring_is_told(keyring_service: object, keys: KeyStores, path: Path) -> None:
    import secretstorage

    keys.create(path, "agent")
    secretstorage.get_default_collection(secretstorage.dbus_init()).lock()

    with pytest.raises(KeyringError, match=r"shopper\.key: the keyring is locked"):
        keys.load(path)
    with pytest.raises(KeyringError, match="the keyring is locked"):
        keys.create(path.with_name("b.key"), "agent")
    with pytest.raises(KeyringError, match="the keyring is locked"):
        keys.discard(path)
    assert path.exists()
    assert not path.with_name("b.key").exists()


def test_an_entry_that_is_gone_or_another_is_told(keyring_service: object, keys: KeyStores, path: Path) -> None:
    import keyring

    keys.create(path, "agent")
    other = path.with_name("other.key")
    keys.create(other, "agent")
    entry, foreign = (json.loads(one.read_text())["entry"] for one in (path, other))
    keyring.set_password(SERVICE, entry, keyring.get_password(SERVICE, foreign) or "")
    with pytest.raises(KeyFileError, match=r"but the keyring's entry .* holds"):
        keys.load(path)
    keyring.set_password(SERVICE, entry, "hunter2")
    with pytest.raises(KeyringError, match="is not a pair of keys") as raised:
        keys.load(path)
    assert "hunter2" not in str(raised.value)
    keyring.delete_password(SERVICE, entry)
    with pytest.raises(KeyringError, match="has no entry 'acme/agents/shopper"):
        keys.load(path)


def test_a_keyring_that_does_not_answer_is_waited_for_and_no_longer(
    keyring_service: object, keys: KeyStores, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one that shows a question to nobody."""
    import keyring

    keys.create(path, "agent")
    released = threading.Event()

    class Waiting(type(keyring.get_keyring())):  # type: ignore[misc]
        def get_password(self, service: str, username: str) -> str | None:
            released.wait(30)
            return super().get_password(service, username)

    monkeypatch.setattr(keyring_store, "ANSWER_SECONDS", 0.3)
    real = keyring.get_keyring()
    keyring.set_keyring(Waiting())
    begin = time.monotonic()
    try:
        with pytest.raises(KeyringError, match=r"has not answered in 0\.3 s: unlock it first"):
            keys.load(path)
    finally:
        released.set()
        keyring.set_keyring(real)
    assert time.monotonic() - begin < 5


@pytest.mark.parametrize("backend", ["keyring.backends.fail.Keyring", "keyring.backends.null.Keyring"])
def test_without_a_keyring_nothing_is_kept(tmp_path: Path, backend: str) -> None:
    """In a process of its own, as a service without a session: what keeps nothing is not taken for a keyring."""
    code = (
        "from pathlib import Path; from producers.home.keystores.stores import KeyStores; "
        "KeyStores.read({'default': 'keyring'}, Path.cwd()).create(Path('a.key'), 'agent')"
    )
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "PYTHON_KEYRING_BACKEND": backend}
    environ.pop("DBUS_SESSION_BUS_ADDRESS", None)
    ran = subprocess.run(  # noqa: PLW1510 - its error is looked at
        [sys.executable, "-c", code], cwd=tmp_path, env=environ, capture_output=True, text=True
    )

    assert "KeyringError: a: this session has no keyring of the system" in ran.stderr
    assert not (tmp_path / "a.key").exists()
