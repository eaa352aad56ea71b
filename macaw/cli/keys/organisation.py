"""`macaw organisation`: the key of an organisation ends or changes, by itself, in one tenant at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from macaw.cli.terminal.options import Tenant

KeyFile = Annotated[Path, typer.Argument(help="The file of the organisation's key.", metavar="FILE", exists=True)]


def rotate(
    old: KeyFile,
    new: Annotated[Path, typer.Argument(help="The file of its successor, made where there is none.", metavar="NEW")],
    *,
    reason: Annotated[str, typer.Option("--reason", help="The reason, kept on the log.")] = "planned",
    tenant: Tenant = None,
) -> None:
    """Replace the organisation's key in this tenant by its successor; a run that was interrupted is gone on with."""
    from macaw.cli.terminal.output import say
    from macaw.cli.terminal.places import open_tenant
    from macaw.installation.organisation import rotate_organisation

    home, folder = open_tenant(tenant)
    pair = rotate_organisation(home, folder, old, new, reason=reason)
    say(f"the organisation of {folder.tenant} signs with the key {pair.kid.hex()[:16]} now, kept in {new}")
    say(f"{old} stays until every other tenant of the organisation has the new key too")


def revoke(
    file: KeyFile,
    *,
    reason: Annotated[str, typer.Option("--reason", help="The reason, kept on the log.")] = "revoked by hand",
    tenant: Tenant = None,
) -> None:
    """Revoke the organisation's key in this tenant. Its policies stay in force until the roots name another key."""
    from macaw.cli.terminal.output import say
    from macaw.cli.terminal.places import open_tenant
    from macaw.installation.organisation import revoke_organisation

    home, folder = open_tenant(tenant)
    revoke_organisation(home, folder, file, reason=reason)
    say(f"the organisation's key is revoked in {folder.tenant}; its policies stay in force")
    say("the root keys name another: `macaw admin offer organisation`, then `macaw admin add organisation`")
