"""Tables of thousands of rows in one test: an item of pytest for each would cost more than most rows do.

Each process of a run collects every item and reports on it; that is some 4 ms an item, where a row takes 1 ms.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

import pytest

Row = TypeVar("Row")


def every(rows: Iterable[Row], name_of: Callable[[Row], str], holds: Callable[[Row], None]) -> None:
    """Play every row, also behind one that does not hold; fail with the name and the error of each that does not.

    A table without rows fails too.
    """
    failed: list[AssertionError] = []
    count = 0
    for row in rows:
        count += 1
        try:
            holds(row)
        except (Exception, pytest.fail.Exception) as error:  # noqa: BLE001 - it is told with the row, and fails the test
            told = AssertionError(f"{name_of(row)}: {type(error).__name__}: {error}")
            told.__cause__ = error
            failed.append(told)
    assert count > 0
    if failed:
        raise ExceptionGroup(f"{len(failed)} of {count} rows do not hold", failed)
