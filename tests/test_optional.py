"""A skip for optional software is told apart from one that the gate must not accept."""

import pytest

from tests.optional import (
    OPTIONAL,
    REQUIRE_CONFORMANCE,
    REQUIRE_PROVIDERS,
    skip_without,
    skip_without_conformance,
    skip_without_provider,
    wants,
)


def report(reason: str) -> pytest.TestReport:
    return pytest.TestReport("n", ("f", 1, "n"), {}, "skipped", ("f", 1, f"Skipped: {reason}"), "setup")


def test_only_what_is_named_so_is_optional():
    """A skip with any other reason stays one that fails the gate."""
    with pytest.raises(pytest.skip.Exception, match=OPTIONAL) as skipped:
        skip_without("SoftHSM", "apt-get install softhsm2")

    assert wants([report(str(skipped.value)), report("needs Apache Kafka: fencing")]) == [
        "SoftHSM (apt-get install softhsm2)"
    ]


def test_a_provider_is_optional_until_it_is_required(monkeypatch: pytest.MonkeyPatch):
    """The gate requires all of them, so there the same test fails."""
    monkeypatch.delenv(REQUIRE_PROVIDERS, raising=False)
    with pytest.raises(pytest.skip.Exception, match=f"{OPTIONAL}Keycloak"):
        skip_without_provider("Keycloak", "install Java")

    monkeypatch.setenv(REQUIRE_PROVIDERS, "1")
    with pytest.raises(pytest.fail.Exception, match="no Keycloak \\(install Java\\)"):
        skip_without_provider("Keycloak", "install Java")


def test_the_conformance_suite_is_optional_until_it_is_required(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv(REQUIRE_CONFORMANCE, raising=False)
    with pytest.raises(pytest.skip.Exception, match=f"{OPTIONAL}the conformance suite"):
        skip_without_conformance("install Node.js")

    monkeypatch.setenv(REQUIRE_CONFORMANCE, "1")
    with pytest.raises(pytest.fail.Exception, match="no conformance suite of MCP"):
        skip_without_conformance("install Node.js")
