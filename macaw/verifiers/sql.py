"""The SQL stamper: the tables that a statement reads and writes, as stamps for policies.

A shipped example of a verifier outside:

    macaw verifier register sql macaw.verifiers.sql        then policies read stamps.sql.kind and the others

A text that is not read with certainty has the worst stamps: one beyond the bounds, one that does not parse, one with a
part that is not listed in `sql_names.py`, with a backslash, with a character that is invisible, or with a comment that
some database would run. Needs the extra `sql` (sqlglot, pinned: a release changes trees, and so stamps).

`dialect` is that of the database behind the tool; a subclass sets another of DIALECTS. docs/verifiers.md has more.
"""

from __future__ import annotations

import importlib.metadata
import itertools
import logging
from typing import Any, ClassVar

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from macaw.protocol.mcp_types import Invocation
from macaw.security.verification.result import VerificationResult
from macaw.security.verification.verifier import Verifier
from macaw.verifiers import sql_bounds, sql_places
from macaw.verifiers.sql_bounds import UnreadError
from macaw.verifiers.sql_names import (
    ALWAYS_SQL,
    BEGINNINGS,
    CHANGES,
    FILE_FORMATS,
    FUNCTIONS,
    JOINED,
    NODES,
    READS,
    ROW_FUNCTIONS,
    ROWS,
    WORDS,
    WRITES,
)
from processors.text.characters import has_hidden, utf8_size
from processors.text.forms import fold, nfkc

Stamps = dict[str, Any]
WORST: Stamps = {
    "kind": "other",
    "statements": sql_bounds.TOKENS_MAX,
    "tables_read": ["*"],
    "tables_written": ["*"],
    "select_star": True,
    "opaque_source": True,
    "unknown_functions": ["*"],
    "embedded_sql": True,
    "unread": True,
}
DIALECTS = frozenset({"databricks", "mysql", "postgres", "snowflake"})  # those with tests
NAMES_MAX = 64  # in one list of a stamp
NAME_CHARS_MAX = 256
CHANGES_MAX = 8  # in one statement; the aliases of all of it are compared with the target of each
PIECES_MAX = 8  # of one literal, between semicolons, that are looked at
logging.getLogger("sqlglot").setLevel(logging.CRITICAL + 1)  # its warnings quote the text
_LINES = str.maketrans("\n\r\t", "   ")
_NAME = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_$-")
_KINDS = {"truncatetable": "truncate"}


class SqlStamper(Verifier):
    """Stamps the one parameter of a call that holds SQL. It denies nothing: policies do, by its stamps."""

    prefix: ClassVar[str] = "sql"
    stamps: ClassVar[dict[str, Any]] = WORST
    version: ClassVar[str] = f"2 sqlglot {importlib.metadata.version('sqlglot')}"
    dialect: ClassVar[str] = "databricks"
    parameters: ClassVar[tuple[str, ...]] = ("sql", "query", "statement")
    resources: ClassVar[tuple[str, ...]] = ("tool:*sql*/**", "tool:*/*sql*", "tool:*/*query*")

    def __init__(self) -> None:
        """Take the class's settings over. Raises ValueError for a dialect that has no tests here."""
        super().__init__("SqlStamper")
        if self.dialect not in DIALECTS:
            known = ", ".join(sorted(DIALECTS))
            raise ValueError(f"{self.dialect!r} is not a dialect that is read: set `dialect` to one of {known}")
        self.scope.resource_patterns = list(self.resources)
        self.scope.compile_patterns()

    def should_verify(self, invocation: Invocation, context: Any = None) -> bool:  # noqa: ARG002 - the known signature
        """Return True: the log has asked, and reads patterns more widely."""
        return True

    def verify(self, invocation: Invocation, context: Any = None) -> VerificationResult:  # noqa: ARG002 - as above
        """Return the stamps of a call; the worst unless exactly one of `parameters` is there, as a text."""
        given = [invocation.params[name] for name in self.parameters if name in invocation.params]
        text = given[0] if len(given) == 1 else None
        stamps = stamps_of(text, self.dialect) if isinstance(text, str) else dict(WORST)
        return VerificationResult(success=True, stamps=stamps)


def stamps_of(text: str, dialect: str) -> Stamps:
    """Return the stamps of a text of SQL in one of DIALECTS; the worst for any other. It raises nothing for a text."""
    return _stamps(text, dialect, None) if dialect in DIALECTS else dict(WORST)


