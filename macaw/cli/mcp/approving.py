"""`macaw mcp tools` and `macaw mcp approve`: the tools that a gateway holds back, and an administrator's yes to one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from macaw.cli.terminal.options import AsJson, Tenant

if TYPE_CHECKING:
    from macaw.gateway.pins import Pins

Server = Annotated[str, typer.Argument(help="The name of the server on the log.", metavar="SERVER")]


def tools(server: Server, *, tenant: Tenant = None, as_json: AsJson = False) -> None:
    """Show the tools of a server that the gateway of this installation holds back, with their definitions."""
    from macaw.cli.terminal.output import show_json, show_table

    held = _pins(server, tenant).held()
    if as_json:
        show_json(held, indent=2)
        return
    rows = ((str(one.get("tool")), str(one.get("why")), str(one.get("sha256"))[:16], _description(one)) for one in held)
    show_table(("TOOL", "HELD BACK", "DEFINITION", "DESCRIPTION"), rows)


def approve(
    server: Server,
    tool: Annotated[str, typer.Argument(help="The tool that was held back.", metavar="TOOL")],
    *,
    definition: Annotated[
        str,
        typer.Option(
            "--definition", help="The definition that you have read, as `macaw mcp tools` shows it.", metavar="HEX"
        ),
    ],
    tenant: Tenant = None,
) -> None:
    """Approve the present definition of a tool with the administrator's key; the gateway serves it within seconds."""
    from macaw.cli.terminal.errors import CommandError
    from macaw.cli.terminal.output import say
    from producers.home.clock import clock_ms

    pins = _pins(server, tenant)
    found = next((one for one in pins.held() if one.get("tool") == tool), None)
    if found is None:
        raise CommandError(f"no tool {tool[:80]!r} of {server} is held back here: see `macaw mcp tools {server}`")
    sha256 = str(found.get("sha256") or "")
    if not sha256:
        raise CommandError(
            f"no approval helps {tool[:80]!r}, which is held back as {found.get('why')}: the server must change"
        )
    if len(definition) < 16 or not sha256.startswith(definition.lower()):
        raise CommandError(
            f"the definition of {tool[:80]!r} is {sha256[:16]} now, not {definition[:16]}: read it with "
            f"`macaw mcp tools {server} --json`, and name what you have read"
        )
    pins.approve(tool, sha256, pins.tenant.key("admin"), at=clock_ms())
    say(f"{tool} of {server} is approved as {sha256[:16]}")


def _pins(server: str, tenant: str | None) -> Pins:
    from macaw.cli.terminal.places import open_folder
    from macaw.gateway.names import check_server_name
    from macaw.gateway.pins import Pins

    _, folder = open_folder(tenant)
    return Pins.read(folder, check_server_name(server))


def _description(one: dict[str, Any]) -> str:
    definition = one.get("definition")
    text = str(definition.get("description") or "") if isinstance(definition, dict) else ""
    return text.splitlines()[0][:80] if text else ""
