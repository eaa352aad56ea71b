"""The provider of an installation: found in its three places, in one of them whole, and refused if it is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from producers.home.home import Home
from producers.identity import LoginError, LoginSettingsError, RemoteIdentityProvider
from producers.identity.settings import LoginSettings, read_login_settings
from tests.identity_login.telling import telling, tokens

SECRET = "service-secret-key"
PUBLISHED = f"""
iam_provider: keycloak
iam_config:
  domain: auth.company.com
  realm: staff
  client_id: macaw-service
  client_secret: {SECRET}
"""


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOME", "MACAW_HOME"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.chdir(tmp_path)


def configured(base: Path, provider: str = "keycloak", mode: int = 0o600, **section: object) -> LoginSettings:
    file = base / ".macaw" / "config.json"
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps({"bootstrap": "x:1", "iam_provider": provider, "iam_config": section}))
    file.chmod(mode)
    return read_login_settings(Home.open(base))


@pytest.mark.parametrize(
    ("provider", "section", "issuer"),
    [
        ("keycloak", {"domain": "auth.company.com", "realm": "staff"}, "https://auth.company.com/realms/staff"),
        ("keycloak", {"domain": "https://a.example/auth/", "realm": "x"}, "https://a.example/auth/realms/x"),
        ("okta", {"domain": "acme.okta.com"}, "https://acme.okta.com"),
        (
            "okta",
            {"domain": "acme.okta.com", "authorization_server": "default"},
            "https://acme.okta.com/oauth2/default",
        ),
        ("azure_ad", {"tenant_id": "7f3"}, "https://login.microsoftonline.com/7f3/v2.0"),
        ("auth0", {"domain": "acme.eu.auth0.com"}, "https://acme.eu.auth0.com/"),
        ("google", {}, "https://accounts.google.com"),
        ("oidc", {"issuer": "http://127.0.0.1:8080/x"}, "http://127.0.0.1:8080/x"),
    ],
)
def test_each_provider_has_its_issuer(tmp_path: Path, provider: str, section: dict[str, object], issuer: str) -> None:
    found = configured(tmp_path, provider, client_id="c", **section)

    assert found.issuer == issuer
    assert found.scopes == ("openid", "profile", "email")


def test_a_value_names_no_other_value(tmp_path: Path) -> None:
    """The issuer goes into messages and addresses, so a secret must not get into it by a template."""
    found = configured(tmp_path, domain="a.example", realm="{client_secret}", client_id="c", client_secret=SECRET)

    assert found.issuer == "https://a.example/realms/{client_secret}"


def test_the_published_agent_file_is_read_once_its_owner_alone_may_read_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MACAW_HOME", str(tmp_path))
    file = tmp_path / "macaw-agent.yaml"
    file.write_text(PUBLISHED)
    file.chmod(0o644)
    with pytest.raises(LoginSettingsError, match="holds a client secret: others may read it"):
        read_login_settings()
    file.chmod(0o600)
    found = read_login_settings()

    assert (found.client.client_id, found.client.client_secret) == ("macaw-service", SECRET)
    assert SECRET not in repr(found)


def test_the_environment_comes_first_and_is_not_mixed_with_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else whoever sets one variable could have the file's secret sent to an issuer of their own."""
    configured(tmp_path, domain="a.example", realm="r", client_id="c", client_secret=SECRET)
    monkeypatch.setenv("MACAW_IAM_ISSUER", "https://other.example")
    with pytest.raises(LoginSettingsError, match="the environment: `client_id` is missing"):
        read_login_settings(Home.open(tmp_path))
    monkeypatch.setenv("MACAW_IAM_CLIENT_ID", "cli")
    monkeypatch.setenv("MACAW_IAM_CLIENT_SECRET_FILE", str(tmp_path / "secret"))
    (tmp_path / "secret").write_text("of-a-file\n")
    (tmp_path / "secret").chmod(0o600)
    found = read_login_settings(Home.open(tmp_path))

    assert (found.issuer, found.client.client_id, found.client.client_secret) == (
        "https://other.example",
        "cli",
        "of-a-file",
    )
    monkeypatch.setenv("MACAW_IAM_CLIENT_SECRET", "x")
    with pytest.raises(LoginSettingsError, match="name a file"):
        read_login_settings()


