"""The grammar of conditions (docs/mapl.md 7). Trees are tuples whose first item names the node.

("or", [..]) ("and", [..]) ("not", x) · ("cmp", op, left, right) ("in", left, list or path) ("glob", path, text)
("regex", path, text) ("bool", path) ("role", text) ("group", text) ("attested", text)
operands: ("lit", value) ("path", root, [steps]) ("time", field, zone) · lists: ("list", [values])
"""

import importlib.resources
import re
from typing import Any

from processors.proof import jcs
from tests.reference.mapl.refusals import RefusedError
from tests.reference.mapl.text import nfc
from tests.reference.mapl.work import check_regex

CHARACTERS_MAX = 2048
DEPTH_MAX = 32  # NOT and "(" inside each other
NODES_MAX = 256  # tests, operands, literals of lists, and the operators over them

Node = tuple[Any, ...]

TOKEN = re.compile(
    r"""(?P<blank>[ \t\r\n]+)
      | (?P<number>-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?(?![0-9A-Za-z_.]))
      | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
      | (?P<string>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")
      | (?P<regex>/(?:[^/\\]|\\.)*/)
      | (?P<cmp>==|!=|<=|>=|<|>)
      | (?P<mark>[().,\[\]])""",
    re.VERBOSE | re.DOTALL,
)
LOWER = {"and", "or", "not", "in", "matches", "true", "false", "null"}
KEYWORDS = LOWER | {word.upper() for word in LOWER}

MEMBERS = {
    "principal": {
        "user", "user_id", "company", "business_unit", "team", "roles", "groups", "email", "clearance", "agent",
        "service", "type",
    },
    "context": {"session_id", "app", "source_agent", "is_delegated", "delegation_depth"},
    "tool": {"id", "domain", "app", "op", "tenant"},
    "time": {"now", "year", "month", "day", "hour", "minute", "weekday", "date", "clock"},
}  # fmt: skip
ROOTS = {"params", *MEMBERS}
CALLS = {
    ("principal", "has_role"): "role",
    ("principal", "has_group"): "group",
    ("context", "has_attestation"): "attested",
}
OFFSET = re.compile(r"[+-](?:0[0-9]|1[0-4]):[0-5][0-9]")


def parse_expression(text: str, pointer: str) -> Node:
    if len(text) > CHARACTERS_MAX:
        raise RefusedError("E_EXPR_LIMIT", pointer)
    return Parser(text, pointer).whole()


