"""Outcomes and statuses are spelt in one place: `schemas/words.py`."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from schemas.words import Outcome, Status
from tests.house import ROOT, sources
from tests.test_tidy import PACKAGES

WORDS = frozenset({*map(str, Outcome), *map(str, Status)})
HOME = "schemas/words.py"

# (file, text): where the same letters mean another thing. It may only become shorter.
OTHER_MEANINGS = {
    ("bench/tenant.py", "approved"): "a tag in the parameters of a sample call",
    ("macaw/cli/context.py", "set"): "the name of a command",
    ("macaw/cli/tenant_overview.py", "set"): "the name of a command",
    ("macaw/cli/verifiers/__init__.py", "set"): "the name of a command",
    ("macaw/cli/identity/dev.py", "open"): "the name of a command",
    ("examples/demo/show.py", "refused"): "the head of a column",
    ("macaw/verifiers/sql_names.py", "set"): "a word of SQL",
    ("macaw/policies/case_files.py", "set"): "a member of a case file",
    ("macaw/policies/files.py", "refused"): "a sentence about a policy document",
    ("processors/content/risk_shell.py", "unknown"): "a program that no table has",
    ("processors/content/risk_sql.py", "set"): "a word of SQL",
    ("processors/content/shell_rules.py", "set"): "a command of the shell",
    ("processors/context/vault.py", "set"): "a verb of the vault, in the names of its resources",
    ("processors/policy/insight/explain.py", "unknown"): "the third truth value of a condition (docs/mapl.md)",
    ("processors/state/groups.py", "open"): "the name of a group of rows",
    ("processors/state/tables.py", "pending"): "the name of a table",
    ("processors/step.py", "pending"): "the name of a table",
    ("streams/cluster/access.py", "allowed"): "a word of Kafka's access rules",
    ("streams/cluster/access.py", "denied"): "a word of Kafka's access rules",
    ("streams/local/choose.py", "unknown"): "the version of a broker that tells none",
}


def spelt(tree: ast.AST) -> Iterator[str]:
    """Yield the words among the texts of a module that are values.

    Not counted is the name of a member of a JSON object (`{"revoked": true}`, `row["revoked"]`, `row.get("revoked")`).
    """
    names = {id(key) for node in ast.walk(tree) for key in _names(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and node.value in WORDS and id(node) not in names:
            yield node.value


def _names(node: ast.AST) -> Iterator[ast.expr]:
    match node:
        case ast.Dict(keys=keys):
            yield from (key for key in keys if key is not None)
        case ast.Subscript(slice=name):
            yield name
        case ast.Call(func=ast.Attribute(attr="get"), args=[name, *_]):
            yield name
        case ast.Compare(left=name, ops=[ast.In() | ast.NotIn()]):
            yield name


def found() -> set[tuple[str, str]]:
    """Return (file, word) of every word that is spelt outside its home."""
    return {
        (path.relative_to(ROOT).as_posix(), word)
        for path in sources(*PACKAGES)
        for word in spelt(ast.parse(path.read_text("utf-8")))
        if path.relative_to(ROOT).as_posix() != HOME
    }


def test_no_module_spells_an_outcome_or_a_status() -> None:
    """A word that is spelt twice is misspelt once: import it. An exception that is not needed any more goes."""
    assert found() == set(OTHER_MEANINGS)
    assert all(OTHER_MEANINGS.values())


def test_a_spelt_word_is_found_and_the_name_of_a_member_is_not() -> None:
    """The reader of modules tells values from names."""
    source = 'a = "denied"; f(b"denied", x == "open"); {"revoked": r["revoked"]}; r.get("ended", "ended"); "set" in r'

    assert sorted(spelt(ast.parse(source))) == ["denied", "ended", "open"]
