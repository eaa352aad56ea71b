"""YAML with plain values only, and with member names that are texts and unique in their mapping.

YAML does not say which of two equal names counts, and it reads the names `no` and `1001` as a boolean and a number.
Parsers differ in both points, so a file with either is refused. So is a mapping that takes over the members of another
with `<<`: names may stand twice there unseen, and a few lines of it make a value that does not fit into memory.

    carol: {roles: [editor]}
    carol: {roles: [manager]}     refused: names something twice, line 2
    no: {roles: [editor]}         refused: a name that is not a text; write "no"
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import yaml

from schemas.errors import InputError

_TEXT = "tag:yaml.org,2002:str"
_MERGE = "tag:yaml.org,2002:merge"


class StrictYAMLError(InputError):
    """A text is not YAML of this kind. The message is the end of a sentence: the fault and its line."""


@dataclass(frozen=True, slots=True)
class Lined:
    """A value of a YAML text and its line, from 1; a member of a mapping stands on the line of its name.

    A mapping is a dict of members, a list a list of elements; both hold Lined. Any other value is as YAML has it.
    """

    value: object
    line: int


def parse_yaml(text: bytes) -> object:
    """Return the value of a YAML text. Raises StrictYAMLError."""
    with _faults():
        return yaml.load(text, _Once)  # noqa: S506 - a loader of plain values


def parse_lines(text: bytes) -> Lined:
    """Return the value of a YAML text with the line of each part; aliases are refused too.

    Raises:
        StrictYAMLError: the text is not YAML of this kind.
    """
    with _faults():
        loader = _WithoutAliases(text)
        try:
            node = loader.get_single_node()
            return Lined(None, 1) if node is None else _lined(loader, node, node.start_mark)
        finally:
            loader.dispose()


@contextmanager
def _faults() -> Iterator[None]:
    """Raise StrictYAMLError for a fault of the text."""
    try:
        yield
    except _NameError as exc:
        raise StrictYAMLError(f"{exc.problem}{_line(exc)}") from None
    except (yaml.YAMLError, UnicodeError, RecursionError, ValueError, AttributeError, LookupError) as exc:
        # Of a tag that does not fit its text, as `!!bool maybe`, the library raises what its own code meets.
        raise StrictYAMLError(f"is not YAML{_line(exc)}") from None


def _line(exc: Exception) -> str:
    mark = getattr(exc, "problem_mark", None)
    return f", line {mark.line + 1}" if mark is not None else ""


class _NameError(yaml.constructor.ConstructorError):
    """A member name is repeated in one mapping, is not a text, or stands for the members of another mapping."""


class _Once(yaml.SafeLoader):
    """A loader of plain values, and of mappings with unique names that are texts."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:  # noqa: FBT001, FBT002 - as the library has it
        _check_names(node)
        return super().construct_mapping(node, deep)


class _WithoutAliases(_Once):
    """A loader that refuses aliases: a few lines of them make a value that does not fit into memory."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise _NameError(None, None, "repeats another place with `*`: write it out", mark)
        return super().compose_node(parent, index)


def _check_names(node: yaml.MappingNode) -> None:
    """Raise _NameError unless the names of a mapping are texts, and each stands once."""
    seen: set[str] = set()
    for key, _ in node.value:
        if key.tag == _MERGE:
            raise _NameError(None, None, "takes over other members with `<<`: write them out", key.start_mark)
        if not isinstance(key, yaml.ScalarNode) or key.tag != _TEXT:
            raise _NameError(None, None, "has a name that is not a text: put it into quotes", key.start_mark)
        if key.value in seen:
            raise _NameError(None, None, "names something twice", key.start_mark)
        seen.add(key.value)


def _lined(loader: _Once, node: yaml.Node, mark: yaml.Mark) -> Lined:
    line = mark.line + 1
    if isinstance(node, yaml.MappingNode):
        _check_names(node)
        return Lined({key.value: _lined(loader, value, key.start_mark) for key, value in node.value}, line)
    if isinstance(node, yaml.SequenceNode):
        return Lined([_lined(loader, one, one.start_mark) for one in node.value], line)
    return Lined(loader.construct_object(node), line)


def plain(found: Lined) -> object:
    """Return a value without its lines."""
    match found.value:
        case dict() as members:
            return {name: plain(one) for name, one in members.items()}
        case list() as elements:
            return [plain(one) for one in elements]
        case value:
            return value
