"""Tables in a tree of sqlglot: where one may stand, what its statement does to it, and which names are none.

A word that the parser takes for a name can be a keyword of the database, such as TABLE. So each place where a table or
a query stands has a list of the nodes that are read there; any other makes the text unread.
"""

from __future__ import annotations

from typing import Any

from sqlglot import exp

from macaw.verifiers.sql_bounds import UnreadError
from macaw.verifiers.sql_names import WRITES
from processors.text.forms import fold

WITHS_MAX = 64  # definitions in one WITH

_QUERIES = frozenset({"Select", "Union", "Except", "Intersect", "Subquery", "Values", "Table"})
_SOURCES = frozenset({"Table", "Subquery", "Values", "Unnest", "Lateral"})
_TARGETS = frozenset({"Table", "Schema"})
_PLACES: dict[str, dict[str, frozenset[str]]] = {
    "From": {"this": _SOURCES},
    "Join": {"this": _SOURCES},
    "CTE": {"this": (_QUERIES - {"Table"}) | WRITES},
    "Subquery": {"this": _QUERIES},
    "Union": {"this": _QUERIES, "expression": _QUERIES},
    "Except": {"this": _QUERIES, "expression": _QUERIES},
    "Intersect": {"this": _QUERIES, "expression": _QUERIES},
    "Insert": {"this": _TARGETS, "expression": _QUERIES},
    "Update": {"this": _TARGETS},
    "Delete": {"this": _TARGETS, "tables": _TARGETS, "using": _SOURCES},
    "Merge": {"this": _TARGETS, "using": _SOURCES},
    "Create": {"this": _TARGETS, "expression": _QUERIES},
    "Drop": {"tables": _TARGETS},
    "Alter": {"this": _TARGETS},
    "TruncateTable": {"expressions": _TARGETS},
    "Schema": {"this": frozenset({"Table"})},
}
_NAMED = frozenset({"Select", "Returning", "Struct"})  # where `a AS b` stands
_CHANGED = frozenset({"TABLE", "VIEW"})  # kinds that are created, dropped and altered


def check(node: exp.Expr, name: str) -> None:
    """Raise UnreadError for a node at whose places another stands than is read there."""
    if isinstance(node.parent, exp.When):
        return  # the INSERT or UPDATE of a MERGE names columns alone
    for place, kinds in _PLACES.get(name, {}).items():
        found = node.args.get(place)
        for one in found if isinstance(found, list) else [found]:
            if isinstance(one, exp.Expr) and type(one).__name__ not in kinds:
                raise UnreadError
    if name == "Alias" and type(node.parent).__name__ not in _NAMED:
        raise UnreadError
    if name in {"Create", "Drop", "Alter"} and str(node.args.get("kind")).upper() not in _CHANGED:
        raise UnreadError
    if name == "TruncateTable" and node.args.get("is_database"):
        raise UnreadError
    if node.args.get("cascade") or str(node.args.get("option") or "").upper() == "CASCADE":
        raise UnreadError  # it changes tables that it does not name
    if name in {"Update", "Delete", "Merge"}:
        _check_targets(node, name)


def _check_targets(node: exp.Expr, name: str) -> None:
    """Raise UnreadError where the target of a change may be another table under that name, or may be several."""
    target = node.this
    if name == "Update" and isinstance(target, exp.Expr) and target.args.get("joins"):
        raise UnreadError
    targets = [target, *(node.args.get("tables") or ())]
    names = {fold(one.name) for one in targets if isinstance(one, exp.Table) and not one.args.get("db")}
    own = target.args.get("alias") if isinstance(target, exp.Expr) else None
    at: exp.Expr | None = node
    while at is not None and at.parent is not None:
        at = at.parent
    for alias in (at or node).find_all(exp.TableAlias):
        if alias is not own and fold(alias.name) in names:
            raise UnreadError


def is_target(node: exp.Table) -> bool:
    """Return whether a table is one that its statement changes."""
    at: exp.Expr = node
    parent = node.parent
    if isinstance(parent, exp.Schema):
        at, parent = parent, parent.parent
    if isinstance(parent, exp.Into | exp.TruncateTable):
        return True
    changes = (exp.Insert, exp.Update, exp.Delete, exp.Merge, exp.Create, exp.Drop, exp.Alter)
    return isinstance(parent, changes) and (parent.this is at or at in (parent.args.get("tables") or ()))


def is_cte(node: exp.Table, dialect: str) -> bool:
    """Return whether an unqualified name is that of a WITH that reaches so far; a target never is.

    In a definition only earlier ones are in reach, and with RECURSIVE itself. Where a database takes more, the stamps
    name a table too many.
    """
    if is_target(node):
        return False
    inside: exp.Expr = node
    below: exp.Expr = node
    at = node.parent
    while at is not None:
        found = at.args.get("with_")
        if isinstance(found, exp.With) and _defines(found, node, inside if below is found else None, dialect):
            return True
        inside, below, at = below, at, at.parent
    return False


def _defines(found: exp.With, node: exp.Table, within: exp.Expr | None, dialect: str) -> bool:
    if len(found.expressions) > WITHS_MAX:
        raise UnreadError
    for one in found.expressions:
        if one is within and not found.args.get("recursive"):
            return False
        alias = one.args.get("alias")
        if isinstance(alias, exp.TableAlias) and _is_same(alias.this, node.this, dialect):
            return True
        if one is within:
            return False
    return False


def is_plain(name: Any, dialect: str) -> bool:
    """Return whether a name is the same with quotes and without."""
    if not name.args.get("quoted") or dialect == "databricks":
        return True
    text: str = name.name
    return text == (text.upper() if dialect == "snowflake" else fold(text)) if dialect != "mysql" else True


def _is_same(one: Any, other: Any, dialect: str) -> bool:
    """Return whether two names are certainly one to the database."""
    if not isinstance(one, exp.Identifier) or not isinstance(other, exp.Identifier):
        return False
    if one.name == other.name and bool(one.args.get("quoted")) == bool(other.args.get("quoted")):
        return True
    if dialect == "mysql":  # whether case counts is a setting of the server
        return one.name == other.name
    return fold(one.name) == fold(other.name) and is_plain(one, dialect) and is_plain(other, dialect)
