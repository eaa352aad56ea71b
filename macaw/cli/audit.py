"""`macaw audit`: carry the audit log out of the brokers, and check such a copy without them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from macaw.cli.terminal.options import AsJson, Tenant
from macaw.cli.terminal.status import DONE, FAILED

if TYPE_CHECKING:
    from processors.evidence.verdict import AuditVerdict

RANGES_SHOWN = 8

app = typer.Typer(help="Export the audit log, and verify an export offline.")


@app.command("export")
def export(
    directory: Annotated[Path, typer.Argument(help="A folder that does not exist yet.", metavar="DIR")],
    *,
    tenant: Tenant = None,
) -> None:
    """Write the audit log with all that proves it into a folder."""
    from macaw.cli.terminal.output import say, show
    from macaw.cli.terminal.places import open_tenant
    from streams.history.export import export_audit

    home, folder = open_tenant(tenant)
    written = export_audit(
        home.bootstrap,
        tenant=folder.tenant,
        deployment=home.deployment,
        genesis=folder.genesis,
        target=directory,
        security=home.security,
    )
    if written.foreign:
        at = ", ".join(map(str, written.foreign_at))
        say(
            f"{written.foreign} records of the audit topic are no entries of this log and are left out, at offset {at}"
            f"{' and further on' if written.foreign > len(written.foreign_at) else ''}: somebody else writes there; "
            "`macaw topic check` shows who may"
        )
    show(str(directory))
    say(f"{written.size} entries, {written.events_absent} of them without their event")
    say(f"whoever has {directory} and the genesis {folder.genesis.hex()} can check it: `macaw audit verify`")


@app.command("verify")
def verify(
    directory: Annotated[Path, typer.Argument(help="An exported folder.", metavar="DIR", exists=True, file_okay=False)],
    *,
    genesis: Annotated[
        str | None,
        typer.Option("--genesis", help="The tenant's genesis, from its owner and not from the folder.", metavar="HEX"),
    ] = None,
    allow_unwitnessed: Annotated[
        bool, typer.Option("--allow-unwitnessed", help="Let a log pass whose length nobody else has seen.")
    ] = False,
    allow_absent: Annotated[
        bool,
        typer.Option("--allow-absent", help="Let entries pass whose event is not there: the monitor's word for them."),
    ] = False,
    as_json: AsJson = False,
    tenant: Tenant = None,
) -> None:
    """Check an export with nothing but its files; exit status 0 only for the verdict OK, with every event there."""
    pinned = _genesis(genesis, tenant)

    from macaw.cli.terminal.output import say, show, show_json
    from streams.history.evidence_folder import verify_folder

    verdict = verify_folder(directory, genesis=pinned)
    code = str(verdict.code)
    if as_json:
        show_json(
            {
                "verdict": code,
                "index": verdict.index,
                "detail": verdict.detail,
                "size": verdict.size,
                "root": verdict.root.hex(),
                "events_absent": verdict.events_absent,
                "absent": [{"first": first, "last": last} for first, last in verdict.absent],
            }
        )
    else:
        where = f" at entry {verdict.index}" if verdict.index is not None else ""
        absent = f"; {_absent(verdict)}" if verdict.events_absent else ""
        show(f"{code}{where}: {verdict.detail}; {verdict.size} entries held, root {verdict.root.hex()}{absent}")
    good = {"OK", "UNWITNESSED"} if allow_unwitnessed else {"OK"}
    passes = code in good and (allow_absent or not verdict.events_absent)
    if code in good and not passes:
        say("whoever has the monitor's key can have written those entries: --allow-absent lets them pass")
    raise typer.Exit(DONE if passes else FAILED)


def _absent(verdict: AuditVerdict) -> str:
    """Return what is not known of the entries that held."""
    count = verdict.events_absent
    ranges = [str(first) if first == last else f"{first}-{last}" for first, last in verdict.absent[:RANGES_SHOWN]]
    more = ", …" if len(verdict.absent) > RANGES_SHOWN else ""
    come = "entry comes without its" if count == 1 else "entries come without their"
    return (
        f"{count} of {verdict.size} {come} event: of those only the monitor's word is known ({', '.join(ranges)}{more})"
    )


def _genesis(given: str | None, tenant: str | None) -> bytes:
    """Return the genesis to pin: the one given, else the one that this installation knows of the tenant."""
    if given is None:
        return _known_genesis(tenant)
    try:
        found = bytes.fromhex(given)
    except ValueError:
        found = b""
    if len(found) != 32:
        raise typer.BadParameter("want 64 hex digits", param_hint="--genesis")
    return found


def _known_genesis(tenant: str | None) -> bytes:
    """Return the genesis that this installation has pinned. Raises CommandError: a stranger's machine has none."""
    from macaw.cli.terminal.errors import CommandError
    from producers.home.home import Home, HomeError

    wanted = "name the genesis that the log's owner gave you, by another way than the folder: --genesis HEX"
    try:
        home = Home.find()
    except HomeError as exc:
        raise CommandError(f"{wanted}; no installation here knows it") from exc
    try:
        return home.tenant(tenant).genesis
    except HomeError as exc:
        raise CommandError(f"{exc}; or {wanted}") from exc
