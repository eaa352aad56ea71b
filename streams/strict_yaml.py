"""YAML with plain values, and with member names that are texts and stand once in their mapping.

YAML itself leaves open which of two equal names counts, and reads `no` and `1001` as a boolean and a number. Readers
differ in both, so a file that relies on either is refused. So is a mapping that takes over the members of others with
`<<`: names may stand twice there unseen, and a few lines of it make a value that no memory holds.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import yaml

from schemas.errors import InputError

_TEXT = "tag:yaml.org,2002:str"
_MERGE = "tag:yaml.org,2002:merge"


class StrictYAMLError(InputError):
    """A text is not such YAML; the message has the fault and its line, as the end of a sentence."""


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
    """A member name stands twice in one mapping, is not a text, or stands for the members of another mapping."""


class _Once(yaml.SafeLoader):
    """Plain values, and mappings whose names are texts that stand there once."""

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
