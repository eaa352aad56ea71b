"""All key stores of one installation. A name is a path: the file there holds the pair, or says which store has it.

For example:

    folder.keys.create(folder.key_file("agent", "shopper"), "agent")
    pair = folder.keys.load(folder.key_file("agent", "shopper"))
"""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from processors.proof.sealing import Opens
from processors.proof.signing import kid_of
from producers.home.files import FileError, create_private, read_private, replace_private
from producers.home.keys import KeyPair
from producers.home.keystores import pem
from producers.home.keystores.errors import KeyAccessError, KeyFileError
from producers.home.keystores.keyring_store import SystemKeyring
from producers.home.keystores.passphrases import Passphrases
from producers.home.keystores.pem import NotAPairError, Publics
from producers.home.keystores.reference import Reference, is_reference
from producers.home.keystores.settings import FILE, KEYRING, PASSPHRASE, KeySettings
from producers.home.keystores.store import Files, KeyStore, PassphraseFiles
from producers.home.keystores.token_store import TokenStore

KEY_FILE_BYTES_MAX = 16 * 1024
NEW, OLDER = ".new", ".older"  # ends of the names of files beside a key's: its successor, and what it was before
OLDER_SECONDS = 86_400  # longer than any payload waits for its reader: a session lives at most a day
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class KeyFacts:
    """The public facts of a key file: the name of its store, and the public halves."""

    store: str
    publics: Publics

    @property
    def kid(self) -> bytes:
        """The key id: SHA-256 of the signing public key."""
        return kid_of(self.publics.ed25519)


