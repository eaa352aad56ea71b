"""YAML with plain values only, and with member names that are texts and unique in their mapping.

YAML does not say which of two equal names counts, and it reads the names `no` and `1001` as a boolean and a number.
Parsers differ in both points, so a file with either is refused. So is a mapping that takes over the members of another
with `<<`: names may stand twice there unseen, and a few lines of it make a value that does not fit into memory.

    carol: {roles: [editor]}
    carol: {roles: [manager]}     refused: names something twice, line 2
    no: {roles: [editor]}         refused: a name that is not a text; write "no"
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import yaml

from schemas.errors import InputError

_TEXT = "tag:yaml.org,2002:str"
_MERGE = "tag:yaml.org,2002:merge"


class StrictYAMLError(InputError):
    """A text is not YAML of this kind. The message is the end of a sentence: the fault and its line."""


def parse_yaml(text: bytes) -> object:
    """Return the value of a YAML text. Raises StrictYAMLError."""
    try:
        return yaml.load(text, _Once)  # noqa: S506 - a loader of plain values
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
        seen: set[str] = set()
        for key, _ in node.value:
            if key.tag == _MERGE:
                raise _NameError(None, None, "takes over other members with `<<`: write them out", key.start_mark)
            if not isinstance(key, yaml.ScalarNode) or key.tag != _TEXT:
                raise _NameError(None, None, "has a name that is not a text: put it into quotes", key.start_mark)
            if key.value in seen:
                raise _NameError(None, None, "names something twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)
