"""Key files that somebody has put something else in place of, and files that are exchanged in one step."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from producers.home.keystores import pem
from producers.home.keystores.errors import KeyAccessError, PassphraseError
from producers.home.keystores.stores import KEY_FILE_BYTES_MAX, KeyStores
from tests.passphrase_keys import PAIR, kept, secret, stores
from tests.plain_keys import PLAIN_KEYS


@pytest.fixture
def under(tmp_path: Path) -> KeyStores:
    """Stores whose new keys are files under the passphrase in a file."""
    secret(tmp_path / "passphrase")
    return stores(tmp_path, default="passphrase", passphrase="file:passphrase")


def a_link(path: Path) -> None:
    path.rename(path.with_suffix(".other"))
    path.symlink_to(path.with_suffix(".other"))


def a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path, 0o600)


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def ten_gigabytes(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(10 * 2**30)


def a_device(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize("default", ["file", "passphrase"])
@pytest.mark.parametrize(
    ("replace", "says"),
    [
        (a_link, "is a link"),
        (a_device, "is a link"),
        (a_pipe, "not a regular file"),
        (a_folder, "Is a directory"),
        (ten_gigabytes, f"larger than {KEY_FILE_BYTES_MAX}"),
        (lambda path: path.chmod(0o644), "chmod 600"),
        (lambda path: path.write_bytes(b""), "is not a key file"),
        (lambda path: path.write_bytes(os.urandom(500)), "is not a key file"),
        (lambda path: path.write_bytes(b"{}"), "is not a key file"),
        (lambda path: path.unlink(), "No such file"),
    ],
)
def test_what_is_no_key_file_is_refused_by_name(tmp_path: Path, default: str, replace: object, says: str) -> None:
    """At once, without reading more than a key file can hold."""
    secret(tmp_path / "passphrase")
    keys = stores(tmp_path, default=default, passphrase="file:passphrase")
    path = kept(tmp_path)
    if default == "file":
        path.write_bytes(pem.written(PAIR))
    replace(path)  # type: ignore[operator]

    for act in (keys.load, keys.facts, lambda path: keys.move(path, "file")):
        with pytest.raises(KeyAccessError, match=says) as raised:
            act(path)
        assert str(path) in str(raised.value)


def test_a_key_is_never_written_over(under: KeyStores, tmp_path: Path) -> None:
    (tmp_path / "dangling.key").symlink_to(tmp_path / "elsewhere")
    kept(tmp_path)

    for name in ("a", "dangling"):
        with pytest.raises(FileExistsError):
            under.create(tmp_path / f"{name}.key", "agent")
    assert not (tmp_path / "elsewhere").exists()


def test_moving_is_one_step_and_a_failure_changes_nothing(
    under: KeyStores, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.key"
    made = PLAIN_KEYS.create(path, "agent")
    under.move(path, "passphrase")
    assert under.load(path) == made
    assert under.facts(path).store == "passphrase"
    before = path.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("os.fsync", full)
        with pytest.raises(OSError, match="No space"):
            under.encrypt(path, "a passphrase of another day")
    assert path.read_bytes() == before

    under.encrypt(path, "a passphrase of another day")
    with pytest.raises(PassphraseError):
        under.load(path)
    secret(tmp_path / "passphrase", "a passphrase of another day")
    under.move(path, "file")
    assert PLAIN_KEYS.load(path) == made
    assert sorted(one.name for one in tmp_path.iterdir()) == ["a.key", "passphrase"]
