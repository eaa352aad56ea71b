"""Who the subjects are: a file, YAML or JSON, from subject id to attributes as policies read them.

    morty:                                  the `id` of an AuthZEN subject
      subject_types: [user, identity]       the `type`s under which it is known; [user] unless the file says otherwise
      email: morty@example.org              attributes: texts, and lists of texts
      roles: [editor]

Of the type `agent` or `service` it is that program, of any other a person, whose `user` is the id unless the file says
otherwise. Whoever does not stand here is nobody. A file that says something twice is refused: readers differ in which
of the two they take.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from processors.identity.attributes import subject_as_written
from processors.identity.sessions import PERSON_ROLE
from processors.policy.names import PERSON_PREFIX
from processors.policy.resolve import Subject
from processors.proof import jcs
from processors.refusal import Refusal
from producers.files import FileError, read_file
from schemas.attributes import READ_BY_POLICIES
from streams.authzen import limits
from streams.strict_yaml import StrictYAMLError, parse_yaml

TYPES = "subject_types"
TYPE_DEFAULT = "user"
PROGRAMS = frozenset({"agent", "service"})


class DirectoryError(ValueError):
    """The directory file is missing or wrong; the message says where."""


class Directory:
    """Subjects by AuthZEN type and id."""

    def __init__(self, subjects: Mapping[tuple[str, str], Subject]) -> None:
        self._subjects = subjects

    def __len__(self) -> int:
        return len(self._subjects)

    def find(self, subject_type: str, subject_id: str) -> Subject | None:
        """Return who is known under this type and id."""
        return self._subjects.get((subject_type, subject_id))


def read_directory(path: Path) -> Directory:
    """Return the subjects of a file. Raises DirectoryError."""
    entries = _parse(path)
    if len(entries) > limits.SUBJECTS_MAX:
        raise DirectoryError(f"{path} has {len(entries)} subjects, want at most {limits.SUBJECTS_MAX}")
    subjects: dict[tuple[str, str], Subject] = {}
    for subject_id, entry in entries.items():
        if not subject_id:
            raise DirectoryError(f"{path}: '' is no id")
        where = f"{path}: {subject_id}"
        attributes = _attributes(where, entry)
        for subject_type in _types(where, attributes.pop(TYPES, [TYPE_DEFAULT])):
            subjects[subject_type, subject_id] = _subject(where, subject_type, subject_id, attributes)
    return Directory(subjects)


def _parse(path: Path) -> dict[Any, Any]:
    try:
        text = read_file(path, limits.DIRECTORY_BYTES_MAX)
        if path.suffix == ".json":
            value: object = jcs.parse_strict(text, nodes_max=limits.DIRECTORY_BYTES_MAX)
        else:
            value = parse_yaml(text)
    except FileError as exc:
        raise DirectoryError(str(exc)) from exc
    except jcs.MalformedJSONError as exc:
        raise DirectoryError(f"{path} is not strict JSON (found wrong: {exc.cause})") from None
    except StrictYAMLError as exc:
        raise DirectoryError(f"{path} {exc}") from None
    if not isinstance(value, dict):
        raise DirectoryError(f"{path}: want subject ids, each with its attributes")
    return value


def _attributes(where: str, entry: object) -> dict[str, str | list[str]]:
    if not isinstance(entry, dict):
        raise DirectoryError(f"{where}: want attributes")
    for name, value in entry.items():
        if name != TYPES and name not in READ_BY_POLICIES:
            raise DirectoryError(f"{where}: no attribute is called {name!r}")
        texts = value if isinstance(value, list) else [value]
        if not all(isinstance(text, str) for text in texts):
            raise DirectoryError(f"{where}.{name}: want a text or a list of texts: put it into quotes")
    return dict(entry)


def _types(where: str, types: str | list[str]) -> list[str]:
    found = [types] if isinstance(types, str) else types
    if not 0 < len(set(found)) == len(found) <= limits.SUBJECT_TYPES_MAX:
        raise DirectoryError(f"{where}.{TYPES}: want 1 to {limits.SUBJECT_TYPES_MAX} different types")
    return found


def _subject(where: str, subject_type: str, subject_id: str, attributes: dict[str, str | list[str]]) -> Subject:
    if subject_type in PROGRAMS:
        role, principal, known = subject_type, subject_id, attributes
    else:
        known = {"user": subject_id, **attributes}
        role, principal = PERSON_ROLE, f"{PERSON_PREFIX}{known['user']}"
    try:
        return subject_as_written(known, role, principal)
    except Refusal as exc:
        raise DirectoryError(f"{where}: {exc.detail}") from None
