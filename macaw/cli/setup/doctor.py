"""`macaw doctor`: every part of an installation, and the next command where one is broken."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from macaw.cli.terminal.options import AsJson, Tenant
from macaw.cli.terminal.status import DONE, FAILED

if TYPE_CHECKING:
    from macaw.installation.diagnosis import Diagnosed


def command(*, tenant: Tenant = None, as_json: AsJson = False) -> None:
    """Check broker, topics, monitor, clock, identity providers, bridges, keys and archive.

    Each line names the next command to run. Exit status 1 with a fault. The monitor and each provider's bridge are
    asked a question that they refuse; it stays on the log as a refused record.
    """
    import logging

    from macaw.cli.terminal.output import log_to_stderr, say, show, show_json
    from macaw.cli.terminal.places import open_folder
    from macaw.installation.diagnosis import Level, diagnose

    log_to_stderr(logging.CRITICAL)
    home, folder = open_folder(tenant)
    found: list[Diagnosed] = []
    for finding in diagnose(home, folder):
        found.append(finding)
        if not as_json:
            show(f"{finding.level.name.lower():8} {finding.part:9} {finding.text}")
            if finding.next:
                show(f"{'':18} next: {finding.next}")
    faults = sum(one.level is Level.FAULT for one in found)
    if as_json:
        show_json({"tenant": folder.tenant, "faults": faults, "findings": list(map(_as_json, found))}, indent=2)
    else:
        say(f"{folder.tenant}: faults: {faults}; warnings: {sum(one.level is Level.WARNING for one in found)}")
    raise typer.Exit(FAILED if faults else DONE)


def _as_json(finding: Diagnosed) -> dict[str, Any]:
    return {
        "part": str(finding.part),
        "level": finding.level.name.lower(),
        "text": finding.text,
        "next": finding.next or None,
    }
