"""`macaw up`: everything on one machine: a broker, a monitor and the views, under one supervisor."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pathlib import Path

    from macaw.cli.terminal.stopping import Stopping
    from producers.home import Home
    from producers.security import Security
    from streams.local.choose import Broker
    from streams.local.supervisor import Child

NAME = "up"


class BrokerChoice(enum.StrEnum):
    """Which broker to use."""

    ENVIRONMENT = "environment"
    KAFKA = "kafka"
    EMBEDDED = "embedded"


def command(
    *,
    discard: Annotated[
        bool, typer.Option("--discard", help="After an unclean stop: delete what the embedded broker held.")
    ] = False,
    broker: Annotated[
        BrokerChoice | None,
        typer.Option("--broker", help="Without it: MACAW_BOOTSTRAP_SERVERS if that is set, else the embedded one."),
    ] = None,
) -> None:
    """Start broker, monitor and views, and stay until Ctrl-C.

    Everything is kept in $MACAW_HOME, or else in the working directory.
    """
    from macaw.cli.terminal.places import base_folder
    from macaw.cli.terminal.stopping import Stopping
    from macaw.installation.locking import only_one

    base = base_folder()
    running = f"`macaw up` runs already in {base}: use it, stop it, or set MACAW_HOME to another folder"
    with only_one(base / ".macaw" / "up.lock", running), Stopping() as stopping:
        _run(base, stopping, discard=discard, choice=broker)
    raise typer.Exit(stopping.status)


def _run(base: Path, stopping: Stopping, *, discard: bool, choice: BrokerChoice | None) -> None:
    """Start the broker, run the rest under it, and stop it last."""
    from macaw.cli.terminal.output import say

    config = _config(base)
    with _broker(base, config, discard=discard, choice=choice) as broker:
        info = broker.info
        if stopping.signal is None:
            home = _configure(base, config, {"bootstrap": info.bootstrap, "broker_kind": info.kind.value})
            say(f"broker: {info}, at {info.bootstrap}")
            say(f"home: {home.path}")
            _supervise(home, stopping)
        say("stopping the broker")
    say("everything is stopped")


def _config(base: Path) -> dict[str, str]:
    """Return what an earlier run configured."""
    from producers.home import Home

    return dict(Home.open(base).config) if (base / ".macaw" / "config.json").exists() else {}


def _configure(base: Path, before: dict[str, str], found: dict[str, str]) -> Home:
    from macaw.installation.locking import update_config

    # The deployment is part of every origin, so it is named once and kept.
    return update_config(base, {"deployment": before.get("deployment", "local"), **found})


def _broker(base: Path, config: dict[str, str], *, discard: bool, choice: BrokerChoice | None) -> Broker:
    """Return the broker, not started yet where it is ours to start. Raises BrokerError, CommandError."""
    import os

    from macaw.cli.terminal.errors import CommandError
    from streams.local.choose import choose_broker

    if choice is None:
        named = os.environ.get("MACAW_BOOTSTRAP_SERVERS")
        choice = BrokerChoice.ENVIRONMENT if named else BrokerChoice.EMBEDDED
    folder = base / ".macaw" / "broker"
    if choice is not BrokerChoice.ENVIRONMENT and _security(base):
        raise CommandError(
            "config.json says under `kafka` how to prove who we are, and a broker of `macaw up` asks nobody: "
            "remove that, or name the brokers in MACAW_BOOTSTRAP_SERVERS"
        )
    if choice is BrokerChoice.EMBEDDED:
        return _embedded(folder, config, discard=discard)
    return choose_broker(folder, prefer=choice.value, security=_security(base))


def _security(base: Path) -> Security:
    """Return how to prove to the brokers who we are. Raises SecurityError."""
    from producers.home import Home
    from producers.security import UNSECURED

    return Home.open(base).security if (base / ".macaw" / "config.json").exists() else UNSECURED


def _embedded(folder: Path, config: dict[str, str], *, discard: bool) -> Broker:
    """Return the embedded broker on the port it had, if that is free: hosts and agents that still run find it again."""
    from streams.local.choose import EmbeddedBroker
    from streams.local.probe import is_free

    digits = config.get("bootstrap", "").rpartition(":")[2] if config.get("broker_kind") == "embedded" else ""
    port = int(digits) if digits.isdecimal() and 0 < int(digits) < 2**16 and is_free(int(digits)) else 0
    broker = EmbeddedBroker(folder, port, discard=discard)
    if discard and broker.marker.exists():
        _set_tenants_aside(folder.parent)
    return broker


def _set_tenants_aside(path: Path) -> None:
    """Keep the keys of tenants whose logs are about to be deleted, where nothing takes them for living ones."""
    import time

    from macaw.cli.terminal.output import say

    tenants = path / "tenants"
    if tenants.is_dir():
        aside = tenants.rename(path / f"tenants.discarded-{time.time_ns() // 1_000_000}")
        say(f"the logs of these tenants are discarded; their keys are kept in {aside}")


def _supervise(home: Home, stopping: Stopping) -> None:
    """Run monitor and views until asked to stop. Raises GaveUpError."""
    from macaw.cli.terminal.output import plain, say
    from streams.local.supervisor import Supervisor

    supervisor = Supervisor(
        [_child(home, "monitor"), _child(home, "views")],
        say=say,
        forward=lambda name, line: say(f"{name}: {plain(line)}"),
    )
    stopping.ask = supervisor.stop
    if stopping.signal is not None:
        return
    say("Ctrl-C stops everything; in another terminal: `macaw tenant create NAME`")
    supervisor.run()


def _child(home: Home, name: str) -> Child:
    import os
    import sys

    from streams.local.supervisor import Child

    environ = {**os.environ, "MACAW_HOME": str(home.path.parent), "PYTHONUNBUFFERED": "1"}
    # The children use the broker that was started, whatever the environment names.
    environ.pop("MACAW_BOOTSTRAP_SERVERS", None)
    return Child(name=name, argv=[sys.executable, "-m", "macaw.cli", name], environ=environ, stop_seconds=15.0)