def _stamps(text: str, dialect: str, effort: sql_bounds.Effort | None) -> Stamps:
    try:
        return _Reading(dialect, effort).of(text)
    except (UnreadError, SqlglotError, RecursionError, ValueError, TypeError, AttributeError, LookupError):
        return dict(WORST)  # of sqlglot: a text can make it fail in any of these ways


class _Reading:
    """The stamps of one text, as they are found. A literal in another text has what is left of its effort."""

    def __init__(self, dialect: str, effort: sql_bounds.Effort | None) -> None:
        self._dialect, self._inside = dialect, effort is not None
        self._effort = effort or sql_bounds.Effort()
        self._read, self._written = set[str](), set[str]()
        self._unknown = set[str]()
        self._star = self._opaque = self._embedded = False

    def of(self, text: str) -> Stamps:
        if utf8_size(text) > sql_bounds.BYTES_MAX or "\\" in text or has_hidden(text.translate(_LINES)):
            raise UnreadError
        if not _has_plain_comments(text) or _has_odd_signs(text, self._dialect):
            raise UnreadError
        tokens = sqlglot.Dialect.get_or_raise(self._dialect).tokenize(text)
        if sql_bounds.exceeded(tokens) or sql_bounds.has_odd_words(tokens):
            raise UnreadError
        self._called(tokens)
        statements = sql_bounds.parsed(self._dialect, tokens, text, self._effort)
        kinds = {self._statement(one) for one in statements}
        if not kinds:
            raise UnreadError
        return {
            "kind": kinds.pop() if len(kinds) == 1 else "mixed",
            "statements": len(statements),
            "tables_read": _listed(self._read),
            "tables_written": _listed(self._written),
            "select_star": self._star,
            "opaque_source": self._opaque,
            "unknown_functions": _listed(self._unknown),
            "embedded_sql": self._embedded,
            "unread": False,
        }

    def _statement(self, top: exp.Expr) -> str:
        """Look at every part of a statement, and return its kind."""
        kinds = set[str]()
        for node in self._parts(top):
            name = type(node).__name__
            if isinstance(node, exp.Func) and name not in NODES:
                self._function(node, name)
            elif name not in NODES:
                raise UnreadError
            sql_places.check(node, name)
            self._part(node, name)
            if isinstance(node, exp.Into):
                kinds.add("create")
            if name in WRITES and not (node is not top and node.find_ancestor(exp.Merge)):
                kinds.add(name.lower())
        self._star |= self._dialect == "postgres" and _has_whole_row(top)
        return _kind_of(top, kinds)

    def _part(self, node: exp.Expr, name: str) -> None:
        if isinstance(node, exp.Table):
            self._table(node)
        elif isinstance(node, exp.Lateral):
            self._opaque |= type(node.this).__name__ not in {*ROWS, "Subquery"}
        elif isinstance(node, exp.Star):
            self._star |= not isinstance(node.parent, exp.Count)
        elif isinstance(node, exp.Literal) and node.is_string:
            self._literal(node.this)
        elif name in JOINED and type(node.parent).__name__ not in JOINED:
            self._literal("".join(one.this for one in node.find_all(exp.Literal, bfs=False) if one.is_string))

    def _parts(self, top: exp.Expr) -> list[exp.Expr]:
        """Return every part. A tree may hold one in several places, so their number is counted before any is read."""
        found = []
        for node in top.walk():
            self._effort.spend()
            found.append(node)
        if sum(isinstance(node, exp.Update | exp.Delete | exp.Merge) for node in found) > CHANGES_MAX:
            raise UnreadError
        return found

    def _called(self, tokens: list[Any]) -> None:
        """Note a name before a bracket that is no name: IDENTIFIER, or one that means another without its quotes."""
        for name, after in itertools.pairwise(tokens):
            if after.token_type.name != "L_PAREN":
                continue
            if fold(name.text) == "identifier" and name.token_type.name != "STRING":
                self._opaque = True
                self._unknown.add("identifier")
            elif name.token_type.name == "IDENTIFIER":
                quoted = exp.Identifier(this=name.text, quoted=True)
                if not sql_places.is_plain(quoted, self._dialect):
                    raise UnreadError

    def _function(self, node: exp.Func, name: str) -> None:
        qualifiers = _qualifiers(node)
        if name not in FUNCTIONS or qualifiers:
            own = fold(node.name if isinstance(node, exp.Anonymous) else node.sql_name()) or "?"
            self._unknown.add(".".join([*map(fold, qualifiers), own])[:NAME_CHARS_MAX])

    def _literal(self, text: str) -> None:
        """Note a literal that is a statement itself, or that begins as one and is not read."""
        for piece in text.split(";", PIECES_MAX):
            words = piece.replace("(", " ").split(maxsplit=2)
            first = fold(words[0]) if len(words) > 1 else ""
            if first in ALWAYS_SQL or (first in BEGINNINGS and (self._inside or self._parses(piece))):
                self._embedded = True

    def _parses(self, text: str) -> bool:
        """Return whether a literal is a statement that is read."""
        return bool(_stamps(text, self._dialect, self._effort)["kind"] != "other")

    def _table(self, node: exp.Table) -> None:
        parts = [node.args.get(part) for part in ("catalog", "db", "this")]
        names = [part.name for part in parts if isinstance(part, exp.Identifier)]
        if len(names) < sum(part is not None for part in parts) or not isinstance(node.this, exp.Identifier):
            self._opaque |= type(node.this).__name__ not in ROWS or len(parts) > parts.count(None) + 1
            return
        folded = [fold(one) for one in names]
        is_path = len(folded) > 1 and folded[-2] in FILE_FORMATS
        is_odd = any(nfkc(one) != one or not _NAME.issuperset(fold(one)) or not one for one in names)
        is_plain = all(sql_places.is_plain(part, self._dialect) for part in parts if part is not None)
        self._opaque |= is_path or is_odd or not is_plain or folded[-1] in WORDS
        if len(names) == 1 and sql_places.is_cte(node, self._dialect):
            return
        (self._written if sql_places.is_target(node) else self._read).add(".".join(folded)[:NAME_CHARS_MAX])


