"""`macaw approvals`: list the calls that wait for people, show their exact parameters, and answer them."""

from __future__ import annotations

import typer

from macaw.cli.approvals import answering, listing, reporting, serving

app = typer.Typer(help="List calls that wait for an approval, and answer them.")

app.command("list")(listing.list_requests)
app.command("show")(listing.show_request)
app.command("approve")(answering.approve)
app.command("deny")(answering.deny)
app.command("report")(reporting.report)
app.command("serve")(serving.command)
