"""Classes of risk, in one order for commands and values, and the stamps that a classifier gives."""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import TypeAlias

# Facts about a value, by name: policies read them.
Stamps: TypeAlias = Mapping[str, str | int | bool | tuple[str, ...]]


class RiskClass(StrEnum):
    """The class of a risk, the mildest first."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"


_ORDER = {risk: at for at, risk in enumerate(RiskClass)}


def worst(classes: Iterable[RiskClass]) -> RiskClass:
    """Return the worst of some classes, LOW of none."""
    return max(classes, key=_ORDER.__getitem__, default=RiskClass.LOW)
