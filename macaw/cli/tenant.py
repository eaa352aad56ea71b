"""`macaw tenant`: found a tenant, list tenants, show their users, set their limits, renew an enrolment key."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from macaw.cli import tenant_overview
from macaw.cli.terminal.options import AsJson, Tenant

if TYPE_CHECKING:
    from producers.home.home import Home

app = typer.Typer(help="Found and list tenants, show their users, set their limits, and renew their enrolment keys.")
app.add_typer(tenant_overview.limits_app, name="limits")
app.command("users")(tenant_overview.users)

MONITOR_SECONDS = 3.0  # a monitor on Apache Kafka finds a new tenant within five seconds, so it may answer later


@app.command("create")
def create(
    name: Annotated[str, typer.Argument(help="The tenant's id: 2 to 40 of a-z, 0-9 and -, beginning with a letter.")],
    *,
    development: Annotated[
        bool, typer.Option("--development", help="Believe a local file about persons; not for production.")
    ] = False,
    replication: Annotated[
        int | None, typer.Option(min=1, max=15, help="Replicas of each topic, kept in config.json; without it 1.")
    ] = None,
    roots: Annotated[int, typer.Option("--roots", help="The number of root keys.", min=1, max=16)] = 1,
    threshold: Annotated[
        int, typer.Option("--threshold", help="The root keys that must sign an act together.", min=1, max=16)
    ] = 1,
    organisation_key: Annotated[
        Path | None,
        typer.Option(
            "--organisation-key",
            help="The key of an organisation above the tenant: its file, or one with its public key in hex.",
            metavar="FILE",
        ),
    ] = None,
    new_organisation_key: Annotated[
        bool, typer.Option("--new-organisation-key", help="Make the key of an organisation above the tenant.")
    ] = False,
) -> None:
    """Found a tenant: its keys, its topics, and the first event of its log."""
    from macaw.cli.terminal.output import say, show
    from macaw.cli.terminal.places import require_broker
    from macaw.installation.locking import update_config
    from macaw.installation.organisation import public_key_in
    from macaw.installation.tenancy import NEW, create_tenant, register_enrolment

    if new_organisation_key and organisation_key is not None:
        raise typer.BadParameter(
            "a tenant has one organisation: give a key, or have one made", param_hint="--organisation-key"
        )
    home = _home()
    if threshold > roots:
        raise typer.BadParameter(f"{threshold} of {roots} keys cannot sign", param_hint="--threshold")
    if replication is not None:
        home = update_config(home.path.parent, {"replication": str(replication)})
    require_broker(home)
    folder = create_tenant(
        home,
        name,
        development=development,
        replication=home.replication,
        roots=roots,
        threshold=threshold,
        organisation=NEW if new_organisation_key else public_key_in(home.tenant(name), organisation_key),
    )
    show(folder.genesis.hex())
    say(f"tenant {name} is founded, and every event signed in it names the genesis above")
    say(f"its keys are in {folder.path}, readable by you alone: admin.key publishes policies, registers and revokes,")
    say("enrol.key registers agents without roles, monitor.key signs decisions; root keys name administrators")
    say("move root*.key off this machine, and next-root*.key, the way back if root keys are lost, to yet other places")
    if new_organisation_key:
        say("organisation.key signs policies above the tenant: move it to the organisation; organisation.pub is public")
    if register_enrolment(home, folder, development=development, seconds=MONITOR_SECONDS) is None:
        say(f"no monitor has answered within {MONITOR_SECONDS:g} s: enrol.key takes effect as soon as one does")
        say("a monitor that runs finds a new tenant within seconds; where none runs, start `macaw up`")


def _home() -> Home:
    """Return the installation; create it if the environment names the brokers, for nothing else is needed then."""
    import os

    from macaw.cli.terminal.places import base_folder, open_home
    from macaw.installation.locking import update_config

    named = os.environ.get("MACAW_BOOTSTRAP_SERVERS")
    if not named or (base_folder() / ".macaw" / "config.json").exists():
        return open_home()
    return update_config(base_folder(), {"bootstrap": named, "broker_kind": "environment", "deployment": "local"})


@app.command("renew-enrolment")
def renew_enrolment(*, tenant: Tenant = None) -> None:
    """Replace an enrolment key that has registered as many keys as it may; the old one is revoked."""
    from macaw.cli.terminal.output import say
    from macaw.cli.terminal.places import open_tenant
    from macaw.installation.tenancy import renew_enrolment as renew

    home, folder = open_tenant(tenant)
    aside = renew(home, folder)
    say(f"enrol.key of {folder.tenant} is new: copy it to every host that registers agents or tools")
    say(f"the old one is revoked, and kept as {aside.name}; the principals that it registered stay")


@app.command("list")
def list_tenants(*, as_json: AsJson = False) -> None:
    """List the tenants of this installation."""
    from macaw.cli.terminal.output import show_json, show_table
    from macaw.cli.terminal.places import open_home

    home = open_home()
    default = home.config.get("tenant")
    found = [(name, home.tenant(name)) for name in home.tenants()]
    if as_json:
        rows = [
            {"tenant": n, "genesis": f.genesis.hex(), "default": n == default, "folder": str(f.path)} for n, f in found
        ]
        show_json(rows, indent=2)
        return
    marked = ((name, "*" if name == default else "", f.genesis.hex(), f.path) for name, f in found)
    show_table(("TENANT", "DEFAULT", "GENESIS", "FOLDER"), marked)
