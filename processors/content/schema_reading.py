"""A schema's text is read once: every keyword is looked at, and every `$ref` is replaced by its target.

A schema without references is a finite tree, so the work for a value is the tree's size times the value's. Both are
bounded here, before any library sees the schema. Recursion is refused: two references to the same level double the
work at each level of a value.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from processors.content import schema_keywords as words
from processors.content.schema_keywords import SchemaRefusedError, inner, pointer_to
from processors.policy.errors import PolicyError
from processors.policy.limits import REGEX_CHARS_MAX
from processors.policy.regexes import Regexes
from processors.proof.jcs import JSONValue, MalformedJSONError, canonical, parse_strict
from schemas.limits import INTEGER_MAX

Steps = tuple[str | int, ...]

KEYWORD_UNITS = 4  # a keyword that is held against a value; a unit is at most 50 ns (`processors.policy.limits`)
MEMBER_UNITS = 4  # a member, name or literal in a keyword
FRACTION_UNITS = 80  # an integer held against a fraction of the schema: the library compares exact fractions
SCHEMA_SIZE = 32  # bytes that a schema counts beside its keywords: 4096 schemas at most
UNIQUE_UNITS = 40  # a value in a list whose items must differ

_COUNTS = frozenset({
    "maxContains", "maxItems", "maxLength", "maxProperties", "minContains", "minItems", "minLength", "minProperties",
})  # fmt: skip
_NUMBERS = frozenset({"exclusiveMaximum", "exclusiveMinimum", "maximum", "minimum", "multipleOf"})
_DEFS = "#/$defs/"


class MetTexts(NamedTuple):
    """Texts in a value: one that `steps` lead to, or with `deep` all that lie there, names included. 0 is any item."""

    steps: Steps = ()
    deep: bool = False


ROOT = MetTexts()
# These judge the value itself that the schema around them judges.
_SAME = frozenset({"allOf", "anyOf", "dependentSchemas", "else", "if", "not", "oneOf", "then"})


@dataclass(slots=True)
class Cost:
    """The work that a schema makes, apart for schemas that meet one value and for those that meet any number."""

    once: int = 0  # units
    each: int = 0  # units for each value
    numbers_once: int = 0  # numbers that a number is held against
    numbers_each: int = 0
    # Instructions of expressions, by the place in a value of the texts that they meet.
    programs: dict[MetTexts, int] = field(default_factory=dict)
    keywords: int = 0  # and schemas: each may be compiled alone, to look for a fault
    levels: int = 1  # schemas inside each other: a fault is looked for at each of them


class Expanded(NamedTuple):
    """A schema without references and annotations, with its cost and the places that bear a risk.

    `size` is in bytes, with SCHEMA_SIZE for each schema; `instructions` are those of all expressions, also of the ones
    in definitions that nothing refers to.
    """

    document: dict[str, JSONValue]
    cost: Cost
    annotated: tuple[tuple[Steps, str], ...]
    size: int = 0
    instructions: int = 0


def read_schema(text: str) -> tuple[dict[str, JSONValue], Expanded]:
    """Return a schema as written and as expanded. Raises SchemaRefusedError."""
    document = _parsed(text)
    annotated: list[tuple[Steps, str]] = []
    regexes = Regexes()
    waiting: list[tuple[JSONValue, Steps, Steps | None]] = [(document, (), ())]
    while waiting:
        schema, at, leads = waiting.pop()
        waiting += _checked(schema, at, leads, regexes, annotated)
    expansion = _Expansion(document)
    whole = expansion.schema(document, (), many=False, depth=1, place=ROOT)
    assert isinstance(whole, dict)
    instructions = max(regexes.programs, sum(expansion.cost.programs.values()))
    places = tuple(sorted(annotated, key=_spelt))
    return document, Expanded(whole, expansion.cost, places, expansion.size, instructions)


def _spelt(place: tuple[Steps, str]) -> list[str]:
    return [str(step) for step in place[0]]


def _parsed(text: str) -> dict[str, JSONValue]:
    try:
        data = text.encode()
    except UnicodeEncodeError:
        raise SchemaRefusedError("half a surrogate pair is not UTF-8; write the whole character") from None
    if len(data) > words.SCHEMA_BYTES_MAX:
        raise SchemaRefusedError(
            f"its text has {len(data)} bytes, at most {words.SCHEMA_BYTES_MAX} are taken; shorten descriptions"
        )
    try:
        document = parse_strict(data, depth_max=words.SCHEMA_DEPTH_MAX, nodes_max=words.SCHEMA_NODES_MAX)
    except MalformedJSONError as exc:
        raise SchemaRefusedError(f"its text is not strict JSON ({exc.cause}); correct the text") from None
    if not isinstance(document, dict):
        raise SchemaRefusedError("its text is not a JSON object; write an object with `type` and `properties`")
    return document


def _checked(
    schema: JSONValue, at: Steps, leads: Steps | None, regexes: Regexes, annotated: list[tuple[Steps, str]]
) -> list[tuple[JSONValue, Steps, Steps | None]]:
    """Check one schema's own keywords and return the schemas inside it.

    `leads` are the steps in a value that lead to the schema through `properties` and `items`, None for another way.
    """
    if isinstance(schema, bool):
        return []
    if not isinstance(schema, dict):
        raise SchemaRefusedError("a schema is an object, true or false; write one", pointer_to(at))
    found: list[tuple[JSONValue, Steps, Steps | None]] = []
    for keyword in sorted(schema):
        value, place = schema[keyword], (*at, keyword)
        if keyword.startswith("x-"):
            _check_annotation(keyword, value, place, leads, annotated)
        elif keyword not in words.KNOWN or (at and keyword in words.ROOT_ONLY):
            raise SchemaRefusedError(_unknown(keyword), pointer_to(place))
        elif keyword == "$defs":
            found += _definitions(value)
        else:
            _check_keyword(keyword, value, place, regexes)
            found += [(one, (*at, *steps), _led(leads, steps)) for steps, one in inner(keyword, value)]
    return found


def _unknown(keyword: str) -> str:
    if keyword in words.ROOT_ONLY:
        return f"`{keyword}` stands at the root only; move it there"
    name = keyword if len(keyword) <= 60 else f"{keyword[:60]}…"
    return f"nothing judges `{name}`; {words.INSTEAD.get(keyword, 'leave it out, or let its name begin with x-')}"


def _led(leads: Steps | None, steps: Steps) -> Steps | None:
    if leads is None or steps[0] not in {"properties", "items"} or steps[-1] == "*":
        return None
    return (*leads, "*" if steps[0] == "items" else steps[-1])


def _definitions(value: JSONValue) -> list[tuple[JSONValue, Steps, Steps | None]]:
    if not isinstance(value, dict):
        raise SchemaRefusedError("`$defs` is an object of schemas; write one", "/$defs")
    return [(value[name], ("$defs", name), None) for name in sorted(value)]


def _check_annotation(
    keyword: str, value: JSONValue, at: Steps, leads: Steps | None, annotated: list[tuple[Steps, str]]
) -> None:
    if not keyword.startswith("x-macaw-"):
        return
    if keyword != words.RISK or not isinstance(value, str) or value not in words.RISKS:
        raise SchemaRefusedError(
            f"nothing judges this x-macaw-; write `{words.RISK}` with one of {', '.join(words.RISKS)}", pointer_to(at)
        )
    if leads is None:
        raise SchemaRefusedError(
            f"`{words.RISK}` counts only where `properties` and `items` alone lead; put it there, beside a `$ref`",
            pointer_to(at),
        )
    annotated.append((leads, value))


def _check_keyword(keyword: str, value: JSONValue, at: Steps, regexes: Regexes) -> None:
    if keyword == "$schema" and value not in {words.DIALECT, f"{words.DIALECT}#"}:
        raise SchemaRefusedError(f"the dialect must be {words.DIALECT}; translate the schema into it", pointer_to(at))
    if keyword in _COUNTS and (type(value) is not int or not 0 <= value <= INTEGER_MAX):
        raise SchemaRefusedError(f"`{keyword}` counts; write a whole number from 0 to 2^53", pointer_to(at))
    if keyword == "multipleOf" and not (
        isinstance(value, int | float) and not isinstance(value, bool) and words.DIVISOR_MIN <= value <= INTEGER_MAX
    ):
        raise SchemaRefusedError("`multipleOf` must lie from 1e-9 to 2^53; write such a number", pointer_to(at))
    if keyword == "pattern" and isinstance(value, str):
        _check_pattern(value, at, regexes)
    if keyword == "patternProperties" and isinstance(value, dict):
        for pattern in sorted(value):
            _check_pattern(pattern, (*at, pattern), regexes)


def _check_pattern(pattern: str, at: Steps, regexes: Regexes) -> int:
    """Return the size of the expression's program."""
    before = regexes.programs
    try:
        regexes.compile(pattern, "")
    except PolicyError as exc:
        raise SchemaRefusedError(
            "RE2 does not take the pattern; write it without look-around and back-references"
            if exc.code == "E_REGEX"
            else f"the pattern is too large; write at most {REGEX_CHARS_MAX} characters",
            pointer_to(at),
        ) from None
    if regexes.count > words.SCHEMA_PATTERNS_MAX or regexes.programs > words.SCHEMA_PROGRAMS_MAX:
        raise SchemaRefusedError(
            f"patterns come to {regexes.count} with {regexes.programs} instructions, at most"
            f" {words.SCHEMA_PATTERNS_MAX} with {words.SCHEMA_PROGRAMS_MAX} are taken; shorten repetitions",
            pointer_to(at),
        )
    return regexes.programs - before


