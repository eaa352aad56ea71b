"""The installation that a command works on, checked before anything is asked of it."""

from __future__ import annotations

import logging
import os
import socket
import time
from pathlib import Path

from macaw.cli.terminal.errors import CommandError
from macaw.cli.terminal.output import log_to_stderr
from producers.home.home import Home, HomeError, TenantHome
from producers.home.security import Security

CONNECT_SECONDS = 2.0
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
    """Return an installation whose broker answers, and a tenant that is known to it.

    Raises:
        CommandError, HomeError: there is no such installation, tenant or broker.
    """
    log_to_stderr(logging.WARNING)
    home = open_home()
    if name is None and "tenant" not in home.config:
        raise CommandError(
            "no tenant is named and there is no default: run `macaw tenant create NAME`, or say --tenant"
        )
    folder = home.tenant(name)
    folder.genesis  # noqa: B018 - raises for a tenant that is not known here
    require_broker(home)
    return home, folder


def require_broker(home: Home) -> None:
    """Raise CommandError unless something listens where the brokers are said to be.

    A Kafka client would go on trying for longer than anybody at a terminal wants to wait.
    """
    if not any(map(_listens, home.bootstrap.split(","))):
        raise CommandError(f"no broker answers at {home.bootstrap}: run `macaw up`, or set MACAW_BOOTSTRAP_SERVERS")
    if security := home.security:
        _require_welcome(home.bootstrap, security)


def _require_welcome(bootstrap: str, security: Security) -> None:
    """Raise CommandError unless the brokers take us for who we say we are: clients would try for ever, in silence."""
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
                        f"the brokers at {bootstrap} do not let us in: {why}; see `kafka` in config.json"
                    ) from exc
            else:
                return


def _listens(address: str) -> bool:
    host, _, port = address.strip().rpartition("://")[2].rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS):
            return True
    except (OSError, ValueError, OverflowError):
        return False


def is_embedded(home: Home) -> bool:
    """Whether the brokers are the embedded one, which has no groups that fail over."""
    return home.config.get("broker_kind") == EMBEDDED and not os.environ.get("MACAW_BOOTSTRAP_SERVERS")
