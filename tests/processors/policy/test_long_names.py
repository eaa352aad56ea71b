"""Names of members against names in paths: as NFC has it, and no long name is normalised for each value below it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.policy import paths
from processors.policy.masks import is_named
from processors.policy.paths import is_called, leads_to, parse_path
from processors.text.forms import nfc
from tests.masking_world import MAIL, Crm
from tests.provenance_world import IBAN, Bank
from tests.workflow_world import PAY

LONG = "\u00e9" * 20_000
SIGNS = "ae\u0301\u00e9\u1f82\u0313\u0300\u0345\u03b1\u212b\u0378"
names = st.text(alphabet=SIGNS, max_size=12)


@given(names, names)
def test_a_name_is_called_as_its_normal_form_is(one: str, other: str) -> None:
    assert is_called(nfc(one), other) is (nfc(other) == nfc(one))
    assert is_called(nfc(one), one)


@pytest.mark.parametrize("name", ["\u1f82", "\u1f82" * 9])
def test_a_name_that_is_four_times_as_long_is_still_the_same(name: str) -> None:
    assert is_called(name, "".join("\u03b1\u0313\u0300\u0345" for _ in name))


@pytest.fixture
def normalised(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the sizes of the names that are normalised while a path is compared."""
    sizes: list[int] = []

    def counted(text: str) -> str:
        sizes.append(len(text))
        return nfc(text)

    monkeypatch.setattr(paths, "nfc", counted)
    return sizes


def test_no_long_name_is_normalised(normalised: list[int]) -> None:
    place = parse_path("caf\u00e9.x", "")
    assert not leads_to(place, (LONG, "x"))
    assert not is_named("caf\u00e9", (LONG, 3))
    assert leads_to(place, ("cafe\u0301", "x"))
    assert max(normalised) == len("cafe\u0301")


def test_a_call_cannot_have_its_own_long_name_normalised_for_each_value(normalised: list[int]) -> None:
    world = Crm.founded_with("text")
    assert world.note({"text": MAIL, LONG: [0] * 500}).says == ("allowed", "")
    assert sum(normalised) < len(LONG)


def test_nor_where_a_rule_asks_where_values_come_from(normalised: list[int]) -> None:
    world = Bank.opened("long")
    world.fetch(world.bot)
    assert world.call(world.bot, PAY, {"recipient": "x", "amount": 1, LONG: [0] * 500}).says == ("allowed", "")
    assert world.pay(world.bot, IBAN)[0] == "denied"
    assert sum(normalised) < len(LONG)
