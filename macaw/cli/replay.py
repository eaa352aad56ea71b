"""`macaw replay`: decide the whole log again and compare."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated

import typer

from macaw.cli.terminal.options import AsJson, Tenant
from macaw.cli.terminal.status import DONE, FAILED


def command(
    *,
    engine: Annotated[
        list[str] | None,
        typer.Option(
            "--engine",
            help="A Python with the macaw that holds an engine, for its part of the log.",
            metavar="N=PYTHON",
        ),
    ] = None,
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """Decide the whole log again and compare every record.

    The exit status is 1 if any byte differs, or if the log cannot be decided to its end because an event is kept
    nowhere any more (SHREDDED), and 3 if an engine of the log is not installed here. With --engine that engine's part
    is decided by another Python, which gets the records and the state in clear.
    """
    elsewhere = dict(_host(one) for one in engine or ())

    from macaw.cli.terminal.output import jsonable, say, show, show_json
    from macaw.cli.terminal.places import open_tenant
    from macaw.installation.archives import archive_of
    from streams.history.replay import replay

    home, folder = open_tenant(tenant)
    report = replay(
        home.bootstrap,
        tenant=folder.tenant,
        deployment=home.deployment,
        genesis=folder.genesis,
        archive=archive_of(home, folder),
        set_aside=folder.set_aside,
        security=home.security,
        elsewhere=elsewhere,
    )
    found = report.difference
    if as_json:
        entries = {"entries": report.entries, "compared": report.compared, "counts": dict(report.counts)}
        show_json(
            {**entries, "difference": jsonable(found), "shredded": report.shredded, "unkept": report.unkept}, indent=2
        )
    elif report.shredded is not None:
        show(
            f"SHREDDED: the event of entry {report.shredded} is kept nowhere any more: the {report.entries} entries "
            f"before it were decided again, {report.compared} records compared, every byte the same; the entries from "
            "there on cannot be decided again"
        )
    elif found is None:
        show(f"{report.entries} entries decided again: {report.compared} records compared, every byte the same")
    else:
        show(f"DIFFERENT: record {found.position} of {found.topic} partition {found.partition}: {found.what}")
    if report.unkept and not as_json:
        say(
            f"{report.unkept} decisions and results are kept nowhere any more and were not compared: the digests that "
            "their audit entries name were"
        )
    raise typer.Exit(DONE if found is None and report.shredded is None else FAILED)


def _host(given: str) -> tuple[int, list[str]]:
    """Return an engine's number and the command of its host."""
    from streams.history.engine_process import host_command

    number, is_given, python = given.partition("=")
    if not re.fullmatch("[1-9][0-9]{0,9}", number, re.ASCII) or not is_given:
        raise typer.BadParameter(f"{given!r} is not N=PYTHON, like 2=/opt/macaw-2/bin/python", param_hint="--engine")
    # Not resolved: an environment's Python is a link to another, and works under its own name only.
    path = Path(python).absolute()
    if not path.is_file() or not os.access(path, os.X_OK):
        raise typer.BadParameter(f"{python!r} is not a program", param_hint="--engine")
    return int(number), host_command(str(path))
