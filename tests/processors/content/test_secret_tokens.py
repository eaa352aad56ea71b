"""Credentials are found in the formats of their providers, and the places where they will stand are not.

The tokens are made up while the tests run, so that no scanner takes this file for a leak.
"""

from __future__ import annotations

import string
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.content import secret_tokens, yelp_patterns
from processors.content.entropy import is_placeholder, millibits

LETTERS = string.ascii_letters + string.digits
LOWER = string.ascii_lowercase + string.digits
UPPER = string.ascii_uppercase + string.digits
HEX = "0123456789abcdef"
URL = LETTERS + "_-"


def some(alphabet: str, size: int, seed: int = 7) -> str:
    """Return made-up characters; no sign is the last; the same for the same arguments."""
    random = Random(f"{alphabet}{size}{seed}")
    return "".join(random.choice(alphabet) for _ in range(size - 1)) + random.choice(alphabet.rstrip("+/_-"))


def uuid() -> str:
    return "-".join(some(HEX, size) for size in (8, 4, 4, 4, 12))


ISSUED = {
    "aws": ["AK" + "IA" + some(UPPER[:26], 15) + "Q", "da2" + "-" + some(LOWER, 26)],
    "gcp": ["AI" + "za" + some(URL, 35), "GOC" + "SPX-" + some(URL, 28), "ya29" + "." + some(URL, 60)],
    "github": ["gh" + kind + "_" + some(LETTERS, 36) for kind in "pousr"] + ["github" + "_pat_" + some(LETTERS, 82)],
    "gitlab": ["gl" + kind + "-" + some(URL, 20) for kind in ("pat", "dt", "rt", "ptt", "soat")],
    "slack": [
        "xox" + "b-" + some("0123456789", 12) + "-" + some("0123456789", 12) + "-" + some(LETTERS, 24),
        "https://hooks.slack" + ".com/services/T" + some(UPPER, 9) + "/B" + some(UPPER, 9) + "/" + some(LETTERS, 24),
    ],
    "stripe": ["sk" + "_live_" + some(LETTERS, 24), "rk" + "_test_" + some(LETTERS, 99)],
    "twilio": ["SK" + some(HEX, 32), "AC" + some(HEX, 32)],
    "sendgrid": ["SG" + "." + some(URL, 22) + "." + some(URL, 43)],
    "mailgun": ["key" + "-" + some(HEX, 32)],
    "npm": ["npm" + "_" + some(LETTERS, 36)],
    "pypi": ["py" + "pi-AgEIcHlwaS5vcmc" + some(URL, 90)],
    "docker": ["dckr" + "_pat_" + some(URL, 27)],
    "huggingface": ["hf" + "_" + some(LETTERS, 34)],
    "openai": ["sk" + "-" + some(LETTERS, 20) + "T3Blbk" + "FJ" + some(LETTERS, 20), "sk" + "-proj-" + some(URL, 120)],
    "anthropic": ["sk" + "-ant-api03-" + some(URL, 93) + "AA"],
    "digitalocean": ["dop" + "_v1_" + some(HEX, 64)],
    "shopify": ["shp" + kind + "_" + some(HEX, 32) for kind in ("at", "ca", "pa", "ss")],
    "square": ["sq0" + "atp-" + some(URL, 22)],
    "paypal": ["access_token" + "$production$" + some(LOWER, 16) + "$" + some(HEX, 32)],
    "telegram": [some("123456789", 9) + ":AA" + some(URL, 33)],
    "databricks": ["dap" + "i" + some(HEX, 32)],
    "newrelic": ["NR" + "AK-" + some(UPPER, 27)],
    "grafana": ["gl" + "sa_" + some(LETTERS, 32) + "_" + some(HEX, 8)],
    "sentry": ["sn" + "tryu_" + some(HEX, 64)],
    "linear": ["lin" + "_api_" + some(LETTERS, 40)],
    "notion": ["nt" + "n_" + some("0123456789", 11) + some(LETTERS, 35)],
    "atlassian": ["AT" + "ATT3" + some(LETTERS, 186)],
    "vault": ["hv" + "s." + some(URL, 90)],
    "terraform": [some(LETTERS, 14) + ".atlas" + "v1." + some(URL, 67)],
    "doppler": ["dp" + ".pt." + some(LETTERS, 43)],
    "pulumi": ["pu" + "l-" + some(HEX, 40)],
    "postman": ["PM" + "AK-" + some(HEX, 24) + "-" + some(HEX, 34)],
    "age": ["AGE-SECRET" + "-KEY-1" + some("QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L", 58)],
    "jwt": ["ey" + "J" + some(LETTERS, 33) + ".ey" + "J" + some(LETTERS, 40) + "." + some(URL, 43)],
    "url": ["postgres" + "://app:" + some(LETTERS, 14) + "@db.internal:5432/app"],
    "azure": ["AccountName=a;Account" + "Key=" + some(LETTERS, 86) + "==;"],
}
NAMED = {
    "adafruit": some(LOWER, 32),
    "algolia": some(LOWER, 32),
    "aws": some(LETTERS + "/+", 40),
    "cloudflare": some(URL, 40),
    "cohere": some(LETTERS, 40),
    "datadog": some(LOWER, 40),
    "fastly": some(URL, 32),
    "heroku": uuid(),
    "launchdarkly": some(LOWER, 40),
    "okta": "00" + some(URL, 40),
    "plaid": some(LOWER, 30),
    "snyk": uuid(),
    "trello": some(LOWER, 32),
    "twitch": some(LOWER, 30),
    "zendesk": some(LOWER, 40),
}
ASSIGNMENTS = (
    '{name}_token = "{value}"',
    "{NAME}_TOKEN={value}",
    '{{"{name}Token": "{value}"}}',
    "{name}_token: '{value}'",
    '"{name}_token" => "{value}",',
    '{name}Token := "{value}"',
    "<{name}.token>{value}</{name}.token>",
    'System.setProperty("{NAME}_TOKEN", "{value}")',
    '{{"config.ini": "{NAME}_TOKEN={value}\\nBACKUP=true"}}',
    "{NAME}_TOKEN ?= {value}",
)


