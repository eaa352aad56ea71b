"""Options that several commands share, and the error of options that do not fit together."""

from __future__ import annotations

from typing import Annotated

import typer

Tenant = Annotated[
    str | None, typer.Option("--tenant", "-t", help="The tenant; without it the default of config.json.", metavar="ID")
]
AsJson = Annotated[bool, typer.Option("--json", help="Write JSON for programs.")]


class OptionsError(typer.BadParameter):
    """Options are missing or do not fit together; the message is the whole sentence."""

    def format_message(self) -> str:
        """Return the message, without the name of a single option before it."""
        return self.message
