"""`macaw idp test`: each rule is shown, and nothing of the token or of claims that no rule maps."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import pytest

from macaw.cli.identity.idp import NOT_VERIFIED, TOKEN_BYTES_MAX
from tests.cli.commands import Ran, assert_one_sentence, run

CLAIMS: dict[str, Any] = {
    "iss": "https://sso.acme.example/realms/staff",
    "sub": "8f2c-subject",
    "email": "alice@company.com",
    "organization": "FinTech Corp",
    "business_unit": "Analytics",
    "team": "Reporting",
    "realm_access": {"roles": ["Analyst", "offline_access"]},
    "ssn": "hunter2-ssn",
    "address": {"street": "hunter2-street"},
    "jti": "hunter2-jti",
}
SECRET = "hunter2"


def encoded(value: Any) -> str:
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(text).decode().rstrip("=")


def token(claims: Any = CLAIMS, header: Any = None) -> str:
    return ".".join(
        [encoded(header or {"alg": "RS256", "kid": "hunter2-kid"}), encoded(claims), encoded(b"hunter2" * 9)]
    )


def written(home: Path, content: str | bytes, name: str = "token.jwt") -> str:
    path = home / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def assert_nothing_leaks(ran: Ran, content: str) -> None:
    """Neither a part of the token nor the value of a claim that is not mapped is printed."""
    for part in content.split("."):
        assert part[:16] not in ran.out + ran.err
    assert SECRET not in ran.out + ran.err
    assert CLAIMS["iss"] not in ran.out + ran.err


def test_a_token_is_mapped_and_not_shown(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ran = run(capsys, "idp", "test", written(home, f"{token()}\n"))

    assert ran.status == 0
    assert ran.err == f"{NOT_VERIFIED}\n"
    assert ran.err.startswith("NOT VERIFIED")
    assert_nothing_leaks(ran, token())
    lines = [" ".join(line.split()) for line in ran.out.splitlines()]
    assert lines == [
        "mapping the built-in providers",
        "provider keycloak (a pattern fits its issuer)",
        "ATTRIBUTE CLAIM RESULT VALUE WHY",
        "company organization mapped FinTech Corp",
        "business_unit business_unit mapped Analytics",
        "team team mapped Reporting",
        "user email mapped alice@company.com",
        "email email mapped alice@company.com",
        "roles realm_access.roles mapped analyst 1 of 2 roles do not pass the filter; dropped offline_access",
        "subject sub mapped 8f2c-subject",
        "not read ssn, address, jti",
        "person user:alice@company.com",
    ]


def test_the_same_as_json(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ran = run(capsys, "idp", "test", written(home, token()), "--json")
    told = json.loads(ran.out)

    assert ran.status == 0
    assert_nothing_leaks(ran, token())
    assert (told["verified"], told["can_open"], told["provider"], told["refusals"]) == (False, True, "keycloak", [])
    assert (told["name"], told["subject"]) == ("alice@company.com", "8f2c-subject")
    assert told["attributes"] == {
        "company": "FinTech Corp",
        "business_unit": "Analytics",
        "team": "Reporting",
        "user": "alice@company.com",
        "email": "alice@company.com",
        "roles": ["analyst"],
    }
    assert told["rules"][5] == {
        "attribute": "roles",
        "claim": "realm_access.roles",
        "result": "mapped",
        "values": ["analyst"],
        "dropped": ["offline_access"],
        "detail": "1 of 2 roles do not pass the filter",
        "line": 0,
    }


@pytest.mark.parametrize("content", [token(), json.dumps(CLAIMS), f"\n {json.dumps(CLAIMS, indent=1)}\n"])
def test_a_token_or_its_claims_from_stdin(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content.encode())))
    ran = run(capsys, "idp", "test", "-")

    assert ran.status == 0
    assert "person    user:alice@company.com" in ran.out
    assert SECRET not in ran.out + ran.err


def test_the_file_of_the_installation_is_found_and_its_lines_are_told(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = home / ".claims-config.yaml"
    kept.write_text("providers:\n  keycloak:\n    team: team\n    sub: user\n    organisation: company\n")
    ran = run(capsys, "idp", "test", written(home, token()))

    assert ran.status == 0
    assert f"mapping   {kept}" in ran.out
    assert "mapped   8f2c-subject  line 4" in ran.out
    assert "no 'organisation' in the token; there is 'organization'; line 5" in ran.out
    other = written(home, "providers: {mine: {sub: user}}", "other.yaml")
    ran = run(capsys, "idp", "test", written(home, token()), "--config", other, "--provider", "mine")
    assert (ran.status, "provider  mine (its name was given)" in ran.out) == (0, True)


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"iss": "https://hunter2.example/"}, "PROVIDER_UNKNOWN"),
        ({"email": None}, "NAME_MISSING"),
        ({"email_verified": False}, "NAME_MISSING"),
        ({"team": {"hunter2": 1}}, "CLAIM_INVALID"),
        ({"team": "hunter2*"}, "CLAIM_INVALID"),
        ({"team": "hunter2\u202e"}, "CLAIM_INVALID"),
        ({"email": "x" * 256}, "NAME_INVALID"),
    ],
)
def test_without_a_session_the_status_is_1(
    home: Path, capsys: pytest.CaptureFixture[str], changed: dict[str, Any], code: str
) -> None:
    given = written(home, token({**CLAIMS, **changed}))
    ran = run(capsys, "idp", "test", given)
    told = json.loads(run(capsys, "idp", "test", given, "--json").out)

    assert ran.status == 1
    assert f"no session: {code}: " in ran.err
    assert "person  " not in ran.out
    assert SECRET not in ran.out + ran.err
    assert (told["can_open"], told["attributes"], told["name"], told["subject"]) == (False, {}, None, None)
    assert [one["code"] for one in told["refusals"]] == [code]
    assert all(one["step"] for one in told["refusals"])


def test_a_hostile_name_of_a_claim_does_not_reach_the_terminal(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ran = run(capsys, "idp", "test", written(home, token({**CLAIMS, "\x1b[2J\u202e" + "x" * 5000: 1})))

    assert ran.status == 0
    assert "\x1b" not in ran.out
    assert "\\x1b[2J\\u202e" in ran.out
    assert "x" * 100 not in ran.out


PARTS = token().split(".")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "a token has 3 parts with dots between them, and the file has 1"),
        ("hunter2", "the file has 1"),
        (f"{PARTS[0]}.{PARTS[1]}", "the file has 2"),
        (f"{token()}.hunter2", "the file has 4"),
        (f"{token()}.x.y", "it is encrypted"),
        (f"Bearer {token()}", "begins with `Bearer`"),
        (f"{PARTS[0]}.{PARTS[1]}=.{PARTS[2]}", "payload of the token is not base64url"),
        (f"{PARTS[0]}.a+/b.{PARTS[2]}", "payload of the token is not base64url"),
        (f"{PARTS[0]}.hunter2 hunter2.{PARTS[2]}", "payload of the token is not base64url"),
        (f"h{PARTS[0]}.{PARTS[1]}.{PARTS[2]}", "header of the token is not"),
        (f"{PARTS[0]}.{PARTS[1]}.\u00e4", "signature of the token is not base64url"),
        (token(header=["hunter2"]), "the header of the token is not a JSON object"),
        (token(claims=["hunter2"]), "the payload of the token is not a JSON object"),
        (token(claims=b'{"sub":"hunter2","sub":"b"}'), "the payload of the token is not strict JSON (duplicate)"),
        (token(claims=b'{"a":' * 40 + b"1" + b"}" * 40), "not strict JSON (depth)"),
        (token(claims=b'{"a":NaN}'), "not strict JSON"),
        (token(claims=b'{"a":"\xff"}'), "not strict JSON (utf8)"),
        ('{"sub": "hunter2"', "the file is not strict JSON"),
        ("x" * (TOKEN_BYTES_MAX + 1), f"larger than {TOKEN_BYTES_MAX} bytes"),
    ],
)
def test_a_file_that_is_not_a_token_is_one_sentence_without_its_text(
    home: Path, capsys: pytest.CaptureFixture[str], content: str, says: str
) -> None:
    ran = run(capsys, "idp", "test", written(home, content))

    assert_one_sentence(ran, 1)
    assert says in ran.err
    assert ran.out == ""
    assert SECRET not in ran.err
    assert PARTS[1][:16] not in ran.err


def test_stdin_is_bounded(home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"x" * (TOKEN_BYTES_MAX + 1))))

    assert "stdin has more than 16384 bytes" in run(capsys, "idp", "test", "-").err


def test_a_fault_of_the_file_and_an_absent_provider_are_one_sentence(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = written(home, token())
    faulty = written(home, "providers:\n  okta: {sub: usr}\n", "faulty.yaml")

    ran = run(capsys, "idp", "test", given, "--config", faulty)
    assert_one_sentence(ran, 1)
    assert ran.err == f"macaw: {faulty}, line 2: no attribute is called `usr`: did you mean `user`?\n"
    ran = run(capsys, "idp", "test", given, "--provider", "octa")
    assert_one_sentence(ran, 2)
    assert "no provider 'octa' in the built-in providers: did you mean 'okta'" in ran.err
    ran = run(capsys, "idp", "test", given, "--config", str(home / "absent.yaml"))
    assert_one_sentence(ran, 1)
    assert "absent.yaml" in ran.err
    assert_one_sentence(run(capsys, "idp", "test", str(home / "absent.jwt")), 1)
