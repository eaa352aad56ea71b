"""The text of a ModSecurity configuration as directives: lines that go on, quotes, comments, and lists of actions.

As in the reference manual of ModSecurity v2/v3 ("Configuration Directives"): a backslash at the end of a line joins
it with the next one; an argument stands in double quotes, in which a backslash takes the meaning from a quote.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from macaw.verifiers.importing.imported import RuleFileError

_ARGUMENTS_MAX = 4


class Directive(NamedTuple):
    """A directive with its arguments, and the line on which it begins."""

    name: str
    arguments: tuple[str, ...]
    line: int


def directives_of(text: str) -> Iterator[Directive]:
    """Yield the directives of a file. Raises RuleFileError for a quote that does not end."""
    for line, written in _joined(text):
        words = list(_words(written, line))
        if words:
            yield Directive(words[0], tuple(words[1:]), line)


def _joined(text: str) -> Iterator[tuple[int, str]]:
    """Yield the lines without comments, those that go on joined, each with the number of its first."""
    parts: list[str] = []
    first = 1
    for number, raw in enumerate(text.split("\n"), 1):
        line = raw.rstrip("\r")
        if not parts:
            first = number
            if line.lstrip().startswith("#"):
                continue
        if line.endswith("\\") and not line.endswith("\\\\"):
            parts.append(line[:-1])
            continue
        yield first, "".join((*parts, line))
        parts = []
    if parts:
        raise RuleFileError("the file ends in a line that goes on", first)


def _words(text: str, line: int) -> Iterator[str]:
    at, count = 0, 0
    while True:
        while at < len(text) and text[at] in " \t":
            at += 1
        if at == len(text):
            return
        count += 1
        if count > _ARGUMENTS_MAX:
            raise RuleFileError(f"a directive has more than {_ARGUMENTS_MAX - 1} arguments: is a quote missing?", line)
        if text[at] == '"':
            end = _end_of_quote(text, at + 1, line)
            yield text[at + 1 : end].replace('\\"', '"')
            at = end + 1
        else:
            end = at
            while end < len(text) and text[end] not in " \t":
                end += 1
            yield text[at:end]
            at = end


def _end_of_quote(text: str, at: int, line: int) -> int:
    while True:
        at = text.find('"', at)
        if at < 0:
            raise RuleFileError("a quote does not end", line)
        before = at
        while before > 0 and text[before - 1] == "\\":
            before -= 1
        if (at - before) % 2 == 0:
            return at
        at += 1


def actions_of(text: str, line: int) -> list[tuple[str, str]]:
    """Return actions as (name, value), in order: `id:1,t:none,msg:'a, b'`. Raises RuleFileError."""
    found: list[tuple[str, str]] = []
    at = 0
    while at < len(text):
        end, quoted = at, False
        while end < len(text) and (quoted or text[end] != ","):
            if text[end] == "'" and text[end - 1 : end] != "\\":
                quoted = not quoted
            end += 1
        if quoted:
            raise RuleFileError("a quote in the actions does not end", line)
        name, _, value = text[at:end].strip().partition(":")
        if name:
            found.append((name.strip().lower(), value.strip().strip("'")))
        at = end + 1
    return found
