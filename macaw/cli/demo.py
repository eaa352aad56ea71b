"""`macaw demo`: where the demos are. They are examples of a checkout and not part of an installation."""

from __future__ import annotations

import typer

NAME = "demo"
STATUS = 2  # of a command line that asks for what is not here
CONTEXT = {"allow_extra_args": True, "ignore_unknown_options": True}


def command(_: typer.Context) -> None:
    """Say where the demos are: `make demo` and `make demo-workflow` in a checkout of the project."""
    from macaw.cli.terminal.output import complain

    complain("the demos are not installed: run `make demo` or `make demo-workflow` in a checkout of the project")
    raise typer.Exit(STATUS)
