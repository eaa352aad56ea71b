"""The keys of a tenant's archive, in its home: a lasting one, and one for each month that can be destroyed.

    .macaw/tenants/<tenant>/archive-keys/lasting.key         64 hex digits, mode 0600: seals, registrations
    …/archive-keys/2026-11.key                               64 hex digits, mode 0600: the records of that month
    …/archive-keys/2026-05.destroyed                         JSON: when and why that month's key was destroyed

Without these files an archive cannot be read: keep a copy where the archive is not.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from pathlib import Path

from processors.evidence.archive.bodies import KEY_BYTES, key_id, month_text, seal_key
from processors.evidence.archive.codes import ArchiveCode, SegmentError
from processors.evidence.archive.segment import Owner
from producers.home.files import FileError, create_private, read_private
from schemas.errors import InstallationError

FOLDER = "archive-keys"
LASTING = "lasting.key"
_KEY_FILE = re.compile(r"([0-9]{4})-(0[1-9]|1[0-2])\.key")
_HEX = re.compile(rb"[0-9a-f]{64}\n?")


class ArchiveKeyError(InstallationError):
    """A key of the archive is missing, readable by others, malformed, or destroyed; the message names the file."""


class Keyring:
    """The archive keys of one tenant's home. Keys are read when they are asked for, and kept in memory."""

    def __init__(self, home: Path) -> None:
        """`home` is the tenant's folder. Nothing is read or made yet."""
        self.path = home / FOLDER
        self._months: dict[int, bytes] = {}
        self._lasting: bytes | None = None

    def __repr__(self) -> str:
        return f"Keyring({self.path})"

    @property
    def lasting(self) -> bytes:
        """The lasting key. Raises ArchiveKeyError."""
        if self._lasting is None:
            try:
                self._lasting = _load(self.path / LASTING)
            except FileNotFoundError as exc:
                raise ArchiveKeyError(
                    f"there is no archive key in {self.path}: `macaw archive run` makes it; an archive that exists "
                    "already needs a copy of the keys that wrote it"
                ) from exc
        return self._lasting

    def of_month(self, month: int) -> bytes | None:
        """Return a month's key, None if it was destroyed. Raises SegmentError WRONG_KEY if it is missing."""
        if month not in self._months:
            if self.is_destroyed(month):
                return None
            try:
                self._months[month] = _load(self._file(month))
            except FileNotFoundError as exc:
                detail = f"{self._file(month)} is missing, and nothing says that it was destroyed: bring back a copy"
                raise SegmentError(ArchiveCode.WRONG_KEY, detail) from exc
        return self._months[month]

    def make_lasting(self) -> bytes:
        """Return the lasting key; make it if there is none. Raises ArchiveKeyError, OSError."""
        _create(self.path / LASTING)
        return self.lasting

    def make_month(self, month: int) -> bytes:
        """Return a month's key; make it if there is none. Raises ArchiveKeyError if it was destroyed, OSError."""
        if not self.is_destroyed(month):
            _create(self._file(month))
        key = self.of_month(month)
        if key is None:
            text = month_text(month)
            raise ArchiveKeyError(f"the key of {text} was destroyed, and the log still has records of that month")
        return key

    def is_destroyed(self, month: int) -> bool:
        """Return True if the key of a month was destroyed here."""
        return (self.path / f"{month_text(month)}.destroyed").exists()

    def months(self) -> list[int]:
        """Return the months that have a key here, in order."""
        names = [path.name for path in self.path.iterdir()] if self.path.is_dir() else []
        found = (one for one in map(_KEY_FILE.fullmatch, sorted(names)) if one)
        return [int(one[1]) * 12 + int(one[2]) - 1 for one in found]

    def destroy(self, month: int, record: bytes) -> None:
        """Destroy a month's key, and keep a record of that. Raises OSError.

        The record is written first: a crash between the two leaves a key that counts as destroyed, and the next call
        removes it.
        """
        if not self.is_destroyed(month):
            create_private(self.path / f"{month_text(month)}.destroyed", record)
        for making in self.path.glob(f".{self._file(month).name}.*"):  # the same key, if a crash interrupted its making
            making.unlink(missing_ok=True)
        self._file(month).unlink(missing_ok=True)
        self._months.pop(month, None)
        _sync(self.path)

    def owner(self, tenant: str, deployment: str, genesis: bytes) -> Owner:
        """Return the owner of this tenant's archive. Raises ArchiveKeyError."""
        return Owner(f"{deployment}/{tenant}", tenant, genesis, key_id(self.lasting), seal_key(self.lasting))

    def _file(self, month: int) -> Path:
        return self.path / f"{month_text(month)}.key"


def _load(path: Path) -> bytes:
    """Return the key in a file. Raises ArchiveKeyError, or FileNotFoundError if there is none."""
    try:
        text = read_private(path, 1024, may_be_link=True)
    except FileError as exc:
        if exc.missing:
            raise FileNotFoundError(str(path)) from exc
        raise ArchiveKeyError(str(exc)) from exc
    if _HEX.fullmatch(text) is None:
        raise ArchiveKeyError(f"{path} is not an archive key: it must hold {2 * KEY_BYTES} hex digits")
    return bytes.fromhex(text.decode("ascii").strip())


def _create(path: Path) -> None:
    """Make a random key in a new file, whole or not at all; of two that do so at once, one key stays."""
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    making = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    create_private(making, secrets.token_hex(KEY_BYTES).encode() + b"\n")
    try:
        with contextlib.suppress(FileExistsError):
            os.link(making, path)
    finally:
        making.unlink()
    _sync(path.parent)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
