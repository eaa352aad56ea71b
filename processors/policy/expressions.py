"""Conditions as they are written: the grammar of docs/mapl.md 7, read into a tree.

A small parser of our own, bounded in length, depth and size. `conditions` gives trees their meaning.
"""

from dataclasses import dataclass
from datetime import UTC, tzinfo

from processors.policy import limits
from processors.policy.errors import PolicyError
from processors.policy.regexes import Regex, Regexes
from processors.policy.resolve import ATTRIBUTES
from processors.policy.times import FIELDS, NOW, zone_named
from processors.policy.tokens import TokenKind, tokenize

Scalar = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Literal:
    """A value that the author wrote."""

    value: Scalar


@dataclass(frozen=True, slots=True)
class Path:
    """A value of the call: `params.a[0].b`, `principal.team`, `context.app`, `tool.id`."""

    root: str
    steps: tuple[str | int, ...]

    def __str__(self) -> str:
        return self.root + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in self.steps)


@dataclass(frozen=True, slots=True)
class Time:
    """A field of the present time in a zone."""

    field: str
    zone: tzinfo
    called: bool = False  # `time.hour('UTC')` is no path, `time.hour` is one


Operand = Literal | Path | Time


@dataclass(frozen=True, slots=True)
class Comparison:
    """`left operator right`."""

    operator: str
    left: Operand
    right: Operand


@dataclass(frozen=True, slots=True)
class Membership:
    """`left IN items`: literals, or a path to an array."""

    left: Operand
    items: tuple[Scalar, ...] | Path


@dataclass(frozen=True, slots=True)
class Match:
    """`path MATCHES 'glob'` or `path MATCHES /regex/`."""

    path: Path | Time
    glob: str | None
    regex: Regex | None


@dataclass(frozen=True, slots=True)
class Truth:
    """A path alone, true if its value is `true`."""

    path: Path | Time


@dataclass(frozen=True, slots=True)
class PredicateCall:
    """`principal.has_role('r')`, `principal.has_group('g')` or `context.has_attestation('k')`."""

    question: str
    name: str


@dataclass(frozen=True, slots=True)
class Not:
    """`NOT inner`."""

    inner: "Expression"


@dataclass(frozen=True, slots=True)
class Joined:
    """`AND` or `OR` of two or more."""

    conjunction: bool
    parts: "tuple[Expression, ...]"


Expression = Comparison | Membership | Match | Truth | PredicateCall | Not | Joined

_QUESTIONS = frozenset({("principal", "has_role"), ("principal", "has_group"), ("context", "has_attestation")})
_MEMBERS = {
    "principal": ATTRIBUTES,
    "context": frozenset({"session_id", "app", "source_agent", "is_delegated", "delegation_depth"}),
    "tool": frozenset({"id", "domain", "app", "op", "tenant"}),
    "time": frozenset({*FIELDS, NOW}),
}
_ROOTS = frozenset({"params", *_MEMBERS})
_CONSTANTS: dict[str, Scalar] = {"true": True, "false": False, "null": None}
_OPERATORS = frozenset({"==", "!=", "<", "<=", ">", ">="})
_EQUALITIES = frozenset({"==", "!="})
_CLOSING = {"(": ")", "[": "]"}


@dataclass(frozen=True, slots=True)
class Parsed:
    """An expression, with its regular expressions, which bounds count."""

    expression: Expression
    regexes: int


def parse_expression(text: str, pointer: str, regexes: Regexes | None = None) -> Parsed:
    """Read the text between the braces of a requirement. Requires it in NFC.

    Raises:
        PolicyError: E_EXPR_SYNTAX, E_EXPR_NAME, E_EXPR_TYPE, E_EXPR_ZONE, E_EXPR_LIMIT, or as `Regexes.compile`.
    """
    if len(text) > limits.EXPRESSION_CHARS_MAX:
        raise PolicyError("E_EXPR_LIMIT", pointer)
    parser = _Parser(text, pointer, Regexes() if regexes is None else regexes)
    return Parsed(parser.whole(), parser.regexes)


