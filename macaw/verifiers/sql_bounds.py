"""The bounds of a text of SQL, before it is parsed and while it is.

The parser recurses, and goes back to try again: at each level anew.

Bytes are counted first. Tokens and nesting are then counted over the tokenizer's own tokens, which the parser will see:
a scan of our own would read quotes in another way than some dialect. The tokenizer does not recurse, and is linear.

A parser that tries again at each level takes twice the time for each level. The kinds of text that are known to do so
have bounds of their own; `Effort` bounds all others: the steps of a parse and the parts of its trees are counted, and
the count does not differ from machine to machine.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import cache
from typing import Any

import sqlglot

from schemas.errors import InputError

BYTES_MAX = 16 * 1024
TOKENS_MAX = 2_000
NESTING_MAX = 32  # of brackets, CASE and type parameters together
RUN_MAX = 8  # of operators before one operand, such as NOT NOT x
JOINS_MAX = 8
OPEN_JOINS_MAX = 3  # joins whose ON or USING has not come yet: each doubles the time of the parser
DOTS_MAX = 8  # in one name
EFFORT_OF_TEXT = 2_000  # steps of the parser, and parts of trees
EFFORT_OF_TOKEN = 4  # a statement of everyday takes one step a token, and less than two parts

_OPENS = frozenset({"L_PAREN", "L_BRACKET", "L_BRACE", "CASE", "BEGIN"})
_CLOSES = frozenset({"R_PAREN", "R_BRACKET", "R_BRACE", "END"})
_TYPES = frozenset({"ARRAY", "STRUCT", "MAP", "LIST", "NESTED", "NULLABLE", "OBJECT", "TABLE", "ROW", "UNION"})
_PREFIXES = frozenset({
    "NOT", "DASH", "PLUS", "TILDE", "EXISTS", "INTERVAL", "PRIOR", "DISTINCT", "ALL", "ANY", "SOME", "DESCRIBE",
    "LATERAL",
})  # fmt: skip
_JOINS = frozenset({"JOIN", "STRAIGHT_JOIN"})
_CONDITIONS = frozenset({"ON", "USING"})
_CHANGES = frozenset({"CREATE", "DROP", "ALTER", "TRUNCATE", "INSERT"})
_BEFORE_TABLE = _CHANGES | {"INTO", "OVERWRITE", "REPLACE", "TEMPORARY"}


class UnreadError(InputError):
    """A part of the text is not read with certainty."""


def exceeded(tokens: Sequence[Any]) -> bool:
    """Return whether tokens of sqlglot are more, or nest deeper, than the parser is given."""
    if len(tokens) > TOKENS_MAX:
        return True
    depth = run = dots = joins = still_open = 0
    before = ""
    for token in tokens:
        kind = token.token_type.name
        if kind in _OPENS or (kind == "LT" and before in _TYPES):
            depth += 1
        elif kind in _CLOSES:
            depth = max(depth - 1, 0)
        run = run + 1 if kind in _PREFIXES else 0
        dots = dots + (kind == "DOT") if kind in {"DOT", "VAR", "IDENTIFIER", "STAR"} else 0
        joins += kind in _JOINS
        still_open = still_open + 1 if kind in _JOINS else max(still_open - (kind in _CONDITIONS), 0)
        if depth > NESTING_MAX or run > RUN_MAX or dots > DOTS_MAX or joins > JOINS_MAX or still_open > OPEN_JOINS_MAX:
            return True
        before = kind
    return False


def has_odd_words(tokens: Sequence[Any]) -> bool:
    """Return whether a word stands where sqlglot takes it for a name and a database may not.

    `TABLE x` is a query to databases; so TABLE stands only in the head of a change. `|>` copies what is before it.
    """
    first = before = ""
    for token in tokens:
        kind = token.token_type.name
        is_table = kind == "TABLE" or (kind not in {"IDENTIFIER", "STRING"} and token.text.upper() == "TABLE")
        if is_table and (first not in _CHANGES or before not in _BEFORE_TABLE):
            return True
        if kind == "PIPE_GT":
            return True
        first = "" if kind == "SEMICOLON" else first or kind
        before = kind
    return False


class Effort:
    """The steps and parts that are left for one text, and for the literals in it that are read too."""

    def __init__(self) -> None:
        self._left = EFFORT_OF_TEXT

    def allow(self, tokens: int) -> None:
        """Add the steps that so many tokens may take."""
        self._left += EFFORT_OF_TOKEN * tokens

    def spend(self) -> None:
        """Take one step. Raises UnreadError where none is left."""
        self._left -= 1
        if self._left < 0:
            raise UnreadError


class _Functions:
    """The makers of known functions. Some copy their arguments, at each level anew: the parts that they add count."""

    def __init__(self, makers: Any, effort: Effort) -> None:
        self._makers, self._effort = makers, effort

    def get(self, name: str) -> Any:
        """Return the maker of a function, None for an unknown one."""
        made = self._makers.get(name)
        if made is None:
            return None

        def make(args: Any, **options: Any) -> Any:
            given = _parts(args)
            found = made(args, **options)
            for _ in range(_parts([found]) - given):
                self._effort.spend()
            return found

        return make


def _parts(trees: Any) -> int:
    """Return the number of nodes, up to one more than a text may have."""
    most = EFFORT_OF_TEXT + EFFORT_OF_TOKEN * TOKENS_MAX
    nodes = (node for tree in trees if hasattr(tree, "walk") for node in tree.walk())
    return sum(1 for _ in itertools.islice(nodes, most + 1))


@cache
def _counting(dialect: str) -> Any:
    parser: Any = sqlglot.Dialect.get_or_raise(dialect).parser_class

    class Counting(parser):  # type: ignore[misc]
        """The parser of a dialect. Each step to another token, also one back, is counted."""

        effort: Effort

        def _advance(self, times: int = 1) -> None:
            self.effort.spend()
            super()._advance(times)

        def validate_expression(self, expression: Any, args: Any = None) -> Any:
            self.effort.spend()
            return super().validate_expression(expression, args)

    return Counting


def parsed(dialect: str, tokens: Sequence[Any], text: str, effort: Effort) -> list[Any]:
    """Return the trees of statements.

    Raises:
        UnreadError: they take more steps than are left.
        SqlglotError: they are not SQL of the dialect.
    """
    effort.allow(len(tokens))
    parser = _counting(dialect)(dialect=sqlglot.Dialect.get_or_raise(dialect))
    parser.effort = effort
    parser.FUNCTIONS = _Functions(parser.FUNCTIONS, effort)
    return [one for one in parser.parse(list(tokens), text) if one is not None]
