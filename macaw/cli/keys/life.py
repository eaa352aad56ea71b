"""`macaw key rotate`, `check`, `recover` and `revoke`: the life of keys, and their ends."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from macaw.cli.terminal.options import Tenant

if TYPE_CHECKING:
    from producers.home.home import TenantHome

DAYS_MAX = 3650
KINDS = ("monitor", "bridge", "enrolment", "approver", "attester", "sealing")


def rotate(
    kind: Annotated[str, typer.Argument(help=f"The kind: {', '.join(KINDS)}.", metavar="KIND")],
    name: Annotated[
        str | None,
        typer.Argument(
            help="The bridge, approver, attester or enrolment key (without it enrol.key); for sealing, a key's name "
            "as `macaw key list` shows it, like tools/bank.",
            metavar="NAME",
        ),
    ] = None,
    *,
    reason: Annotated[str, typer.Option("--reason", help="The reason, kept on the log.")] = "planned",
    days: Annotated[
        float | None, typer.Option(help="The lifetime of the new key in days; without it, no end.", min=1, max=DAYS_MAX)
    ] = None,
    admin: Annotated[
        str, typer.Option("--admin", help="The administrator, if the log does not know the key in admin.key yet.")
    ] = "admin",
    prepare: Annotated[
        bool,
        typer.Option("--prepare", help="Make the coming decision key and nothing else, for other workers' machines."),
    ] = False,
    tenant: Tenant = None,
) -> None:
    """Replace a key while everything runs; a run that was interrupted is gone on with.

    Statements of the old key from before still count. A stolen key is revoked instead: see docs/incidents.md.
    """
    from macaw.cli.terminal.output import say
    from macaw.cli.terminal.places import open_tenant
    from macaw.installation.locking import only_keys_command
    from macaw.installation.rotation import prepare_monitor, rotate_key, rotate_sealing
    from producers.home.clock import clock_ms

    home, folder = open_tenant(tenant)
    path = _file_of(folder, kind, name)
    expires_at = None if days is None else clock_ms() + int(timedelta(days=days).total_seconds() * 1000)
    with only_keys_command(folder):
        if prepare:
            if kind != "monitor":
                raise typer.BadParameter("only a decision key is prepared", param_hint="--prepare")
            coming = prepare_monitor(folder)
            say(f"{coming} is the coming decision key: copy it into the tenant's folder on each worker's machine,")
            say("then run `macaw key rotate monitor` here")
            return
        if kind == "sealing":
            done = rotate_sealing(home, folder, path, reason=reason)
            say(f"{done.principal_id} opens payloads with a new half now, kept in {path}")
            say(f"the one before is kept for a day, in {path.name}.older")
            return
        done = rotate_key(home, folder, path, reason=reason, expires_at=expires_at, admin=admin)
    say(f"{done.principal_id} signs with the key {done.new.hex()[:16]} now, kept in {path}")
    say(f"the key {done.old.hex()[:16]} has ended; what it signed before still counts")
    if kind == "monitor":
        say("a worker on another machine pauses this tenant, KEY_MISSING, until it has a copy of that file")


def _file_of(folder: TenantHome, kind: str, name: str | None) -> Path:
    """Return the file of the key to rotate. Raises BadParameter, KeyNameError."""
    from macaw.installation.key_names import key_called

    if kind == "admin":
        raise typer.BadParameter(
            "an admin's key is added and removed by the root keys: `macaw admin add`, then `macaw admin remove`",
            param_hint="KIND",
        )
    if kind not in KINDS:
        raise typer.BadParameter(f"got {kind[:40]!r}, want {', '.join(KINDS)}", param_hint="KIND")
    if kind == "monitor" or (kind == "enrolment" and name is None):
        return folder.path / ("monitor.key" if kind == "monitor" else "enrol.key")
    if name is None:
        raise typer.BadParameter(f"name the {kind} whose key is to be rotated", param_hint="NAME")
    return key_called(folder, name if kind == "sealing" else f"{kind}s/{name}")


def check(
    *,
    days: Annotated[int, typer.Option(help="Tell of keys that end within so many days.", min=0, max=DAYS_MAX)] = 30,
    tenant: Tenant = None,
) -> None:
    """Check the keys that are kept here against the log, for a timer: status 1 if one has ended or ends soon."""
    from macaw.cli.terminal.output import say
    from macaw.cli.terminal.places import open_tenant
    from macaw.cli.terminal.status import DONE, FAILED
    from macaw.installation.key_terms import terms_of

    home, folder = open_tenant(tenant)
    told = 0
    for term in terms_of(home, folder, timedelta(days=days)):
        if term.warning:
            told += 1
            say(f"{term.name}: {term.warning}")
    if not told:
        say(f"{folder.tenant}: no key here has ended, and none ends within {days} days")
    raise typer.Exit(FAILED if told else DONE)


def recover(
    *,
    reason: Annotated[str, typer.Option("--reason", help="The reason, kept on the log.")] = "stolen",
    tenant: Tenant = None,
) -> None:
    """Replace a stolen decision key: register another, revoke the stolen one, and make a new state secret.

    First `macaw audit foreign --set-aside` names the records of the thief. Afterwards each worker is started again.
    """
    from macaw.cli.terminal.output import say
    from macaw.cli.terminal.places import open_tenant
    from macaw.installation.locking import only_keys_command
    from macaw.installation.rotation import recover_monitor

    home, folder = open_tenant(tenant)
    with only_keys_command(folder):
        done = recover_monitor(home, folder, reason=reason)
    say(f"{done.principal_id} signs with the key {done.new.hex()[:16]} now; {done.old.hex()[:16]} is revoked")
    say(f"copy monitor.key and state.secret from {folder.path} to each worker's machine, and start each worker again")
    say("the workers fold the log again from its start, and then go on")


def revoke(
    kid: Annotated[str, typer.Argument(help="The kid in hex, at least its first 8 digits.", metavar="KID")],
    *,
    reason: Annotated[str, typer.Option("--reason", help="The reason, kept on the log.")] = "revoked by hand",
    tenant: Tenant = None,
) -> None:
    """Revoke one key on the log, with the admin key: one that a thief has registered, or that is lost.

    It signs nothing from then on, and its attestations and approvals count no more. Key files stay where they are.
    """
    from macaw.cli.terminal.output import say
    from macaw.cli.terminal.places import open_tenant
    from macaw.installation.revocation import revoke_key

    home, folder = open_tenant(tenant)
    found, row = revoke_key(home, folder, kid, reason=reason)
    say(f"the key {found.hex()[:16]} of {row.principal_id} is revoked in {folder.tenant}")
