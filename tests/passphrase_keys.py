"""A pair under a passphrase, made once for all tests: each takes half a second, which is its purpose."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from producers.home.keys import KeyPair
from producers.home.keystores import pem
from producers.home.keystores.stores import KeyStores

PASSPHRASE = "a horse of the correct kind"
PAIR = KeyPair.generate()


@cache
def encrypted() -> bytes:
    """Return the file of `PAIR`, made when the first test asks: not by each process that only collects tests."""
    return pem.written(PAIR, PASSPHRASE)


@cache
def other_encrypted() -> bytes:
    """Return the file of another pair under the same passphrase."""
    return pem.written(KeyPair.generate(), PASSPHRASE)


def secret(path: Path, text: str = PASSPHRASE, mode: int = 0o600) -> Path:
    path.write_text(f"{text}\n")
    path.chmod(mode)
    return path


def stores(folder: Path, **section: object) -> KeyStores:
    return KeyStores.read(section, folder)


def kept(folder: Path) -> Path:
    """Return the file of a pair under the passphrase."""
    path = folder / "a.key"
    path.write_bytes(encrypted())
    path.chmod(0o600)
    return path
