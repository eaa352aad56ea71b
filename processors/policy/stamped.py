"""Parameters of a call with the stamps of verifiers, under the reserved name `stamps` (docs/verifiers.md).

A stamp that nobody gave reads as its worst, whichever path a policy takes to it: an unknown name of a verifier, of a
stamp, or of a parameter without a class of risk. So a rule on a stamp denies where the stamp is missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from processors.proof.jcs import JSONValue

STAMPS = "stamps"
RISK = "risk"
UNREAD = "unread"  # the text that stands for a stamp of unknown type: no list of allowed values has it
_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyz")
_NAME = _LETTERS | frozenset("0123456789_")
_NAME_CHARS_MAX = 32


def is_stamp_name(name: str) -> bool:
    """Return whether a text can be the prefix or the name of stamps."""
    return 2 <= len(name) <= _NAME_CHARS_MAX and name[0] in _LETTERS and _NAME.issuperset(name)


class WorstOf(dict[str, JSONValue]):
    """Stamps by name; a name that is not there has the worst value."""

    __slots__ = ("worst",)

    def __init__(self, known: Mapping[str, JSONValue], worst: JSONValue) -> None:
        super().__init__(known)
        self.worst = worst

    def get(self, name: str, default: object = None) -> Any:  # noqa: ARG002 - there is always a value
        """Return the stamp, or the worst."""
        return super().get(name, self.worst)


_NONE = WorstOf({}, UNREAD)
_RISK = WorstOf({"class": "critical", "read": False}, True)


def stamps_read(stamps: Mapping[str, JSONValue]) -> JSONValue:
    """Return stamps as policies read them."""
    read: dict[str, JSONValue] = {
        name: WorstOf(value, UNREAD) if isinstance(value, dict) else value for name, value in stamps.items()
    }
    risk = stamps.get(RISK)
    read[RISK] = WorstOf(risk if isinstance(risk, dict) else {}, _RISK)
    return WorstOf(read, _NONE)


class Stamped(dict[str, JSONValue]):
    """Parameters that rules read by name, with the stamps as one more of them.

    `get` gives them by that name. A list of the parameters has them not: a stamp is no parameter of the caller.
    """

    __slots__ = ("stamps",)

    def __init__(self, parameters: Mapping[str, JSONValue], stamps: JSONValue) -> None:
        super().__init__(parameters)
        self.stamps = stamps

    def get(self, name: str, default: object = None) -> object:  # type: ignore[override]
        """Return a parameter, or the stamps by their name."""
        return self.stamps if name == STAMPS else super().get(name, default)

    def __getitem__(self, name: str) -> JSONValue:
        return self.stamps if name == STAMPS else super().__getitem__(name)

    def __contains__(self, name: object) -> bool:
        return name == STAMPS or super().__contains__(name)