def _kind_of(top: exp.Expr, kinds: set[str]) -> str:
    name = type(top).__name__
    if name in CHANGES:
        kinds.add(_KINDS.get(name.lower(), name.lower()))
    elif name not in READS | WRITES:
        raise UnreadError
    return "select" if not kinds else kinds.pop() if len(kinds) == 1 else "mixed"


def _qualifiers(node: exp.Func) -> list[str]:
    """Return the names before a function's own: those of `a.b.f(x)`."""
    owner = node.parent
    if isinstance(owner, exp.Table):
        parts = [owner.args.get("catalog"), owner.args.get("db")] if node.arg_key == "this" else []
        return [part.name for part in parts if isinstance(part, exp.Expr)]
    if not isinstance(owner, exp.Dot) or node.arg_key != "expression":
        return []
    names: list[str] = []
    at: exp.Expr = owner.this
    while isinstance(at, exp.Dot) and len(names) < sql_bounds.DOTS_MAX:
        names.insert(0, at.expression.name)
        at = at.this
    return [at.name or "?", *names]


def _has_whole_row(top: exp.Expr) -> bool:
    """Return whether the name of a table stands as a column, or a function of rows as one: both mean the whole row."""
    tables = {fold(one.name) for one in top.find_all(exp.Table, exp.TableAlias)}
    columns = [(fold(one.name), bool(one.args.get("table"))) for one in top.find_all(exp.Column)]
    return any(name in ROW_FUNCTIONS if is_qualified else name in tables for name, is_qualified in columns)


def _has_odd_signs(text: str, dialect: str) -> bool:
    """Return whether the text has signs that databases read differently: dollars as quotes, templates, lone returns."""
    if "$$" in text or any(sign in text for sign in ("{{", "{%", "{#")):
        return True
    return "\r" in text.replace("\r\n", "") or (dialect == "databricks" and "$" in text)


def _has_plain_comments(text: str) -> bool:
    """Return whether each comment is one to every database: some run `/*!`, nest `/*`, or want a blank after `--`.

    The signs of a comment count inside a literal too.
    """
    if any(rest and not rest[0].isspace() for rest in text.split("--")[1:]):
        return False
    for at, piece in enumerate(text.split("/*")):
        if at and (piece.count("*/") != 1 or not piece[0].isspace()):
            return False
    return text.partition("/*")[0].count("*/") == 0


def _listed(names: set[str]) -> list[str]:
    """Return names in order. Raises UnreadError where a stamp has no room for them."""
    if len(names) > NAMES_MAX or sum(map(utf8_size, names)) > NAME_CHARS_MAX * 4:
        raise UnreadError
    return sorted(names)
