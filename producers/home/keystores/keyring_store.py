"""The keyring of the system: Secret Service (GNOME, KDE), macOS Keychain, Windows Credential Locker."""

from __future__ import annotations

import contextlib
import secrets
import threading
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from producers.home.keys import KeyPair
from producers.home.keystores import pem
from producers.home.keystores.errors import KeyringError
from producers.home.keystores.pem import NotAPairError, Publics
from producers.home.keystores.reference import Reference
from producers.home.keystores.settings import KEYRING
from producers.home.keystores.store import check_halves

if TYPE_CHECKING:
    from keyring.backend import KeyringBackend

SERVICE = "macaw"
ANSWER_SECONDS = 60.0  # a person may have to type the keyring's password
_UNSAFE = ("keyrings.alt.", "keyring.backends.null", "keyring.backends.fail")
T = TypeVar("T")


class SystemKeyring:
    """Pairs in the system's keyring. Their files refer to entries of the service `macaw`."""

    def create(self, label: str) -> tuple[KeyPair, bytes]:
        pair = KeyPair.generate()
        return pair, self.put(pair, label)

    def put(self, pair: KeyPair, label: str) -> bytes:
        # A random end: an entry is never written over, since the file of the same key may name it (a move, a rotation).
        entry, text = f"{label} {pair.kid.hex()[:16]} {secrets.token_hex(8)}", pem.written(pair).decode()
        _asked(lambda ring: ring.set_password(SERVICE, entry, text), label)
        reference = Reference(KEYRING, Publics.of(pair), entry).written()
        try:
            self.load(reference, Path(label))  # what is registered and then lost could never speak
        except BaseException:
            with contextlib.suppress(KeyringError):  # the first error is the one to be told
                self.forget(reference)
            raise
        return reference

    def load(self, text: bytes, path: Path) -> KeyPair:
        reference = Reference.read(text)
        found = _asked(lambda ring: ring.get_password(SERVICE, reference.entry), str(path))
        if found is None:
            raise KeyringError(
                f"{path}: the keyring has no entry {reference.entry!r} of {SERVICE!r}: it may be another user's or "
                "another machine's keyring; bring the entry back from there, or register a new key"
            )
        try:
            pair = pem.read(found.encode("utf-8", "surrogateescape"))
        except NotAPairError:
            raise KeyringError(f"{path}: the keyring's entry {reference.entry!r} is not a pair of keys") from None
        return check_halves(pair, reference.publics, path, f"the keyring's entry {reference.entry!r}")

    def publics(self, text: bytes) -> Publics:
        return Reference.read(text).publics

    def forget(self, text: bytes) -> None:
        from keyring.errors import PasswordDeleteError

        reference = Reference.read(text)

        def delete(ring: KeyringBackend) -> None:
            try:
                ring.delete_password(SERVICE, reference.entry)
            except PasswordDeleteError:
                if ring.get_password(SERVICE, reference.entry) is not None:
                    raise

        _asked(delete, reference.entry)


def _asked(question: Callable[[KeyringBackend], T], about: str) -> T:
    """Return the keyring's answer. It is asked on a thread of its own, since it may wait for a person for ever.

    Raises:
        KeyringError: there is no keyring, it is locked, it does not answer, or it keeps secrets in the clear.
    """
    try:
        import keyring
        from keyring.errors import KeyringError as LibraryError
        from keyring.errors import KeyringLocked
    except ModuleNotFoundError as exc:
        raise KeyringError(
            f"{about}: the library for keyrings is not installed: run `pip install 'macaw-streams[keyring]'`"
        ) from exc
    answer: Future[T] = Future()

    def run() -> None:
        try:
            ring = keyring.get_keyring()
            _check_backend(ring, about)
            answer.set_result(question(ring))
        except BaseException as exc:  # noqa: BLE001 - the asking thread raises it
            answer.set_exception(exc)

    threading.Thread(target=run, name="keyring", daemon=True).start()
    try:
        return answer.result(ANSWER_SECONDS)
    except KeyringError:
        raise
    except FutureTimeoutError:
        raise KeyringError(f"{about}: the keyring has not answered in {ANSWER_SECONDS:g} s: unlock it first") from None
    except KeyringLocked:
        raise KeyringError(
            f"{about}: the keyring is locked: log in to the desktop or unlock it, then try again"
        ) from None
    except LibraryError as exc:
        raise KeyringError(
            f"{about}: the keyring refuses ({type(exc).__name__}): see whether its service runs in this session"
        ) from None
    except Exception as exc:  # noqa: BLE001 - a back end may raise anything, and its message may quote the entry
        raise KeyringError(
            f"{about}: the keyring fails ({type(exc).__name__}): see whether its service runs in this session"
        ) from None


def _check_backend(ring: KeyringBackend, about: str) -> None:
    """Raise KeyringError for a back end that keeps nothing, or keeps it in the clear."""
    for one in getattr(ring, "backends", [ring]):  # a chain asks each in turn, and writes to the first
        name = f"{type(one).__module__}.{type(one).__name__}"
        if name.startswith(_UNSAFE):
            raise KeyringError(
                f"{about}: this session has no keyring of the system (found {name}): run under a desktop session or "
                "`dbus-run-session` with a keyring service, or keep keys under a passphrase: `macaw key move`"
            )
