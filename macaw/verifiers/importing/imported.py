"""The rules of a file as a catalogue holds them, and a remark for each one that is not, or not wholly, honoured."""

from __future__ import annotations

from typing import NamedTuple

from schemas.errors import InputError
from schemas.events.catalogues import CatalogueRule

FILE_BYTES_MAX = 8 * 1024 * 1024
FILE_RULES_MAX = 10_000
_KIND_CHARS_MAX = 64
_ID_CHARS_MAX = 120  # a number may follow
_KIND_CHARS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789._-")


class RuleFileError(InputError):
    """A rule file is broken, or beyond its bounds. The message names the line where there is one."""

    def __init__(self, why: str, line: int | None = None) -> None:
        super().__init__(f"line {line}: {why}" if line is not None else why)
        self.line = line


class Remark(NamedTuple):
    """A rule of the file by its id, and why it is left out, or matches more or less than in its own engine."""

    rule: str
    why: str


class ImportedRules(NamedTuple):
    """The rules that were read, in the order of the file. `form` is the name of the file's form."""

    form: str
    rules: tuple[CatalogueRule, ...]
    left_out: tuple[Remark, ...] = ()
    altered: tuple[Remark, ...] = ()


class RuleCollector:
    """Rules and remarks on their way from a file."""

    def __init__(self, form: str) -> None:
        self._form = form
        self._rules: dict[str, CatalogueRule] = {}
        self._left_out: list[Remark] = []
        self._altered: list[Remark] = []
        self._taken: set[tuple[str, str]] = set()
        self._next: dict[str, int] = {}  # the last number behind an id
        self._count = 0

    def count(self, line: int | None = None) -> None:
        """Count one more rule of the file. Raises RuleFileError above FILE_RULES_MAX."""
        self._count += 1
        if self._count > FILE_RULES_MAX:
            raise RuleFileError(f"the file has more than {FILE_RULES_MAX} rules: split it", line)

    def take(self, rule_id: str, kind: str, pattern: str) -> None:
        """Take a rule. A pattern that stands under the same id already is taken once."""
        name = id_of(rule_id)
        if (name, pattern) in self._taken:
            return
        self._taken.add((name, pattern))
        found = CatalogueRule(id=self._free(name), kind=kind_of(kind), pattern=pattern)
        self._rules[found.id] = found

    def _free(self, name: str) -> str:
        """Return the name, with a number behind it if a rule has it already."""
        free = name
        while free in self._rules:
            self._next[name] = self._next.get(name, 1) + 1
            free = f"{name}#{self._next[name]}"
        return free

    def leave_out(self, rule_id: str, why: str) -> None:
        """Note a rule that is left out."""
        self._left_out.append(Remark(id_of(rule_id), why))

    def alter(self, rule_id: str, why: str) -> None:
        """Note a rule that is taken, and matches more or less than in its own engine."""
        self._altered.append(Remark(id_of(rule_id), why))

    def imported(self) -> ImportedRules:
        """Return all of it."""
        return ImportedRules(self._form, tuple(self._rules.values()), tuple(self._left_out), tuple(self._altered))


def id_of(text: str) -> str:
    """Return a text as the id of a rule: printable ASCII, with `-` for every other character."""
    return "".join(one if "!" <= one <= "~" else "-" for one in text[:_ID_CHARS_MAX]) or "-"


def kind_of(text: str) -> str:
    """Return a text as the kind of a rule: lower case ASCII, with `-` for every other character."""
    kind = "".join(one if one in _KIND_CHARS else "-" for one in text[:_KIND_CHARS_MAX].lower()).lstrip(".-_")
    return kind or "rule"
