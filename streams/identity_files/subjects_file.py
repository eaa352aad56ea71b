"""A file of subjects, YAML or JSON: from an id to the attributes that policies read.

    morty:                                  an id: the name of a person, or the `id` of an AuthZEN subject
      subject_types: [user, identity]       its AuthZEN types; [user] if the member is missing
      email: morty@example.org              attributes: texts, and lists of texts
      roles: [editor]

Under the type `agent` or `service` an entry is a program with that id. Under any other type it is a person; the
person's attribute `user` is the id if the file does not set it. A file with two entries for an id, or for two spellings
of a person's id, is refused, because readers differ in which entry they take.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from processors.identity.attributes import subject_as_written
from processors.policy.names import PERSON_PREFIX, check_name, check_printable, known_as
from processors.policy.resolve import Subject
from processors.proof import jcs
from processors.refusal import Refusal
from producers.home.files import FileError, read_file
from producers.home.strict_yaml import StrictYAMLError, parse_yaml
from schemas.errors import InputError
from schemas.words import Role

TYPES = "subject_types"
TYPE_DEFAULT = Role.USER
PROGRAMS = frozenset({Role.AGENT, Role.SERVICE})

FILE_BYTES_MAX = 2 * 1024 * 1024  # YAML is read at some 200 KiB a second
SUBJECTS_MAX = 10_000
TYPES_MAX = 16  # of one subject

Attributes = dict[str, str | list[str]]


class SubjectsFileError(InputError):
    """A file of subjects is missing or malformed; the message names the file, the place and the fault."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a file: its attributes as written, and its `Subject` under each of its types."""

    attributes: Attributes
    subjects: Mapping[str, Subject]

    @property
    def is_person(self) -> bool:
        """True if the entry is a person under at least one type."""
        return any(subject.type == Role.USER for subject in self.subjects.values())


def read_subjects(path: Path) -> dict[str, Entry]:
    """Return the entries of a file by id. Raises SubjectsFileError."""
    written = _parse(path)
    if len(written) > SUBJECTS_MAX:
        raise SubjectsFileError(f"{path} has {len(written)} subjects, allowed are {SUBJECTS_MAX}")
    entries: dict[str, Entry] = {}
    persons: dict[str, str] = {}
    for subject_id, members in written.items():
        entry = entries[subject_id] = _entry(f"{path}: {subject_id}", subject_id, members)
        if not entry.is_person:
            continue
        other = persons.setdefault(known_as(subject_id), subject_id)
        if other != subject_id:
            raise SubjectsFileError(
                f"{path} has one person twice: {other!r} and {subject_id!r} are two spellings of one name; keep one"
            )
    return entries


def _parse(path: Path) -> dict[str, Any]:
    try:
        text = read_file(path, FILE_BYTES_MAX)
        if path.suffix == ".json":
            value: object = jcs.parse_strict(text, nodes_max=FILE_BYTES_MAX)
        else:
            value = parse_yaml(text)
    except FileError as exc:
        raise SubjectsFileError(
            f"{exc}; a file of subjects has a line for each subject, like `carol: {{roles: [manager]}}`"
        ) from exc
    except jcs.MalformedJSONError as exc:
        raise SubjectsFileError(f"{path} is not strict JSON: {exc.cause}") from None
    except StrictYAMLError as exc:
        raise SubjectsFileError(f"{path} {exc}") from None
    if not isinstance(value, dict):
        raise SubjectsFileError(f"{path} must be a mapping of subject ids, each with its attributes")
    return value


def _entry(where: str, subject_id: str, members: object) -> Entry:
    if not isinstance(members, dict):
        raise SubjectsFileError(f"{where}: must be a mapping of attributes; write `{{}}` for a subject without any")
    for name, value in members.items():
        texts = value if isinstance(value, list) else [value]
        if not all(isinstance(text, str) for text in texts):
            raise SubjectsFileError(f"{where}.{name}: must be a text or a list of texts; put numbers into quotes")
    attributes: Attributes = {name: value for name, value in members.items() if name != TYPES}
    types = _types(where, members.get(TYPES, TYPE_DEFAULT))
    try:
        return Entry(attributes, {one: _subject(one, subject_id, attributes) for one in types})
    except Refusal as exc:
        raise SubjectsFileError(f"{where}: {exc.detail}") from None


def _types(where: str, written: str | list[str]) -> list[str]:
    types = [written] if isinstance(written, str) else written
    if not 0 < len(set(types)) == len(types) <= TYPES_MAX:
        raise SubjectsFileError(f"{where}.{TYPES}: must be 1 to {TYPES_MAX} different types")
    return types


def _subject(subject_type: str, subject_id: str, attributes: Attributes) -> Subject:
    if subject_type in PROGRAMS:
        check_name(subject_id)
        return subject_as_written(attributes, subject_type, subject_id)
    check_printable(subject_id)
    known = {"user": subject_id, **attributes}
    principal = f"{PERSON_PREFIX}{known['user']}"
    check_printable(principal)
    return subject_as_written(known, Role.USER, principal)
