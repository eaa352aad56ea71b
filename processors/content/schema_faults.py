"""The places where a value does not fit a schema. The library judges; this module only looks for the places.

The library's own list of errors is not used: it copies the value into every error, and makes all errors at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import jsonschema_rs

from processors.content import schema_keywords as words
from processors.proof.jcs import JSONValue

FAULTS_MAX = 8
LOOKS_MAX = 64  # parts of a value that one search enters; more than a document is deep
UNJUDGED = "unjudged"  # the library did not answer, so nothing is known of the value
# Of one expression. With a larger cache of states the worst text takes longer, not shorter: measured.
_LINEAR = jsonschema_rs.RegexOptions(size_limit=1 << 20, dfa_size_limit=1 << 16)
_JUDGED_WITH = {"contains": ("maxContains", "minContains"), "if": ("else", "then")}
_COMPANIONS = frozenset(name for names in _JUDGED_WITH.values() for name in names)


class SchemaFault(NamedTuple):
    """A place in a value, and the keyword that it does not satisfy.

    `path` has names that the schema's `properties` hold, and indexes. Another member's name is the caller's own text,
    so `*` stands for it.
    """

    path: tuple[str | int, ...]
    keyword: str


def library(schema: JSONValue) -> jsonschema_rs.Draft202012Validator:
    """Return the library's judge of a schema without references: no network, no formats, no backtracking.

    Raises:
        jsonschema_rs.ValidationError: the library does not take the schema.
    """
    assert isinstance(schema, dict | bool)
    return jsonschema_rs.Draft202012Validator(schema, pattern_options=_LINEAR, validate_formats=False, offline=True)


def places(document: dict[str, JSONValue], value: JSONValue) -> tuple[SchemaFault, ...]:
    """Return at most `FAULTS_MAX` faults of a value that does not fit, in the order of keywords and members.

    Requires a document of `schema_reading` and a value that its judge refused. May raise as the judge does.
    """
    search = _Search()
    search.look(document, value, ())
    return tuple(search.found) or (SchemaFault((), UNJUDGED),)


class _Search:
    """One search: the faults so far, and the judges that it made."""

    __slots__ = ("found", "judges", "looks")

    def __init__(self) -> None:
        self.found: dict[SchemaFault, None] = {}
        self.looks = 0
        # By identity of the schema, which outlives them, and keyword; "" is the whole schema.
        self.judges: dict[tuple[int, str], jsonschema_rs.Draft202012Validator] = {}

    def look(self, schema: dict[str, JSONValue], value: JSONValue, path: tuple[str | int, ...]) -> None:
        """Add the faults of a value that does not fit. Depth is that of the document, which is bounded."""
        self.looks += 1
        for keyword in sorted(schema):
            if keyword in words.INSIDE and keyword not in {"contains", "propertyNames"}:
                parts = _children(schema, keyword, value, self)
            elif keyword == "allOf":
                parts = (((), one, value) for one in _listed(schema[keyword]))
            elif keyword not in _COMPANIONS:
                if not self._alone(schema, keyword).is_valid(value):
                    self._add(path, keyword)
                continue
            else:
                continue
            for steps, inside, part in parts:
                if len(self.found) >= FAULTS_MAX or self.looks >= LOOKS_MAX:
                    return
                if inside is False:
                    self._add(path, keyword)
                elif isinstance(inside, dict) and not self._judge(inside).is_valid(part):
                    self.look(inside, part, (*path, *steps))

    def _add(self, path: tuple[str | int, ...], keyword: str) -> None:
        if len(self.found) < FAULTS_MAX:
            self.found[SchemaFault(path, keyword)] = None

    def _judge(self, schema: dict[str, JSONValue]) -> jsonschema_rs.Draft202012Validator:
        judge = self.judges.get((id(schema), ""))
        if judge is None:
            judge = self.judges[id(schema), ""] = library(schema)
        return judge

    def _alone(self, schema: dict[str, JSONValue], keyword: str) -> jsonschema_rs.Draft202012Validator:
        """Return the judge of one keyword, with those that belong to it."""
        judge = self.judges.get((id(schema), keyword))
        if judge is None:
            names = (keyword, *_JUDGED_WITH.get(keyword, ()))
            judge = library({name: schema[name] for name in names if name in schema})
            self.judges[id(schema), keyword] = judge
        return judge

    def pattern(self, pattern: str) -> jsonschema_rs.Draft202012Validator:
        """Return the judge of an expression in `patternProperties`."""
        judge = self.judges.get((0, pattern))
        if judge is None:
            judge = self.judges[0, pattern] = library({"pattern": pattern})
        return judge

    def is_named(self, patterns: JSONValue, name: str) -> bool:
        """Return whether one of the patterns in `patternProperties` matches a member's name."""
        return isinstance(patterns, dict) and any(self.pattern(one).is_valid(name) for one in patterns)


def _children(
    schema: dict[str, JSONValue], keyword: str, value: JSONValue, search: _Search
) -> Iterator[tuple[tuple[str | int, ...], JSONValue, JSONValue]]:
    """Yield the schemas of a keyword with the parts of the value that they judge, and the step to each part."""
    inside = schema[keyword]
    if isinstance(value, list) and keyword == "prefixItems":
        yield from (((at,), one, part) for at, (one, part) in enumerate(zip(_listed(inside), value, strict=False)))
    elif isinstance(value, list) and keyword == "items":
        first = len(_listed(schema.get("prefixItems", [])))
        yield from (((at,), inside, part) for at, part in enumerate(value[first:], first))
    elif isinstance(value, dict) and isinstance(inside, dict) and keyword == "properties":
        yield from (((name,), inside[name], value[name]) for name in sorted(inside) if name in value)
    elif isinstance(value, dict) and isinstance(inside, dict) and keyword == "patternProperties":
        for pattern in sorted(inside):
            names = [name for name in sorted(value) if search.is_named({pattern: True}, name)]
            yield from ((("*",), inside[pattern], value[name]) for name in names)
    elif isinstance(value, dict) and keyword == "additionalProperties":
        named, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
        rest = (name for name in sorted(value) if not (isinstance(named, dict) and name in named))
        yield from ((("*",), inside, value[name]) for name in rest if not search.is_named(patterns, name))


def _listed(value: JSONValue) -> list[JSONValue]:
    return value if isinstance(value, list) else []
