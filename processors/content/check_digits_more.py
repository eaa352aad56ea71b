"""More check digits: numbers with longer rules than one line of weights, and addresses of cryptographic currencies."""

from __future__ import annotations

from hashlib import sha256

from processors.content.check_digits import is_date, is_digits, luhn, mod11_10, weighted

_BASE58 = {one: at for at, one in enumerate("123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz")}
_BECH32 = {one: at for at, one in enumerate("qpzry9x8gf2tvdw0s3jn54khce6mua7l")}
_BECH32_STEPS = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
_36 = {one: at for at, one in enumerate("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ")}
_VIN = {**{one: int(one) for one in "0123456789"},
        **dict(zip("ABCDEFGHJKLMNPRSTUVWXYZ", map(int, "12345678123457923456789"), strict=True))}  # fmt: skip


def german_tax_id(digits: str) -> bool:
    """Identifikationsnummer: eleven digits, the first not 0, ISO/IEC 7064 MOD 11,10."""
    return len(digits) == 11 and digits[0] != "0" and len(set(digits)) > 1 and mod11_10(digits)


def german_pension(text: str) -> bool:
    """Versicherungsnummer: area, date, letter, series; sums of digits of weighted values, modulo 10."""
    if len(text) != 12 or not "A" <= text[8] <= "Z" or not is_digits(text[:8] + text[9:]):
        return False
    digits = f"{text[:8]}{_36[text[8]] - 9:02}{text[9:11]}"
    total = sum(
        sum(divmod(int(one) * weight, 10))
        for one, weight in zip(digits, (2, 1, 2, 5, 7, 1, 2, 1, 2, 1, 2, 1), strict=True)
    )
    return is_date(text[6:8], text[4:6], text[2:4]) and total % 10 == int(text[11])


def german_patient(text: str) -> bool:
    """Krankenversichertennummer: a letter as two digits, eight digits, and a check with weights 1 and 2, modulo 10."""
    if len(text) != 10 or not "A" <= text[0] <= "Z" or not is_digits(text[1:]):
        return False
    digits = f"{_36[text[0]] - 9:02}{text[1:9]}"
    return sum(sum(divmod(int(one) * (1 + at % 2), 10)) for at, one in enumerate(digits)) % 10 == int(text[9])


def icao9303(text: str) -> bool:
    """Document number with its check digit: weights 7, 3, 1 over digits and letters (ICAO 9303, part 3)."""
    if len(text) < 2 or any(one not in _36 for one in text) or not is_digits(text[-1]):
        return False
    return sum(_36[one] * (7, 3, 1)[at % 3] for at, one in enumerate(text[:-1])) % 10 == int(text[-1])


def french_nir(text: str) -> bool:
    """Number of a person in France: 13 characters and 97 less their remainder; 2A and 2B stand for 19, 18."""
    number = text[:13].replace("2A", "19").replace("2B", "18")
    if len(text) != 15 or text[0] not in "12378" or not is_digits(number + text[13:]):
        return False
    return 97 - int(number) % 97 == int(text[13:])


def belgian_number(digits: str) -> bool:
    """Number of a person in Belgium: date, series, 97 less the remainder; behind a 2 for those born since 2000."""
    if len(digits) != 11 or not is_digits(digits) or int(digits[2:4]) % 20 > 12 or int(digits[4:6]) > 31:
        return False
    return any(97 - int(century + digits[:9]) % 97 == int(digits[9:]) for century in ("", "2"))


def dutch_bsn(digits: str) -> bool:
    """Burgerservicenummer: weights 9 to 2 and -1, modulo 11."""
    return (
        len(digits) == 9
        and is_digits(digits)
        and len(set(digits)) > 1
        and (weighted(digits, (9, 8, 7, 6, 5, 4, 3, 2, -1)) % 11 == 0)
    )