def kinds(text: str) -> set[str]:
    return {hit.kind for hit in secret_tokens.find(text)}


@pytest.mark.parametrize(
    "frame", ["{}", "token={}\n", 'a "{}", b', "see\\n{}\\n", "https://h/?t%3D{}&x=1", "日本 {} é"]
)
@pytest.mark.parametrize("provider", ISSUED)
def test_a_token_is_found_in_any_surroundings(provider: str, frame: str) -> None:
    """The kind is the provider's, and the span holds the token's characters."""
    for token in ISSUED[provider]:
        text = frame.format(token)
        found = [hit for hit in secret_tokens.find(text) if hit.kind == f"secret.{provider}"]

        assert found, (provider, frame)
        assert text[found[0].start : found[0].end] in token


@pytest.mark.parametrize("assignment", ASSIGNMENTS)
@pytest.mark.parametrize("provider", NAMED)
def test_a_value_is_found_behind_the_providers_name(provider: str, assignment: str) -> None:
    value = NAMED[provider]
    text = assignment.format(name=provider, NAME=provider.upper(), value=value)
    found = [hit for hit in secret_tokens.find(text) if hit.kind == f"secret.{provider}"]

    assert [text[hit.start : hit.end] for hit in found] == [value]


@pytest.mark.parametrize("provider", NAMED)
def test_a_value_without_a_name_is_not_found(provider: str) -> None:
    """A hash, a commit and an identifier look the same."""
    assert kinds(f"see {NAMED[provider]} there") == set()


@pytest.mark.parametrize("label", ["RSA PRIVATE KEY", "OPENSSH PRIVATE KEY", "PRIVATE KEY", "PGP PRIVATE KEY BLOCK"])
def test_a_private_key_is_found_to_its_last_line(label: str) -> None:
    lines = "\n".join(some(LETTERS + "+/", 64, seed) for seed in range(8))
    key = f"-----BEGIN {label}-----\n{lines}\n-----END {label}-----"
    text = f"before {key} after"

    assert [text[hit.start : hit.end] for hit in secret_tokens.find(text)] == [key]
    assert kinds(text) == {"secret.private_key"}


