"""Files: those that people name, read once and no further than a bound; and our own, written for their owner alone."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from pathlib import Path

from schemas.errors import InputError


class FileError(InputError):
    """A file cannot be read, or is of a kind that is not accepted; the message names the file and the reason."""

    def __init__(self, path: Path, why: str, *, missing: bool = False) -> None:
        super().__init__(f"cannot read {path}: {why}")
        self.why = why
        self.missing = missing


def read_file(path: Path, bytes_max: int, *, may_be_pipe: bool = False) -> bytes:
    """Return the content of a file.

    With `may_be_pipe` a pipe is read until its writer closes it, as with a shell's `<(…)`.

    Raises:
        FileError: the file is missing, is not a regular file, must not be read, or holds more than `bytes_max` bytes.
    """
    data = read_start(path, bytes_max + 1, may_be_pipe=may_be_pipe)
    if len(data) > bytes_max:
        raise FileError(path, f"it is larger than {bytes_max} bytes")
    return data


def read_start(path: Path, count: int, *, may_be_pipe: bool = False) -> bytes:
    """Return the first `count` bytes of a file, or all that it has. Raises FileError as `read_file` does."""
    try:
        # Without O_NONBLOCK the open itself would wait until somebody writes to a pipe.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | (0 if may_be_pipe else os.O_NONBLOCK))
        with os.fdopen(descriptor, "rb") as file:
            mode = os.fstat(descriptor).st_mode
            if not (stat.S_ISREG(mode) or (may_be_pipe and stat.S_ISFIFO(mode))):
                raise FileError(path, "it is not a regular file")
            return file.read(count)
    except OSError as exc:
        if exc.errno == errno.EISDIR:
            raise FileError(path, "it is a folder") from exc
        raise FileError(path, exc.strerror or type(exc).__name__, missing=exc.errno == errno.ENOENT) from exc
    except ValueError as exc:
        if isinstance(exc, FileError):
            raise
        raise FileError(path, "a file cannot have this name") from exc  # a NUL character in it


def read_private(path: Path, bytes_max: int, *, may_be_link: bool = False) -> bytes:
    """Return the content of a file that its owner alone may read.

    Raises:
        FileError: as `read_file`; or others may read the file, or it is a link, which may lead anywhere.
    """
    data = _read_private(path, bytes_max + 1, 0 if may_be_link else os.O_NOFOLLOW)
    if len(data) > bytes_max:
        raise FileError(path, f"it is larger than {bytes_max} bytes")
    return data


def read_secret_line(path: Path, bytes_max: int) -> str:
    """Return a password: the one line of a file that its owner alone may read, without its line end.

    Links are followed, because services are handed their secrets so.

    Raises:
        FileError: as `read_file`; or others may read the file, or it holds something else. It quotes nothing of it.
    """
    line = secret_line(_read_private(path, bytes_max + 3, 0), bytes_max)
    if line is None:
        raise FileError(path, f"it must hold one line of 1 to {bytes_max} bytes, printable UTF-8")
    return line


def secret_line(data: bytes, bytes_max: int) -> str | None:
    """Return one line of printable text, 1 to `bytes_max` bytes of UTF-8 without its line end; None for other bytes."""
    data = data.removesuffix(b"\n").removesuffix(b"\r")
    # Bytes that are not UTF-8 become unprintable: an error of the decoder would carry them into a log.
    text = data.decode("utf-8", "surrogateescape")
    return text if 0 < len(data) <= bytes_max and text.isprintable() else None


def _read_private(path: Path, count: int, flags: int) -> bytes:
    """Return the first `count` bytes. The checks are of the open file: its path may change in between."""
    if "\0" in str(path):
        raise FileError(path, "a file cannot have this name")
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | flags)
        with os.fdopen(descriptor, "rb") as file:
            mode = os.fstat(descriptor).st_mode
            if not stat.S_ISREG(mode):
                raise FileError(path, "it is not a regular file")
            if stat.S_IMODE(mode) & 0o077:
                raise FileError(path, "others may read it: run `chmod 600` on it")
            return file.read(count)
    except OSError as exc:
        if exc.errno == errno.ELOOP:
            raise FileError(path, "it is a link: put the file itself there") from exc
        raise FileError(path, exc.strerror or type(exc).__name__, missing=exc.errno == errno.ENOENT) from exc


def create_private(path: Path, content: bytes) -> None:
    """Write a new file that its owner alone may read, and have it on disk: whole, or not at all.

    Raises:
        FileExistsError: the file exists already.
        OSError: it cannot be written, as on a full disk.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(descriptor)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def replace_private(path: Path, content: bytes) -> None:
    """Write a file as `create_private` does, replacing an existing one in one step. Raises OSError."""
    making = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    create_private(making, content)
    try:
        making.replace(path)
    except BaseException:
        making.unlink(missing_ok=True)
        raise