def swedish_number(digits: str) -> bool:
    """Personnummer: ten or twelve digits, a date (of a coordination number: 60 more), Luhn over the last ten."""
    short = digits[-10:]
    if (
        len(digits) not in {10, 12}
        or not is_digits(digits)
        or (len(digits) == 12 and digits[:2] not in {"18", "19", "20"})
    ):
        return False
    day = int(short[4:6])
    return is_date(short[:2], short[2:4], str(day - 60 if day > 60 else day)) and luhn(short)


def norwegian_number(digits: str) -> bool:
    """Fødselsnummer: a date and two check digits, modulo 11."""
    if len(digits) != 11 or not is_digits(digits) or not is_date(digits[4:6], digits[2:4], digits[:2]):
        return False
    first = weighted(digits, (3, 7, 6, 1, 8, 9, 4, 5, 2, 1))
    return first % 11 == 0 and weighted(digits, (5, 4, 3, 2, 7, 6, 5, 4, 3, 2, 1)) % 11 == 0


def ean13(digits: str) -> bool:
    """GS1's check digit: weights 1 and 3, modulo 10; the Swiss AHV number has the prefix 756."""
    return len(digits) == 13 and is_digits(digits) and weighted(digits, (1, 3) * 6 + (1,)) % 10 == 0


def turkish_number(digits: str) -> bool:
    """Number of a person in Turkey: two check digits."""
    if len(digits) != 11 or not is_digits(digits) or digits[0] == "0":
        return False
    tenth = (7 * weighted(digits, (1, 0) * 4 + (1,)) - weighted(digits, (0, 1) * 4)) % 10
    return tenth == int(digits[9]) and sum(map(int, digits[:10])) % 10 == int(digits[10])


def thai_number(digits: str) -> bool:
    """Number of a person in Thailand: a category 1 to 8; weights 13 to 2; 11 less the remainder."""
    if len(digits) != 13 or not is_digits(digits) or digits[0] in "09" or digits[1] == "0":
        return False
    return (11 - weighted(digits[:12], tuple(range(13, 1, -1))) % 11) % 10 == int(digits[12])


def south_african_number(digits: str) -> bool:
    """Number of a person in South Africa: a date, Luhn, and 0 or 1 for the citizen."""
    return len(digits) == 13 and luhn(digits) and is_date(digits[:2], digits[2:4], digits[4:6]) and digits[10] in "012"


def us_provider(digits: str) -> bool:
    """NPI: ten digits that begin with 1 or 2; Luhn behind 80840."""
    return len(digits) == 10 and digits[0] in "12" and luhn("80840" + digits)


def us_dea(text: str) -> bool:
    """DEA number: two letters, six digits, the last digit of their sum (every second counts twice)."""
    return len(text) == 9 and is_digits(text[2:]) and weighted(text[2:8], (1, 2, 1, 2, 1, 2)) % 10 == int(text[8])


def chinese_number(text: str) -> bool:
    """Number of a person in China (GB 11643): ISO/IEC 7064 MOD 11-2 over 17 digits; X stands for ten."""
    if len(text) != 18 or not is_digits(text[:17]) or not is_date(text[6:10], text[10:12], text[12:14]):
        return False
    if text[6:8] not in {"18", "19", "20"}:
        return False
    rest = weighted(text[:17], (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)) % 11
    return "10X98765432"[rest] == text[17]


