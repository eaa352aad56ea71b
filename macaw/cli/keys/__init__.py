"""`macaw key`, `enrolment`, `admin`, `organisation` and `root`: keys here and elsewhere, and root acts."""

from __future__ import annotations

import typer

from macaw.cli.keys import admins, enrolment, keeping, life, organisation, roots

__all__ = ["admin_app", "app", "enrolment", "organisation_app", "root_app"]

app = typer.Typer(help="List the keys that are kept here, choose where they lie, and replace them.")
admin_app = typer.Typer(help="Add, remove and list administrators; root keys sign each change.")
organisation_app = typer.Typer(help="Replace or revoke the key of the organisation above a tenant, with that key.")
root_app = typer.Typer(help="Replace the root keys, and sign their acts on other machines.")

app.command("list")(keeping.list_keys)
app.command("passphrase")(keeping.passphrase)
app.command("move")(keeping.move)
app.command("import")(keeping.import_key)
app.command("rotate")(life.rotate)
app.command("check")(life.check)
app.command("recover")(life.recover)
app.command("revoke")(life.revoke)
admin_app.command("list")(admins.list_admins)
admin_app.command("offer")(admins.offer)
admin_app.command("add")(admins.add)
admin_app.command("remove")(admins.remove)
organisation_app.command("rotate")(organisation.rotate)
organisation_app.command("revoke")(organisation.revoke)
root_app.command("list")(roots.list_roots)
root_app.command("rotate")(roots.rotate)
root_app.command("recover")(roots.recover)
root_app.command("sign")(roots.sign)
root_app.command("submit")(roots.submit)
