"""How much structured personal data `processors.content.personal` finds, and how often it finds some where none is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.quality.rows import Row, count, read
from processors.content import personal

STRUCTURED = {
    "CREDIT_CARD": "personal.card",
    "PHONE_NUMBER": "personal.phone",
    "EMAIL_ADDRESS": "personal.email",
    "US_SSN": "personal.us_ssn",
    "IP_ADDRESS": "personal.ip",
    "US_DRIVER_LICENSE": "personal.driver_license",
}

# An entity of the recognizers' tests, and our kinds for it. Entities that are missing have no check and no label there.
ENTITIES = {
    "ABA_ROUTING_NUMBER": ("us_routing",),
    "AU_ABN": ("au_abn",),
    "AU_MEDICARE": ("au_medicare",),
    "CA_SIN": ("ca_sin",),
    "CREDIT_CARD": ("card",),
    "CRYPTO": ("crypto",),
    "DE_FUEHRERSCHEIN": ("driver_license",),
    "DE_HEALTH_INSURANCE": ("de_patient",),
    "DE_PASSPORT": ("de_identity_card", "passport"),
    "DE_SOCIAL_SECURITY": ("de_pension",),
    "DE_TAX_ID": ("de_tax_id",),
    "EMAIL_ADDRESS": ("email",),
    "ES_NIE": ("es_nie",),
    "ES_NIF": ("es_nif",),
    "FI_PERSONAL_IDENTITY_CODE": ("fi_code",),
    "IN_AADHAAR": ("in_aadhaar",),
    "IN_GSTIN": ("in_gstin",),
    "IN_PAN": ("in_pan",),
    "IN_PASSPORT": ("passport",),
    "IP_ADDRESS": ("ip",),
    "IT_FISCAL_CODE": ("it_fiscal_code",),
    "KR_BRN": ("kr_brn",),
    "KR_FRN": ("kr_frn",),
    "KR_PASSPORT": ("passport",),
    "KR_RRN": ("kr_rrn",),
    "MAC_ADDRESS": ("mac",),
    "MEDICAL_LICENSE": ("us_dea",),
    "PHONE": ("phone",),
    "PH_MOBILE_NUMBER": ("phone",),
    "PH_TIN": ("ph_tin",),
    "PL_PESEL": ("pl_pesel",),
    "SE_PERSONNUMMER": ("se_number",),
    "TH_TNIN": ("th_number",),
    "TR_NATIONAL_ID": ("tr_number",),
    "TR_PHONE_NUMBER": ("phone",),
    "UK_DRIVING_LICENCE": ("uk_driver",),
    "UK_NHS": ("uk_nhs",),
    "UK_NINO": ("uk_nino",),
    "US_BANK_NUMBER": ("bank_account",),
    "US_DRIVER_LICENSE": ("driver_license",),
    "US_ITIN": ("us_itin",),
    "US_MBI": ("us_mbi",),
    "US_NPI": ("us_npi",),
    "US_PASSPORT": ("passport",),
    "US_SSN": ("us_ssn",),
    "ZA_ID_NUMBER": ("za_number",),
}


def score(corpora: Path) -> list[Row]:
    """Return the rows: spans found whole, texts without personal data, tests of recognizers, innocent texts."""
    sentences = read(corpora, "pii_presidio_research")
    rows = [_spans("structured, all", sentences, set(STRUCTURED))]
    rows += [_spans(f"structured, {entity}", sentences, {entity}) for entity in STRUCTURED]
    rows.append(count("text", "clean sentences, false", [one["text"] for one in sentences if not one["spans"]], _found))
    tests = [one for one in read(corpora, "pii_presidio_recognizers") if one["entity"] in ENTITIES]
    for label, what in (
        ("pii", "recognizers' positives, within the entity"),
        ("not_pii", "recognizers' negatives, false"),
    ):
        given = [one for one in tests if one["label"] == label]
        rows.append(Row("text", what, sum(map(_is_entity, given)), len(given)))
    for name in ("pi_notinject", "benign_bfcl", "sh_benign_tldr", "sh_benign_nl2bash"):
        rows.append(count("innocent", f"{name}, any kind", [one["text"] for one in read(corpora, name)], _found))
    return rows


def _found(text: str) -> bool:
    return bool(personal.find(text))


def _is_entity(row: dict[str, Any]) -> bool:
    return any(hit.kind.removeprefix("personal.") in ENTITIES[row["entity"]] for hit in personal.find(row["text"]))


def _spans(what: str, rows: list[dict[str, Any]], entities: set[str]) -> Row:
    """Return how many spans are covered to the last character by hits of any kind."""
    covered = total = 0
    for row in rows:
        hits = personal.find(row["text"])
        for span in row["spans"]:
            if span["type"] in entities:
                total += 1
                places = {at for hit in hits for at in range(hit.start, hit.end)}
                covered += all(at in places for at in range(span["start"], span["end"]))
    return Row("text", what, covered, total)
