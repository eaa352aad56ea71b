"""The settings of a token exchange at rest: one private file for each upstream server, which only the gateway reads."""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, Final

from macaw.gateway.challenges import check_scopes
from macaw.gateway.exchange import ExchangeSettings, ExchangeSettingsError, private_key_of
from producers.home.files import FileError, read_private, replace_private
from producers.home.home import TenantHome
from schemas.errors import MacawError
from streams.bridge.addresses import place_of

FILE_BYTES_MAX: Final = 64 * 1024
SECRET_BYTES_MAX: Final = 16 * 1024
TEXT_CHARS_MAX: Final = 1024
METHODS: Final = ("client_secret_basic", "private_key_jwt")


def path_of(tenant: TenantHome, server: str) -> Path:
    """Return the file of a server's exchange."""
    return tenant.path / "mcp" / f"{server}.exchange"


def check(settings: ExchangeSettings) -> ExchangeSettings:
    """Return settings after their checks. Raises ExchangeSettingsError, which quotes no secret."""
    if settings.method not in METHODS:
        raise ExchangeSettingsError(f"the method must be {' or '.join(METHODS)}")
    if not settings.audience and not settings.resource:
        raise ExchangeSettingsError("name the server's `--audience` or `--resource`: its token must be for it alone")
    for one in ("endpoint", "client_id", "key_id", "audience", "resource", "scope"):
        text = getattr(settings, one)
        if len(text) > TEXT_CHARS_MAX or not text.isprintable():
            raise ExchangeSettingsError(f"`{one}` must have at most {TEXT_CHARS_MAX} printable characters")
    if not settings.client_id or not settings.secret:
        raise ExchangeSettingsError("the client needs an id, and a secret or key on standard input")
    try:
        check_scopes(settings.scope.split())
        place_of(settings.endpoint, settings.private_hosts)
    except MacawError as exc:
        raise ExchangeSettingsError(str(exc)) from None
    if settings.method == "private_key_jwt":
        private_key_of(settings.secret)
    elif not settings.secret.isprintable():
        raise ExchangeSettingsError("the client's secret must be one printable line")
    return settings


def store(tenant: TenantHome, server: str, settings: ExchangeSettings) -> None:
    """Write the settings for the gateway alone. Raises ExchangeSettingsError."""
    path = path_of(tenant, server)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    replace_private(path, json.dumps(asdict(check(settings)), indent=1).encode() + b"\n")


def remove(tenant: TenantHome, server: str) -> bool:
    """Remove the settings; return False if there were none."""
    path = path_of(tenant, server)
    was_there = path.exists()
    path.unlink(missing_ok=True)
    return was_there


def read(tenant: TenantHome, server: str) -> ExchangeSettings:
    """Return the settings of a server. Raises ExchangeSettingsError."""
    path = path_of(tenant, server)
    try:
        found: Any = json.loads(read_private(path, FILE_BYTES_MAX))
    except FileError as exc:
        if exc.missing:
            raise ExchangeSettingsError(
                f"no exchange is set for {server}: set one with `macaw mcp exchange {server}`"
            ) from exc
        raise ExchangeSettingsError(str(exc)) from exc
    except (ValueError, RecursionError):
        found = None
    names = {one.name for one in fields(ExchangeSettings)}
    if not isinstance(found, dict) or set(found) != names:
        raise _broken(path, server)
    hosts = found.pop("private_hosts")
    texts = [*found.values(), *(hosts if isinstance(hosts, list) else [None])]
    if not all(isinstance(one, str) for one in texts):
        raise _broken(path, server)
    return check(ExchangeSettings(**found, private_hosts=tuple(hosts)))


def _broken(path: Path, server: str) -> ExchangeSettingsError:
    return ExchangeSettingsError(
        f"{path} does not hold the settings of an exchange: set them again with `macaw mcp exchange {server}`"
    )
