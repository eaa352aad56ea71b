"""Values that are read from files, and read again when one of the files has changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

T = TypeVar("T")
Signature = tuple[tuple[Path, int, int, int], ...]


class Watched(Generic[T]):
    """The value that `read` makes of the files that `paths` returns. Not thread-safe."""

    def __init__(self, paths: Callable[[], Sequence[Path]], read: Callable[[], T]) -> None:
        self._paths = paths
        self._read = read
        self._signature: Signature = ()
        self._value: T | None = None

    def read(self) -> T:
        """Return the value, the same object while no file has changed. Exceptions of `paths` and `read` pass."""
        signature = _signature(self._paths())  # before the files are read, so that no change is missed
        if self._value is None or signature != self._signature:
            self._value, self._signature = self._read(), signature
        return self._value


def _signature(paths: Sequence[Path]) -> Signature:
    """Return a value that changes when a file appears, disappears, is written or is replaced."""
    return tuple(
        (path, found.st_ino, found.st_mtime_ns, found.st_size)
        for path in paths
        if path.exists() and (found := path.stat())
    )
