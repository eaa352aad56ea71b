"""`macaw bridge`: the process that verifies tokens of identity providers and opens sessions (docs/login.md)."""

from __future__ import annotations

from typing import Annotated

import typer

from macaw.cli.terminal.metering import MetricsPort
from macaw.cli.terminal.options import OptionsError, Tenant

LOOPBACK = "127.0.0.1"

app = typer.Typer(help="Let people and workloads log in with their identity provider.")


@app.command("register")
def register(
    name: Annotated[str, typer.Argument(help="The bridge's name.")] = "main",
    *,
    issuer: Annotated[
        list[str] | None,
        typer.Option("--issuer", help="An issuer that it speaks for; repeatable. [each that the tenant trusts]"),
    ] = None,
    tenant: Tenant = None,
) -> None:
    """Register a bridge with the admin key, and keep its key in this installation."""
    from macaw.cli.terminal.output import say
    from macaw.cli.terminal.places import open_tenant
    from macaw.installation.bridges import PREFIX, register_bridge
    from processors.identity.issuers import ALL_TRUSTED

    home, folder = open_tenant(tenant)
    key = register_bridge(home, folder, name, issuers=issuer or [ALL_TRUSTED])
    say(f"{PREFIX}{name} is registered in {folder.tenant}, kid {key.kid.hex()[:16]}; `macaw bridge run` serves logins")


@app.command("run")
def run(
    *,
    logout_port: Annotated[
        int | None,
        typer.Option(
            "--logout-port",
            min=0,
            max=65535,
            help="The port at which identity providers tell of logouts; 0 takes a free one. [none]",
        ),
    ] = None,
    host: Annotated[
        str, typer.Option("--host", help="With --logout-port: the address to listen on.", metavar="ADDRESS")
    ] = LOOPBACK,
    url: Annotated[
        str | None,
        typer.Option("--url", help="With --logout-port: the https://NAME that providers call.", metavar="URL"),
    ] = None,
    metrics_port: MetricsPort = 0,
) -> None:
    """Serve the logins of all tenants with a bridge here, until Ctrl-C; `macaw up` runs it too.

    With --logout-port the bridge also hears the logouts of providers (back-channel logout).
    """
    import logging
    from functools import partial

    from macaw.cli.terminal.metering import metered
    from macaw.cli.terminal.output import log_to_stderr
    from macaw.cli.terminal.places import open_home, require_broker
    from macaw.cli.terminal.stopping import Stopping
    from macaw.installation.locking import only_one
    from streams.bridge.logout_serving import LogoutDoor
    from streams.bridge.process import BridgeProcess
    from streams.metrics.bridge import readings_of_bridges

    if logout_port is None and (url is not None or host != LOOPBACK):
        raise OptionsError("`--host` and `--url` belong to the endpoint for logouts: give `--logout-port` too")
    log_to_stderr(logging.INFO)
    home = open_home()
    require_broker(home)
    running = "this installation serves logins already: stop that process first"
    with only_one(home.path / "bridge.lock", running), Stopping() as stopping:
        process = BridgeProcess(home, None if logout_port is None else LogoutDoor(host, logout_port, url))
        stopping.ask = process.stop
        if stopping.signal is None:
            with metered(home, "bridge", partial(readings_of_bridges, process), metrics_port):
                process.run()
    raise typer.Exit(stopping.status)
