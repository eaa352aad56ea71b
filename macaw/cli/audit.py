"""`macaw audit`: copy the audit log from the brokers, and check such a copy without them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from macaw.cli.terminal.options import AsJson, Tenant
from macaw.cli.terminal.status import DONE, FAILED, NO_ENGINE

if TYPE_CHECKING:
    from processors.evidence.verdict import AuditVerdict

RANGES_SHOWN = 8
KID_DIGITS_MIN = 8

app = typer.Typer(help="Export the audit log, and verify an export offline.")


@app.command("export")
def export(
    directory: Annotated[Path, typer.Argument(help="The folder to create.", metavar="DIR")],
    *,
    tenant: Tenant = None,
) -> None:
    """Export the audit log, with all evidence for its check, into a new folder."""
    from macaw.cli.terminal.output import say, show
    from macaw.cli.terminal.places import open_tenant
    from macaw.installation.archives import archive_of
    from streams.history.export import export_audit

    home, folder = open_tenant(tenant)
    written = export_audit(
        home.bootstrap,
        tenant=folder.tenant,
        deployment=home.deployment,
        genesis=folder.genesis,
        target=directory,
        archive=archive_of(home, folder),
        set_aside=folder.set_aside,
        security=home.security,
    )
    if written.gap:
        say(
            f"ARCHIVE_GAP: neither the archive nor the brokers have offsets {written.gap.start} to "
            f"{written.gap.stop - 1} of intake; see docs/incidents.md"
        )
    if written.foreign:
        at = ", ".join(map(str, written.foreign_at))
        say(
            f"{written.foreign} records of the audit topic are not entries of this log and are left out, at offset {at}"
            f"{' and further on' if written.foreign > len(written.foreign_at) else ''}: another program writes there; "
            "`macaw topic check` shows the access rules"
        )
    show(str(directory))
    say(f"{written.size} entries, {written.events_absent} of them without their event")
    say(f"to check it anywhere: `macaw audit verify {directory} --genesis {folder.genesis.hex()}`")


@app.command("foreign")
def foreign(
    *,
    set_aside: Annotated[
        bool, typer.Option("--set-aside", help="Have this installation read past them from now on.")
    ] = False,
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """Find records on the tenant's topics that the log did not cause, as a thief of a decision key writes them.

    The log is decided again from its first record and compared with its topics; the exit status is 1 if a record is
    foreign.
    """
    from macaw.cli.terminal.output import say, show_json, show_table
    from macaw.cli.terminal.places import open_tenant
    from macaw.installation.archives import archive_of
    from streams.history.foreign import find_foreign, places_of

    home, folder = open_tenant(tenant)
    found = find_foreign(
        home.bootstrap,
        tenant=folder.tenant,
        deployment=home.deployment,
        genesis=folder.genesis,
        archive=archive_of(home, folder),
        security=home.security,
    )
    if as_json:
        show_json([{**one._asdict(), "kid": one.kid.hex()} for one in found], indent=2)
    else:
        cells = [(one.topic, one.partition, one.offset, one.kid.hex()[:16] or "-", one.claim) for one in found]
        show_table(("TOPIC", "PARTITION", "OFFSET", "KID", "CLAIM"), cells)
    if set_aside and found:
        folder.put_aside(places_of(found))
        say(f"{len(found)} records are set aside in {folder.path}: copy the list to each worker's machine")
    raise typer.Exit(FAILED if found else DONE)


@app.command("signed-by")
def signed_by(
    kid: Annotated[str, typer.Argument(help="The kid of the key in hex, at least its first 8 digits.", metavar="KID")],
    *,
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """List every act of one key, as after its theft: the entries of the events that it signed, refused ones too."""
    from macaw.cli.terminal.output import show_json, show_table
    from macaw.cli.terminal.places import open_tenant
    from macaw.cli.terminal.rendering import time_of
    from macaw.installation.archives import archive_of
    from streams.history.signed import signed_by as entries_of

    if len(kid) < KID_DIGITS_MIN or set(kid) - set("0123456789abcdef"):
        raise typer.BadParameter(f"{kid[:64]!r} is not the kid of a key", param_hint="KID")
    home, folder = open_tenant(tenant)
    found = entries_of(
        home.bootstrap,
        folder.tenant,
        kid,
        archive=archive_of(home, folder),
        security=home.security,
        set_aside=folder.set_aside,
    )
    rows = [(e.index, time_of(e.now), e.kind, e.outcome, e.reason, e.offset) for e in found]
    if as_json:
        names = ("index", "time", "kind", "outcome", "reason", "offset")
        show_json([dict(zip(names, row, strict=True)) for row in rows], indent=2)
    else:
        show_table(("ENTRY", "TIME", "KIND", "OUTCOME", "REASON", "OFFSET"), rows)


@app.command("verify")
def verify(
    directory: Annotated[Path, typer.Argument(help="An exported folder.", metavar="DIR", exists=True, file_okay=False)],
    *,
    genesis: Annotated[
        str | None,
        typer.Option("--genesis", help="The tenant's genesis, from its owner, not from the folder.", metavar="HEX"),
    ] = None,
    allow_unwitnessed: Annotated[
        bool, typer.Option("--allow-unwitnessed", help="Accept a log whose length no witness has seen.")
    ] = False,
    allow_absent: Annotated[
        bool,
        typer.Option("--allow-absent", help="Accept entries without their event, on the monitor's word."),
    ] = False,
    as_json: AsJson = False,
    tenant: Tenant = None,
) -> None:
    """Check an export by its files alone; exit status 0 only for the verdict OK with every event present.

    The exit status is 3 if another version of macaw must judge it: the engine that decided is not installed here.
    """
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
        say("a holder of the monitor's key could have invented those entries; --allow-absent accepts them")
    raise typer.Exit(DONE if passes else NO_ENGINE if code == "ENGINE_MISSING" else FAILED)


def _absent(verdict: AuditVerdict) -> str:
    """Return a sentence about the entries that come without their event."""
    count = verdict.events_absent
    ranges = [str(first) if first == last else f"{first}-{last}" for first, last in verdict.absent[:RANGES_SHOWN]]
    more = ", …" if len(verdict.absent) > RANGES_SHOWN else ""
    come = "entry comes without its" if count == 1 else "entries come without their"
    return (
        f"{count} of {verdict.size} {come} event: of those only the monitor's word is known ({', '.join(ranges)}{more})"
    )


def _genesis(given: str | None, tenant: str | None) -> bytes:
    """Return the genesis to check against: `given`, else the one that this installation has of the tenant."""
    if given is None:
        return _known_genesis(tenant)
    try:
        found = bytes.fromhex(given)
    except ValueError:
        found = b""
    if len(found) != 32:
        raise typer.BadParameter(f"got {len(given)} characters, want 64 hex digits", param_hint="--genesis")
    return found


def _known_genesis(tenant: str | None) -> bytes:
    """Return the genesis that this installation has pinned. Raises CommandError if it has none."""
    from macaw.cli.terminal.errors import CommandError
    from producers.home.home import Home, HomeError

    wanted = "give the genesis with --genesis HEX, as the log's owner told you and not as the folder says"
    try:
        home = Home.find()
    except HomeError as exc:
        raise CommandError(f"no installation here has the log's genesis: {wanted}") from exc
    try:
        return home.tenant(tenant).genesis
    except HomeError as exc:
        raise CommandError(f"{exc}; or {wanted}") from exc
