"""Seed 001, identity flow: the claims mapper that it imports, and the configuration that it prints."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import pytest

from processors.identity.tokens.reasons import TokenRefusedError
from producers.home.home import Home
from producers.identity import LoginSettingsError
from producers.identity.settings import read_login_settings
from tests.macaw_client.company import Company

MAPPER = '''\
# Using the claims mapper for JWT to security_context conversion
from macaw_agent.claims_mapper import ClaimsMapper
def _jwt_to_security_context(self, jwt_token: str) -> Dict[str, Any]:
    """Convert JWT to MACAW security_context format using claims mapper"""
    # 1. Use claims mapper to handle multi-IDP conversion
    claims_mapper = ClaimsMapper()
    security_context = claims_mapper.map_jwt_to_security_context(jwt_token)
    # 2. The claims mapper handles:
    # - JWT validation and signature verification
    # - Multi-provider detection (Keycloak, Azure AD, Okta, etc.)
    # - Claims mapping per .claims-config.yaml configuration
    # - Organization → company mapping for policy hierarchy
    # - Role normalization across providers
    return security_context'''

SERVICE_IDENTITY = """\
# macaw-agent.yaml (from wizard)
iam_provider: keycloak
iam_config:
  domain: auth.company.com
  client_id: macaw-service
  client_secret: service-secret-key
"""


def mapper() -> Any:
    """Return the method of the seed; the page leaves out its import of typing."""
    names: dict[str, Any] = {"Dict": dict, "Any": Any}
    exec(MAPPER, names)
    return names["_jwt_to_security_context"]


@pytest.mark.broker
def test_a_token_becomes_a_security_context(inside: Company) -> None:
    context = mapper()(None, inside.office.token("bob"))

    assert context["company"] == "FinTech Corp"
    assert context["business_unit"] == "Operations"
    assert context["team"] == "Payments"
    assert context["user"] == "bob@fintech.example"
    assert sorted(context["roles"]) == ["manager", "viewer"]


@pytest.mark.broker
def test_a_token_that_was_changed_has_no_context(inside: Company) -> None:
    """The seed promises the check of the signature, so claims without it are nothing."""
    head, body, signature = inside.office.token("bob").split(".")
    _, of_alice, _ = inside.office.token("alice").split(".")

    for forged in (f"{head}.{of_alice}.{signature}", f"{head}.{body}.", "not a token"):
        with pytest.raises(TokenRefusedError):
            mapper()(None, forged)


def test_without_a_provider_nothing_is_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MACAW_HOME", str(tmp_path))

    with pytest.raises(LoginSettingsError):
        mapper()(None, "e30.e30.e30")


def test_the_printed_configuration_is_read_and_a_missing_realm_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keycloak's issuer has a realm in it, which the page leaves out; with it the file is complete."""
    monkeypatch.setenv("MACAW_HOME", str(tmp_path))
    Home.create(tmp_path, {"bootstrap": "127.0.0.1:1"})
    file = tmp_path / "macaw-agent.yaml"
    file.write_text(SERVICE_IDENTITY)
    file.chmod(0o600)
    with pytest.raises(LoginSettingsError, match="needs `realm`"):
        read_login_settings()

    file.write_text(SERVICE_IDENTITY + textwrap.indent("realm: staff\n", "  "))
    found = read_login_settings()
    assert found.issuer == "https://auth.company.com/realms/staff"
    assert found.client.client_id == "macaw-service"
    assert "service-secret-key" not in repr(found)
