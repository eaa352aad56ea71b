"""`macaw demo`: the main job on real input, from an empty folder to evidence that a stranger can check."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(invoke_without_command=True)
Keep = Annotated[Path | None, typer.Option("--keep", help="Work in this folder and leave it.", file_okay=False)]


@app.callback()
def attacks(context: typer.Context, *, keep: Keep = None) -> None:
    """Play recorded attacks on real tools and check what held; `workflow` plays one with people in it.

    The exit status is 0 only if everything held.
    """
    if context.invoked_subcommand is not None:
        return

    from macaw.demo.run import main

    raise typer.Exit(main(keep=keep))


@app.command()
def workflow(*, keep: Keep = None) -> None:
    """Play an invoice from the mail to the confirmation.

    A person approves here in the terminal. The exit status is 0 only if everything held.
    """
    from macaw.demo.workflow.run import main

    raise typer.Exit(main(keep=keep))
