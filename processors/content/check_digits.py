"""Check digits of numbers that people and companies carry, in whole numbers.

Each function takes ASCII digits (some: letters too) without blanks and returns True if the last digits prove the
others. A text of another length or alphabet is refused with False; nothing raises.
"""

from __future__ import annotations

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_DIGITS = "0123456789"
_VALUES = {one: at for at, one in enumerate(_DIGITS + _LETTERS)}

# Verhoeff, Error Detecting Decimal Codes (1969): the dihedral group D5 and the permutation of positions.
_D5 = ("0123456789", "1234067895", "2340178956", "3401289567", "4012395678",
       "5987604321", "6598710432", "7659821043", "8765932104", "9876543210")  # fmt: skip
_TURNS = (
    "0123456789",
    "1576283094",
    "5803796142",
    "8916043527",
    "9453126870",
    "4286573901",
    "2793806415",
    "7046913258",
)

# Of an Italian tax code, values of the characters in odd places (D.M. 23 December 1976).
_ITALIAN_ODD = (1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23)

# Characters of each country's IBAN (SWIFT's IBAN registry).
IBAN_LENGTHS = {
    "AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22, "BI": 27, "BR": 29,
    "BY": 28,
    "CH": 21, "CR": 22, "CY": 28, "CZ": 24, "DE": 22, "DJ": 27, "DK": 18, "DO": 28, "EE": 20, "EG": 29, "ES": 24,
    "FI": 18, "FK": 18, "FO": 18, "FR": 27, "GB": 22, "GE": 22, "GI": 23, "GL": 18, "GR": 27, "GT": 28, "HN": 28,
    "HR": 21, "HU": 28, "IE": 22, "IL": 23, "IQ": 23, "IS": 26, "IT": 27, "JO": 30, "KW": 30, "KZ": 20, "LB": 28,
    "LC": 32, "LI": 21, "LT": 20, "LU": 20, "LV": 21, "LY": 25, "MC": 27, "MD": 24, "ME": 22, "MK": 19, "MN": 20,
    "MR": 27, "MT": 31, "MU": 30, "NI": 28, "NL": 18, "NO": 15, "OM": 23, "PK": 24, "PL": 28, "PS": 29, "PT": 25,
    "QA": 29, "RO": 24, "RS": 22, "RU": 33, "SA": 24, "SC": 31, "SD": 18, "SE": 24, "SI": 19, "SK": 24, "SM": 27,
    "SO": 23, "ST": 25, "SV": 28, "TL": 23, "TN": 24, "TR": 26, "UA": 29, "VA": 22, "VG": 24, "XK": 20, "YE": 30,
}  # fmt: skip


def is_digits(text: str) -> bool:
    """Return True for at least one character, each of 0 to 9."""
    return text.isascii() and text.isdigit()


def weighted(digits: str, weights: tuple[int, ...]) -> int:
    """Return the sum of digits times weights, as many as the shorter has."""
    return sum(int(digit) * weight for digit, weight in zip(digits, weights, strict=False))


def luhn(digits: str) -> bool:
    """ISO/IEC 7812-1, annex B."""
    if not is_digits(digits):
        return False
    total = 0
    for at, digit in enumerate(reversed(digits)):
        value = int(digit) * (1 + at % 2)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def verhoeff(digits: str) -> bool:
    """Verhoeff's dihedral check, as of Aadhaar numbers."""
    if not is_digits(digits):
        return False
    check = 0
    for at, digit in enumerate(reversed(digits)):
        check = int(_D5[check][int(_TURNS[at % 8][int(digit)])])
    return check == 0


def mod97(text: str) -> bool:
    """ISO/IEC 7064 MOD 97-10 over digits and upper-case letters, the first four characters moved to the end."""
    if len(text) < 5 or any(one not in _VALUES for one in text):
        return False
    return int("".join(str(_VALUES[one]) for one in text[4:] + text[:4])) % 97 == 1


def is_day(text: str) -> bool:
    """Return True for two digits from 01 to 31."""
    return len(text) == 2 and is_digits(text) and 1 <= int(text) <= 31


def is_date(year: str, month: str, day: str) -> bool:
    """Return True for a day of the month in a month with as many days; February has 29. The year is not looked at."""
    if not (is_digits(year) and is_digits(month) and is_digits(day)):
        return False
    return 1 <= int(month) <= 12 and 1 <= int(day) <= (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)[int(month) - 1]


def iban(text: str) -> bool:
    """ISO 13616: the country's length, and MOD 97-10. Check digits 00, 01 and 99 are never given."""
    return IBAN_LENGTHS.get(text[:2]) == len(text) and text[2:4] not in {"00", "01", "99"} and mod97(text)


def mod11_10(digits: str) -> bool:
    """ISO/IEC 7064 MOD 11,10, as of German tax ids and VAT ids and of Croatian OIB."""
    if not is_digits(digits):
        return False
    product = 10
    for digit in digits[:-1]:
        product = 2 * ((product + int(digit)) % 10 or 10) % 11
    return (11 - product) % 10 == int(digits[-1])


def aba(digits: str) -> bool:
    """Routing number of a US bank: weights 3, 7, 1, and a prefix that the Federal Reserve gives."""
    prefix = int(digits[:2]) if len(digits) == 9 and is_digits(digits) else 99
    given = prefix <= 12 or 21 <= prefix <= 32 or 61 <= prefix <= 72 or prefix == 80
    return given and digits != "0" * 9 and weighted(digits, (3, 7, 1) * 3) % 10 == 0


