"""The installation that a command works on, checked before anything is asked of it."""

from __future__ import annotations

import logging
import os
import socket
from pathlib import Path

from macaw.cli.errors import CommandError
from macaw.cli.output import log_to_stderr
from producers.home import Home, HomeError, TenantHome

CONNECT_SECONDS = 2.0
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
