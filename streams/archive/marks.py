"""How far an archive is known to reach, kept beside its keys: as stored, and as verified.

A store can lose its last segments together, and the rest is whole. The marks are in another place, so that a shorter
archive is noticed: no archiver goes on behind a lost segment, and intake may lose nothing behind the verified part.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from processors.evidence.archive.codes import ArchiveCode, SegmentError
from producers.home.files import FileError, read_file, replace_private
from schemas.errors import InstallationError

STORED, VERIFIED = "stored.json", "verified.json"
MARK_BYTES_MAX = 4096


class MarkError(InstallationError):
    """A mark cannot be read; the message names the file and the next step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveMark:
    """The end of an archive at a time: entries and intake offsets below these, and the SHA-256 of the last segment.

    `at` is our clock in ms since the epoch.
    """

    next_index: int
    next_offset: int
    sha256: str
    at: int

    def save(self, folder: Path, name: str) -> None:
        """Write the mark. Raises OSError."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        replace_private(folder / name, (json.dumps(asdict(self), indent=2) + "\n").encode())

    @classmethod
    def load(cls, folder: Path, name: str) -> ArchiveMark | None:
        """Return a mark, None if there is none. Raises MarkError."""
        file = folder / name
        try:
            found = json.loads(read_file(file, MARK_BYTES_MAX))
            mark = cls(**found)
        except FileError as exc:
            if exc.missing:
                return None
            raise MarkError(str(exc)) from exc
        except (ValueError, TypeError) as exc:
            raise MarkError(f"{file} is not a mark of an archive: run `macaw archive verify`, which writes it") from exc
        numbers = (mark.next_index, mark.next_offset, mark.at)
        if not all(type(n) is int and n >= 0 for n in numbers) or not isinstance(mark.sha256, str):
            raise MarkError(f"{file} is not a mark of an archive: run `macaw archive verify`, which writes it")
        return mark


def marks_in(folder: Path) -> dict[str, ArchiveMark]:
    """Return the marks in a folder of keys, by the names of their files. Raises MarkError."""
    found = {name: ArchiveMark.load(folder, name) for name in (STORED, VERIFIED)}
    return {name: mark for name, mark in found.items() if mark is not None}


def check_same_segments(folder: Path, marks: Mapping[str, ArchiveMark], ends: Mapping[int, bytes]) -> None:
    """Raise SegmentError EXCHANGED unless a segment ends where a mark says, with the SHA-256 that it says.

    `ends` gives the SHA-256 of the segment that ends before an audit index, at least for the indices of the marks.
    """
    for name, mark in marks.items():
        if mark.next_index and ends.get(mark.next_index, b"").hex() != mark.sha256:
            detail = (
                f"the segment before entry {mark.next_index} is another one than {folder / name} says: somebody made "
                "it anew with the keys of this installation; bring back a copy of the one before"
            )
            raise SegmentError(ArchiveCode.EXCHANGED, detail, index=mark.next_index)


def check_not_shorter(folder: Path, next_index: int) -> None:
    """Raise SegmentError LOST_SEGMENT if an archive ends before a mark. Raises MarkError."""
    for name, mark in marks_in(folder).items():
        if next_index < mark.next_index:
            detail = (
                f"the archive had {mark.next_index} entries and has {next_index}: bring back the segments that are "
                f"missing; only if they are lost for good, and you know why, remove {folder / name}"
            )
            raise SegmentError(ArchiveCode.LOST_SEGMENT, detail, index=next_index)
