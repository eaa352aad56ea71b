"""Vectors of others: each row is decided right, or refused because its algorithms are not in the profile."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from processors.identity.tokens.jose import ALGORITHMS
from processors.identity.tokens.reasons import KeyReason, TokenReason
from tests.house import ROOT
from tests.identity_tokens.corpora import (
    ACCEPTED,
    CORPORA,
    HASHES,
    decided,
    hmac_token,
    jose_cookbook,
    jws_wycheproof,
    public_texts_of_the_rsa_key,
    table_row,
)
from tests.identity_tokens.minting import public_jwk, rows_of, set_of

PAGE = (ROOT / "docs" / "identity.md").read_text("utf-8")

# The key says PS256 or ES521, which is not an algorithm, and the token PS384 or ES512.
KEYS_FOR_ANOTHER_ALGORITHM = {346, 347, 350, 351}


@pytest.mark.parametrize("name", CORPORA)
def test_each_row_in_the_profile_is_decided_as_its_authors_say(name: str) -> None:
    rows = list(CORPORA[name]())
    wrong = [row for row in rows if row.in_profile and row.authors_accept not in (None, row.verdict == ACCEPTED)]

    assert len(rows) == len(rows_of(f"{name}.jsonl"))
    assert wrong == []


@pytest.mark.parametrize("name", CORPORA)
def test_no_row_out_of_the_profile_is_accepted(name: str) -> None:
    assert [row for row in CORPORA[name]() if not row.in_profile and row.verdict == ACCEPTED] == []


@pytest.mark.parametrize("name", CORPORA)
def test_the_page_has_the_figures_of_each_corpus(name: str) -> None:
    assert table_row(name, list(CORPORA[name]())) in PAGE.splitlines()


def test_the_only_rows_that_their_authors_accept_and_we_refuse_are_named() -> None:
    known = {row["id"]: row for row in rows_of("jws_wycheproof.jsonl")}
    ours = [row for row in jws_wycheproof() if row.authors_accept and row.verdict != ACCEPTED]
    by_kind = Counter(known[row.name]["key"]["kty"] for row in ours)

    assert by_kind == {"oct": 10, "RSA": 2, "EC": 2}
    assert {known[row.name]["tcId"] for row in ours if known[row.name]["key"]["kty"] != "oct"} == (
        KEYS_FOR_ANOTHER_ALGORITHM
    )


def test_those_rows_verify_under_the_same_key_without_its_algorithm() -> None:
    """So the name of the algorithm alone is the reason, and not the signature."""
    rows = [row for row in rows_of("jws_wycheproof.jsonl") if row["tcId"] in KEYS_FOR_ANOTHER_ALGORITHM]
    bare = [{name: value for name, value in row["key"].items() if name != "alg"} for row in rows]

    assert [decided(row["jws"], set_of(key)) for row, key in zip(rows, bare, strict=True)] == [ACCEPTED] * 4


def test_the_worked_examples_of_the_standards_are_each_decided_by_name() -> None:
    assert {row.name: row.verdict for row in jose_cookbook()} == {
        "jws/4_1.rsa_v15_signature.json": ACCEPTED,
        "jws/4_2.rsa-pss_signature.json": ACCEPTED,
        "jws/4_3.ecdsa_signature.json": ACCEPTED,
        "curve25519/jws.json": ACCEPTED,
        "jwk/3_1.ec_public_key.json": ACCEPTED,
        "jwk/3_3.rsa_public_key.json": ACCEPTED,
        "jwk/3_2.ec_private_key.json": KeyReason.KEY_PRIVATE,
        "jwk/3_4.rsa_private_key.json": KeyReason.KEY_PRIVATE,
        "jwk/3_5.symmetric_key_mac_computation.json": KeyReason.KEY_SYMMETRIC,
        "jwk/3_6.symmetric_key_encryption.json": KeyReason.KEY_USE,
        "jws/4_4.hmac-sha2_integrity_protection.json": TokenReason.TOKEN_SYMMETRIC,
        "jws/4_5.signature_with_detached_content.json": TokenReason.TOKEN_SYMMETRIC,
        "jws/4_6.protecting_specific_header_fields.json": TokenReason.TOKEN_IS_JSON,
        "jws/4_7.protecting_content_only.json": TokenReason.TOKEN_IS_JSON,
        "jws/4_8.multiple_signatures.json": TokenReason.TOKEN_IS_JSON,
        "rfc7797/hmac-sha2_b64_false.json": TokenReason.TOKEN_CRITICAL,
        "rfc7797/4.2.hmac-sha2_b64_false.json": TokenReason.TOKEN_IS_JSON,
        "curve25519/ecdh-es.json": TokenReason.TOKEN_IS_ENCRYPTED,
    }


def test_a_shared_secret_never_verifies_however_the_key_set_presents_it() -> None:
    assert {row.verdict for row in CORPORA["jwt_weak_secrets"]()} == {TokenReason.TOKEN_SYMMETRIC}


@pytest.mark.parametrize("algorithm", HASHES)
def test_a_public_key_never_serves_as_a_shared_secret(algorithm: str) -> None:
    keys = set_of(public_jwk("RS256"))
    texts = public_texts_of_the_rsa_key()
    verdicts = {decided(hmac_token(text, algorithm, kid), keys) for text in texts for kid in ("RS256", None)}

    assert verdicts == {TokenReason.TOKEN_SYMMETRIC}


def test_the_page_has_each_reason_and_each_algorithm() -> None:
    rows = [f"| `{one}` | {one.meaning} | {one.step} |" for one in (*TokenReason, *KeyReason)]
    missing = [row for row in rows if row not in PAGE.splitlines()]

    assert missing == []
    assert len(re.findall(r"^\| `(?:TOKEN|KEY)_", PAGE, re.MULTILINE)) == len(rows)
    assert all(f"`{algorithm}`" in PAGE for algorithm in ALGORITHMS)
