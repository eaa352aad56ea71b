"""`macaw mcp`: an MCP server behind the log, and the approval of its tools."""

import typer

from macaw.cli.mcp.approving import approve, tools
from macaw.cli.mcp.credentials import credential
from macaw.cli.mcp.exchanging import exchange
from macaw.cli.mcp.gaps import gaps
from macaw.cli.mcp.proxying import proxy

app = typer.Typer(help="Put an MCP server behind the log: each request of a client is a governed call.")
app.command("proxy", context_settings={"allow_extra_args": False, "ignore_unknown_options": False})(proxy)
app.command("tools")(tools)
app.command("approve")(approve)
app.command("credential")(credential)
app.command("exchange")(exchange)
app.command("gaps")(gaps)
