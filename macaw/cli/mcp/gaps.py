"""`macaw mcp gaps`: the calls that a gateway has run without a decision, as the log has them."""

from __future__ import annotations

from typing import Annotated

import typer

from macaw.cli.terminal.options import AsJson, Tenant


def gaps(
    server: Annotated[str, typer.Argument(help="The name of the server on the log.", metavar="SERVER")],
    *,
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """List the calls that ran without a decision while no broker answered. Ends with 1 if their chain has a hole."""
    from macaw.cli.terminal.output import say, show, show_json, show_table
    from macaw.cli.terminal.places import open_tenant
    from macaw.cli.terminal.rendering import time_of
    from macaw.gateway.gap_records import read_gaps
    from macaw.gateway.names import check_server_name

    home, folder = open_tenant(tenant)
    found = read_gaps(home, folder, check_server_name(server))
    if as_json:
        show_json({"calls": [one._asdict() for one in found.calls], "faults": list(found.faults)}, indent=2)
    elif not found.calls:
        show(f"no call of {server} has run without a decision, as far as the log has it")
    else:
        show_table(
            ("LINE", "TIME", "PRINCIPAL", "RESOURCE", "PARAMETERS", "END", "SIGNED"),
            (
                (
                    str(one.line),
                    time_of(one.at),
                    one.principal_id,
                    one.resource,
                    one.parameters[:16],
                    one.outcome or "not known",
                    "yes" if one.is_signed else "not any more",
                )
                for one in found.calls
            ),
        )
    for fault in found.faults:
        say(fault)
    if found.faults:
        raise typer.Exit(1)
