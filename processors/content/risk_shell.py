"""Commands of a shell as one of the risk catalogue's classifiers (`shell.py` reads them)."""

from __future__ import annotations

from collections.abc import Mapping

from processors.content import shell, shell_rules
from processors.content.program_effects import is_known
from processors.content.risk_class import RiskClass, Stamps
from processors.proof.jcs import JSONValue

UNTOLD = "?"  # a word that no table has
NAMES_MAX = 16  # programs and subcommands in a stamp; more are not told, and `read` is False

_FLAGS = ("unknown", "writes", "deletes", "network", "privilege", "touches_secret_path", "opaque")
WORST: Stamps = {
    "class": RiskClass.CRITICAL.value,
    "read": False,
    **dict.fromkeys(_FLAGS, True),
    "programs": (),
    "subcommands": (),
}


def classify(value: JSONValue, _options: Mapping[str, JSONValue]) -> Stamps:
    """Return the stamps of a command. One that is no text, or holds an opaque part, is not `read`, and the worst.

    `programs` and `subcommands` name members of the tables only: `?` stands for every other word of the caller.
    """
    if not isinstance(value, str):
        return WORST
    found = shell.risk(value)
    programs = tuple(dict.fromkeys(name if is_known(name) else UNTOLD for name in found.programs))
    subcommands = tuple(dict.fromkeys(map(_told, found.subcommands)))
    fits = len(programs) <= NAMES_MAX and len(subcommands) <= NAMES_MAX
    return {
        "class": found.risk.value,
        "read": fits and not found.opaque,
        **{name: bool(getattr(found, name)) for name in _FLAGS},
        "programs": programs[:NAMES_MAX],
        "subcommands": subcommands[:NAMES_MAX],
    }


def _told(pair: str) -> str:
    """Return a program with its subcommand, of which only git's stand in a table."""
    program, _, first = pair.partition(" ")
    return pair if program == "git" and first in shell_rules.GIT else f"{program} {UNTOLD}"


def statement() -> JSONValue:
    """Return the bound and the flags; `shell.statement` has the tables."""
    return {"names": NAMES_MAX, "flags": [*_FLAGS]}
