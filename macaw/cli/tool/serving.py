"""`macaw tool serve`: register the functions of a module, and execute the calls that the log allows."""

from __future__ import annotations

import re
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from macaw.cli.agent import revoke
from macaw.cli.terminal.metering import HostMetricsPort
from macaw.cli.terminal.options import Tenant

if TYPE_CHECKING:
    from collections.abc import Sequence

    from macaw.installation.instances import InstanceHome
    from producers.home.home import Home
    from producers.tools import ToolFunction
    from producers.tools.guard import HostGuard
    from producers.tools.host import HostTally

app = typer.Typer(help="Host tools: plain functions that run only for calls that the log has allowed.")

_APP = re.compile(r"[a-z][a-z0-9_-]{0,63}")


@app.command("serve")
def serve(
    spec: Annotated[
        str,
        typer.Argument(
            help="The app's name and its module: bank.py or a dotted name, with :attribute if needed.",
            metavar="APP=MODULE",
        ),
    ],
    *,
    instance: Annotated[int, typer.Option("--instance", min=0, help="The number, if several serve one app.")] = 0,
    mask: Annotated[
        str | None,
        typer.Option(
            "--mask",
            help="Mask secrets, personal data, or both in results before they are signed.",
            metavar="secrets,personal",
        ),
    ] = None,
    policy: Annotated[
        list[Path] | None,
        typer.Option(
            "--policy",
            help="A policy file of the tool's owner, judged here before each call; repeatable.",
            metavar="FILE",
        ),
    ] = None,
    check_schemas: Annotated[
        bool, typer.Option("--check-schemas", help="Compare parameters and results with the tools' JSON schemas.")
    ] = False,
    metrics_port: HostMetricsPort = None,
    tenant: Tenant = None,
) -> None:
    """Register the tools of a module, and execute allowed calls until Ctrl-C."""
    name, _, module = spec.partition("=")
    if not module or not _APP.fullmatch(name):
        raise typer.BadParameter(
            f"got {spec[:80]!r}, want APP=MODULE with an app of a-z, 0-9, _ and -", param_hint="APP=MODULE"
        )

    from macaw.cli.terminal.errors import CommandError
    from macaw.cli.terminal.places import is_embedded, open_tenant
    from macaw.cli.tool.guarding import guard_of
    from macaw.installation.instances import instance_home
    from macaw.installation.locking import only_one

    tools = _load(module)
    home, folder = open_tenant(tenant)
    if instance and is_embedded(home):
        # Without groups each instance takes every call, so every call would be executed several times.
        raise CommandError("the embedded broker serves one instance of a tool: leave out --instance")
    guard = guard_of(name, folder.tenant, tools, mask=mask, policies=policy or (), check_schemas=check_schemas)
    own = instance_home(folder, instance)
    complaint = f"instance {instance} of {name} is served already: stop it, or give this one another --instance"
    with only_one(own.key_file("tool", name).with_suffix(".lock"), complaint):
        status = _host(home, own, name, tools, guard, metrics_port)
    raise typer.Exit(status)


app.command("revoke", help="Revoke every instance of a tool; its operations can then be changed or withdrawn.")(revoke)


def _load(module: str) -> Sequence[ToolFunction]:
    """Import the tools. Raises CommandError for every failure of the module, which is a user's program."""
    from macaw.cli.terminal.importing import imported
    from producers.tools import ToolDeclarationError, load_tools

    return imported(load_tools, module, ToolDeclarationError)


def _host(
    home: Home,
    folder: InstanceHome,
    name: str,
    tools: Sequence[ToolFunction],
    guard: HostGuard,
    metrics_port: int | None,
) -> int:
    """Serve until asked to stop, then wait for running calls."""
    import logging

    from macaw.cli.terminal.output import log_to_stderr, say
    from macaw.cli.terminal.places import is_embedded
    from macaw.cli.terminal.stopping import Stopping
    from producers.kafka.connection import Connection
    from producers.tools.host import HostSettings, ToolHost
    from producers.tools.registration import register_tool

    key = register_tool(home, folder, name, tools)
    log_to_stderr(logging.INFO)
    settings = HostSettings(
        bootstrap=home.bootstrap,
        group_managed=not is_embedded(home),
        executed_path=folder.key_file("tool", name).with_suffix(".executed"),
        security=home.security,
        guard=guard,
    )
    with Stopping(insist=True) as stopping, Connection(home, folder, key, name) as connection:
        host = ToolHost(connection, name, tools, settings)
        stopping.ask = host.stop
        if stopping.signal is not None:
            host.stop()
        say(f"{name} serves {', '.join(t.name for t in tools)} in {folder.tenant}; Ctrl-C ends it after running calls")
        with _metered(home, folder, name, host.tally, metrics_port):
            host.run()
    say(f"{name} executed {host.tally.executed} calls and refused {sum(host.tally.refused.values())}")
    return stopping.status


def _metered(
    home: Home, folder: InstanceHome, name: str, tally: HostTally, port: int | None
) -> AbstractContextManager[None]:
    """Serve the host's metrics, if a port is given: the server for it is not part of an agent's installation."""
    if port is None:
        return nullcontext()
    from macaw.cli.terminal.metering import metered
    from streams.metrics.host import readings_of_host

    read = partial(readings_of_host, folder.tenant, name, tally)
    return metered(home, f"tool-{folder.tenant}-{name}-{folder.instance}", read, port)
