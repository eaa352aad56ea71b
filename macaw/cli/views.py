"""`macaw views`: the read path, tables with a query API over them; its subcommands list their rows."""

from __future__ import annotations

from typing import Annotated

import typer

from macaw.cli import views_lists
from macaw.cli.terminal.metering import MetricsPort

app = typer.Typer(invoke_without_command=True)
for _list in (views_lists.attestations, views_lists.approvals, views_lists.context, views_lists.delegations):
    app.command()(_list)


@app.callback()
def serve(
    context: typer.Context,
    *,
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="The port to listen on; 0 picks a free one.")
    ] = 0,
    metrics_port: MetricsPort = 0,
) -> None:
    """Serve the views on this machine; a subcommand asks running views instead.

    Their address is written into config.json.
    """
    if context.invoked_subcommand is not None:
        return
    import logging
    from contextlib import AbstractContextManager
    from functools import partial

    from macaw.cli.terminal.metering import metered
    from macaw.cli.terminal.output import log_to_stderr
    from macaw.cli.terminal.places import open_home, require_broker
    from macaw.installation.locking import only_one, update_config

    log_to_stderr(logging.INFO)
    home = open_home()
    require_broker(home)

    from streams.address import LOOPBACK
    from streams.metrics.views import readings_of_views
    from streams.views.process import run_views
    from streams.views.progress import Progress

    def on_listening(found: int) -> None:
        update_config(home.path.parent, {"views": f"http://{LOOPBACK}:{found}"})

    def watching(progress: Progress) -> AbstractContextManager[None]:
        return metered(home, "views", partial(readings_of_views, progress), metrics_port)

    with only_one(home.path / "views.lock", "the views of this installation run already: stop them first"):
        run_views(
            home.bootstrap,
            home,
            port=port,
            replication=home.replication,
            on_listening=on_listening,
            watching=watching,
        )
