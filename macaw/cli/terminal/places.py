"""The installation that a command works on, checked before the command uses it."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path

from macaw.cli.terminal.errors import CommandError
from macaw.cli.terminal.output import log_to_stderr
from producers.home.addresses import listens_at
from producers.home.home import Home, HomeError, TenantHome
from producers.home.security import Security

WELCOME_SECONDS = 10.0
WELCOME_ASK_SECONDS = 1.0
EMBEDDED = "embedded"


def base_folder() -> Path:
    """Return the folder of an installation that may not exist yet: `$MACAW_HOME`, else the working directory."""
    return Path(os.environ.get("MACAW_HOME") or Path.cwd()).absolute()


def open_home() -> Home:
    """Return the installation. Raises CommandError where there is none."""
    try:
        return Home.find()
    except HomeError as exc:
        if (base_folder() / ".macaw" / "config.json").exists():
            raise
        raise CommandError(
            f"no installation in {base_folder()}: run `macaw up` there, or set MACAW_HOME to where it runs"
        ) from exc


def open_tenant(name: str | None) -> tuple[Home, TenantHome]:
    """Return the installation, once its broker answers, and the folder of one of its tenants.

    Raises:
        CommandError, HomeError: there is no such installation, tenant or broker.
    """
    log_to_stderr(logging.WARNING)
    home, folder = open_folder(name)
    require_broker(home)
    return home, folder


def open_folder(name: str | None) -> tuple[Home, TenantHome]:
    """Return the installation and the folder of one of its tenants; no broker is asked. Raises as `open_tenant`."""
    home = open_home()
    if name is None and "tenant" not in home.config:
        raise CommandError(
            "no tenant is named and config.json has no default: give --tenant, or run `macaw tenant create NAME`"
        )
    folder = home.tenant(name)
    folder.genesis  # noqa: B018 - raises for a tenant that is not known here
    return home, folder


def require_broker(home: Home) -> None:
    """Raise CommandError unless a program listens at the brokers' address."""
    if not listens_at(home.bootstrap):
        raise CommandError(f"no broker answers at {home.bootstrap}: run `macaw up`, or set MACAW_BOOTSTRAP_SERVERS")
    if security := home.security:
        _require_welcome(home.bootstrap, security)


def _require_welcome(bootstrap: str, security: Security) -> None:
    """Raise CommandError unless the brokers accept our login: clients would keep trying for ever, in silence."""
    from confluent_kafka import KafkaError, KafkaException
    from confluent_kafka.admin import AdminClient

    errors: list[KafkaError] = []
    settings = {**security, "bootstrap.servers": bootstrap, "log_level": 0, "error_cb": errors.append}
    with AdminClient(settings) as admin:  # type: ignore[arg-type] # its stubs know no callbacks
        until = time.monotonic() + WELCOME_SECONDS
        while True:
            try:
                admin.list_topics(timeout=WELCOME_ASK_SECONDS)
            except KafkaException as exc:
                admin.poll(0)
                refusals = [error for error in errors if error.name() in {"_AUTHENTICATION", "_SSL"}]
                if refusals or time.monotonic() > until:
                    why = (refusals or [exc.args[0]])[0].str()
                    raise CommandError(
                        f"the brokers at {bootstrap} refuse our login: {why}; check `kafka` in config.json"
                    ) from exc
            else:
                return


def is_embedded(home: Home) -> bool:
    """Return True if the broker is the embedded one, which has no groups that fail over."""
    return home.config.get("broker_kind") == EMBEDDED and not os.environ.get("MACAW_BOOTSTRAP_SERVERS")
