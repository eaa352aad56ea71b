"""`macaw demo`: the main job on real input, from an empty folder to evidence that a stranger can check."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

NAME = "demo"


def command(
    *,
    keep: Annotated[
        Path | None, typer.Option("--keep", help="Work in this folder and leave it.", file_okay=False)
    ] = None,
) -> None:
    """Play recorded attacks on real tools and check what held.

    The exit status is 0 only if everything held.
    """
    from macaw.demo.run import main

    raise typer.Exit(main(keep=keep))
