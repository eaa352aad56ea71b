"""Shapes of personal numbers by country, with their checks and the words that stand beside them.

Sources are the issuers' own publications; the checks name theirs (`check_digits.py`). A weak check (one digit of ten)
on a bare number is chance in one number of ten, so such a number needs separators at its customary places, or a label.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from processors.content import check_digits as first
from processors.content import check_digits_more as more


class PersonalShape(NamedTuple):
    """A number's shape: the first group of `pattern` is the value; `check` takes it in upper case without separators.

    `label` is a pattern of words; one of them must stand beside a value, unless `alone` is true, or `grouped` is true
    and the value holds a separator, or `whole` is true and the value is the whole text, as in a field of a form.
    With `exact` the check takes the value as it is written.
    """

    kind: str
    pattern: str
    check: Callable[[str], bool]
    label: str = ""
    alone: bool = False
    grouped: bool = False
    whole: bool = False
    exact: bool = False


def _any(value: str) -> bool:
    return bool(value)


def _mixed(value: str) -> bool:
    """Return True for a value with at least four digits."""
    return sum(one in "0123456789" for one in value) >= 4


def _ssn(value: str) -> bool:
    """SSN: no area 000, 666 or 9.., no group 00, no number 0000 (Social Security Administration, POMS RM 10201.035)."""
    famous = value in {"078051120", "219099999", "123456789"}
    return (
        value[0] != "9"
        and value[:3] not in {"000", "666"}
        and value[3:5] != "00"
        and value[5:] != "0000"
        and not famous
    )


def _itin(value: str) -> bool:
    """ITIN: 9, and fourth and fifth digits of 50 to 65, 70 to 88, 90 to 92 or 94 to 99 (IRS)."""
    group = int(value[3:5])
    return value[0] == "9" and (50 <= group <= 65 or 70 <= group <= 88 or 90 <= group <= 92 or 94 <= group <= 99)


def _nino(value: str) -> bool:
    """NINO: two letters that HMRC gives, six digits, a suffix A to D."""
    return value[:2] not in {"BG", "GB", "NK", "KN", "TN", "NT", "ZZ"}


def _finnish(value: str) -> bool:
    return first.finnish_code(value.upper())


def _aadhaar(value: str) -> bool:
    return value[0] not in "01" and value != value[::-1] and first.verhoeff(value)


def _korean(series: str, *, checked: bool) -> Callable[[str], bool]:
    def check(value: str) -> bool:
        given = first.is_date(value[:2], value[2:4], value[4:6]) and value[6] in series
        return given and (not checked or first.resident_of_korea(value))

    return check


def _imei(value: str) -> bool:
    return len(set(value)) > 2 and first.luhn(value)


def _eth(value: str) -> bool:
    return len(set(value[2:])) > 4


_TAX = r"\btax|\btin\b|steuer"
# Between a label and its value: "number is", "No.:", `": "`.
_NUMBER = r"(?:number|no|nr|num|id|code|nummer|#|№)?[.:#]?\s*(?:is|was|ist|am|on|=|:|#)?[\s:=#\"']*"

SHAPES: tuple[PersonalShape, ...] = (
    PersonalShape("us_ssn", r"\b(\d{3}-\d{2}-\d{4}|\d{3} \d{2} \d{4}|\d{3}\.\d{2}\.\d{4})\b", _ssn, alone=True),
    PersonalShape("us_ssn", r"\b(\d{9})\b", _ssn, r"\bssns?\b|social.security"),
    PersonalShape("us_itin", r"\b(9\d{2}[- ]?\d{2}[- ]?\d{4})\b", _itin, r"\bitin\b|individual taxpayer|tax id",
                  grouped=True),
    PersonalShape("us_routing", r"\b(\d{4}-\d{4}-\d|\d{9})\b", first.aba, r"\baba\b|routing|bank transit",
                  grouped=True),
    PersonalShape("us_npi", r"\b([12]\d{9})\b", more.us_provider, r"\bnpi\b|national provider|provider id"),
    PersonalShape("us_dea", r"\b([ABCDEFGHJKLMPRSTUX][A-Z9]\d{7})\b", more.us_dea, r"\bdea\b"),
    PersonalShape("us_mbi",
                  r"(?i)\b([1-9][AC-HJKMNP-RT-Y][AC-HJKMNP-RT-Y0-9]\d-?[AC-HJKMNP-RT-Y][AC-HJKMNP-RT-Y0-9]\d-?"
                  r"[AC-HJKMNP-RT-Y]{2}\d{2})\b", _any, alone=True),
    PersonalShape("uk_nhs", r"\b(\d{3}[ -]?\d{3}[ -]?\d{4})\b", first.nhs, r"\bnhs\b|national health", grouped=True),
    PersonalShape("uk_nino", r"(?i)\b([A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?\d{2} ?\d{2} ?\d{2} ?[A-D])\b", _nino,
                  alone=True),
    PersonalShape("uk_driver", r"(?i)\b([A-Z9]{5}\d[0156]\d[0-3]\d{2}[A-Z9]{2}[A-Z0-9]{3})\b", _any, alone=True),
    PersonalShape("de_tax_id", r"\b([1-9]\d{10}|[1-9]\d ?\d{3} ?\d{3} ?\d{3})\b", more.german_tax_id,
                  r"steuer|idnr|\btax|identifikationsnummer", grouped=True, whole=True),
    PersonalShape("de_pension", r"(?i)\b(\d{2} ?\d{6} ?[A-Z] ?\d{3})\b", more.german_pension, alone=True),
    PersonalShape("de_patient", r"(?i)\b([A-Z]\d{9})\b", more.german_patient,
                  r"kranken|kvnr|versicher|health insur", whole=True),
    PersonalShape("de_identity_card", r"(?i)\b([CFGHJKLMNPRTVWXYZ][CFGHJKLMNPRTVWXYZ0-9]{8})\b", more.icao9303,
                  r"personalausweis|reisepass|ausweis|passport", whole=True),
    PersonalShape("es_nif", r"(?i)\b(\d{7,8}-?[TRWAGMYFPDXBNJZSQVHLCKE])\b", first.spanish_nif, alone=True),
    PersonalShape("es_nie", r"(?i)\b([XYZ]-?\d{7}-?[TRWAGMYFPDXBNJZSQVHLCKE])\b", first.spanish_nif, alone=True),
    PersonalShape("it_fiscal_code",
                  r"(?i)\b([A-Z]{6}[0-9LMNP-V]{2}[A-EHLMPR-T][0-9LMNP-V]{2}[A-Z][0-9LMNP-V]{3}[A-Z])\b",
                  first.italian_code, alone=True),
    PersonalShape("pl_pesel", r"\b(\d{11})\b", first.pesel, r"pesel"),
    PersonalShape("pl_nip", r"\b(\d{3}-\d{3}-\d{2}-\d{2}|\d{3}-\d{2}-\d{2}-\d{3})\b", first.polish_nip, grouped=True),
    PersonalShape("pl_nip", r"\b(?:PL)?(\d{10})\b", first.polish_nip, r"\bnip\b"),
    PersonalShape("fi_code", r"(?i)\b(\d{6}[-+A-FU-Y]\d{3}[0-9A-Y])\b", _finnish, alone=True, exact=True),
    PersonalShape("sg_nric", r"(?i)\b([STFGM]\d{7}[A-Z])\b", first.singapore_nric, alone=True),
    PersonalShape("au_abn", r"\b(\d{2} ?\d{3} ?\d{3} ?\d{3})\b", first.abn, r"\babn\b|business n", grouped=True,
                  whole=True),
    PersonalShape("au_acn", r"\b(\d{3} ?\d{3} ?\d{3})\b", first.acn, r"\bacn\b|company n"),
    PersonalShape("au_tfn", r"\b(\d{3} ?\d{3} ?\d{3})\b", first.tfn, r"\btfn\b|tax file"),
    PersonalShape("au_medicare", r"\b([2-6]\d{3} ?\d{5} ?\d(?:[ /-]?\d)?)\b", first.medicare, r"medicare",
                  grouped=True),
    PersonalShape("in_aadhaar", r"\b([2-9]\d{3}([- :]?)\d{4}[- :]?\d{4})\b", _aadhaar, r"aadhaa?r|\buid(?:ai)?\b",
                  grouped=True, whole=True),
    PersonalShape("in_pan", r"\b([A-Z]{3}[ABCFGHJLPT][A-Z]\d{4}[A-Z])\b", _any, alone=True),
    PersonalShape("in_pan", r"(?i)\b([A-Z]{5}\d{4}[A-Z])\b", _any, r"\bpan\b|permanent account", whole=True),
    PersonalShape("in_gstin", r"\b([0-3]\d[A-Z]{5}\d{4}[A-Z][1-9A-Z]Z[0-9A-Z])\b", more.indian_gstin, alone=True),
    PersonalShape("in_voter", r"(?i)\b([A-Z]{3}\d{7})\b", _any, r"voter|\bepic\b|elector"),
    PersonalShape("kr_rrn", r"\b(\d{6}-[1-4]\d{6})\b", _korean("1234", checked=False), alone=True),
    PersonalShape("kr_rrn", r"\b(\d{13})\b", _korean("1234", checked=True), alone=True),
    PersonalShape("kr_frn", r"\b(\d{6}-[5-8]\d{6})\b", _korean("5678", checked=False), alone=True),
    PersonalShape("kr_frn", r"\b(\d{13})\b", _korean("5678", checked=True), alone=True),
    PersonalShape("kr_brn", r"\b(\d{3}-\d{2}-\d{5})\b", more.korean_business, alone=True),
    PersonalShape("br_cpf", r"\b(\d{3}\.\d{3}\.\d{3}-\d{2}|\d{11})\b", first.cpf, r"\bcpf\b", grouped=True,
                  whole=True),
    PersonalShape("br_cnpj", r"\b(\d{2}\.\d{3}\.\d{3}/\d{4}-\d{2}|\d{14})\b", first.cnpj, r"\bcnpj\b", grouped=True,
                  whole=True),
    PersonalShape("fr_nir", r"\b([12378] ?\d{2} ?\d{2} ?(?:\d{2}|2[AB]) ?\d{3} ?\d{3} ?\d{2})\b", more.french_nir,
                  alone=True),
    PersonalShape("be_number", r"\b(\d{2}\.\d{2}\.\d{2}-\d{3}\.\d{2}|\d{11})\b", more.belgian_number,
                  r"rijksregister|registre national|\bnn\b|\binsz\b|\bniss\b", grouped=True),
    PersonalShape("nl_bsn", r"\b(\d{4}\.?\d{2}\.?\d{3}|\d{9})\b", more.dutch_bsn, r"\bbsn\b|burgerservice|sofi"),
    PersonalShape("se_number", r"\b((?:18|19|20)\d{6}[-+]?\d{4})\b", more.swedish_number, alone=True),
    PersonalShape("se_number", r"\b(\d{6}[-+]\d{4})\b", more.swedish_number, alone=True),
    PersonalShape("se_number", r"\b(\d{10})\b", more.swedish_number, r"personnummer|swedish|person ?nr"),
    PersonalShape("no_number", r"\b(\d{6} ?\d{5})\b", more.norwegian_number, alone=True),
    PersonalShape("dk_cpr", r"\b(\d{6}-?\d{4})\b", _any, r"\bcpr\b|personnummer"),
    PersonalShape("ch_ahv", r"\b(756\.?\d{4}\.?\d{4}\.?\d{2})\b", more.ean13, alone=True),
    PersonalShape("tr_number", r"\b([1-9]\d{10})\b", more.turkish_number, alone=True),
    PersonalShape("th_number", r"\b([1-8][ -]?\d{4}[ -]?\d{5}[ -]?\d{2}[ -]?\d)\b", more.thai_number,
                  r"thai|บัตร|ประชาชน", grouped=True),
    PersonalShape("za_number", r"\b(\d{6} ?\d{4} ?\d{3})\b", more.south_african_number,
                  r"south africa|\bza\b|\bid n|identity|\brsa\b"),
    PersonalShape("ca_sin", r"\b([1-79]\d{2}([- ])\d{3}[- ]\d{3})\b", first.luhn, grouped=True),
    PersonalShape("ca_sin", r"\b([1-79]\d{8})\b", first.luhn, r"\bsin\b|social insurance"),
    PersonalShape("cn_number", r"(?i)\b(\d{17}[0-9X])\b", more.chinese_number, alone=True),
    PersonalShape("tw_number", r"(?i)\b([A-Z][1289]\d{8})\b", more.taiwanese_number,
                  r"taiwan|身分證|身份證|national id"),
    PersonalShape("mx_curp", r"(?i)\b([A-Z]{4}\d{6}[HMX][A-Z]{5}[A-Z0-9]\d)\b", more.mexican_curp, alone=True),
    PersonalShape("ar_cuit", r"\b(\d{2}-\d{8}-\d)\b", more.argentine_cuit, alone=True),
    PersonalShape("cl_rut", r"(?i)\b(\d{1,2}\.\d{3}\.\d{3}-[0-9K])\b", more.chilean_rut, alone=True),
    PersonalShape("ph_tin", r"\b(\d{3}-\d{3}-\d{3}(?:-\d{3,5})?)\b", lambda value: value[3:9] != "000000", _TAX),
    PersonalShape("vin", r"(?i)\b([A-HJ-NPR-Z0-9]{17})\b", more.vin, alone=True),
    PersonalShape("imei", r"\b(\d{15}|\d{2}[- ]\d{6}[- ]\d{6}[- ]\d)\b", _imei, r"\bimei\b"),
    PersonalShape("crypto", r"\b([13LM][1-9A-HJ-NP-Za-km-z]{25,34})\b", more.base58check, alone=True, exact=True),
    PersonalShape("crypto", r"(?i)\b((?:bc|tb|ltc)1[02-9ac-hj-np-z]{11,87})\b", more.bech32, alone=True, exact=True),
    PersonalShape("crypto", r"\b(0x[0-9a-fA-F]{40})\b", _eth, alone=True, exact=True),
)  # fmt: skip


def _labelled(kind: str, label: str, value: str, check: Callable[[str], bool] = _mixed) -> PersonalShape:
    """Return the shape of a value that only its label makes personal: the label stands directly before it."""
    return PersonalShape(kind, rf"(?i)(?:{label})\s*{_NUMBER}({value})\b", check, alone=True)


_BORN = (
    r"\b(?:dob|date of birth|birth ?date|birth ?day|born(?: on)?|geboren(?: am)?|geburtsdatum|fecha de nacimiento|"
    r"date de naissance|data di nascita|nat[oa] il)\b|\bd\.o\.b\.?"
)
_DATE = (
    r"\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/. ]\d{1,2}[-/. ]\d{2,4}|\d{1,2}\.? ?[A-Za-zäéû]{3,9}\.? ?,? ?\d{4}|"
    r"[A-Za-z]{3,9}\.? \d{1,2}(?:st|nd|rd|th)?,? \d{4}"
)

LABELLED: tuple[PersonalShape, ...] = (
    _labelled("passport", r"\b(?:passport|reisepass|passeport|pasaporte|travel document)|여권(?:번호)?(?:는)?",
              r"[A-Z]{2,3}\d{6}|[A-Z]?\d[A-Z0-9]{6,8}"),
    _labelled("driver_license", r"\b(?:driver'?s?|driving) li[cs]en[cs]e|f(?:ü|ue)hrerschein|fahrerlaubnis",
              r"[A-Z0-9][A-Z0-9-]{4,18}"),
    _labelled("bank_account", r"\b(?:bank|checking|savings|current) (?:account|acct)", r"\d[\d -]{5,18}\d"),
    _labelled("bank_account", r"\b(?:account|acct|a/c) ?(?:number|no|num|#)", r"\d[\d -]{6,18}\d"),
    _labelled("health_number", r"\b(?:health insurance|medical record|patient|mrn)\b", r"[A-Z]{0,3}\d[\dA-Z-]{5,14}"),
    _labelled("vehicle_plate", r"\b(?:(?:license|licence|number|registration) plate|plaka(?:s\x{131})?|kennzeichen)",
              r"[A-Z0-9]{1,4}[ -]?[A-Z0-9]{1,4}[ -]?\d{1,4}[A-Z]{0,2}"),
    _labelled("date_of_birth", _BORN, _DATE, _any),
)  # fmt: skip