@dataclass(slots=True)
class _Expansion:
    """Replaces references, and counts. Depth is bounded by `EXPANDED_DEPTH_MAX`, size by `EXPANDED_BYTES_MAX`."""

    root: dict[str, JSONValue]
    cost: Cost = field(default_factory=Cost)
    regexes: Regexes = field(default_factory=Regexes)
    size: int = 0
    open: list[str] = field(default_factory=list)

    def schema(self, schema: JSONValue, at: Steps, *, many: bool, depth: int, place: MetTexts) -> JSONValue:
        """Return a checked schema without references and annotations."""
        self._grow(SCHEMA_SIZE, at)
        self.cost.keywords += 1
        if depth > words.EXPANDED_DEPTH_MAX:
            raise SchemaRefusedError(
                f"more than {words.EXPANDED_DEPTH_MAX} schemas lie inside each other; flatten it", pointer_to(at)
            )
        self.cost.levels = max(self.cost.levels, depth)
        if not isinstance(schema, dict):
            return schema
        made: dict[str, JSONValue] = {}
        for keyword in sorted(schema):
            value, stands = schema[keyword], (*at, keyword)
            if keyword in words.ASSERTIONS:
                self._grow(len(keyword) + len(canonical(value)), stands)
                self._count(keyword, value, stands, many=many, place=place)
                made[keyword] = value
            elif keyword in words.ONE or keyword in words.LISTS or keyword in words.MAPS:
                made[keyword] = self._nested(keyword, value, at, many=many, depth=depth, place=place)
        if "$ref" in schema:
            target = self._target(schema["$ref"], (*at, "$ref"), many=many, depth=depth, place=place)
            beside = made.get("allOf", [])
            made["allOf"] = [*(beside if isinstance(beside, list) else []), target]
        return made

    def _nested(
        self, keyword: str, value: JSONValue, at: Steps, *, many: bool, depth: int, place: MetTexts
    ) -> JSONValue:
        self.cost.keywords += 1
        self._spend(KEYWORD_UNITS, many=many or keyword in words.MANY)
        if keyword == "patternProperties" and isinstance(value, dict):
            # Twice: `additionalProperties` beside it holds each name against the patterns again.
            for pattern in sorted(value):
                self._meet(
                    MetTexts(place.steps, deep=True),
                    2 * _check_pattern(pattern, (*at, keyword, pattern), self.regexes),
                )
        below: dict[Steps, JSONValue] = {}
        for steps, one in inner(keyword, value):
            self._grow(sum(len(canonical(step)) for step in steps), (*at, *steps))
            self._spend(MEMBER_UNITS, many=many or keyword in words.MANY)
            inside = many or keyword in words.MANY
            below[steps] = self.schema(
                one, (*at, *steps), many=inside, depth=depth + 1, place=_below(place, keyword, steps)
            )
        if keyword in words.ONE:
            return below[keyword,]
        if keyword in words.LISTS:
            return list(below.values())
        return {str(steps[-1]): one for steps, one in below.items()}

    def _target(self, reference: JSONValue, at: Steps, *, many: bool, depth: int, place: MetTexts) -> JSONValue:
        named = reference[len(_DEFS) :] if isinstance(reference, str) and reference.startswith(_DEFS) else None
        definitions = self.root.get("$defs")
        if reference == "#" or named in self.open:
            raise SchemaRefusedError("the `$ref` leads back to itself; write the levels out", pointer_to(at))
        if named is None or not isinstance(definitions, dict) or named not in definitions:
            raise SchemaRefusedError("`$ref` must be `#/$defs/NAME` of a name in `$defs`; add it there", pointer_to(at))
        self.open.append(named)
        made = self.schema(definitions[named], at, many=many, depth=depth + 1, place=place)
        self.open.pop()
        return made

    def _grow(self, size: int, at: Steps) -> None:
        self.size += size
        if self.size > words.EXPANDED_BYTES_MAX:
            raise SchemaRefusedError(
                f"with every `$ref` replaced it has more than {words.EXPANDED_BYTES_MAX} bytes; refer less often",
                pointer_to(at),
            )

    def _meet(self, place: MetTexts, instructions: int) -> None:
        self.cost.programs[place] = self.cost.programs.get(place, 0) + instructions

    def _spend(self, units: int, *, many: bool) -> None:
        if many:
            self.cost.each += units
        else:
            self.cost.once += units

    def _count(self, keyword: str, value: JSONValue, at: Steps, *, many: bool, place: MetTexts) -> None:
        self.cost.keywords += 1
        self._spend(KEYWORD_UNITS, many=many)
        literals = list(_leaves(value)) if keyword in {"const", "dependentRequired", "enum", "required"} else [value]
        self._spend(MEMBER_UNITS * len(literals), many=many)
        if keyword == "pattern" and isinstance(value, str):
            self._meet(place, _check_pattern(value, at, self.regexes))
        numbers = [one for one in literals if isinstance(one, int | float) and not isinstance(one, bool)]
        if keyword in _NUMBERS or keyword in {"const", "enum"}:
            self._spend(FRACTION_UNITS * sum(isinstance(one, float) for one in numbers), many=many)
            if many:
                self.cost.numbers_each += len(numbers)
            else:
                self.cost.numbers_once += len(numbers)
        if keyword == "uniqueItems" and value is True:
            self.cost.each += UNIQUE_UNITS
            self.cost.numbers_each += 1


def _below(place: MetTexts, keyword: str, steps: Steps) -> MetTexts:
    """Return the place of the values that a schema inside a keyword judges."""
    if place.deep or keyword in _SAME:
        return place
    if keyword == "properties":
        return MetTexts((*place.steps, steps[-1]))
    return MetTexts((*place.steps, 0)) if keyword == "items" else MetTexts(place.steps, deep=True)


def _leaves(value: JSONValue) -> list[JSONValue]:
    """Return every value in a literal, containers included."""
    waiting, found = [value], list[JSONValue]()
    while waiting:
        one = waiting.pop()
        found.append(one)
        if isinstance(one, dict):
            waiting += [*one.keys(), *one.values()]
        elif isinstance(one, list):
            waiting += one
    return found
