"""`macaw verifier import`, `catalogues` and `withdraw`: rule files as catalogues of a tenant."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from macaw.cli.terminal.options import AsJson, OptionsError, Tenant

if TYPE_CHECKING:
    from collections.abc import Sequence

    from macaw.verifiers.files import RuleDrafts
    from macaw.verifiers.importing.imported import Remark
    from macaw.verifiers.publishing import CatalogueChanges

SHOWN_MAX = 40


def import_file(
    file: Annotated[
        Path, typer.Argument(help="A rule file of ATR (JSON), gitleaks (TOML) or CRS (.conf).", metavar="FILE")
    ],
    *,
    verifier: Annotated[
        str, typer.Option("--verifier", help="The verifier that matches the rules, as secrets.", metavar="NAME")
    ],
    name: Annotated[
        str | None,
        typer.Option("--name", help="The name of the catalogue; without it, that of the file.", metavar="NAME"),
    ] = None,
    paranoia: Annotated[
        int, typer.Option("--paranoia", help="The highest paranoia level of CRS's rules.", min=1, max=4)
    ] = 1,
    reason: Annotated[str, typer.Option("--reason", help="The reason, for the log.", metavar="TEXT")] = "imported",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List the rules that would be loaded or left out, and load none.")
    ] = False,
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """Load a rule file as a catalogue: its verifier matches these rules too, from the next record on.

    Rules that cannot be loaded are listed and left out. Importing a file again replaces its catalogue.
    """
    from macaw.verifiers.files import drafts_of, name_of
    from processors.calls.catalogues import READERS, is_name

    if verifier not in READERS:
        raise typer.BadParameter(f"got {verifier[:40]!r}, want {', '.join(READERS)}", param_hint="--verifier")
    called = name or name_of(file)
    if not is_name(called) or "/" in called:
        raise typer.BadParameter(
            f"got {called[:60]!r}, want a-z, 0-9 and -, at most 40, beginning with a letter", param_hint="--name"
        )
    found = drafts_of(file, verifier, called, paranoia)
    changes = None if dry_run else _publish(tenant, called, found, reason)
    _tell(found, changes, as_json=as_json)


def _publish(tenant: str | None, name: str, found: RuleDrafts, reason: str) -> CatalogueChanges:
    from macaw.cli.terminal.places import open_tenant
    from macaw.installation.tenancy import admin_connection
    from macaw.verifiers.publishing import publish_drafts

    if not reason.strip():
        raise OptionsError("`--reason` is empty: give one, it stands on the log")
    home, folder = open_tenant(tenant)
    with admin_connection(home, folder) as connection:
        return publish_drafts(connection, name, found.fitted.drafts, reason)


def catalogues(*, tenant: Tenant = None, as_json: AsJson = False) -> None:
    """Show the catalogues that the tenant's verifiers match beside their own rules."""
    from macaw.cli.terminal.output import show, show_json, show_table
    from macaw.cli.terminal.places import open_tenant
    from macaw.cli.terminal.rendering import time_of
    from macaw.installation.tenancy import admin_connection
    from macaw.verifiers.publishing import catalogues_of

    home, folder = open_tenant(tenant)
    with admin_connection(home, folder) as connection:
        found = catalogues_of(connection)
    if as_json:
        show_json([one._asdict() | {"digest": one.digest.hex()} for one in found], indent=2)
        return
    if not found:
        show("no catalogues: load a rule file with `macaw verifier import`")
        return
    rows = ((one.name, one.verifier, str(one.rules), time_of(one.since), one.digest.hex()[:16]) for one in found)
    show_table(("NAME", "VERIFIER", "RULES", "SINCE", "DIGEST"), rows)


def withdraw(
    name: Annotated[str, typer.Argument(help="The catalogue, with all its parts.", metavar="NAME")],
    *,
    tenant: Tenant = None,
) -> None:
    """Withdraw a catalogue: no verifier matches its rules from the next record on."""
    from macaw.cli.terminal.output import say
    from macaw.cli.terminal.places import open_tenant
    from macaw.installation.tenancy import admin_connection
    from macaw.verifiers.publishing import withdraw_catalogue

    home, folder = open_tenant(tenant)
    with admin_connection(home, folder) as connection:
        gone = withdraw_catalogue(connection, name)
    say(f"withdrawn in {folder.tenant}: {', '.join(gone)}")


def _tell(found: RuleDrafts, changes: CatalogueChanges | None, *, as_json: bool) -> None:
    from macaw.cli.terminal.output import show, show_json

    left_out = (*found.imported.left_out, *found.fitted.refused)
    if as_json:
        show_json(_as_json(found, left_out, changes), indent=2)
        return
    parts = ", ".join(f"{one.name} ({len(one.rules)})" for one in found.fitted.drafts)
    show(f"rules in {found.imported.form}'s form, by catalogue: {parts}")
    _tell_remarks("left out", left_out)
    _tell_remarks("loaded, but matching otherwise than in their own engine", found.imported.altered)
    if changes is None:
        show("nothing was published: this was a dry run")
        return
    for done, names in (("published", changes.published), ("in force already", changes.kept),
                        ("withdrawn", changes.withdrawn)):  # fmt: skip
        if names:
            show(f"{done}: {', '.join(names)}")


def _tell_remarks(title: str, remarks: Sequence[Remark]) -> None:
    from macaw.cli.terminal.output import show, show_table

    if not remarks:
        return
    show(f"{title}: {len(remarks)}")
    show_table(("RULE", "WHY"), remarks[:SHOWN_MAX])
    if len(remarks) > SHOWN_MAX:
        show(f"and {len(remarks) - SHOWN_MAX} more: --json has all of them")


def _as_json(found: RuleDrafts, left_out: Sequence[Remark], changes: CatalogueChanges | None) -> dict[str, Any]:
    return {
        "form": found.imported.form,
        "catalogues": [
            {"name": one.name, "verifier": one.verifier, "rules": len(one.rules), "digest": one.digest.hex()}
            for one in found.fitted.drafts
        ],
        "left_out": [one._asdict() for one in left_out],
        "altered": [one._asdict() for one in found.imported.altered],
        "changes": None if changes is None else changes._asdict(),
    }