def nhs(digits: str) -> bool:
    """Number of a patient in England: weights 10 to 2, modulo 11."""
    if len(digits) != 10 or not is_digits(digits) or len(set(digits)) == 1:
        return False
    check = 11 - weighted(digits[:9], tuple(range(10, 1, -1))) % 11
    return check != 10 and check % 11 == int(digits[9])


def spanish_nif(text: str) -> bool:
    """DNI or NIE of Spain: the number modulo 23 names the letter; X, Y and Z stand for 0, 1 and 2."""
    number = {"X": "0", "Y": "1", "Z": "2"}.get(text[:1], text[:1]) + text[1:-1]
    return is_digits(number) and "TRWAGMYFPDXBNJZSQVHLCKE"[int(number) % 23] == text[-1]


def italian_code(text: str) -> bool:
    """Codice fiscale: 16 characters, the last of them by the values of odd and even places."""
    if len(text) != 16 or any(one not in _VALUES for one in text):
        return False
    places = [_VALUES[one] if one in _DIGITS else _VALUES[one] - 10 for one in text[:15]]
    total = sum(value if at % 2 else _ITALIAN_ODD[value] for at, value in enumerate(places))
    return _LETTERS[total % 26] == text[15]


def pesel(digits: str) -> bool:
    """Number of a person in Poland: weights 1, 3, 7, 9; the month tells the century."""
    if len(digits) != 11 or not is_digits(digits):
        return False
    month = int(digits[2:4]) % 20
    return 1 <= month <= 12 and is_day(digits[4:6]) and weighted(digits, (1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1)) % 10 == 0


def polish_nip(digits: str) -> bool:
    """Tax number of Poland: weights 6, 5, 7, 2, 3, 4, 5, 6, 7, modulo 11."""
    return (
        len(digits) == 10 and is_digits(digits) and weighted(digits, (6, 5, 7, 2, 3, 4, 5, 6, 7)) % 11 == int(digits[9])
    )


def finnish_code(text: str) -> bool:
    """Personal identity code of Finland: date, century sign, number from 002, and the remainder by 31."""
    number = text[:6] + text[7:10]
    if len(text) != 11 or not is_digits(number) or not is_date(text[4:6], text[2:4], text[:2]):
        return False
    return int(text[7:10]) >= 2 and "0123456789ABCDEFHJKLMNPRSTUVWXY"[int(number) % 31] == text[10]


def singapore_nric(text: str) -> bool:
    """NRIC or FIN of Singapore: a letter, seven digits, and the letter that weights 2, 7, 6, 5, 4, 3, 2 give."""
    if len(text) != 9 or not is_digits(text[1:8]):
        return False
    series = {"S": (0, "JZIHGFEDCBA"), "T": (4, "JZIHGFEDCBA"), "F": (0, "XWUTRQPNMLK"), "G": (4, "XWUTRQPNMLK"),
              "M": (3, "XWUTRQPNJLK")}.get(text[0])  # fmt: skip
    if series is None:
        return False
    offset, letters = series
    rest = (weighted(text[1:8], (2, 7, 6, 5, 4, 3, 2)) + offset) % 11
    return letters[10 - rest if text[0] == "M" else rest] == text[8]


def abn(digits: str) -> bool:
    """Business number of Australia: one off the first digit; weights 10, 1, 3 … 19; modulo 89."""
    if len(digits) != 11 or not is_digits(digits) or digits[0] == "0":
        return False
    return (weighted(digits, (10, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19)) - 10) % 89 == 0


def acn(digits: str) -> bool:
    """Company number of Australia: weights 8 to 1, the complement to 10."""
    return (
        len(digits) == 9
        and is_digits(digits)
        and -weighted(digits[:8], (8, 7, 6, 5, 4, 3, 2, 1)) % 10 == int(digits[8])
    )


def tfn(digits: str) -> bool:
    """Tax file number of Australia: weights 1, 4, 3, 7, 5, 8, 6, 9, 10, modulo 11."""
    return len(digits) == 9 and is_digits(digits) and weighted(digits, (1, 4, 3, 7, 5, 8, 6, 9, 10)) % 11 == 0


def medicare(digits: str) -> bool:
    """Medicare card of Australia: first digit 2 to 6; weights 1, 3, 7, 9; the ninth digit checks."""
    if len(digits) not in {10, 11} or not is_digits(digits) or digits[0] not in "23456":
        return False
    return weighted(digits[:8], (1, 3, 7, 9, 1, 3, 7, 9)) % 10 == int(digits[8])


def resident_of_korea(digits: str) -> bool:
    """Number of a resident of Korea: weights 2 to 9 and 2 to 5; foreigners (fifth to eighth series) two more."""
    if len(digits) != 13 or not is_digits(digits) or not is_date(digits[:2], digits[2:4], digits[4:6]):
        return False
    rest = (11 - weighted(digits[:12], (2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5)) % 11) % 10
    return (rest + 2 if digits[6] in "5678" else rest) % 10 == int(digits[12])


def cpf(digits: str) -> bool:
    """Person in Brazil: two digits, each modulo 11. The same digit eleven times is not given."""
    if len(digits) != 11 or not is_digits(digits) or len(set(digits)) == 1:
        return False
    checks = [weighted(digits, tuple(range(size, 1, -1))) * 10 % 11 % 10 for size in (10, 11)]
    return checks == [int(digits[9]), int(digits[10])]


def cnpj(digits: str) -> bool:
    """Company in Brazil: two digits, each modulo 11."""
    if len(digits) != 14 or not is_digits(digits) or len(set(digits)) == 1:
        return False
    weights = (5, 4, 3, 2, 9, 8, 7, 6, 5, 4, 3, 2)
    checks = [-weighted(digits, one) % 11 for one in (weights, (6, *weights))]
    return [check % 10 for check in checks] == [int(digits[12]), int(digits[13])]
