"""The journal of calls that ran without a decision: one line before each begins, on the disk before it begins.

    {"at":…,"before":"…","call":1,"kind":"begun","n":1,"parameters":"…","principal":"…","resource":"…","session":"…"}

`before` is the SHA-256 of the line before, so a line that is taken out, changed or put in breaks the chain, and the log
gets the chain with the record of the gap. A line has a digest of the parameters, and nothing of them. Lines that the
log has accepted are noted in a file beside the journal and then leave it; after a crash between the two they are told
once more, with the same numbers, and readers count a number once.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from processors.proof import jcs
from producers.home.files import FileError, read_private, replace_private
from producers.home.home import TenantHome
from schemas.errors import UnavailableError

BYTES_MAX: Final = 4 * 1024 * 1024  # of lines that the log does not have yet
LINE_BYTES_MAX: Final = 4096
RECORD_BYTES_MAX: Final = 12 * 1024  # of the lines in one record on the log
_TAG: Final = b"macaw-gap/1\x00"


class JournalError(UnavailableError):
    """The journal cannot be used, or has no room: no call runs without a decision then."""


@dataclass(frozen=True, slots=True)
class GapPart:
    """Lines that one record on the log has, with the digest of the line before the first, and of the last."""

    first: int
    last: int
    before: str
    head: str
    lines: Sequence[Mapping[str, Any]]


def path_of(tenant: TenantHome, server: str) -> Path:
    """Return the file of a server's journal."""
    return tenant.path / "mcp" / f"{server}.gaps"


def has_journal(tenant: TenantHome, server: str) -> bool:
    """Whether a gateway here has run calls without a decision, or could."""
    return path_of(tenant, server).exists()


def first_head(genesis: bytes, server: str) -> str:
    """Return the digest before the first line of a server's journal."""
    return hashlib.sha256(_TAG + genesis + server.encode()).hexdigest()


def head_of(line: Mapping[str, Any]) -> str:
    """Return the digest of a line."""
    return hashlib.sha256(jcs.canonical(dict(line))).hexdigest()


def check_chain(lines: Sequence[Mapping[str, Any]], *, number: int, before: str) -> str:
    """Return the digest of the last line, or `before` for none. Raises JournalError where a line does not follow."""
    for line in lines:
        if line.get("n") != number or line.get("before") != before:
            raise JournalError(f"line {number} of the journal does not follow the line before it")
        number, before = number + 1, head_of(line)
    return before


class GapJournal:
    """The journal of one server, for one process. Thread-safe."""

    def __init__(self, tenant: TenantHome, server: str, *, bytes_max: int = BYTES_MAX) -> None:
        """Open the file, and drop a last line that was not written whole: its call has not begun.

        Raises:
            JournalError: another gateway has it, it cannot be read, or it is not whole.
        """
        self.path = path_of(tenant, server)
        self._told_path = self.path.with_suffix(".gaps-told")
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._bytes_max, self._lock = bytes_max, threading.Lock()
        try:
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as exc:
            raise JournalError(f"{self.path} cannot be opened: {exc.strerror}") from exc
        try:
            self._begin(first_head(tenant.genesis, server))
        except BaseException:
            os.close(self._file)
            raise

    def _begin(self, first: str) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            raise JournalError(f"another gateway writes {self.path}: give each server one gateway") from exc
        told, head = self._read_told(self._told_path, first)
        data = os.pread(self._file, self._bytes_max + 2 * LINE_BYTES_MAX, 0)
        whole = data[: data.rfind(b"\n") + 1]
        try:
            lines = [jcs.parse_strict(one) for one in whole.splitlines()]
        except jcs.MalformedJSONError as exc:
            raise self._broken(exc.cause) from exc
        found = [line for line in lines if isinstance(line, dict)]
        if len(found) < len(lines) or not all(isinstance(line.get("n"), int) for line in found):
            raise self._broken("a line is not one of a journal")
        fresh = [line for line in found if int(str(line["n"])) > told]
        try:
            self._head = check_chain(fresh, number=told + 1, before=head)
        except JournalError as exc:
            raise self._broken(str(exc)) from exc
        if len(whole) < len(data):
            os.ftruncate(self._file, len(whole))
            os.fsync(self._file)
        self._untold: list[dict[str, Any]] = [dict(line) for line in fresh]
        self._number, self._size = told + len(fresh), len(whole)
        self._told_head = head

    def _broken(self, why: str) -> JournalError:
        return JournalError(f"{self.path} is not whole ({why}): keep a copy for an inquiry, and put it aside")

    @staticmethod
    def _read_told(path: Path, first: str) -> tuple[int, str]:
        try:
            found = json.loads(read_private(path, LINE_BYTES_MAX))
            return int(found["n"]), str(found["head"])
        except FileError as exc:
            if exc.missing:
                return 0, first
            raise JournalError(str(exc)) from exc
        except (ValueError, KeyError, TypeError, RecursionError) as exc:
            raise JournalError(f"{path} does not say which lines the log has: put it and the journal aside") from exc

    def write(self, line: Mapping[str, Any], *, room_for: int = 2) -> int:
        """Append a line, and return its number once it is on the disk.

        A call needs room for two lines, so that its end has one as well.

        Raises:
            JournalError: there is no room, or the disk does not take it.
        """
        with self._lock:
            made = {**line, "n": self._number + 1, "before": self._head}
            data = jcs.canonical(made) + b"\n"
            if len(data) > LINE_BYTES_MAX or self._size + room_for * LINE_BYTES_MAX > self._bytes_max:
                raise JournalError(f"{self.path} has no room for another call: it is emptied once the log is back")
            try:
                is_whole = os.write(self._file, data) == len(data)
                os.fsync(self._file)
            except OSError as exc:
                self._cut()
                raise JournalError(f"{self.path} cannot be written: {exc.strerror}") from exc
            if not is_whole:
                self._cut()
                raise JournalError(f"{self.path} cannot be written: the disk is full")
            self._untold.append(made)
            self._number, self._head, self._size = self._number + 1, head_of(made), self._size + len(data)
            return self._number

    def _cut(self) -> None:
        """Remove bytes behind the last line: they are none, and their call does not begin."""
        with suppress(OSError):
            os.ftruncate(self._file, self._size)

    @property
    def untold(self) -> int:
        """The number of lines that the log does not have."""
        return len(self._untold)

    def next_part(self) -> GapPart | None:
        """Return the oldest lines that the log does not have, as many as one record takes; None without any."""
        with self._lock:
            size, lines = 0, list[dict[str, Any]]()
            for line in self._untold:
                size += len(jcs.canonical(line))
                if lines and size > RECORD_BYTES_MAX:
                    break
                lines.append(line)
            if not lines:
                return None
            return GapPart(lines[0]["n"], lines[-1]["n"], lines[0]["before"], head_of(lines[-1]), tuple(lines))

    def note_told(self, part: GapPart) -> None:
        """Take note that the log has accepted a part. Raises OSError."""
        with self._lock:
            replace_private(self._told_path, json.dumps({"n": part.last, "head": part.head}).encode() + b"\n")
            self._untold = [line for line in self._untold if line["n"] > part.last]
            if not self._untold:
                os.ftruncate(self._file, 0)
                os.fsync(self._file)
                self._size = 0

    def close(self) -> None:
        """Close the file. A thread that comes later finds none: its number may be another file's by then."""
        with self._lock:
            found, self._file = self._file, -1
        os.close(found)