class _Parser:
    """Recursive descent over the tokens, one rule of the grammar a method. Its recursion is bounded by `_depth`."""

    def __init__(self, text: str, pointer: str, regexes: Regexes) -> None:
        self._tokens = tokenize(text, pointer)
        self._pointer = pointer
        self._regexes = regexes
        self._at = 0
        self._depth = 0
        self._nodes = 0
        self.regexes = 0

    def whole(self) -> Expression:
        """Return the expression that is the whole text."""
        expression = self._disjunction()
        if self._tokens[self._at].kind is not TokenKind.END:
            raise self._fault()
        return expression

    # ---- logic

    def _disjunction(self) -> Expression:
        parts = [self._conjunction()]
        while self._keyword("or"):
            parts.append(self._conjunction())
        return self._joined(parts, conjunction=False)

    def _conjunction(self) -> Expression:
        parts = [self._negation()]
        while self._keyword("and"):
            parts.append(self._negation())
        return self._joined(parts, conjunction=True)

    def _joined(self, parts: list[Expression], *, conjunction: bool) -> Expression:
        if len(parts) == 1:
            return parts[0]
        self._count()
        return Joined(conjunction, tuple(parts))

    def _negation(self) -> Expression:
        if self._depth > limits.EXPRESSION_DEPTH_MAX:  # of brackets and NOTs around this
            raise self._fault("E_EXPR_LIMIT")
        self._depth += 1
        if self._keyword("not"):
            self._count()
            found: Expression = Not(self._negation())
        elif self._symbol("("):
            found = self._disjunction()
            self._want(")")
        else:
            found = self._test()
        self._depth -= 1
        return found

    # ---- tests

    def _test(self) -> Expression:
        self._count()
        left = self._operand()
        if isinstance(left, PredicateCall):
            return left
        token = self._tokens[self._at]
        if token.kind is TokenKind.SYMBOL and token.value in _OPERATORS:
            self._at += 1
            return self._comparison(str(token.value), left)
        if self._keyword("in"):
            return self._membership(left)
        if isinstance(left, Literal) or (isinstance(left, Time) and left.called):
            raise self._fault()  # only a path can stand alone or before MATCHES
        if self._keyword("matches"):
            return self._match(left)
        return Truth(left)

    def _comparison(self, operator: str, left: Operand) -> Comparison:
        right = self._operand()
        if isinstance(right, PredicateCall):
            raise self._fault()
        literals = [side.value for side in (left, right) if isinstance(side, Literal)]
        unordered = any(value is None or isinstance(value, bool) for value in literals)
        if len(literals) > 1 or (unordered and operator not in _EQUALITIES):
            raise self._fault("E_EXPR_TYPE")
        return Comparison(operator, left, right)

    def _membership(self, left: Operand) -> Membership:
        closing = next((end for begin, end in _CLOSING.items() if self._symbol(begin)), None)
        if closing is None:
            items = self._operand()
            if not isinstance(items, Path):
                raise self._fault()
            return Membership(left, items)
        members = [self._member()]
        while self._symbol(","):
            members.append(self._member())
        self._want(closing)
        if isinstance(left, Literal):
            raise self._fault("E_EXPR_TYPE")
        return Membership(left, tuple(members))

    def _member(self) -> Scalar:
        self._count()
        found = self._literal()
        if found is None or found.value is None:
            raise self._fault()
        return found.value

    def _match(self, path: Path | Time) -> Match:
        token = self._tokens[self._at]
        if token.kind is TokenKind.STRING:
            self._at += 1
            return Match(path, str(token.value), None)
        if token.kind is not TokenKind.REGEX:
            raise self._fault()
        self._at += 1
        self.regexes += 1
        return Match(path, None, self._regexes.compile(str(token.value), self._pointer))

    # ---- operands

    def _operand(self) -> Operand | PredicateCall:
        self._count()
        literal = self._literal()
        if literal is not None:
            return literal
        if self._tokens[self._at].keyword:
            raise self._fault()
        name = self._name()
        if name not in _ROOTS:
            return Path("params", tuple(self._steps([name])))
        if name == "params":
            return Path("params", tuple(self._steps([])))
        return self._of(name)

    def _of(self, root: str) -> Operand | PredicateCall:
        """Read the rest of an operand after `principal`, `context`, `tool` or `time`."""
        if not self._symbol("."):
            raise self._fault("E_EXPR_NAME")
        member = self._name()
        if self._symbol("("):
            return self._called(root, member)
        if member not in _MEMBERS[root]:
            raise self._fault("E_EXPR_NAME")
        steps: list[str | int] = [member]
        while root == "principal" and self._symbol("["):
            steps.append(self._index())
        if self._symbol(".") or self._symbol("["):  # none of these holds anything
            raise self._fault("E_EXPR_NAME")
        return Time(member, UTC) if root == "time" else Path(root, tuple(steps))

    def _called(self, root: str, member: str) -> Time | PredicateCall:
        token = self._tokens[self._at]
        if token.kind is not TokenKind.STRING:
            raise self._fault()
        self._at += 1
        self._want(")")
        if root == "time" and member in _MEMBERS["time"]:
            return Time(member, zone_named(str(token.value), self._pointer), called=True)
        if (root, member) not in _QUESTIONS:
            raise self._fault("E_EXPR_NAME")
        return PredicateCall(member, str(token.value))

    def _steps(self, steps: list[str | int]) -> list[str | int]:
        while True:
            if self._symbol("."):
                steps.append(self._name())
            elif self._symbol("["):
                steps.append(self._index())
            elif self._symbol("("):
                raise self._fault("E_EXPR_NAME")  # what is called is a time or a question, never a parameter
            elif steps:
                return steps
            else:
                raise self._fault("E_EXPR_NAME")  # `params` alone

    def _index(self) -> int:
        token = self._tokens[self._at]
        if token.kind is not TokenKind.NUMBER or not isinstance(token.value, int) or token.value < 0:
            raise self._fault()
        self._at += 1
        self._want("]")
        return token.value

    def _literal(self) -> Literal | None:
        token = self._tokens[self._at]
        if token.kind in {TokenKind.STRING, TokenKind.NUMBER}:
            self._at += 1
            return Literal(token.value)
        if token.keyword in _CONSTANTS:
            self._at += 1
            return Literal(_CONSTANTS[token.keyword])
        return None

    # ---- tokens

    def _name(self) -> str:
        token = self._tokens[self._at]
        if token.kind is not TokenKind.NAME:
            raise self._fault()
        self._at += 1
        return str(token.value)

    def _keyword(self, word: str) -> bool:
        if self._tokens[self._at].keyword != word:
            return False
        self._at += 1
        return True

    def _symbol(self, symbol: str) -> bool:
        token = self._tokens[self._at]
        if token.kind is not TokenKind.SYMBOL or token.value != symbol:
            return False
        self._at += 1
        return True

    def _want(self, symbol: str) -> None:
        if not self._symbol(symbol):
            raise self._fault()

    def _count(self) -> None:
        self._nodes += 1
        if self._nodes > limits.EXPRESSION_NODES_MAX:
            raise self._fault("E_EXPR_LIMIT")

    def _fault(self, code: str = "E_EXPR_SYNTAX") -> PolicyError:
        return PolicyError(code, self._pointer)
