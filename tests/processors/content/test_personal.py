"""Personal data is found by shape and check digits; one wrong digit, and it is a number like others."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.content import check_digits, check_digits_more, net_addresses, payment_cards, personal, phone_numbers

# Published examples, or made up so that the check is right.
EXAMPLES = {
    "card": ["4111 1111 1111 1111", "378282246310005", "5555555555554444", "6011-1111-1111-1117", "30569309025904"],
    "iban": ["DE89 3704 0044 0532 0130 00", "GB82WEST12345698765432", "NO9386011117947", "FR1420041010050500013M02606"],
    "us_ssn": ["536-22-8726", "536 22 8726"],
    "us_itin": ["912-70-1234"],
    "us_mbi": ["1EG4-TE5-MK73"],
    "uk_nhs": ["943 476 5919", "943-476-5919"],
    "uk_nino": ["AB 12 34 56 C"],
    "de_tax_id": ["86 095 742 719"],
    "de_pension": ["65070803A019"],
    "es_nif": ["12345678Z"],
    "es_nie": ["X1234567L"],
    "it_fiscal_code": ["RSSMRA85T10A562S"],
    "fi_code": ["131052-308T"],
    "sg_nric": ["S1234567D", "F1234567N"],
    "au_abn": ["51 824 753 556"],
    "in_aadhaar": ["3123 4567 8909"],
    "in_pan": ["ABCPE1234F"],
    "in_gstin": ["27AAPFU0939F1ZV"],
    "kr_rrn": ["960121-1021413"],
    "br_cpf": ["529.982.247-25"],
    "br_cnpj": ["11.222.333/0001-81"],
    "fr_nir": ["2 55 08 14 168 025 38"],
    "be_number": ["85.07.30-033.28"],
    "no_number": ["01010750160"],
    "se_number": ["19900305-2397"],
    "ch_ahv": ["756.9217.0769.85"],
    "tr_number": ["10000000146"],
    "ca_sin": ["130-692-544"],
    "cn_number": ["11010519491231002X"],
    "mx_curp": ["HEGG560427MVZRRL04"],
    "ar_cuit": ["20-05536168-2"],
    "cl_rut": ["76.086.428-5"],
    "vin": ["1M8GDM9AXKP042788"],
    "crypto": ["1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa", "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4"],
    "email": ["ann.lee+x@mail.example.org"],
    "ip": ["203.0.113.9", "2001:db8::8a2e:370:7334", "::ffff:192.0.2.1"],
    "mac": ["00:1b:44:11:3a:b7"],
    "phone": ["+44 20 7946 0958", "(415) 555-0132", "415-555-0132 x12", "+41 (0)44 668 18 00"],
}
LABELLED = {
    "us_ssn": "SSN 536228726",
    "us_routing": "ABA routing number 021000021",
    "us_npi": "NPI: 1234567893",
    "uk_nhs": "NHS number 9434765919",
    "pl_pesel": "PESEL 44051401359",
    "au_tfn": "TFN 123 456 782",
    "au_medicare": "Medicare 2123 45670 1",
    "nl_bsn": "BSN 111222333",
    "za_number": "South African ID 8001015009087",
    "th_number": "Thai ID 2345678901234",
    "imei": "IMEI 490154203237518",
    "phone": "Phone:\n467 3395",
    "driver_license": "My driver's license number is F162823540116",
    "passport": "passport no. C03005988",
    "bank_account": "bank account number 12345678",
    "date_of_birth": "date of birth: 3 March 1980",
}
CHECKED: dict[str, tuple[Callable[[str], bool], str]] = {
    "luhn": (check_digits.luhn, "4111111111111111"),
    "iban": (check_digits.iban, "DE89370400440532013000"),
    "aba": (check_digits.aba, "021000021"),
    "nhs": (check_digits.nhs, "9434765919"),
    "verhoeff": (check_digits.verhoeff, "312345678909"),
    "mod11_10": (check_digits.mod11_10, "86095742719"),
    "pesel": (check_digits.pesel, "44051401359"),
    "nif": (check_digits.spanish_nif, "12345678Z"),
    "nric": (check_digits.singapore_nric, "S1234567D"),
    "abn": (check_digits.abn, "51824753556"),
    "tfn": (check_digits.tfn, "123456782"),
    "acn": (check_digits.acn, "004085616"),
    "cpf": (check_digits.cpf, "52998224725"),
    "cnpj": (check_digits.cnpj, "11222333000181"),
    "finnish": (check_digits.finnish_code, "131052-308T"),
    "nip": (check_digits.polish_nip, "1234563218"),
    "italian": (check_digits.italian_code, "RSSMRA85T10A562S"),
    "nir": (check_digits_more.french_nir, "255081416802538"),
    "bsn": (check_digits_more.dutch_bsn, "111222333"),
    "norwegian": (check_digits_more.norwegian_number, "01010750160"),
    "swedish": (check_digits_more.swedish_number, "199003052397"),
    "ahv": (check_digits_more.ean13, "7569217076985"),
    "turkish": (check_digits_more.turkish_number, "10000000146"),
    "thai": (check_digits_more.thai_number, "2345678901234"),
    "npi": (check_digits_more.us_provider, "1234567893"),
    "chinese": (check_digits_more.chinese_number, "11010519491231002X"),
    "curp": (check_digits_more.mexican_curp, "HEGG560427MVZRRL04"),
    "cuit": (check_digits_more.argentine_cuit, "20055361682"),
    "rut": (check_digits_more.chilean_rut, "760864285"),
    "gstin": (check_digits_more.indian_gstin, "27AAPFU0939F1ZV"),
    "pension": (check_digits_more.german_pension, "65070803A019"),
    "icao": (check_digits_more.icao9303, "C01234565"),
    "patient": (check_digits_more.german_patient, "A123456780"),
    "brn": (check_digits_more.korean_business, "1048656659"),
    "base58": (check_digits_more.base58check, "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa"),
    "bech32": (check_digits_more.bech32, "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4"),
}
# These find every change of the last digit only: weights that share a factor with the modulus, or alias digits.
LAST_ONLY = {
    "aba",
    "nir",
    "rrn",
    "italian",
    "icao",
    "finnish",
    "gstin",
    "vin",
    "patient",
    "pension",
    "norwegian",
    "thai",
    "turkish",
    "brn",
    "curp",
    "rut",
    "cuit",
    "nhs",
    "tfn",
    "acn",
    "cpf",
    "cnpj",
    "nip",
    "chinese",
    "bsn",
    "nric",
}


def kinds(text: str) -> set[str]:
    return {hit.kind.removeprefix("personal.") for hit in personal.find(text)}


@pytest.mark.parametrize("frame", ["{}", "It is {}.", "é日本 {} 🎉", '{{"field": "{}"}}', "({})", "a\n{}\nb"])
@pytest.mark.parametrize("kind", EXAMPLES)
def test_an_example_is_found_in_any_surroundings(kind: str, frame: str) -> None:
    for value in EXAMPLES[kind]:
        text = frame.format(value)
        places = {text[hit.start : hit.end] for hit in personal.find(text) if hit.kind == f"personal.{kind}"}

        assert places == {value}, text


@pytest.mark.parametrize("kind", LABELLED)
def test_a_label_makes_a_number_personal(kind: str) -> None:
    assert kind in kinds(LABELLED[kind])


@pytest.mark.parametrize("name", CHECKED)
def test_a_check_takes_its_example_and_no_other_last_character(name: str) -> None:
    check, value = CHECKED[name]
    others = [f"{value[:-1]}{one}" for one in "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ" if one != value[-1]]
    taken = [other for other in others if check(other)]

    assert check(value)
    assert taken == []


@given(st.data())
@settings(deadline=None)
def test_one_changed_digit_is_noticed(data: st.DataObject) -> None:
    """Of all places, where the check promises it: Luhn, MOD 97-10, Verhoeff, MOD 11,10, ABN, PESEL, bech32."""
    name = data.draw(st.sampled_from(sorted(set(CHECKED) - LAST_ONLY)))
    check, value = CHECKED[name]
    at = data.draw(st.sampled_from([at for at, one in enumerate(value) if one in "0123456789"]))
    digit = data.draw(st.sampled_from([one for one in "0123456789" if one != value[at]]))

    assert not check(value[:at] + digit + value[at + 1 :])


@given(st.sampled_from(["4111111111111111", "5555555555554444", "378282246310005"]), st.data())
@settings(deadline=None)
def test_a_card_with_a_wrong_digit_is_not_found(number: str, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(number) - 1))
    digit = data.draw(st.sampled_from([one for one in "0123456789" if one != number[at]]))

    assert "card" not in kinds(f"card {number[:at]}{digit}{number[at + 1 :]}")


@given(st.text(alphabet="0123456789", min_size=14, max_size=16))
@settings(deadline=None)
def test_luhn_is_the_sum_of_the_standard(digits: str) -> None:
    """Against the table of ISO/IEC 7812-1: a doubled digit counts by its cross sum."""
    doubled = "0246813579"
    total = sum(int(doubled[int(one)]) if at % 2 else int(one) for at, one in enumerate(reversed(digits)))

    assert check_digits.luhn(digits) == (total % 10 == 0)


@pytest.mark.parametrize(
    "text",
    [
        "Meet at 10:30 on 2024-05-15, room 12.",
        "Order #W4316152, items 7292993796 and 3761330360",
        "pi is 3.14159265358979",
        "version 1.2.3 and 10.0.19045.3930.1",
        "std::cout << x[::2] << y[1::2] << z[::-1];",
        "12:34:56",
        "a::b::c",
        "00:00:00:00:00:00",
        "git clone git@github.com:owner/name.git",
        "https://ann:pw@host.example/x",
        "n = 123456789",
        "4111111111111112",
        "DE89 3704 0044 0532 0130 01",
        "000-12-3456",
        "666-12-3456",
        "219-09-9999",
        "1700000000000",
        "x" * 40,
        "commit 3f786850e387550fdab836ed7e6dc881de23001b",
        "$1,234,567.89",
        "192.168.1.256",
        "1111111111111111",
    ],
)
def test_other_numbers_are_not_personal(text: str) -> None:
    assert kinds(text) == set()


def test_a_number_with_a_weak_check_needs_separators_a_label_or_a_field_of_its_own() -> None:
    assert kinds("code 943476591 and 9434765919") == set()
    assert kinds("12345678903") == {"de_tax_id"}
    assert kinds("number 12345678903 of the list") == set()


def test_a_scheme_gives_lengths() -> None:
    """Beside the word card, another length will do."""
    assert payment_cards.has_scheme("4111111111111111")
    assert kinds("4222222222222") == set()
    assert kinds("my card is 4222222222222") == {"card"}


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        (b"::", True),
        (b"::1", True),
        (b"1::", True),
        (b"2001:db8:0:0:0:0:192.168.1.1", True),
        (b"::10.0.0.1", True),
        (b"1:2:3:4:5:6:7:8", True),
        (b"1:2:3:4:5:6:7", False),
        (b"1:2:3:4:5:6:7:8:9", False),
        (b"1::2::3", False),
        (b":::", False),
        (b"12345::", False),
        (b"::1.2.3", False),
        (b"::1.2.3.256", False),
        (b"1:2:3:4:5:6:7::8", False),
        (b"g::1", False),
        (b":1:2:3:4:5:6:7", False),
    ],
)
def test_an_address_of_version_6_is_read_by_the_standard(text: bytes, is_one: bool) -> None:
    assert net_addresses.is_v6(text) is is_one


def test_telephone_plans_are_those_of_the_pinned_version() -> None:
    statement = phone_numbers.statement()

    assert statement[0] == [phone_numbers.PACKAGE, phone_numbers.VERSION]
    assert [row[0] for row in statement[2:]] == list(phone_numbers.REGIONS)
    assert kinds("0917-123-4567") == {"phone"}  # Philippines
    assert kinds("0000-000-0000") == set()


@given(st.text())
@settings(deadline=None)
def test_any_text_has_an_answer(text: str) -> None:
    whole = f"{text} card 4111111111111111 {text}"
    for hit in personal.find(whole):
        assert 0 <= hit.start < hit.end <= len(whole)
    assert all(
        "4111111111111111" in whole[hit.start : hit.end] for hit in personal.find(whole) if hit.kind == "personal.card"
    )


@given(st.text(alphabet="0123456789 -.:/+@abcxDEX()\n", max_size=300))
@settings(deadline=None)
def test_hits_are_in_order_and_none_lies_within_a_longer_one(text: str) -> None:
    hits = personal.find(text)

    assert list(hits) == sorted(hits, key=lambda hit: (hit.start, -hit.end))
    assert all(one.end < other.end or one[1:3] == other[1:3] for one, other in pairwise(hits))


@pytest.mark.parametrize(
    "text", ["", "\ud800" * 50, "\0" * 4096, "1" * 4096, "1:" * 2048, "a@" * 2048, "+1 " * 1365, "é1-" * 900]
)
def test_hostile_texts_have_an_answer(text: str) -> None:
    assert len(personal.find(text)) <= personal.HITS_MAX


@pytest.mark.parametrize("name", CHECKED)
@given(st.text(max_size=24))
@settings(deadline=None, max_examples=30)
def test_a_check_refuses_any_other_text_without_an_error(name: str, text: str) -> None:
    assert CHECKED[name][0](text) in {True, False}


def test_the_statement_holds_shapes_schemes_and_plans() -> None:
    statement = personal.statement()

    assert isinstance(statement, dict)
    assert {"shapes", "iban", "cards", "phones", "bounds"} == set(statement)
