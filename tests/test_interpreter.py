"""Rules do not ask the interpreter about texts: its Unicode, its order of sets and its `repr` change with its version.

`processors/text` has an answer of its own for each of these. What is left is listed here with its reason.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

from tests.house import ROOT, sources

ROOM = ROOT / "processors" / "text"

METHODS = frozenset(
    {"casefold", "lower", "upper", "title", "capitalize", "swapcase", "splitlines", "islower", "isupper", "istitle"}
    | {"isprintable", "isspace", "isalnum", "isalpha", "isdigit", "isdecimal", "isnumeric", "isidentifier"}
)
BLANK_METHODS = frozenset({"strip", "lstrip", "rstrip", "split", "rsplit"})  # without an argument: at its white space
MODULES = frozenset({"unicodedata", "locale"})
NUMBERS = frozenset({"int", "float", "Decimal"})  # they read the digits of every script
SHOWN = frozenset({"repr", "ascii"})
CLASSES = re.compile(r"(?<!\\)(?:\\\\)*\\[wWsSdDbB]")

# (file, what): why it cannot differ. The list may only become shorter.
ALLOWED = {
    ("processors/content/bank_accounts.py", ".isalnum"): "of bytes, or of ASCII",
    ("processors/content/bank_accounts.py", ".upper"): "of ASCII: the shapes and the schemes have no other letters",
    ("processors/content/check_digits.py", ".isdigit"): "of bytes, or of ASCII",
    ("processors/content/check_digits.py", "int()"): "of ASCII digits, or of a number",
    ("processors/content/check_digits_more.py", ".lower"): "looked up in a table of ASCII names",
    ("processors/content/check_digits_more.py", ".upper"): "of ASCII: the shapes and the schemes have no other letters",
    ("processors/content/check_digits_more.py", "int()"): "of ASCII digits, or of a number",
    ("processors/content/command_rules.py", ".split()"): "of a table of ours",
    ("processors/content/commands.py", ".lower"): "looked up in a table of ASCII names",
    ("processors/content/commands.py", ".strip()"): "of bytes, or only for the question whether a blank is inside",
    ("processors/content/entropy.py", ".lower"): "looked up in a table of ASCII names",
    ("processors/content/injection_atr.py", ".split()"): "of a table of ours",
    ("processors/content/mask_tokens.py", ".split()"): "of a table of ours",
    ("processors/content/net_addresses.py", ".isalnum"): "of bytes, or of ASCII",
    ("processors/content/net_addresses.py", ".isdigit"): "of bytes, or of ASCII",
    ("processors/content/net_addresses.py", ".lower"): "looked up in a table of ASCII names",
    ("processors/content/net_addresses.py", ".strip()"): "of bytes, or only for the question whether a blank is inside",
    ("processors/content/net_addresses.py", "int()"): "of ASCII digits, or of a number",
    ("processors/content/personal.py", ".isalpha"): "of ASCII",
    ("processors/content/personal.py", ".strip()"): "of bytes, or only for the question whether a blank is inside",
    ("processors/content/personal.py", ".upper"): "of ASCII: the shapes and the schemes have no other letters",
    ("processors/content/personal_rules.py", ".upper"): "of ASCII: the shapes and the schemes have no other letters",
    ("processors/content/personal_rules.py", "int()"): "of ASCII digits, or of a number",
    ("processors/content/phone_numbers.py", ".isdigit"): "of bytes, or of ASCII",
    ("processors/content/phone_numbers.py", ".lower"): "looked up in a table of ASCII names",
    ("processors/content/phone_numbers.py", ".strip()"): "of bytes, or only for the question whether a blank is inside",
    ("processors/content/program_effects.py", ".split()"): "of a table of ours",
    (
        "processors/content/program_effects.py",
        ".strip()",
    ): "of bytes, or only for the question whether a blank is inside",
    (
        "processors/content/risk_amounts.py",
        "Decimal()",
    ): "of a whole number, or of a literal that an expression of ASCII took",
    ("processors/content/risk_amounts.py", "int()"): "of ASCII digits, or of a number",
    ("processors/content/risk_hosts.py", ".isprintable"): "of ASCII",
    ("processors/content/risk_hosts.py", ".lower"): "looked up in a table of ASCII names",
    ("processors/content/risk_hosts.py", "int()"): "of ASCII digits, or of a number",
    ("processors/content/risk_recipients.py", ".lower"): "looked up in a table of ASCII names",
    ("processors/content/risk_sql.py", ".isspace"): "of a token that RE2 took as blanks",
    ("processors/content/risk_sql.py", ".lower"): "looked up in a table of ASCII names",
    ("processors/content/risks.py", "a conversion"): "for an author of rules: no record gets here",
    ("processors/content/rules.py", "a conversion"): "for an author of rules: no record gets here",
    ("processors/content/shell_rules.py", ".split()"): "of a table of ours",
    ("processors/content/shell_rules.py", "int()"): "of ASCII digits, or of a number",
    ("processors/content/shell_wrappers.py", ".isprintable"): "of ASCII",
    ("processors/content/views.py", ".isalnum"): "of bytes, or of ASCII",
    ("processors/content/views.py", "int()"): "of ASCII digits, or of a number",
    ("processors/content/views.py", "the order of a set"): "keys of a table: their order says nothing",
    ("processors/policy/origins.py", ".isalpha"): "of ASCII",
    ("processors/evidence/archive/bodies.py", "int()"): "of a number",
    ("processors/evidence/archive/codes.py", "int()"): "behind the expression [0-9]",
    ("processors/identity/attributes.py", "a conversion"): "of a name in a person's file; a record has none of its own",
    ("processors/identity/tokens/claims.py", "int()"): "of a number",
    ("processors/policy/amounts.py", "Decimal()"): "of a number's repr, and of a row that `written` wrote",
    ("processors/policy/amounts.py", "repr()"): "of a number",
    ("processors/policy/insight/probes.py", "a conversion"): "a key in memory",
    ("processors/policy/paths.py", "int()"): "behind the expression [0-9]+",
    ("processors/policy/times.py", "int()"): r"behind an expression of RE2, whose \d is 0 to 9",
    ("processors/proof/jcs.py", "float()"): "of a literal that JSON's grammar took",
    ("processors/proof/jcs.py", "int()"): "of a literal that JSON's grammar took",
    ("processors/proof/jcs.py", "repr()"): "of a number",
    ("processors/proof/literals.py", "int()"): "of a literal that JSON's grammar took",
    ("processors/proof/literals.py", "repr()"): "of a number",
    ("schemas/codec.py", "int()"): "of the name of a published file",
    ("schemas/codec_fast/reading.py", "a conversion"): "a schema of ours is wrong; no record gets here",
    ("schemas/codec_fast/writing.py", "a conversion"): "a schema of ours is wrong; no record gets here",
    ("schemas/topics.py", "a conversion"): "for a person at the edge",
}


def asked(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Yield what a module asks the interpreter, and the line."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from ((one.name, node.lineno) for one in names if one.name.split(".")[0] in MODULES)
            case ast.ImportFrom(module=str(module)) if module.split(".")[0] in MODULES:
                yield module, node.lineno
            case ast.FormattedValue(conversion=conversion) if conversion in {ord("r"), ord("a")}:
                yield "a conversion", node.lineno
            case ast.Constant(value=str(text)) if re.search(r"%[-+0-9.]*[ra]\b", text):
                yield "a conversion", node.lineno
            case ast.Attribute(attr=attr) if attr in METHODS:
                yield f".{attr}", node.lineno
            case ast.Call(func=ast.Attribute(attr=attr), args=args, keywords=keywords):
                if attr in BLANK_METHODS and (not args or _is_none(args[0])):
                    yield f".{attr}()", node.lineno
                yield from _of_expression(node, args, keywords)
            case ast.Call(func=ast.Name(id=name), args=[first, *_]) if name in NUMBERS | SHOWN:
                if not isinstance(first, ast.Constant):
                    yield f"{name}()", node.lineno
            case ast.For(iter=over) | ast.comprehension(iter=over) if _is_set(over):
                yield "the order of a set", over.lineno


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _of_expression(node: ast.Call, args: list[ast.expr], keywords: list[ast.keyword]) -> Iterator[tuple[str, int]]:
    """Yield the character classes and flags of an expression of the standard library's `re`."""
    if not (isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name)):
        return
    if node.func.value.id != "re":
        return
    told = " ".join(map(ast.unparse, (*args, *(one.value for one in keywords))))
    if "ASCII" in told:
        return
    texts = (one.value for arg in args for one in ast.walk(arg) if isinstance(one, ast.Constant))
    if "IGNORECASE" in told or "re.I" in told or any(isinstance(t, str) and CLASSES.search(t) for t in texts):
        yield "a class or flag of re", node.lineno


