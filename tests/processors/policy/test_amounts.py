"""Amounts add up as the decimals that JSON wrote, not as binary doubles (ADR 0016)."""

from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.policy import amounts
from processors.policy.amounts import added, amount
from processors.proof import jcs
from tests.processors.policy.test_sequence_rules import Past, ruled

NUMBERS = st.one_of(
    st.integers(0, 2**53),
    st.floats(0, allow_nan=False, allow_infinity=False),
    st.integers(0, 10**9).map(lambda cents: cents / 100),
    st.sampled_from([5e-324, 1.7976931348623157e308, 2.2250738585072014e-308, 0.1, 1e21]),
)


@given(st.lists(NUMBERS, max_size=40))
def test_a_sum_is_the_sum_of_what_json_writes(numbers: list[float]) -> None:
    """Exactly, in whatever order, over the whole range of doubles; and a row gives the same sum back."""
    written = [Fraction(jcs.canonical(number).decode()) for number in numbers]
    total = added(map(amount, numbers))

    assert Fraction(total) == sum(written, Fraction(0))
    assert str(total) == str(added(map(amount, reversed(numbers))))
    assert amounts.read(amounts.written(total)) == total
    assert len(amounts.written(total)) <= 640


@given(st.integers(1, 10**7), st.integers(1, 30))
def test_a_cap_is_spent_to_the_last_cent_and_no_further(cents: int, times: int) -> None:
    """So many equal payments of whole cents fill a cap of as many times the amount: none is refused, one more is."""
    rule = {"when": "tool:x", "sum": "amount", "max": cents * times / 100, "per": "user"}
    past = Past(ruled(rule))

    told = [past.call("tool:x", {"amount": cents / 100}) for _ in range(times + 1)]

    assert told == [""] * times + ["SEQUENCE_TOTAL"]


@pytest.mark.parametrize(
    ("parameters", "most", "wanted"),
    [
        ({"items": [{"price": 1.1}] * 3}, 3.3, ""),
        ({"items": [{"price": 0.1}] * 3}, 0.3, ""),
        ({"items": [{"price": 0.1}] * 3 + [{"price": 5e-324}]}, 0.3, "SEQUENCE_TOTAL"),
        ({"items": [{"price": 1e308}] * 2}, 1.7976931348623157e308, "SEQUENCE_TOTAL"),
        ({"items": [{"price": 2**53}, {"price": 1}]}, 2**53, "SEQUENCE_TOTAL"),
        ({"items": [{"price": -0.0}]}, 0, ""),
    ],
)
def test_the_items_of_one_call_are_added_the_same_way(parameters: dict[str, Any], most: float, wanted: str) -> None:
    """Nothing is rounded up to be refused, and nothing small enough is rounded away."""
    past = Past(ruled({"when": "tool:x", "sum": "items[*].price", "max": most, "per": "user"}))

    assert past.call("tool:x", parameters) == wanted


@pytest.mark.parametrize("text", ["", "x", "NaN", "Infinity", "sNaN", "1e9999999999999999999999"])
def test_a_row_that_holds_no_amount_is_an_error(text: str) -> None:
    """A rule that breaks denies; a total that is not one never counts as nothing."""
    with pytest.raises(ValueError, match="not a decimal number"):
        amounts.read(text)


def test_equal_sums_are_written_alike() -> None:
    """However many zeros stand behind the numbers that were added."""
    assert amounts.written(added([Decimal("0.10"), Decimal("0.90")])) == "1"
    assert amounts.written(added([])) == amounts.written(added([amount(-0.0)])) == "0"
