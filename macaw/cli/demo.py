"""`macaw demo`: a pointer to the demos, which are examples in a checkout and not part of an installation."""

from __future__ import annotations

import typer

from macaw.cli.terminal.status import USAGE


def command(_: typer.Context) -> None:
    """Point to the demos: `make demo`, `demo-workflow` and `demo-verifiers` in a checkout of the project."""
    from macaw.cli.terminal.output import complain

    complain(
        "the demos are not installed: run `make demo`, `make demo-workflow` or `make demo-verifiers` in a checkout of"
        " the project"
    )
    raise typer.Exit(USAGE)