def _is_set(node: ast.expr) -> bool:
    match node:
        case ast.Set() | ast.SetComp():
            return True
        case ast.Call(func=ast.Name(id="set" | "frozenset")):
            return True
        case ast.BinOp(op=ast.BitAnd() | ast.BitOr() | ast.BitXor() | ast.Sub(), left=left, right=right):
            return any(_is_set(one) or _is_keys(one) for one in (left, right))
    return False


def _is_keys(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in {"keys", "items"}


def test_rules_do_not_ask_the_interpreter_about_texts() -> None:
    found = {
        (str(path.relative_to(ROOT)), what): line
        for path in sources("processors", "schemas")
        if ROOM not in path.parents
        for what, line in asked(ast.parse(path.read_text("utf-8")))
    }

    assert {one: line for one, line in found.items() if one not in ALLOWED} == {}
    assert ALLOWED.keys() - found.keys() == set(), "remove these from the list"


@pytest.mark.parametrize(
    ("code", "what"),
    [
        ("import unicodedata", "unicodedata"),
        ("from unicodedata import normalize", "unicodedata"),
        ("name.casefold()", ".casefold"),
        ("map(str.lower, names)", ".lower"),
        ("text.strip()", ".strip()"),
        ("text.split(None, 1)", ".split()"),
        ('f"no {name!r}"', "a conversion"),
        ('"no %r" % name', "a conversion"),
        ("repr(name)", "repr()"),
        ("int(text)", "int()"),
        (r're.compile(r"\w+")', "a class or flag of re"),
        (r're.sub(rf"a{b}\s", "", text)', "a class or flag of re"),
        ('re.search("k", text, re.IGNORECASE)', "a class or flag of re"),
        ("for one in {a, *b}: pass", "the order of a set"),
        ("[x for x in set(names)]", "the order of a set"),
        ("[x for x in a.keys() & b.keys()]", "the order of a set"),
    ],
)
def test_each_question_is_found(code: str, what: str) -> None:
    assert what in [one for one, _ in asked(ast.parse(code))]


@pytest.mark.parametrize(
    "code",
    [
        'text.strip("*")',
        'text.split(",")',
        "int(7)",
        r're.compile(r"\d", re.ASCII)',
        r're.compile(r"\\w|[a-z]")',
        "for one in sorted({a, b}): pass",
        'f"{name}"',
        "all(one in {a, b} for one in c)",
    ],
)
def test_what_is_alike_everywhere_is_no_question(code: str) -> None:
    assert list(asked(ast.parse(code))) == []
