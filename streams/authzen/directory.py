"""The directory: the subjects of a file by AuthZEN type and id. Any other subject is unknown.

The format of the file is in `streams/identity_files/subjects_file.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from processors.policy.resolve import Subject
from streams.identity_files.subjects_file import read_subjects


class Directory:
    """Subjects by AuthZEN type and id."""

    def __init__(self, subjects: Mapping[tuple[str, str], Subject]) -> None:
        self._subjects = subjects

    def __len__(self) -> int:
        return len(self._subjects)

    def find(self, subject_type: str, subject_id: str) -> Subject | None:
        """Return the subject of this type and id, None where the file has none."""
        return self._subjects.get((subject_type, subject_id))


def read_directory(path: Path) -> Directory:
    """Return the subjects of a file. Raises SubjectsFileError."""
    entries = read_subjects(path).items()
    return Directory({(one, name): subject for name, entry in entries for one, subject in entry.subjects.items()})