def taiwanese_number(text: str) -> bool:
    """Number of a person in Taiwan: a letter as two digits, weights 1, 9 to 1, 1, modulo 10."""
    if (
        len(text) != 10
        or text[0] not in "ABCDEFGHJKLMNPQRSTUVXYWZIO"
        or text[1] not in "1289"
        or not is_digits(text[1:])
    ):
        return False
    area = 10 + "ABCDEFGHJKLMNPQRSTUVXYWZIO".index(text[0])
    return (area // 10 + area % 10 * 9 + weighted(text[1:], (8, 7, 6, 5, 4, 3, 2, 1, 1))) % 10 == 0


def mexican_curp(text: str) -> bool:
    """CURP: 18 characters; weights 18 to 2; the letter Ñ stands between N and O."""
    if len(text) != 18 or any(one not in _36 for one in text) or not is_digits(text[17]):
        return False
    places = "0123456789ABCDEFGHIJKLMNÑOPQRSTUVWXYZ"
    total = sum(places.index(one) * (18 - at) for at, one in enumerate(text[:17]))
    return -total % 10 == int(text[17])


def argentine_cuit(digits: str) -> bool:
    """CUIT: a prefix of persons or companies, weights 5, 4, 3, 2, 7, 6, 5, 4, 3, 2, modulo 11."""
    if (
        len(digits) != 11
        or not is_digits(digits)
        or digits[:2] not in {"20", "23", "24", "25", "26", "27", "30", "33", "34"}
    ):
        return False
    return weighted(digits, (5, 4, 3, 2, 7, 6, 5, 4, 3, 2, 1)) % 11 == 0


def chilean_rut(text: str) -> bool:
    """RUT: digits, and the remainder by 11 with weights 2 to 7 from the right; K stands for ten."""
    if not 8 <= len(text) <= 9 or not is_digits(text[:-1]):
        return False
    total = sum(int(one) * (2 + at % 6) for at, one in enumerate(reversed(text[:-1])))
    return "0123456789K"[-total % 11] == text[-1]


def indian_gstin(text: str) -> bool:
    """GSTIN: state, PAN, entity, Z and a check of 36 values with factors 1 and 2."""
    if len(text) != 15 or any(one not in _36 for one in text):
        return False
    total = sum(sum(divmod(_36[one] * (1 + at % 2), 36)) for at, one in enumerate(text[:14]))
    return -total % 36 == _36[text[14]]


def korean_business(digits: str) -> bool:
    """Number of a business in Korea: weights 1, 3, 7, 1, 3, 7, 1, 3, 5, and the tens of the last product."""
    if len(digits) != 10 or not is_digits(digits):
        return False
    return -(weighted(digits, (1, 3, 7, 1, 3, 7, 1, 3, 5)) + int(digits[8]) * 5 // 10) % 10 == int(digits[9])


def vin(text: str) -> bool:
    """Vehicle identification number (49 CFR 565.15): 17 characters without I, O and Q; the ninth checks."""
    if len(text) != 17 or any(one not in _VIN for one in text) or is_digits(text):
        return False
    weights = (8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2)
    return "0123456789X"[sum(_VIN[one] * weight for one, weight in zip(text, weights, strict=True)) % 11] == text[8]


def base58check(text: str) -> bool:
    """Address in base58 with version 0 or 5 (Bitcoin): the last four bytes are those of SHA-256 twice."""
    if not 26 <= len(text) <= 35 or any(one not in _BASE58 for one in text):
        return False
    number = 0
    for one in text:
        number = number * 58 + _BASE58[one]
    if number >= 1 << 200:
        return False
    data = number.to_bytes(25, "big")
    return data[0] in {0, 5, 48, 50} and sha256(sha256(data[:21]).digest()).digest()[:4] == data[21:]


def bech32(text: str) -> bool:
    """Address with a readable prefix (BIP 173 and BIP 350), in one case."""
    low = text.lower()
    prefix, _, body = low.rpartition("1")
    if (
        text not in {low, text.upper()}
        or not prefix
        or not 6 < len(body) <= 84
        or any(one not in _BECH32 for one in body)
    ):
        return False
    values = [
        *(ord(one) >> 5 for one in prefix),
        0,
        *(ord(one) & 31 for one in prefix),
        *(_BECH32[one] for one in body),
    ]
    check = 1
    for value in values:
        top, check = check >> 25, (check & 0x1FFFFFF) << 5 ^ value
        for at, step in enumerate(_BECH32_STEPS):
            check ^= step if top >> at & 1 else 0
    return check in {1, 0x2BC830A3}
