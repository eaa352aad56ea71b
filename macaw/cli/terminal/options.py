"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

Tenant = Annotated[
    str | None, typer.Option("--tenant", "-t", help="The tenant; without it the default of config.json.", metavar="ID")
]
AsJson = Annotated[bool, typer.Option("--json", help="Write JSON for programs.")]