class KeyStores:
    """The stores of the installation in `folder`, which is its `.macaw`."""

    def __init__(self, settings: KeySettings, folder: Path) -> None:
        self.settings, self._folder = settings, folder
        self._passphrases = Passphrases(settings.passphrase, folder)

    @classmethod
    def read(cls, section: object, folder: Path) -> KeyStores:
        """Return the stores that the section `keys` of a configuration names. Raises KeySettingsError."""
        return cls(KeySettings.read(section, folder), folder)

    def load(self, path: Path) -> KeyPair:
        """Return the pair called `path`.

        Raises:
            KeyAccessError: it cannot be had; the message says why, and the next step.
        """
        return replace(self._load(path), others=partial(self._others, path))

    def _load(self, path: Path) -> KeyPair:
        text = _read(path)
        store = self._store(self._store_of(text, path))
        return _of_file(path, lambda: store.load(text, path))

    def _others(self, path: Path) -> list[Opens]:
        """Return the halves that open for a pair which was loaded before: those kept under its path now, and around it.

        The half from before a rotation is discarded after OLDER_SECONDS.
        """
        current, new, older = _family(path)
        places = [current, new]
        if not _is_past(older):
            places.append(older)
        else:
            with contextlib.suppress(KeyAccessError):  # as with a locked keyring: it opens nothing, and is tried again
                self.discard(older)
        found = []
        for place in places:
            with contextlib.suppress(KeyAccessError):
                found.append(self._load(place).sealing)
        return found

    def create(self, path: Path, role: str, *, label: str | None = None) -> KeyPair:
        """Make a pair for a role and keep it under `path`, whole or not at all. `label` is its name on a token.

        Raises:
            FileExistsError: there is a file already.
            OSError: it cannot be written, as on a full disk.
            KeyAccessError: the role's store does not take it.
        """
        _check_free(path)
        store = self._store(self.settings.store_for(role))
        pair, text = store.create(label or self.name_of(path))
        self._write(path, store, text)
        return replace(pair, others=partial(self._others, path))

    def put(self, path: Path, pair: KeyPair, to: str) -> None:
        """Keep a pair that exists under a new `path`, in the store `to`. Raises as `create`, and KeyStaysError."""
        _check_free(path)
        self.settings.check_store(to, "the store")
        store = self._store(to)
        self._write(path, store, store.put(pair, self.name_of(path)))

    def discard(self, path: Path) -> None:
        """Remove a pair for ever, from its store too. Nothing happens if there is none. Raises KeyAccessError."""
        if not path.exists():
            return
        self._forget(_read(path), path, [one for one in _family(path) if one != path])
        path.unlink(missing_ok=True)

    def replace(self, new: Path, path: Path) -> Path:
        """Put the pair called `new` in the place of the one called `path`, which is discarded; return `path`."""
        before = _read(path) if path.exists() else None
        new.replace(path)
        if before is not None:
            self._forget(before, path, _family(path))
        return path

    def succeed(self, path: Path) -> None:
        """Put the successor of the pair called `path` in its place. The pair is kept beside it as the older one.

        Raises:
            KeyAccessError: the pair that was the older one until now cannot be discarded; try again.
        """
        current, new, older = _family(path)
        self.discard(older)
        older.hardlink_to(current)
        new.replace(current)

    def move(self, path: Path, to: str) -> None:
        """Put a pair into another store, or under another passphrase; its place before is emptied last.

        Nothing happens if it lies there already, in a file in the clear or in the keyring.

        Raises:
            KeyAccessError: the pair cannot be had, or the store does not take it; nothing is changed then.
            KeyStaysError: it lies on a token.
        """
        self.settings.check_store(to, "the store")
        store = self._store(to)
        if to in {FILE, KEYRING} and self._store_of(_read(path), path) == to:
            self.load(path)
            return
        self._rewrite(path, lambda pair: store.put(pair, self.name_of(path)))

    def encrypt(self, path: Path, passphrase: str) -> None:
        """Keep a pair of any store in a file under this passphrase. Raises as `move`."""
        self._rewrite(path, lambda pair: pem.written(pair, passphrase))

    def facts(self, path: Path) -> KeyFacts:
        """Return the public facts of the pair called `path`. Raises KeyAccessError."""
        text = _read(path)
        name = self._store_of(text, path)
        store = Files() if name == FILE else self._store(name)
        return KeyFacts(name, _of_file(path, lambda: store.publics(text)))

    def name_of(self, path: Path) -> str:
        """Return the name of a pair for people: the tenant, the kind and the name in its path."""
        with contextlib.suppress(ValueError):
            path = path.relative_to(self._folder / "tenants")
        return str(path.with_suffix("")) if not path.is_absolute() else path.stem

    def _rewrite(self, path: Path, written: Callable[[KeyPair], bytes]) -> None:
        before = _read(path)
        text = written(self.load(path))
        replace_private(path, text)
        self._forget(before, path, _family(path))

    def _forget(self, text: bytes, path: Path, others: list[Path]) -> None:
        """Remove what `text`, once the file `path`, refers to. What one of the files `others` names stays."""
        store = self._store(self._store_of(text, path))
        named = [_places(_read(one), one) for one in others if one.exists()]
        if _places(text, path).isdisjoint(frozenset().union(*named)):
            _of_file(path, lambda: store.forget(text))

    def _write(self, path: Path, store: KeyStore, text: bytes) -> None:
        """Write the file of a pair. It is about to be registered, and a crash must not leave an empty file."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            create_private(path, text)
        except BaseException:
            with contextlib.suppress(KeyAccessError):  # the file's error is the one to be told
                store.forget(text)
            raise

    def _store_of(self, text: bytes, path: Path) -> str:
        if pem.is_encrypted(text):
            return PASSPHRASE
        if not is_reference(text):
            return FILE
        name = _of_file(path, lambda: Reference.read(text)).store
        if name != KEYRING and name not in self.settings.tokens:
            raise KeyFileError(
                f"{path} refers to the token {name[:40]!r}, which config.json does not name: add its URI to "
                "`keys.tokens` (docs/keys.md)"
            )
        return name

    def _store(self, name: str) -> KeyStore:
        if name == FILE:
            return Files()
        if name == PASSPHRASE:
            return PassphraseFiles(self._passphrases)
        if name == KEYRING:
            return SystemKeyring()
        return TokenStore(name, self.settings.tokens[name])


def making(path: Path) -> Path:
    """Return a fresh path beside `path`, for a file that is then renamed."""
    return path.with_suffix(f".{secrets.token_hex(4)}")


def _family(path: Path) -> list[Path]:
    """Return the files of one key, by any of them: the key's own, its successor's, and that of the half before."""
    own = path.with_name(path.name.removesuffix(NEW).removesuffix(OLDER))
    return [own, own.with_name(own.name + NEW), own.with_name(own.name + OLDER)]


def _is_past(older: Path) -> bool:
    """True if the half from before a rotation, in the file `older`, has waited long enough for its readers."""
    try:
        return time.time() - older.stat().st_ctime > OLDER_SECONDS
    except FileNotFoundError:
        return False


def _places(text: bytes, path: Path) -> frozenset[str]:
    """Return what the text of the key file `path` refers to. Raises KeyFileError."""
    return _of_file(path, lambda: Reference.read(text)).places if is_reference(text) else frozenset()


def _check_free(path: Path) -> None:
    if path.exists() or path.is_symlink():
        raise FileExistsError(17, "a key is there already", str(path))


def _read(path: Path) -> bytes:
    try:
        return read_private(path, KEY_FILE_BYTES_MAX)
    except FileError as exc:
        if "others may read" in exc.why:
            raise KeyFileError(f"others may read the key file {path}: run `chmod 600` on it") from exc
        raise KeyFileError(f"cannot read the key file {path}: {exc.why}") from exc


def _of_file(path: Path, act: Callable[[], T]) -> T:
    """Return the result of `act` on a key file. Raises KeyFileError in place of NotAPairError, with the path."""
    try:
        return act()
    except NotAPairError as exc:
        raise KeyFileError(f"{path} is not a key file: {exc}") from None
