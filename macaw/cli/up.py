"""`macaw up`: everything on one machine: broker, monitor, bridge, views and archive, under one supervisor."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from macaw.cli.terminal.stopping import Stopping
    from producers.home.home import Home
    from streams.local.choose import Broker
    from streams.local.supervisor import Child


class BrokerChoice(enum.StrEnum):
    """The kinds of brokers, as in `streams.local.choose.BrokerKind`, which the help need not import."""

    ENVIRONMENT = "environment"
    KAFKA = "kafka"
    EMBEDDED = "embedded"


def command(
    *,
    discard: Annotated[
        bool, typer.Option("--discard", help="Delete the embedded broker's data, after an unclean stop.")
    ] = False,
    broker: Annotated[
        BrokerChoice | None,
        typer.Option(
            "--broker",
            help="The broker. Without it: that of MACAW_BOOTSTRAP_SERVERS; else the one that this folder began with; "
            "else Apache Kafka where Java 17 is, or `pip install 'macaw-streams[kafka]'`; else the embedded one.",
        ),
    ] = None,
) -> None:
    """Start broker, monitor, bridge, views and archive, and stay until Ctrl-C.

    Everything is kept in $MACAW_HOME, else in the working directory. A folder with tenants stays with its broker.
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

    broker = _started(base, stopping, discard=discard, choice=choice)
    if broker is None:
        say("stopped before the broker was there")
        return
    with broker:
        info = broker.info
        if stopping.signal is None:
            home = _configure(base, {"bootstrap": info.bootstrap, "broker_kind": info.kind.value})
            say(f"broker: {info}, at {info.bootstrap}")
            say(f"home: {home.path}")
            _supervise(home, stopping)
        say("stopping the broker")
    say("everything is stopped")


def _started(base: Path, stopping: Stopping, *, discard: bool, choice: BrokerChoice | None) -> Broker | None:
    """Return the broker once it answers; None if the user interrupted the start. Raises BrokerError and others."""
    from macaw.cli.terminal.output import say
    from macaw.installation.broker_choice import start_broker
    from streams.local.choose import BrokerKind

    def interrupt() -> None:
        raise KeyboardInterrupt

    # Fetching and starting Apache Kafka may take long, and nothing else runs yet.
    stopping.ask = interrupt
    try:
        return start_broker(base, BrokerKind(choice) if choice else None, discard=discard, say=say)
    except KeyboardInterrupt:
        return None
    finally:
        stopping.ask = lambda: None


def _configure(base: Path, found: dict[str, str]) -> Home:
    from macaw.installation.locking import update_config
    from producers.home.home import Home
    from streams.archive.places import DEFAULT, SETTING

    before = Home.open(base).config if (base / ".macaw" / "config.json").exists() else {}
    # The deployment is part of every origin, so it is named once and kept.
    kept = {"deployment": before.get("deployment", "local"), SETTING: before.get(SETTING, DEFAULT)}
    return update_config(base, {**kept, **found})


def _supervise(home: Home, stopping: Stopping) -> None:
    """Run monitor, bridge, views and archive until asked to stop. Raises GaveUpError."""
    from macaw.cli.terminal.output import plain, say
    from streams.local.supervisor import Supervisor

    supervisor = Supervisor(
        [
            _child(home, "monitor"),
            _child(home, "bridge", "run", *logout_options(home.config)),
            _child(home, "views"),
            *_archiving(home),
        ],
        say=say,
        forward=lambda name, line: say(f"{name}: {plain(line)}"),
    )
    stopping.ask = supervisor.stop
    if stopping.signal is not None:
        return
    say("Ctrl-C stops everything; in another terminal: `macaw tenant create NAME`")
    supervisor.run()


def logout_options(config: Mapping[str, str]) -> list[str]:
    """Return the options of the bridge's endpoint for logouts as config.json has them; none without `logout_port`."""
    options = {"logout_port": "--logout-port", "logout_host": "--host", "logout_url": "--url"}
    if "logout_port" not in config:
        return []
    return [f"{option}={config[name]}" for name, option in options.items() if name in config]


def _archiving(home: Home) -> list[Child]:
    """Return the process that archives, none if config.json says `"archive": "off"`."""
    from streams.archive.places import is_configured

    return [_child(home, "archive", "run")] if is_configured(home) else []


def _child(home: Home, name: str, *more: str) -> Child:
    import os
    import sys

    from streams.local.supervisor import Child

    environ = {**os.environ, "MACAW_HOME": str(home.path.parent), "PYTHONUNBUFFERED": "1"}
    # The children use the broker that was started, even if the environment names another one.
    environ.pop("MACAW_BOOTSTRAP_SERVERS", None)
    return Child(name=name, argv=[sys.executable, "-m", "macaw.cli", name, *more], environ=environ, stop_seconds=15.0)
