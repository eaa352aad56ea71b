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
