"""`macaw policy`: check policies, try them out, put them into force, and explain them."""

from __future__ import annotations

import typer

from macaw.cli.policy import effective, explaining, flips, publishing, showing, suggesting, trying

app = typer.Typer(help="Check policies, try them out, put them into force, and explain them.")

app.command("validate")(trying.validate)
app.command("test")(trying.run_cases)
app.command("list")(showing.list_policies)
app.command("show")(showing.show)
app.command("diff")(flips.diff)
app.command("simulate")(flips.simulate)
app.command("suggest")(suggesting.suggest)
app.command("effective")(effective.effective)
app.command("explain")(explaining.explain)
app.command("publish")(publishing.publish)
app.command("withdraw")(publishing.withdraw)
