"""Kinds of SQL statements, by a bounded scan of tokens: no dialect is parsed, so all doubt is the worst class."""

from __future__ import annotations

from collections.abc import Mapping

import re2

from processors.content.risk_class import RiskClass, Stamps, worst
from processors.proof.jcs import JSONValue

CHARS_MAX = 4096
TOKENS_MAX = 1024

# In this order: blanks, text, quoted names, numbers, words, signs. No comment, backslash or dollar quote is a token.
_TOKEN = re2.compile(
    r"[ \t\r\n]+|'[^'\\]*'|\"[^\"\\]*\"|`[^`\\]*`|[0-9]+(?:\.[0-9]+)?|[A-Za-z_][A-Za-z0-9_]*|"
    r"\$[0-9]+|:[A-Za-z_][A-Za-z0-9_]*|%s|<=|>=|<>|!=|\|\||::|[-+*/%=<>(),.;?]"
)
_COMMENT = re2.compile(r"--|/\*|\*/")
_WORD = re2.compile(r"^[A-Za-z_]")
_PLAIN_NAME = re2.compile(r"^[\"`][A-Za-z0-9_ .-]+[\"`]$")

_READING = frozenset({"select", "show", "describe", "desc", "values", "table"})
CLASS_OF: dict[str, RiskClass] = {
    **dict.fromkeys(sorted(_READING), RiskClass.LOW),
    "insert": RiskClass.MEDIUM,
    "update": RiskClass.HIGH,
    "delete": RiskClass.HIGH,
    "merge": RiskClass.HIGH,
}
# Words that change data or run something, wherever they stand outside quotes.
_CHANGING = frozenset(
    {
        "insert", "update", "delete", "merge", "replace", "upsert", "create", "alter", "drop", "truncate", "rename",
        "grant", "revoke", "deny", "call", "exec", "execute", "do", "copy", "load", "unload", "import", "export", "set",
        "reset", "use", "attach", "detach", "pragma", "vacuum", "analyze", "optimize", "refresh", "cache", "uncache",
        "lock", "unlock", "kill", "shutdown", "into", "outfile", "dumpfile", "transform", "prepare", "deallocate",
        "declare", "begin", "commit", "rollback", "savepoint", "handler", "install", "uninstall", "backup", "restore",
        "put", "get", "remove", "listen",
        "notify", "comment", "reindex", "cluster", "identifier", "procedure",
        "waitfor",
    }
)  # fmt: skip
# Words that may stand before a parenthesis: keywords, and functions that only compute.
_BEFORE_PARENTHESIS = frozenset(
    {
        "in", "exists", "and", "or", "not", "as", "from", "where", "on", "join", "values", "over", "by", "any", "all",
        "some", "when", "then", "else", "case", "union", "except", "intersect", "select", "having", "using", "between",
        "limit",
        "filter", "with", "like", "is", "distinct", "count", "sum", "avg", "min", "max", "abs", "round", "ceil",
        "ceiling", "floor", "mod", "power", "sqrt", "sign", "coalesce", "nullif", "ifnull", "nvl", "isnull", "greatest",
        "least", "lower", "upper", "trim", "ltrim", "rtrim", "length", "char_length", "substring", "substr", "concat",
        "left", "right", "cast", "date", "datetime", "timestamp", "year", "month", "day", "hour", "minute",
        "extract", "date_trunc", "datediff", "dateadd", "date_add", "date_sub", "to_date", "to_char", "now", "stddev",
        "variance", "row_number", "rank", "dense_rank", "lag", "lead", "ntile", "first_value", "last_value",
        "numeric", "decimal", "varchar", "char", "interval", "position", "string_agg", "group_concat",
    }
)  # fmt: skip
_OWN_WORDS = {
    "insert": frozenset(("insert", "into")),
    "update": frozenset(("update", "set")),
    "delete": frozenset(("delete",)),
    "merge": frozenset(("merge", "into", "update", "insert", "delete", "set")),
}
_NAMING = frozenset({"from", "join", "update", "into", "table"})

WORST: Stamps = {
    "class": RiskClass.CRITICAL.value, "read": False, "kind": "?", "writes": True, "every_row": True, "star": True,
}  # fmt: skip


def classify(value: JSONValue, options: Mapping[str, JSONValue]) -> Stamps:  # noqa: ARG001 - all classifiers are alike
    """Return the stamps of one SQL statement.

    Stamps: `class`, `read`, `kind` (its first word in lower case), `writes`, `every_row` (an update or delete without
    WHERE), `star`. Not read: comments, several statements, backslashes, letters beyond ASCII outside quotes, functions
    and first words that no table has, names that are paths, words that change data inside a query. Never raises.
    """
    tokens = _tokens(value) if isinstance(value, str) else None
    if not tokens:
        return WORST
    words = [token.lower() for token in tokens]
    kind = words[0]
    if kind == "with":
        kind = "select" if "select" in words else ""
    risk = CLASS_OF.get(kind)
    if risk is None or _is_doubtful(tokens, words, kind):
        return WORST
    every_row = kind in {"update", "delete", "merge"} and "where" not in words
    return {
        "class": worst([risk, RiskClass.CRITICAL if every_row else risk]).value, "read": True, "kind": kind,
        "writes": kind not in _READING, "every_row": every_row, "star": "*" in tokens,
    }  # fmt: skip


def _tokens(text: str) -> list[str] | None:
    """Return the tokens of a text without blanks and a last semicolon, or None for a text with other signs."""
    if len(text) > CHARS_MAX or text.encode("utf-8", "replace").decode() != text:
        return None
    found: list[str] = []
    at = 0
    for token in _TOKEN.finditer(text):
        if token.start() != at or len(found) > TOKENS_MAX:
            return None
        at = token.end()
        if not token.group().isspace():
            found.append(token.group())
    if at != len(text):
        return None
    if found and found[-1] == ";":
        found.pop()
    quoted = "".join(token if token[0] not in "'\"`" else "q" for token in found)
    return None if ";" in found or _COMMENT.search(quoted) else found


def _is_doubtful(tokens: list[str], words: list[str], kind: str) -> bool:
    allowed = _OWN_WORDS.get(kind, frozenset())
    for at, word in enumerate(words):
        following = words[at + 1] if at + 1 < len(words) else ""
        if _WORD.search(word):
            if word in _CHANGING - allowed or (
                at > 0 and word in CLASS_OF and word not in _READING and kind != "merge"
            ):
                return True
            if following == "(" and word not in _BEFORE_PARENTHESIS and not _names_columns(words, at):
                return True
        if word[0] in '"`' and (not _PLAIN_NAME.search(tokens[at]) or following == "("):
            return True
        if word in _NAMING and following[:1] == "'":
            return True  # a file as a table
    return False


def _names_columns(words: list[str], at: int) -> bool:
    """True for the table of `insert into t (a, b)`, and for the name of `with t (a, b) as`."""
    if words[0] == "insert":
        return at >= 2 and words[1] == "into" and at <= 6 and words.index("(") == at + 1
    return False


def statement() -> JSONValue:
    """Return tables, patterns and bounds, for the catalogue's digest."""
    return [
        _TOKEN.pattern, _COMMENT.pattern, {kind: risk.value for kind, risk in CLASS_OF.items()}, sorted(_CHANGING),
        sorted(_BEFORE_PARENTHESIS), CHARS_MAX, TOKENS_MAX,
    ]  # fmt: skip
