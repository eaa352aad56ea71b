"""The provider and the client of an installation: from the environment, `config.json` or `macaw-agent.yaml`.

    "iam_provider": "keycloak",                     keycloak, okta, azure_ad, auth0, google, oidc
    "iam_config": {
      "domain": "auth.company.com",                 or "issuer": the issuer itself, as the provider's metadata has it
      "realm": "staff",                             keycloak; azure_ad: "tenant_id"; okta: "authorization_server"
      "client_id": "macaw-service",
      "client_secret_file": "idp.secret",           mode 0600, relative to this file; or "client_secret"
      "scopes": "openid email", "audience": …, "resource": …
    }

The first place that names a provider counts, whole: a secret of one place never goes to the issuer of another.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from producers.home.files import FileError, read_file, read_private, read_secret_line
from producers.home.home import CONFIG_BYTES_MAX, Home, NoHomeError
from producers.identity.errors import LoginSettingsError
from producers.identity.token_endpoint import LoginClient
from producers.identity.web import check_url

AGENT_FILE = "macaw-agent.yaml"
AGENT_FILE_BYTES_MAX = 64 * 1024
SECRET_BYTES_MAX = 4096
VALUE_CHARS_MAX = 2048
SCOPES_DEFAULT = ("openid", "profile", "email")
ENVIRONMENT = "MACAW_IAM_"
OIDC = "oidc"

# Members that a provider's issuer is made of. `{domain}` begins with the scheme.
_ISSUERS = {
    "keycloak": "{domain}/realms/{realm}",
    "okta": "{domain}",
    "azure_ad": "https://login.microsoftonline.com/{tenant_id}/v2.0",
    "auth0": "{domain}/",
    "google": "https://accounts.google.com",
    OIDC: "{domain}",
}
_MEMBERS = frozenset(
    {"issuer", "domain", "realm", "tenant_id", "authorization_server", "client_id", "client_secret"}
    | {"client_secret_file", "scopes", "audience", "resource"}
)
_NO_PROVIDER = (
    "Local provider does not support a login: no identity provider is configured; give its issuer as `endpoint`, or "
    "`iam_provider` and `iam_config` in .macaw/config.json"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginSettings:
    """The issuer, the client, and the members of each request for a token. No secret is in its repr."""

    issuer: str
    client: LoginClient
    scopes: tuple[str, ...] = SCOPES_DEFAULT
    audience: str | None = None
    resource: str | None = None


@dataclass(frozen=True, slots=True)
class _Place:
    """One place of settings: its name for messages, the folder of relative paths, the file if it has one."""

    name: str
    folder: Path
    file: Path | None = None


def read_login_settings(home: Home | None = None) -> LoginSettings:
    """Return the settings of this installation, without `home` of the one that `Home.find` returns.

    Raises:
        LoginSettingsError: no provider is configured, or a member is missing or wrong. No value is quoted.
    """
    found = _found(home)
    if found is None:
        raise LoginSettingsError(_NO_PROVIDER)
    return found


def find_login_settings(home: Home) -> LoginSettings | None:
    """Return the settings of an installation, None without a provider. Raises LoginSettingsError."""
    return _found(home)


def settings_for(home: Home | None, issuer: str) -> LoginSettings | None:
    """Return the configured settings if they are for this issuer, letter for letter; None otherwise.

    Raises:
        LoginSettingsError: as `read_login_settings`, but for an installation without a provider.
    """
    found = _found(home)
    return found if found is not None and found.issuer == issuer else None


def _found(home: Home | None) -> LoginSettings | None:
    given = {
        name.removeprefix(ENVIRONMENT).lower(): value
        for name, value in os.environ.items()
        if name.startswith(ENVIRONMENT) and value
    }
    if given:
        if "client_secret" in given:
            raise LoginSettingsError(f"{ENVIRONMENT}CLIENT_SECRET would be seen by every child: name a file by …_FILE")
        return _settings(given.pop("provider", OIDC), given, _Place("the environment", Path.cwd()))
    if home is None:
        try:
            home = Home.find()
        except NoHomeError:
            base = Path(os.environ.get("MACAW_HOME") or ".")
            return _of_agent_file(base / AGENT_FILE)
    file = home.path / "config.json"
    if "iam_provider" in home.config or home.iam_config != {}:
        return _settings(home.config.get("iam_provider", OIDC), home.iam_config, _Place(str(file), home.path, file))
    return _of_agent_file(home.path.parent / AGENT_FILE)


def _of_agent_file(file: Path) -> LoginSettings | None:
    from producers.home.strict_yaml import StrictYAMLError, parse_lines, plain

    try:
        found = plain(parse_lines(read_file(file, AGENT_FILE_BYTES_MAX)))
    except FileError as exc:
        if exc.missing:
            return None
        raise LoginSettingsError(str(exc)) from None
    except StrictYAMLError as exc:
        raise LoginSettingsError(f"{file} {exc}") from None
    if not isinstance(found, dict):
        raise LoginSettingsError(f"{file} must be a mapping with `iam_provider` and `iam_config`")
    if "iam_provider" not in found and "iam_config" not in found:
        return None
    return _settings(found.get("iam_provider", OIDC), found.get("iam_config", {}), _Place(str(file), file.parent, file))


def _settings(provider: object, section: object, place: _Place) -> LoginSettings | None:
    if provider == "local":
        return None
    named = _texts(section, place)
    if not isinstance(provider, str) or provider not in _ISSUERS:
        raise LoginSettingsError(f"{place.name}: `iam_provider` must be one of {', '.join(_ISSUERS)}, or local")
    issuer = named.get("issuer") or _issuer(provider, named, place)
    check_url(issuer, f"{place.name}: the issuer")
    if not named.get("client_id"):
        raise LoginSettingsError(f"{place.name}: `client_id` is missing in iam_config")
    return LoginSettings(
        issuer=issuer,
        client=LoginClient(named["client_id"], _secret(named, place)),
        scopes=tuple(named["scopes"].split()) if "scopes" in named else SCOPES_DEFAULT,
        audience=named.get("audience"),
        resource=named.get("resource"),
    )


def _texts(section: object, place: _Place) -> dict[str, str]:
    if not isinstance(section, Mapping):
        raise LoginSettingsError(f"{place.name}: `iam_config` must be an object of texts")
    found: dict[str, str] = {}
    for name, value in section.items():
        if name not in _MEMBERS:
            raise LoginSettingsError(
                f"{place.name}: `iam_config` has no member {str(name)[:64]!r}; known are {', '.join(sorted(_MEMBERS))}"
            )
        joins = name == "scopes" and isinstance(value, list) and all(isinstance(one, str) for one in value)
        text = " ".join(value) if joins and isinstance(value, list) else value
        if not isinstance(text, str) or not 0 < len(text) <= VALUE_CHARS_MAX or not text.isprintable():
            # The value is not shown: it may be the secret.
            raise LoginSettingsError(
                f"{place.name}: `{name}` of iam_config must have 1 to {VALUE_CHARS_MAX} printable characters"
            )
        found[name] = text
    return found


def _issuer(provider: str, named: Mapping[str, str], place: _Place) -> str:
    domain = named.get("domain", "").rstrip("/")
    parts = {**named, "domain": domain if "://" in domain or not domain else f"https://{domain}"}
    try:
        issuer = _ISSUERS[provider].format_map({name: value for name, value in parts.items() if value})
    except KeyError as exc:
        raise LoginSettingsError(
            f"{place.name}: iam_config of {provider} needs `{exc.args[0]}`, or the whole `issuer`"
        ) from None
    server = named.get("authorization_server")
    return f"{issuer}/oauth2/{server}" if provider == "okta" and server else issuer


def _secret(named: Mapping[str, str], place: _Place) -> str | None:
    if "client_secret_file" in named:
        path = place.folder / named["client_secret_file"]
        try:
            return read_secret_line(path, SECRET_BYTES_MAX)
        except FileError as exc:
            raise LoginSettingsError(f"{place.name}: cannot read `client_secret_file` {path}: {exc.why}") from None
    if "client_secret" in named and place.file is not None:
        try:
            read_private(place.file, CONFIG_BYTES_MAX, may_be_link=True)
        except FileError as exc:
            raise LoginSettingsError(f"{place.name} holds a client secret: {exc.why}") from None
    return named.get("client_secret")
