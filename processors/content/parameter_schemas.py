"""JSON Schemas (draft 2020-12) of a tool's parameters and results: refused at registration, or judged within a bound.

jsonschema-rs judges, with its linear regular expressions and without formats, references and network. A schema that it
could judge only at a price without bound, or with an unknown keyword, is refused by `check_schema`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from importlib.metadata import version
from typing import TypeVar

import jsonschema_rs

from processors.content import risk_places
from processors.content import schema_keywords as words
from processors.content.risk_places import STAMPS_BYTES_MAX, key_of, worst_at
from processors.content.schema_faults import FAULTS_MAX, UNJUDGED, SchemaFault, library, places
from processors.content.schema_keywords import SchemaRefusedError, pointer_to
from processors.content.schema_reading import Expanded, MetTexts, Steps, read_schema
from processors.proof.jcs import JSONValue, canonical
from processors.text.characters import utf8_size

__all__ = [
    "ParameterSchema", "SchemaFault", "SchemaRefusedError", "SchemasChecked", "annotated_places", "check_schema",
    "compiled", "statement",
]  # fmt: skip

CACHED_PLACES_MAX = 1024
CACHED_SCHEMAS_MAX = 256  # of which the largest take about 3 MB each
PLAIN_MAX = 1e17  # up to here and down to its inverse, a fraction is compared fast
PLAIN_UNITS = 100  # a fraction that is held against a number; measured 4 µs at most
EXTREME_UNITS = 1200  # the same for `5e-324` or `1e308`: measured 55 µs
COMPILED_UNITS = 400  # a keyword that is compiled alone: measured 20 µs
COMPILED_BYTE_UNITS = 4  # a byte of a schema that is compiled: measured 190 ns
ENTERED_SHIFT = 2  # the library looks through an object first: measured 5 ns a member, twice for a keyword
TEXT_BYTES_SHIFT = 6  # 64 bytes of a text are counted in one unit
JUDGED_UNITS = 200  # a value that is judged at all
WEIGHED_UNITS = 8  # a value that is weighed, and handed to the library
PLACE_UNITS = 16  # a value that is looked at for the texts that expressions meet
# Of checking a schema: measured 0.3 µs a byte of its text, 0.2 µs a byte of it as expanded, 1.5 µs an instruction.
CHECKED_BYTE_UNITS = 8
CHECKED_EXPANDED_UNITS = 6
CHECKED_PROGRAM_UNITS = 40
CHECKED_SIZE = 96  # bytes that each schema counts beside its own, as expanded

Told = TypeVar("Told")


class ParameterSchema:
    """A schema that passed `check_schema`, compiled.

    `annotated` has the places of values with a declared risk: steps from the root, `*` for the items of a list.
    """

    __slots__ = ("_cost", "_document", "_judge", "_size", "annotated")

    def __init__(self, expanded: Expanded, judge: jsonschema_rs.Draft202012Validator) -> None:
        self._document = expanded.document
        self._cost = expanded.cost
        self._size = len(canonical(expanded.document))
        self._judge = judge
        self.annotated: tuple[tuple[Steps, str], ...] = expanded.annotated

    def fits(self, value: JSONValue) -> bool:
        """Return whether a value fits; False too if the library cannot judge it. Never raises for a JSON value."""
        return self._asked(lambda: self._judge.is_valid(value), otherwise=False)

    def faults(self, value: JSONValue) -> tuple[SchemaFault, ...]:
        """Return nothing for a value that fits, and else at most eight places where it does not, in a stable order.

        A value that the library cannot judge has the fault `unjudged`. Never raises for a JSON value.
        """
        return self._asked(
            lambda: () if self._judge.is_valid(value) else places(self._document, value),
            otherwise=(SchemaFault((), UNJUDGED),),
        )

    @staticmethod
    def _asked(ask: Callable[[], Told], *, otherwise: Told) -> Told:
        """Return the answer of the library, or another one where it has none."""
        try:
            return ask()
        except (ValueError, jsonschema_rs.ReferencingError):  # its errors, and those of its reading of a Python value
            return otherwise
        except BaseException as exc:  # a panic of Rust has no class to name; all else is raised again
            if not _is_panic(exc):
                raise
            return otherwise

    def units(self, value: JSONValue) -> int:
        """Return a bound on the work of `fits` for a value, in units of `processors.policy.limits`."""
        nodes, size, hardest, fractions = _weigh(value)
        cost = self._cost
        work = JUDGED_UNITS + WEIGHED_UNITS * nodes + cost.once + cost.each * nodes + (size >> TEXT_BYTES_SHIFT)
        work += PLACE_UNITS * nodes * len(cost.programs)
        for place, instructions in cost.programs.items():
            work += instructions * _met(value, place)
        return work + cost.numbers_once * hardest + cost.numbers_each * fractions

    def fault_units(self, value: JSONValue) -> int:
        """Return a bound on the work of `faults`: parts of the schema are compiled, and judge at each level."""
        alone = COMPILED_UNITS + (_weigh(value)[0] >> ENTERED_SHIFT)
        each_level = self.units(value) + COMPILED_BYTE_UNITS * self._size
        return each_level * self._cost.levels + alone * self._cost.keywords


class SchemasChecked:
    """The check of all schemas of one event: bounded together, and the units that it took, also of a refused one."""

    __slots__ = ("_expanded", "_instructions", "last", "units")

    def __init__(self) -> None:
        self._expanded = self._instructions = self.units = 0
        self.last = ""  # the schema that is checked, and refused where `check` raises

    def check(self, texts: Iterable[str]) -> None:
        """Check schemas, the same text once.

        Raises:
            SchemaRefusedError: as `check_schema`, or they are too large together; nothing is compiled if that is plain
                from the lengths of their texts.
        """
        listed = tuple(dict.fromkeys(texts))
        size = sum(map(utf8_size, listed))
        if size > words.EVENT_SCHEMA_BYTES_MAX:
            raise SchemaRefusedError(
                f"the schemas of one event have {size} bytes, at most {words.EVENT_SCHEMA_BYTES_MAX} are taken; shorten"
                " descriptions, or let several tools offer the operations"
            )
        for text in listed:
            self.last = text
            self.units += CHECKED_BYTE_UNITS * utf8_size(text)
            self._one(text)

    def _one(self, text: str) -> None:
        try:
            document, expanded = read_schema(text)
        except SchemaRefusedError:  # how far it was read is not known
            self._pay(words.EXPANDED_BYTES_MAX, words.SCHEMA_PROGRAMS_MAX)
            raise
        self._pay(expanded.size + CHECKED_SIZE, expanded.instructions)
        if self._expanded > words.EVENT_EXPANDED_BYTES_MAX or self._instructions > words.EVENT_PROGRAMS_MAX:
            raise SchemaRefusedError(
                f"the schemas of one event come to {self._expanded} bytes with every `$ref` replaced, and"
                f" {self._instructions} instructions of patterns; at most {words.EVENT_EXPANDED_BYTES_MAX} and"
                f" {words.EVENT_PROGRAMS_MAX} are taken; shorten repetitions, or refer less often"
            )
        _built(document, expanded)

    def _pay(self, size: int, instructions: int) -> None:
        self._expanded += size
        self._instructions += instructions
        self.units += CHECKED_EXPANDED_UNITS * size + CHECKED_PROGRAM_UNITS * instructions


def check_schema(text: str) -> None:
    """Check that calls can be judged by a schema.

    Raises:
        SchemaRefusedError: it is not strict JSON or not a schema of draft 2020-12, uses a keyword or reference that is
            not judged here, or is too large; the error names the place and the next step.
    """
    _compile(text)


@lru_cache(maxsize=CACHED_SCHEMAS_MAX)
def compiled(text: str) -> ParameterSchema:
    """Return a schema, ready to judge. Raises SchemaRefusedError as `check_schema`."""
    return _compile(text)


@lru_cache(maxsize=CACHED_PLACES_MAX)
def annotated_places(text: str) -> tuple[tuple[Steps, str], ...]:
    """Return the places that a schema annotates with a risk. Raises SchemaRefusedError."""
    if words.RISK not in text and "\\" not in text:  # the usual case, in one spelling
        return ()
    return read_schema(text)[1].annotated


def statement() -> JSONValue:
    """Return everything that a verdict depends on beside schema and value, for a digest."""
    return {
        "library": ["jsonschema-rs", version("jsonschema-rs")],
        "dialect": words.DIALECT,
        "judged": _sorted(words.ONE | words.LISTS | words.MAPS | words.ASSERTIONS | {"$defs", "$ref"}),
        "annotations": _sorted(words.ANNOTATIONS),
        "risks": _sorted(words.RISKS),
        "bounds": {
            name: getattr(words, name)
            for name in sorted(vars(words))
            if name.endswith(("_MAX", "_MIN")) and name != "POINTER_CHARS_MAX"
        },
        "faults": FAULTS_MAX,
        "places": risk_places.statement(),
    }


def _compile(text: str) -> ParameterSchema:
    return _built(*read_schema(text))


def _built(document: dict[str, JSONValue], expanded: Expanded) -> ParameterSchema:
    _check_places(expanded.annotated)
    try:
        jsonschema_rs.meta.validate(document)
    except jsonschema_rs.ValidationError as exc:
        raise SchemaRefusedError(
            f"it is not a schema of draft 2020-12: `{exc.kind.name}` of the meta-schema fails; correct the value",
            pointer_to(tuple(exc.instance_path)),
        ) from None
    try:
        judge = library(expanded.document)
    except jsonschema_rs.ValidationError as exc:
        raise SchemaRefusedError(
            "the library's linear engine does not take the schema; simplify its patterns",
            pointer_to(tuple(exc.instance_path)),
        ) from None
    return ParameterSchema(expanded, judge)


def _check_places(annotated: tuple[tuple[Steps, str], ...]) -> None:
    """Check that each annotated place has stamps of its own, and that the worst of all fit the bound of a call."""
    names = [key_of(steps) for steps, _ in annotated]
    if len(set(names)) < len(names):
        raise SchemaRefusedError(
            f"two places with `{words.RISK}` have one name for their stamps; annotate one of them, or rename a member"
        )
    size = len(canonical(worst_at(annotated)))
    if size > STAMPS_BYTES_MAX:
        raise SchemaRefusedError(
            f"the stamps of its places with `{words.RISK}` come to {size} bytes, at most {STAMPS_BYTES_MAX} are taken;"
            " annotate fewer places"
        )


def _is_panic(exc: BaseException) -> bool:
    """Return whether an exception is a panic of Rust. Its class cannot be imported."""
    return type(exc).__module__ == "pyo3_runtime"


def _weigh(value: JSONValue) -> tuple[int, int, int, int]:
    """Return the number of values, the bytes of texts and names, and the units of the dearest and of all fractions."""
    nodes = size = hardest = fractions = 0
    waiting: list[JSONValue] = [value]
    while waiting:
        one = waiting.pop()
        nodes += 1
        if isinstance(one, str):
            size += _utf8_max(one)
        elif isinstance(one, dict):
            waiting += one.values()
            size += sum(map(_utf8_max, one))
        elif isinstance(one, list):
            waiting += one
        elif isinstance(one, float):
            units = PLAIN_UNITS if 1 / PLAIN_MAX < abs(one) < PLAIN_MAX else EXTREME_UNITS
            hardest = max(hardest, units)
            fractions += units
    return nodes, size, hardest, fractions


def _met(value: JSONValue, place: MetTexts) -> int:
    """Return the bytes of the texts at a place."""
    found = [value]
    for step in place.steps:
        if step == 0:
            found = [item for one in found if isinstance(one, list) for item in one]
        else:
            found = [one[str(step)] for one in found if isinstance(one, dict) and step in one]
    return sum(_weigh(one)[1] if place.deep else _utf8_max(one) if isinstance(one, str) else 0 for one in found)


def _utf8_max(text: str) -> int:
    return len(text) if text.isascii() else 4 * len(text)


def _sorted(names: Iterable[str]) -> list[JSONValue]:
    return list[JSONValue](sorted(names))
