"""Where segments are kept: a port, and a folder behind it.

A store keeps each segment once, under its name, and never changes or deletes one. Two archivers that make the same
segment meet at `put`: the second one is told that the name is taken, and reads the segment of the first one.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from processors.evidence.archive.codes import ArchiveCode, SegmentError, first_of
from processors.evidence.archive.segment import HEADER_BYTES_MAX, SEGMENT_BYTES_MAX
from schemas.errors import UnavailableError

SEGMENTS_MAX = 2_000_000  # names in one store: six years of a segment every two minutes
LEFT_SECONDS = 3600.0  # a file that is being written is not older than this
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # opening a pipe must not block
_MAKING = re.compile(r"\.[0-9]{20}\.segment\.[0-9a-f]{16}")
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class StoreError(UnavailableError):
    """The store does not answer, or does not take a segment. `is_full` if it has no room; nothing was stored."""

    def __init__(self, message: str, *, is_full: bool = False) -> None:
        super().__init__(message)
        self.is_full = is_full


class Store(Protocol):
    """Segments by name. Every method raises StoreError where the store does not answer."""

    def names(self) -> list[str]:
        """Return the names of all segments, in order. Raises SegmentError BAD_NAME for any other name."""
        ...

    def get(self, name: str) -> bytes:
        """Return a whole segment.

        Raises:
            SegmentError: LOST_SEGMENT, NOT_A_SEGMENT for another kind of file, or TOO_LARGE; nothing was read then.
        """
        ...

    def start(self, name: str) -> bytes:
        """Return the first HEADER_BYTES_MAX bytes of a segment, or all that it has. Raises SegmentError as `get`."""
        ...

    def put(self, name: str, data: bytes) -> bool:
        """Store a segment durably; return False, and store nothing, if the name is taken. Requires a segment's name."""
        ...

    def sizes(self) -> int:
        """Return the bytes of all segments together."""
        ...


class FolderStore:
    """A folder on a disk of this machine, for its owner only. No link in it is followed, no device or pipe is read."""

    def __init__(self, path: Path) -> None:
        """Open the folder, or make it. Raises StoreError."""
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._folder = os.open(path, _DIRECTORY)
        except OSError as exc:
            raise _failed(f"the archive's folder {path} cannot be opened", exc) from exc
        self._clean()

    def close(self) -> None:
        """Close the folder."""
        os.close(self._folder)

    def names(self) -> list[str]:
        """Return the names of all segments, in order. Raises SegmentError, StoreError."""
        found = [name for name in self._listed() if not _MAKING.fullmatch(name)]
        for name in found:
            first_of(name)
        return sorted(found)

    def get(self, name: str) -> bytes:
        """Return a whole segment. Raises SegmentError, StoreError."""
        return self._read(name, SEGMENT_BYTES_MAX)

    def start(self, name: str) -> bytes:
        """Return the beginning of a segment. Raises SegmentError, StoreError."""
        return self._read(name, HEADER_BYTES_MAX, whole=False)

    def put(self, name: str, data: bytes) -> bool:
        """Store a segment, on disk when this returns; False if the name is taken. Raises SegmentError, StoreError."""
        first_of(name)
        making = f".{name}.{secrets.token_hex(8)}"
        try:
            try:
                self._write(making, data)
                os.link(making, name, src_dir_fd=self._folder, dst_dir_fd=self._folder, follow_symlinks=False)
            except FileExistsError:
                return False
            finally:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(making, dir_fd=self._folder)
            os.fsync(self._folder)
        except OSError as exc:
            raise _failed(f"{self.path} does not take {name}", exc) from exc
        return True

    def sizes(self) -> int:
        """Return the bytes of all segments together. Raises SegmentError, StoreError."""
        try:
            return sum(os.stat(n, dir_fd=self._folder, follow_symlinks=False).st_size for n in self.names())
        except OSError as exc:
            raise _failed(f"the archive's folder {self.path} cannot be read", exc) from exc

    def _write(self, making: str, data: bytes) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(making, flags, 0o600, dir_fd=self._folder)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(descriptor)

    def _read(self, name: str, bytes_max: int, *, whole: bool = True) -> bytes:
        first_of(name)
        try:
            descriptor = os.open(name, _FILE, dir_fd=self._folder)
            try:
                found = os.fstat(descriptor)
                _check_kind(name, found, bytes_max if whole else found.st_size)
                with os.fdopen(descriptor, "rb", closefd=False) as file:
                    return file.read(bytes_max)
            finally:
                os.close(descriptor)
        except FileNotFoundError as exc:
            raise SegmentError(ArchiveCode.LOST_SEGMENT, "it is not there any more", segment=name) from exc
        except OSError as exc:
            if exc.errno in {errno.ELOOP, errno.ENXIO}:  # a link; a socket or a device without a driver
                raise SegmentError(ArchiveCode.NOT_A_SEGMENT, "it is not a regular file", segment=name) from exc
            raise _failed(f"{self.path} does not give {name}", exc) from exc

    def _listed(self) -> Iterator[str]:
        try:
            with os.scandir(self._folder) as entries:
                for count, entry in enumerate(entries):
                    if count >= SEGMENTS_MAX:
                        raise StoreError(f"{self.path} has more than {SEGMENTS_MAX} files: it is not an archive")
                    yield entry.name
        except OSError as exc:
            raise _failed(f"the archive's folder {self.path} cannot be read", exc) from exc

    def _clean(self) -> None:
        """Remove files that an archiver began and did not finish. They were never segments."""
        for name in list(self._listed()):
            if _MAKING.fullmatch(name):
                with contextlib.suppress(FileNotFoundError):
                    if time.time() - os.stat(name, dir_fd=self._folder).st_mtime > LEFT_SECONDS:
                        os.unlink(name, dir_fd=self._folder)


def _check_kind(name: str, found: os.stat_result, bytes_max: int) -> None:
    """Raise SegmentError for anything but a regular file of at most so many bytes."""
    if not stat.S_ISREG(found.st_mode):
        raise SegmentError(ArchiveCode.NOT_A_SEGMENT, "it is not a regular file", segment=name)
    if found.st_size > bytes_max:
        detail = f"it has {found.st_size} bytes, want at most {bytes_max}"
        raise SegmentError(ArchiveCode.TOO_LARGE, detail, segment=name)


def _failed(what: str, exc: OSError) -> StoreError:
    is_full = exc.errno in _FULL
    advice = "make room, or name another place in config.json" if is_full else "see whether its disk is there"
    return StoreError(f"{what}: {exc.strerror}; {advice}", is_full=is_full)
