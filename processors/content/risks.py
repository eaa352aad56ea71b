"""The risk catalogue: named classifiers of values, for files, network, money, mail, shells and SQL.

A classifier stamps facts about a value. A value that cannot be read with certainty has `read` False and the worst of
every stamp, because a tool may read it in another way than this module.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from processors.content import risk_amounts, risk_hosts, risk_paths, risk_recipients, risk_shell, risk_sql
from processors.content.risk_class import Stamps
from processors.proof.jcs import JSONValue

Options = Mapping[str, JSONValue]

CLASSIFIERS: Mapping[str, Callable[[JSONValue, Options], Stamps]] = MappingProxyType(
    {
        "files": risk_paths.classify,
        "mail": risk_recipients.classify,
        "money": risk_amounts.classify,
        "network": risk_hosts.classify,
        "shell": risk_shell.classify,
        "sql": risk_sql.classify,
    }
)
# What a value has that is not read: at a wrong place, too long, or one of too many.
WORST: Mapping[str, Stamps] = MappingProxyType(
    {
        "files": risk_paths.WORST,
        "mail": risk_recipients.WORST,
        "money": risk_amounts.WORST,
        "network": risk_hosts.WORST,
        "shell": risk_shell.WORST,
        "sql": risk_sql.WORST,
    }
)
_STATEMENTS = (risk_paths, risk_recipients, risk_amounts, risk_hosts, risk_shell, risk_sql)


def classify(name: str, value: JSONValue, options: Options | None = None) -> Stamps:
    """Return the stamps of a value, `class` and `read` among them.

    The functions `classify` of the modules name the options and stamps. An option of a wrong type counts as absent
    where that is the worse reading.

    Raises:
        ValueError: no classifier has this name. No value raises.
    """
    classifier = CLASSIFIERS.get(name)
    if classifier is None:
        raise ValueError(f"no risk classifier is called {name!r}; use one of {', '.join(sorted(CLASSIFIERS))}")
    return classifier(value, options or {})


def statement() -> JSONValue:
    """Return the tables of all classifiers, for the catalogue's digest."""
    return {module.__name__.rpartition(".")[2]: module.statement() for module in _STATEMENTS}
