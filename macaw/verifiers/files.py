"""Rule files on disk, as catalogues."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from macaw.verifiers.fitting import FittedRules, fitted
from macaw.verifiers.importing.catalogue_file import read_rule_file
from macaw.verifiers.importing.imported import FILE_BYTES_MAX, ImportedRules, RuleFileError
from producers.home.files import read_start

_NAME_CHARS_MAX = 40


class RuleDrafts(NamedTuple):
    """A rule file: its rules as they were read, and as catalogues."""

    imported: ImportedRules
    fitted: FittedRules


def drafts_of(path: Path, verifier: str, name: str | None = None, paranoia: int = 1) -> RuleDrafts:
    """Return the rules of a file as catalogues for a verifier, called as the file is unless a name is given.

    Raises:
        RuleFileError: the file is broken, or beyond its bounds; the message names it.
        CatalogueSizeError: the rules need too many catalogues, or none is left.
        FileError: the file cannot be read.
    """
    data = read_start(path, FILE_BYTES_MAX + 1)
    try:
        imported = read_rule_file(data, paranoia=paranoia)
    except RuleFileError as exc:
        raise RuleFileError(f"{path}: {exc}") from exc
    return RuleDrafts(imported, fitted(name or name_of(path), verifier, imported.rules))


def name_of(path: Path) -> str:
    """Return the name of a file as the name of a catalogue: a-z, 0-9 and `-`."""
    text = "".join(one if one in _PLAIN else "-" for one in path.name.partition(".")[0].lower())
    return (text.strip("-0123456789") or "rules")[:_NAME_CHARS_MAX]


_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-")
