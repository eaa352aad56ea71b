"""A table in one test tells as much as a test for each of its rows."""

import pytest

from tests.rows import every


def test_every_row_is_played_and_each_that_does_not_hold_is_named() -> None:
    played: list[int] = []

    def holds(row: int) -> None:
        played.append(row)
        assert row % 2 == 0, "odd"
        if row == 4:
            raise KeyError(row)
        with pytest.raises(ZeroDivisionError):
            _ = 1 / (row - 2)

    with pytest.raises(ExceptionGroup, match="3 of 4 rows do not hold") as caught:
        every([1, 2, 4, 6], lambda row: f"row {row}", holds)

    assert played == [1, 2, 4, 6]
    first, second, third = (str(error) for error in caught.value.exceptions)
    assert first.startswith("row 1: AssertionError: odd")
    assert second == "row 4: KeyError: 4"
    assert third.startswith("row 6: Failed: DID NOT RAISE")


def test_a_table_without_rows_does_not_hold() -> None:
    with pytest.raises(AssertionError):
        every([], str, lambda _: None)