def test_a_name_that_speaks_of_a_secret_makes_a_weak_hit() -> None:
    """A value of words, a path and a number are not secrets."""
    value = some(LETTERS, 30)

    assert kinds(f'client_secret = "{value}"') == {"secret.generic"}
    assert kinds('client_secret = "the_name_of_a_setting"') == set()
    assert kinds("token: /var/lib/tokens/2024/01/list.txt") == set()
    assert kinds("session key = 1234567890123456789012") == set()


@pytest.mark.parametrize(
    "text",
    [
        "AK" + "IA" + "X" * 16,
        "AK" + "IAIOSFODNN7" + "EXAMPLE",
        "gh" + "p_" + "x" * 36,
        "gh" + "p_" + "0" * 36,
        "gh" + "p_" + "abcdefghijklmnopqrstuvwxyz0123456789",
        "sk" + "_live_" + "your_stripe_key_here00",
        'api_key = "your-api-key-goes-here-1234"',
        'api_key = "xxxxxxxxxxxxxxxxxxxx12"',
        'api_key = "${API_KEY_OF_PROD1}"',
        'heroku_key = "00000000-0000-0000-0000-000000000000"',
        "postgres" + "://user:password@host/db",
        "ftp://user:pass@h/",
        "https://user:${PASSWORD}@host/",
        "curl -u username:password https://host",
        "curl -H 'Authorization: Bearer <token>' https://host",
        "password: ********************",
    ],
)
def test_a_text_that_stands_for_a_secret_is_not_one(text: str) -> None:
    assert kinds(text) == set()


def test_places_are_code_points_and_none_lies_within_another() -> None:
    token = "gh" + "p_" + some(LETTERS, 36)
    text = f"🎉é {token} und api_key={token}"
    hits = secret_tokens.find(text)

    assert [text[hit.start : hit.end] for hit in hits] == [token, token]


def test_entropy_is_a_whole_number_of_millibits() -> None:
    """2^n different characters have n bits each; a repetition has none; the value is never rounded up."""
    assert [millibits(text) for text in ("", "aaaa", "ab", "abcd", "abcdefgh", "0123456789abcdef")] == [
        0,
        0,
        1000,
        2000,
        3000,
        4000,
    ]
    assert millibits("aab") == 917  # 0.9183; logarithms are rounded down too
    assert millibits("a" * 100_000) == 0


@pytest.mark.parametrize(
    "text", ["", "aaaa", "abab", "abcdefgh", "12345678", "$HOME", "<key>", "my-example-1", "token"]
)
def test_placeholders(text: str) -> None:
    assert is_placeholder(text)


@given(st.text(alphabet=LETTERS, min_size=24, max_size=60).filter(lambda text: len(set(text)) > 14))
@settings(deadline=None)
def test_random_letters_are_not_placeholders(text: str) -> None:
    if not any(word in text.lower() for word in ("todo", "xxxx", "dummy", "sample", "foobar", "lorem", "fixme")):
        assert not is_placeholder("q7" + text + "Zk3x9")


@given(st.text())
@settings(deadline=None)
def test_any_text_has_an_answer(text: str) -> None:
    for hit in secret_tokens.find(text + " password=" + text + " https://a:" + text + "@b"):
        assert 0 <= hit.start < hit.end


@pytest.mark.parametrize(
    "text", ["\ud800" * 100, "\0" * 4096, "a" * 4096, "AK" + "IA" * 2047, "eyJ" * 1365, "://a:" * 819]
)
def test_hostile_texts_have_an_answer(text: str) -> None:
    assert len(secret_tokens.find(text)) <= secret_tokens.HITS_MAX


def test_the_third_partys_patterns_are_those_of_the_pinned_version() -> None:
    """The patterns that RE2 refuses are listed, with the reason."""
    yelp = yelp_patterns.read()

    assert len(yelp.rules) >= 25
    assert yelp.digest == yelp_patterns.SHA256
    assert ("gitlab_token.0", "invalid perl operator: (?!") in yelp.refused
    assert all(why for _, why in yelp.refused)


def test_the_statement_names_every_rule() -> None:
    statement = secret_tokens.statement()

    assert isinstance(statement, dict)
    assert {"rules", "third_party", "refused"} == set(statement)
