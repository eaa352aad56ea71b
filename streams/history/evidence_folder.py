"""A folder of evidence on disk: opened without following links, with only the files of the format in it.

The folder may come from an attacker. Names are compared with those of the format before a file is opened. A link, a
device or a pipe is refused. Each file is read once, at most up to FILE_BYTES_MAX.
"""

from __future__ import annotations

import io
import os
import re
import stat
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from processors.evidence.folder_format import DATA_FILES, MANIFEST, SCHEMA_PREFIX
from processors.evidence.verdict import AuditVerdict, VerdictCode, verify
from processors.proof.merkle import EMPTY_ROOT
from processors.text.characters import quoted
from schemas.errors import InstallationError

FILE_BYTES_MAX = 256 * 1024**3
FILES_MAX = 1024
CHUNK_BYTES = 256 * 1024
_SCHEMA_NAME = re.compile(r"[0-9a-f]{64}\.avsc")
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # opening a pipe must not block


class EvidenceFolderError(InstallationError):
    """The directory cannot be read as a folder of evidence; the message names the first file at fault.

    This is not a ValueError, because the verifier reports a ValueError as malformed bytes, without the file's name.
    """


class EvidenceFolder(AbstractContextManager["EvidenceFolder"]):
    """An open directory, as `processors.evidence.verdict` reads one.

    Raises:
        EvidenceFolderError: the path is not a directory, or it has a file that the format does not have.
    """

    def __init__(self, path: Path) -> None:
        self._root = _open(str(path), _DIRECTORY, None)
        try:
            self._names = frozenset(self._list())
        except BaseException:
            self.close()
            raise

    def names(self) -> Collection[str]:
        """Return the names of all files."""
        return self._names

    def read(self, name: str) -> Iterator[bytes]:
        """Yield a file's bytes. Raises EvidenceFolderError for a missing, irregular or too large file."""
        if name not in self._names:
            raise EvidenceFolderError(f"there is no file {quoted(name[:100])} in the folder")
        with _opened(name, self._root) as (file, size):
            left = size  # bytes that are appended meanwhile are not read; the digest will differ
            while left > 0 and (chunk := _read(file, min(CHUNK_BYTES, left), name)):
                left -= len(chunk)
                yield chunk

    def close(self) -> None:
        """Close the directory."""
        os.close(self._root)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _list(self) -> Iterator[str]:
        names = _names_in(self._root)
        for name in sorted(names):
            if name in {MANIFEST, *DATA_FILES}:
                yield name
            elif name != SCHEMA_PREFIX.rstrip("/"):
                raise EvidenceFolderError(f"{quoted(name[:100])} is not a file of the evidence format")
        if SCHEMA_PREFIX.rstrip("/") not in names:
            return
        schemas = _open(SCHEMA_PREFIX.rstrip("/"), _DIRECTORY, self._root)
        try:
            found = _names_in(schemas)
        finally:
            os.close(schemas)
        for name in sorted(found):
            if not _SCHEMA_NAME.fullmatch(name):
                raise EvidenceFolderError(
                    f"{SCHEMA_PREFIX}{quoted(name[:100])} is not a schema: its name must be 64 hex digits and .avsc"
                )
            yield SCHEMA_PREFIX + name


def _open(name: str, flags: int, directory: int | None) -> int:
    try:
        return os.open(name, flags, dir_fd=directory)
    except OSError as exc:
        raise EvidenceFolderError(f"cannot open {quoted(name[:100])} without following a link: {exc.strerror}") from exc


@contextmanager
def _opened(name: str, directory: int) -> Iterator[tuple[io.FileIO, int]]:
    """Give a regular file and its size. Raises EvidenceFolderError for any other file, and above FILE_BYTES_MAX."""
    descriptor = _open(name, _FILE, directory)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_size > FILE_BYTES_MAX:
            raise EvidenceFolderError(f"{name} is not a regular file of at most {FILE_BYTES_MAX} bytes")
        yield io.FileIO(descriptor, closefd=False), found.st_size
    finally:
        os.close(descriptor)


def _read(file: io.FileIO, size: int, name: str) -> bytes | None:
    try:
        return file.read(size)
    except OSError as exc:
        raise EvidenceFolderError(f"cannot read {name}: {exc.strerror}") from exc


def _names_in(directory: int) -> list[str]:
    names = []
    with os.scandir(directory) as entries:
        for entry in entries:
            names.append(entry.name)
            if len(names) > FILES_MAX:
                raise EvidenceFolderError(f"the folder, or its folder of schemas, has more than {FILES_MAX} files")
    return names


def verify_folder(path: Path, *, genesis: bytes) -> AuditVerdict:
    """Judge the folder at `path` against a pinned genesis of 32 bytes. A folder that cannot be read is MALFORMED."""
    try:
        with EvidenceFolder(path) as folder:
            return verify(folder, genesis=genesis)
    except (EvidenceFolderError, OSError) as exc:
        detail = str(exc) if isinstance(exc, EvidenceFolderError) else f"cannot be read: {exc.strerror}"
        return AuditVerdict(
            code=VerdictCode.MALFORMED, index=None, detail=detail, size=0, root=EMPTY_ROOT, events_absent=0
        )
