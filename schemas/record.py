"""The decorator of record classes: slots, keyword arguments, equality by value, and fields that must not be assigned.

Assignment is an error of the type checker, which takes these classes for frozen ones (PEP 681), and not of the run
time: a frozen dataclass sets each field through a call, which costs the fold a tenth of its time (docs/performance.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True, kw_only_default=True)
def record(cls: type[T]) -> type[T]:
    """Return `cls` as a record class."""
    return dataclass(slots=True, kw_only=True, unsafe_hash=True)(cls)
