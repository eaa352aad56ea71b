"""The interface of one store, and the two stores that are files."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from producers.home.keys import KeyPair
from producers.home.keystores import pem
from producers.home.keystores.errors import KeyFileError
from producers.home.keystores.passphrases import Passphrases
from producers.home.keystores.pem import Publics


class KeyStore(Protocol):
    """Keeps pairs. Each is known by the text of its key file, which either holds the pair or refers to it."""

    def create(self, label: str) -> tuple[KeyPair, bytes]:
        """Return a new pair and the text of its file. `label` is its name for people. Raises KeyAccessError."""
        ...

    def put(self, pair: KeyPair, label: str) -> bytes:
        """Keep a pair that exists and return the text of its file. Raises KeyAccessError, KeyStaysError."""
        ...

    def load(self, text: bytes, path: Path) -> KeyPair:
        """Return the pair of a file; `path` is named in errors. Raises KeyAccessError, NotAPairError."""
        ...

    def publics(self, text: bytes) -> Publics:
        """Return the public halves of a file's pair, without a secret where that is possible. Raises NotAPairError."""
        ...

    def forget(self, text: bytes) -> None:
        """Remove the secret halves that a file refers to, for ever. Raises KeyAccessError."""
        ...


class Files:
    """Pairs in the clear, in files that their owner alone may read."""

    def create(self, label: str) -> tuple[KeyPair, bytes]:
        pair = KeyPair.generate()
        return pair, self.put(pair, label)

    def put(self, pair: KeyPair, label: str) -> bytes:  # noqa: ARG002 - a file has its path for a name
        return pem.written(pair)

    def load(self, text: bytes, path: Path) -> KeyPair:  # noqa: ARG002 - the caller names it
        return pem.read(text)

    def publics(self, text: bytes) -> Publics:
        return Publics.of(pem.read(text))

    def forget(self, text: bytes) -> None:
        """Do nothing: the file is all there is."""


class PassphraseFiles(Files):
    """Pairs in files under a passphrase."""

    def __init__(self, passphrases: Passphrases) -> None:
        self._passphrases = passphrases

    def put(self, pair: KeyPair, label: str) -> bytes:
        pem.secrets_of(pair)  # before a person is asked for a passphrase in vain
        return pem.written(pair, self._passphrases.fresh(label))

    def load(self, text: bytes, path: Path) -> KeyPair:
        return self._passphrases.open(str(path), lambda passphrase: pem.decrypted(text, passphrase))

    def publics(self, text: bytes) -> Publics:
        return pem.publics_in(text)


def check_halves(pair: KeyPair, wanted: Publics, path: Path, where: str) -> KeyPair:
    """Return the pair if its public halves are those that its file names.

    Raises:
        KeyFileError: `where`, which is a store, holds another key.
    """
    if Publics.of(pair) != wanted:
        raise KeyFileError(
            f"{path} is for the key {wanted.ed25519.hex()[:16]}…, but {where} holds {pair.signing.public.hex()[:16]}…: "
            "put the right one back, or register a new key"
        )
    return pair
