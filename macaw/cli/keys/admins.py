"""`macaw admin`: administrators are added and removed by a threshold of the root keys."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from macaw.cli.keys.acting import Out, finish
from macaw.cli.terminal.options import AsJson, Tenant

Name = Annotated[str, typer.Argument(help="The administrator's name, which the log shows.", metavar="NAME")]

After = Annotated[
    int,
    typer.Option(
        help="The number of acts on administrators that stand on the log and wait, because the tenant stands still.",
        min=0, max=100,
    ),
]  # fmt: skip


def list_admins(*, tenant: Tenant = None, as_json: AsJson = False) -> None:
    """List every administrator's key that the log has, ended ones too."""
    from macaw.cli.terminal.output import show_json, show_table
    from macaw.cli.terminal.places import open_tenant
    from macaw.cli.terminal.rendering import time_of
    from macaw.installation.admins import admins_of
    from schemas.words import Status

    home, folder = open_tenant(tenant)
    found = admins_of(home, folder)
    if as_json:
        rows = [
            {"name": a.row.principal_id, "kid": a.kid.hex(), "live": a.is_live, "since": a.row.registered_at}
            for a in found
        ]
        show_json(rows, indent=2)
        return
    cells = [
        (a.row.principal_id, a.kid.hex()[:16], "live" if a.is_live else Status.ENDED, time_of(a.row.registered_at))
        for a in found
    ]
    show_table(("NAME", "KID", "STATUS", "SINCE"), cells)


def offer(
    name: Name,
    *,
    out: Annotated[Path, typer.Option("--out", help="The file to write; nothing in it is secret.", metavar="FILE")],
    tenant: Tenant = None,
) -> None:
    """Make an administrator's key on its owner's machine, and write the offer of it for the root keys."""
    from macaw.cli.terminal.output import say
    from macaw.cli.terminal.places import open_home
    from macaw.installation.admins import make_offer, save_offer
    from macaw.installation.key_names import ORGANISATION

    folder = open_home().tenant(tenant)
    path = folder.key_file("admin", name) if name == ORGANISATION else folder.path / "admin.key"
    save_offer(make_offer(folder, name, path), folder, out)
    say(
        f"{path} is {name}'s key, and stays here; take {out} to a root key: `macaw admin add {name} --offer {out.name}`"
    )


def add(
    name: Name,
    *,
    offered: Annotated[
        Path | None,
        typer.Option(
            "--offer", help="The offer from the owner's machine; without it, a key is made here.", metavar="FILE"
        ),
    ] = None,
    after: After = 0,
    out: Out = None,
    tenant: Tenant = None,
) -> None:
    """Add a key of an administrator, a new one or a further one, by the root keys."""
    from macaw.cli.terminal.output import say
    from macaw.cli.terminal.places import open_tenant
    from macaw.installation.admins import load_offer, make_offer
    from macaw.installation.root_keys import propose, read_roots
    from schemas.events.keys import AdminAddition

    home, folder = open_tenant(tenant)
    roots = read_roots(home, folder).after(after)
    path = folder.key_file("admin", name)
    found = make_offer(folder, name, path) if offered is None else load_offer(folder, offered)
    if found.principal_id != name:
        raise typer.BadParameter(f"the offer is for {found.principal_id!r}, not for {name!r}", param_hint="--offer")
    act = propose(folder, roots, AdminAddition(admin=found))
    if finish(home, folder, roots, act, out or Path(f"add-{path.stem}.act.json")) and offered is None:
        say(f"its key is {path}: move it to its owner's machine, as admin.key in the tenant's folder there")


def remove(
    name: Name,
    *,
    kid: Annotated[
        str | None, typer.Option("--kid", help="Of one key alone; without it, every key of this name.", metavar="HEX")
    ] = None,
    reason: Annotated[str, typer.Option("--reason", help="The reason, kept on the log.")] = "removed",
    after: After = 0,
    out: Out = None,
    tenant: Tenant = None,
) -> None:
    """Remove an administrator, by the root keys. Nothing that its keys sign counts from then on."""
    from macaw.cli.terminal.places import open_tenant
    from macaw.installation.root_keys import propose, read_roots
    from producers.client.inputs import digest_of
    from producers.home.home import file_name
    from schemas.events.keys import AdminRemoval

    home, folder = open_tenant(tenant)
    roots = read_roots(home, folder).after(after)
    removal = AdminRemoval(
        principal_id=name, kid=None if kid is None else digest_of(kid, "the kid of a key"), reason=reason
    )
    act = propose(folder, roots, removal)
    finish(home, folder, roots, act, out or Path(f"remove-{file_name(name)}.act.json"))