class Parser:
    """One method per rule of the grammar."""

    def __init__(self, text: str, pointer: str) -> None:
        self.pointer = pointer
        self.tokens = self.scan(text)
        self.at = 0
        self.depth = 0
        self.nodes = 0

    def refuse(self, code: str = "E_EXPR_SYNTAX") -> RefusedError:
        return RefusedError(code, self.pointer)

    def scan(self, text: str) -> list[tuple[str, str]]:
        tokens: list[tuple[str, str]] = []
        at = 0
        while at < len(text):
            found = TOKEN.match(text, at)
            if found is None:
                raise self.refuse()
            kind = str(found.lastgroup)
            if kind == "name" and found[0] in KEYWORDS and not (tokens and tokens[-1] == ("mark", ".")):
                tokens.append(("keyword", found[0].lower()))
            elif kind != "blank":
                tokens.append((kind, found[0]))
            at = found.end()
        return [*tokens, ("end", "")]

    def peek(self) -> tuple[str, str]:
        return self.tokens[self.at]

    def take(self) -> tuple[str, str]:
        token = self.tokens[self.at]
        self.at += 1
        return token

    def accept(self, kind: str, text: str) -> bool:
        if self.peek() == (kind, text):
            self.at += 1
            return True
        return False

    def expect(self, kind: str, text: str | None = None) -> str:
        found_kind, found = self.peek()
        if found_kind != kind or (text is not None and found != text):
            raise self.refuse()
        return self.take()[1]

    def count(self, node: Node) -> Node:
        self.nodes += 1
        if self.nodes > NODES_MAX:
            raise self.refuse("E_EXPR_LIMIT")
        return node

    def deeper(self) -> None:
        self.depth += 1
        if self.depth > DEPTH_MAX:
            raise self.refuse("E_EXPR_LIMIT")

    def whole(self) -> Node:
        node = self.expr()
        self.expect("end")
        return node

    def expr(self) -> Node:
        parts = [self.conjunction()]
        while self.accept("keyword", "or"):
            parts.append(self.conjunction())
        return parts[0] if len(parts) == 1 else self.count(("or", parts))

    def conjunction(self) -> Node:
        parts = [self.negation()]
        while self.accept("keyword", "and"):
            parts.append(self.negation())
        return parts[0] if len(parts) == 1 else self.count(("and", parts))

    def negation(self) -> Node:
        if self.accept("keyword", "not"):
            self.deeper()
            node = self.count(("not", self.negation()))
            self.depth -= 1
            return node
        if self.accept("mark", "("):
            self.deeper()
            node = self.expr()
            self.expect("mark", ")")
            self.depth -= 1
            return node
        return self.test()

    def test(self) -> Node:
        left = self.operand()
        if left[0] in CALLS.values():
            return left
        if self.peek()[0] == "cmp":
            return self.comparison(left)
        if self.accept("keyword", "in"):
            right = self.list_or_path()
            if left[0] == "lit" and right[0] == "list":
                raise self.refuse("E_EXPR_TYPE")  # two literals
            return self.count(("in", left, right))
        if left[0] == "path" and self.accept("keyword", "matches"):
            return self.matches(left)
        if left[0] != "path":
            raise self.refuse()
        return self.count(("bool", left))

    def comparison(self, left: Node) -> Node:
        operator = self.take()[1]
        right = self.operand()
        if right[0] in CALLS.values():
            raise self.refuse()
        if left[0] == "lit" and right[0] == "lit":
            raise self.refuse("E_EXPR_TYPE")
        for side in (left, right):
            if operator not in {"==", "!="} and side[0] == "lit" and (side[1] is None or isinstance(side[1], bool)):
                raise self.refuse("E_EXPR_TYPE")
        return self.count(("cmp", operator, left, right))

    def matches(self, left: Node) -> Node:
        kind, text = self.take()
        if kind == "string":
            return self.count(("glob", left, unquote(text)))
        if kind == "regex":
            regex = text[1:-1].replace("\\/", "/")
            check_regex(regex, self.pointer)
            return self.count(("regex", left, regex))
        raise self.refuse()

    def operand(self) -> Node:
        if self.peek()[0] == "name":
            return self.path_or_call()
        return self.count(("lit", self.literal()))

    def literal(self) -> object:
        kind, text = self.take()
        if kind == "number":
            return self.number(text)
        if kind == "string":
            return unquote(text)
        if kind == "keyword" and text in {"true", "false", "null"}:
            return {"true": True, "false": False, "null": None}[text]
        raise self.refuse()

    def number(self, text: str) -> float:
        try:
            value = jcs.parse_strict(text.encode())  # a JSON number, with what section 1 refuses
        except jcs.MalformedJSONError:
            raise self.refuse() from None
        assert isinstance(value, int | float)
        return value

    def list_or_path(self) -> Node:
        closing = {"(": ")", "[": "]"}.get(self.peek()[1]) if self.peek()[0] == "mark" else None
        if closing is None:
            if self.peek()[0] != "name":
                raise self.refuse()
            right = self.path_or_call()
            if right[0] != "path":
                raise self.refuse()
            return right
        self.take()
        values = [self.list_literal()]
        while self.accept("mark", ","):
            values.append(self.list_literal())
        self.expect("mark", closing)
        return ("list", values)

    def list_literal(self) -> object:
        value = self.literal()
        if value is None:
            raise self.refuse()  # lit := number | string | true | false
        self.count(("lit", value))
        return value

    def path_or_call(self) -> Node:
        first = self.expect("name")
        root = first if first in ROOTS else "params"
        steps: list[str | int] = [] if first in ROOTS else [first]
        while self.peek() in {("mark", "."), ("mark", "[")}:
            if self.accept("mark", "."):
                steps.append(self.expect("name"))
            else:
                self.take()
                steps.append(self.index())
                self.expect("mark", "]")
        if self.peek() == ("mark", "("):
            return self.call(root, steps)
        if not steps or isinstance(steps[0], int):
            raise self.refuse("E_EXPR_NAME")  # a bare root
        if root in MEMBERS and steps[0] not in MEMBERS[root]:
            raise self.refuse("E_EXPR_NAME")
        return self.count(("path", root, steps))

    def index(self) -> int:
        digits = self.expect("number")
        if not digits.isdigit():
            raise self.refuse()
        return int(digits)

    def call(self, root: str, steps: list[str | int]) -> Node:
        """Calls and timecalls; the argument is one string."""
        name = steps[0] if len(steps) == 1 else None
        if (root, name) not in CALLS and not (root == "time" and name in MEMBERS["time"]):
            raise self.refuse("E_EXPR_NAME")
        self.expect("mark", "(")
        argument = unquote(self.expect("string"))
        self.expect("mark", ")")
        if root == "time":
            if not is_zone(argument):
                raise self.refuse("E_EXPR_ZONE")
            return self.count(("time", name, argument))
        return self.count((CALLS[root, str(name)], argument))


def unquote(text: str) -> str:
    """A backslash stands for the character behind it."""
    return nfc(re.sub(r"\\(.)", r"\1", text[1:-1], flags=re.DOTALL))


def is_zone(zone: str) -> bool:
    """Section 10: `UTC`, `±hh:mm` up to 14:59, or an IANA name that contains `/`."""
    if zone == "UTC" or OFFSET.fullmatch(zone):
        return True
    return "/" in zone and zone in (importlib.resources.files("tzdata") / "zones").read_text().split()
