"""`macaw idp trust`, `distrust` and `list`, on a real log."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from streams.local.choose import BrokerInfo
from tests.cli.commands import run
from tests.installation import Installation, installed

pytestmark = pytest.mark.broker
ISSUER = "https://login.acme.example/realms/acme"


@pytest.fixture
def here(broker: BrokerInfo, tmp_path: Path, unique: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Installation]:
    with installed(broker, tmp_path, unique) as running:
        monkeypatch.setenv("MACAW_HOME", str(running.home.path.parent))
        yield running


def test_a_provider_is_trusted_listed_and_distrusted(here: Installation, capsys: pytest.CaptureFixture[str]) -> None:
    """Its terms stand on the log as they were given, and its row stays after the end."""
    of = ("--tenant", here.folder.tenant)
    terms = (
        *("--kind", "keycloak", "--namespace", "acme", "--names", "*@acme.example", "--audience", "macaw"),
        *("--attribute", "company=Acme", "--attribute", "roles=analyst", "--attribute", "roles=team-*"),
        *("--algorithm", "ES256"),
    )
    trusted = run(capsys, "idp", "trust", ISSUER, *terms, *of)
    assert trusted.status == 0, trusted.err
    assert f"trusts {ISSUER} for user:acme/*@acme.example" in trusted.err
    listed = json.loads(run(capsys, "idp", "list", "--json", *of).out)[ISSUER]
    assert (listed["namespace"], listed["attributes"]["roles"]) == ("acme", ["analyst", "team-*"])
    assert (listed["algorithms"], listed["ended_at"]) == (["ES256"], None)

    again = run(capsys, "idp", "trust", ISSUER, "--audience", "macaw", *of)
    assert (again.status, "PROVIDER_CONFLICT" in again.err) == (1, True)
    malformed = run(capsys, "idp", "trust", "http://plain.example", "--audience", "macaw", *of)
    assert (malformed.status, "PROVIDER_FORM" in malformed.err) == (1, True)
    assert run(capsys, "idp", "distrust", ISSUER, "--end-sessions", "--reason", "stolen", *of).status == 0
    assert run(capsys, "idp", "distrust", ISSUER, *of).status == 1
    shown = run(capsys, "idp", "list", *of).out
    assert ISSUER in shown
    assert " -" not in shown.splitlines()[-1]


@pytest.mark.parametrize("pair", ["roles", "user=*", "issuers=*", "company=a", "shoe=9"])
def test_an_attribute_that_no_provider_may_say_is_told(
    here: Installation, capsys: pytest.CaptureFixture[str], pair: str
) -> None:
    """Before anything is sent."""
    given = ("--attribute", pair, "--attribute", "company=b") if pair == "company=a" else ("--attribute", pair)
    found = run(capsys, "idp", "trust", ISSUER, "--audience", "x", *given, "--tenant", here.folder.tenant)

    assert (found.status, "--attribute" in found.err) == (2, True)
