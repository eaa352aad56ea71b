"""Seed 004, claims mapping: its file, its session, its command and its debugging, as they are printed."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from macaw.identity.session_manager import ClaimsRefusedError, SessionManager
from macaw.installation.tenancy import publish_policies
from tests.macaw_client.company import Company
from tests.waiting import PATIENCE_SECONDS

QUICK_START = """\
providers:
  your_provider:
    your_org_claim: company
    your_dept_claim: business_unit
    your_team_claim: team
    your_user_claim: user
"""

PROVIDERS = {
    "keycloak": """\
keycloak:
  organization: company
  business_unit: business_unit
  team: team
  email: user
""",
    "okta": """\
okta:
  companyName: company
  department: business_unit
  groups: team  # Uses first group
  email: user
""",
    "azure_ad": """\
azure_ad:
  companyName: company
  department: business_unit
  jobTitle: team  # Or use groups
  userPrincipalName: user
""",
    "google": """\
google:
  hd: company  # Hosted domain
  ou: business_unit  # Organizational unit
  groups: team
  email: user
""",
}

CUSTOM = """\
providers:
  custom_idp:
    corp_name: company
    division: business_unit
    squad: team
    username: user
"""

SESSION = """\
from macaw.identity.session_manager import SessionManager

# JWT claims from your identity provider
jwt_claims = {
    "sub": "12345",
    "email": "alice@fintech.com",
    "organization": "FinTech Corp",
    "business_unit": "Analytics",
    "team": "Reporting"
}

# Create session (claims are automatically mapped)
session = session_manager.create_session(jwt_claims)
"""

COMMAND = 'macaw-cli policy list | grep "company:YourOrg"'

DEBUGGING = """\
import logging
logging.getLogger("macaw.identity").setLevel(logging.DEBUG)
"""


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A project's root, in which the file lies."""
    monkeypatch.delenv("MACAW_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    monkeypatch.chdir(tmp_path)
    before = logging.getLogger("macaw.identity").level
    yield tmp_path
    logging.getLogger("macaw.identity").setLevel(before)


def created(claims: dict[str, Any], **how: Any) -> dict[str, Any]:
    return SessionManager().create_session(claims, **how).context


def test_a_session_has_the_mapped_attributes_and_the_ids_of_its_policies() -> None:
    """The page names no provider and no file here: the claims are those of Keycloak's table."""
    names: dict[str, Any] = {"session_manager": SessionManager()}
    exec(SESSION, names)
    session = names["session"]

    assert session.context["company"] == "FinTech Corp"
    assert session.context["business_unit"] == "Analytics"
    assert session.context["team"] == "Reporting"
    assert session.context["user"] == "alice@fintech.com"
    assert session.policy_ids == (
        "company:FinTech Corp",
        "bu:Analytics",
        "team:Reporting",
        "user:alice@fintech.com",
    )
    assert "alice" not in repr(session)


@pytest.mark.parametrize("claims", [{"iss": "your_provider"}, {}])
def test_the_quick_start_maps_the_claims_of_its_provider(project: Path, claims: dict[str, str]) -> None:
    (project / ".claims-config.yaml").write_text(QUICK_START)
    given = {"your_org_claim": "Acme", "your_dept_claim": "R&D", "your_team_claim": "Core", "your_user_claim": "ann"}

    assert created({**claims, **given}) == {"company": "Acme", "business_unit": "R&D", "team": "Core", "user": "ann"}


@pytest.mark.parametrize(
    ("provider", "claims", "team"),
    [
        ("keycloak", {"organization": "A", "business_unit": "B", "team": "C", "email": "d"}, "C"),
        ("okta", {"companyName": "A", "department": "B", "groups": ["C", "X"], "email": "d"}, "C"),
        ("azure_ad", {"companyName": "A", "department": "B", "jobTitle": "C", "userPrincipalName": "d"}, "C"),
        ("google", {"hd": "A", "ou": "B", "groups": ["C"], "email": "d"}, "C"),
    ],
)
def test_the_printed_table_of_each_provider(project: Path, provider: str, claims: dict[str, Any], team: str) -> None:
    lines = "".join(f"  {line}\n" for line in PROVIDERS[provider].splitlines())
    (project / ".claims-config.yaml").write_text(f"providers:\n{lines}")

    assert created(claims, provider=provider) == {"company": "A", "business_unit": "B", "team": team, "user": "d"}


def test_a_custom_provider(project: Path) -> None:
    (project / ".claims-config.yaml").write_text(CUSTOM)

    found = created({"iss": "custom_idp", "corp_name": "A", "squad": "S", "username": "u"})
    assert found == {"company": "A", "team": "S", "user": "u"}


def test_an_unknown_provider_passes_claims_unchanged_and_names_no_policy() -> None:
    claims = {"iss": "https://stranger.example", "organization": "Acme", "n": 1}
    session = SessionManager().create_session(claims)

    assert session.context == claims
    assert session.provider is None
    assert session.policy_ids == ()


def test_missing_claims_are_ignored_and_unusable_ones_are_not() -> None:
    """A claim that is there may also restrict, so it is never dropped in silence."""
    assert created({"iss": "https://a.example/realms/x", "organization": "Acme"}) == {"company": "Acme"}
    with pytest.raises(ClaimsRefusedError, match="organization"):
        created({"iss": "https://a.example/realms/x", "organization": {"nested": 1}, "email": "a"})


def test_debug_logging_shows_the_mapping(caplog: pytest.LogCaptureFixture) -> None:
    exec(DEBUGGING, {})
    created({"organization": "Acme", "email": "a@acme.example"})
    text = caplog.text

    assert "company from organization: mapped" in text
    assert "team from team: missing" in text


@pytest.mark.broker
def test_policies_of_an_organisation_are_found_by_the_printed_command(
    firm: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = firm.office.here
    policy = {"policy_id": "company:YourOrg", "resources": ["**"]}
    publish_policies(here.home, here.folder, [json.dumps(policy)], {})
    monkeypatch.setenv("MACAW_HOME", str(firm.base))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:/usr/bin:/bin")

    found = subprocess.run(["sh", "-c", COMMAND], capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)

    assert found.returncode == 0, found.stderr
    assert found.stdout.startswith("company:YourOrg ")