@pytest.mark.parametrize(
    ("section", "says"),
    [
        ({"domain": "a.example", "client_id": "c"}, "needs `realm`"),
        ({"realm": "r", "client_id": "c"}, "needs `domain`"),
        ({"domain": "a.example", "realm": "r"}, "`client_id` is missing"),
        ({"domain": "a.example", "realm": "r", "client_id": 7}, "`client_id` of iam_config must have"),
        ({"domain": "http://a.example", "realm": "r", "client_id": "c"}, "in the clear"),
        ({"domain": "a.example", "realm": "r", "client_id": "c", "clientsecret": SECRET}, "no member 'clientsecret'"),
        ({"domain": "a.example", "realm": "r", "client_id": "c", "client_secret": f"{SECRET}\n"}, "printable"),
        ({"domain": "a.example", "realm": "r", "client_id": "c", "client_secret_file": "none"}, "client_secret_file"),
    ],
)
def test_a_wrong_member_is_named_and_no_value_is_shown(tmp_path: Path, section: dict[str, object], says: str) -> None:
    with pytest.raises(LoginSettingsError, match=says) as raised:
        configured(tmp_path, **section)
    assert SECRET not in str(raised.value)


@pytest.mark.parametrize("text", ["[]", "iam_config: *x", "a: 1\na: 2", "iam_provider: [keycloak]", "iam_config: 7"])
def test_a_wrong_agent_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    (tmp_path / "macaw-agent.yaml").write_text(text)
    monkeypatch.delenv("MACAW_HOME")

    with pytest.raises(LoginSettingsError, match=r"macaw-agent\.yaml"):
        read_login_settings()


@pytest.mark.parametrize("provider", [None, "local"])
def test_without_a_provider_the_published_error_is_raised(tmp_path: Path, provider: str | None) -> None:
    if provider is not None:
        (tmp_path / ".macaw").mkdir()
        (tmp_path / ".macaw" / "config.json").write_text(json.dumps({"iam_provider": provider}))

    idp = RemoteIdentityProvider(home=Home.open(tmp_path) if provider else None)
    with pytest.raises(LoginSettingsError, match="Local provider does not support"):
        idp.login("alice@company.com", "password")


def test_a_broken_installation_is_not_taken_for_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MACAW_HOME", str(tmp_path))
    (tmp_path / ".macaw").mkdir()
    (tmp_path / ".macaw" / "config.json").write_text("{")
    (tmp_path / "macaw-agent.yaml").write_text(PUBLISHED)

    with pytest.raises(Exception, match="is not JSON"):
        read_login_settings()


def test_the_configured_secret_never_goes_to_another_issuer_or_for_another_client(tmp_path: Path) -> None:
    with telling({"/token": [tokens()]}) as told:
        configured(tmp_path, "oidc", issuer=told.address, client_id="configured", client_secret=SECRET)
        home = Home.open(tmp_path)
        RemoteIdentityProvider(told.address, home=home).login("a", "b")
        RemoteIdentityProvider(home=home, client_id="other").login("a", "b")
        RemoteIdentityProvider(told.address, home=home, client_id="other").login("a", "b")
        proofs = [headers.get("Authorization", form.get("client_id")) for path, form, headers in told.asked if form]
        with telling({"/token": [tokens()]}) as evil:
            with pytest.raises(LoginSettingsError, match="`client_id` is missing"):
                RemoteIdentityProvider(evil.address, home=home).login("a", "b")
            assert evil.asked == []

    assert proofs[0].startswith("Basic ")
    assert proofs[1:] == ["other", "other"]


def test_scopes_audience_and_resource_go_along(tmp_path: Path) -> None:
    with telling({"/token": [tokens(refresh_token="r")]}) as told:
        configured(
            tmp_path, "oidc", issuer=told.address, client_id="c", scopes=["a", "b"], audience="macaw", resource="urn:m"
        )
        idp = RemoteIdentityProvider(home=Home.open(tmp_path))
        idp.refresh(idp.login("x", "y"))
        idp.login("x", "y", scopes="c d")
        forms = told.forms("/token")

    assert [form.get("scope") for form in forms] == ["a b", None, "c d"]
    assert {(form["audience"], form["resource"]) for form in forms} == {("macaw", "urn:m")}


def test_a_workload_without_a_secret_asks_nobody() -> None:
    with telling({"/token": [tokens()]}) as told:
        with pytest.raises(LoginSettingsError, match="client_secret_file"):
            told.provider().client_credentials()
        told.metadata["grant_types_supported"] = ["password"]
        with pytest.raises(LoginError, match="does not offer"):
            told.provider(client_secret="s").client_credentials()
        assert told.forms("/token") == []


def test_a_configuration_keeps_its_provider_when_other_settings_are_written(tmp_path: Path) -> None:
    configured(tmp_path, domain="a.example", realm="r", client_id="c")
    Home.create(tmp_path, {"tenant": "acme"})

    assert read_login_settings(Home.open(tmp_path)).issuer == "https://a.example/realms/r"
