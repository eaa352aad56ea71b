"""`macaw context`: values kept on the log, for one session or for several."""

from __future__ import annotations

from typing import Annotated

import typer

from macaw.cli.terminal.options import AsJson, Tenant
from macaw.cli.terminal.speaking import As

app = typer.Typer(
    help="Keep values on the log. The scope `session` is private and ends with its session. Each command of an agent "
    "opens a new session, so an agent keeps lasting values in a shared scope."
)

Key = Annotated[str, typer.Argument(help="The key of the value.")]
Scope = Annotated[str, typer.Option("--scope", help="`session`, or the name of a shared scope that policies allow.")]
_FLEETING = "each command of an agent opens a new session with a new scope `session`: give --scope NAME"

Expected = Annotated[
    int | None, typer.Option("--expected", help="Change only this version of the value; 0 means none yet.", min=0)
]


@app.command("set")
def set_value(
    key: Key,
    value: Annotated[
        str, typer.Argument(help='The value as JSON, a text as "…"; @FILE reads it from a file, - from stdin.')
    ],
    *,
    name: As,
    scope: Scope = "session",
    ttl: Annotated[float | None, typer.Option("--ttl", help="The lifetime.", metavar="SECONDS", min=0.001)] = None,
    expected: Expected = None,
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """Put a value under a key and print its version."""
    from macaw.cli.terminal.given import json_of
    from macaw.cli.terminal.output import say, show, show_json
    from macaw.cli.terminal.places import open_tenant
    from macaw.cli.terminal.speaking import open_client

    given = json_of(value, "VALUE")
    home, folder = open_tenant(tenant)
    with open_client(home, folder, name) as client:
        version = client.context_set(key, given, scope=scope, ttl_seconds=ttl, expected=expected)
    if as_json:
        show_json({"scope": scope, "key": key, "version": version})
    else:
        show(str(version))
    if _is_fleeting(name, scope):
        say(f"no later command reads this value: {_FLEETING}")


def _is_fleeting(name: str, scope: str) -> bool:
    from processors.context.vault import OWN
    from processors.policy.names import PERSON_PREFIX

    return scope == OWN and not name.startswith(PERSON_PREFIX)


@app.command("get")
def get_value(key: Key, *, name: As, scope: Scope = "session", tenant: Tenant = None, as_json: AsJson = False) -> None:
    """Print a value as JSON; with --json also its version and author."""
    from macaw.cli.terminal.errors import CommandError
    from macaw.cli.terminal.output import show_json
    from macaw.cli.terminal.places import open_tenant
    from macaw.cli.terminal.speaking import open_client

    home, folder = open_tenant(tenant)
    with open_client(home, folder, name) as client:
        entry = client.context_entry(key, scope=scope)
    if not entry.version:
        why = f"; {_FLEETING}" if _is_fleeting(name, scope) else ""
        raise CommandError(f"there is no {key!r} in the scope {scope!r}{why}")
    if as_json:
        told = {"scope": scope, "key": key, "value": entry.value, "version": entry.version, "author": entry.author}
        show_json(told, indent=2)
    else:
        show_json(entry.value)


@app.command("delete")
def delete_value(
    key: Key,
    *,
    name: As,
    scope: Scope = "session",
    expected: Expected = None,
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """Remove a value."""
    from macaw.cli.terminal.output import say, show_json
    from macaw.cli.terminal.places import open_tenant
    from macaw.cli.terminal.speaking import open_client

    home, folder = open_tenant(tenant)
    with open_client(home, folder, name) as client:
        client.context_delete(key, scope=scope, expected=expected)
    if as_json:
        show_json({"scope": scope, "key": key, "deleted": True})
    else:
        say(f"{key} is deleted from the scope {scope}")


@app.command("list")
def list_keys(
    prefix: Annotated[str, typer.Argument(help="List only keys that begin with this.")] = "",
    *,
    name: As,
    scope: Scope = "session",
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """List keys with their versions."""
    from macaw.cli.terminal.output import show_json, show_table
    from macaw.cli.terminal.places import open_tenant
    from macaw.cli.terminal.speaking import open_client

    home, folder = open_tenant(tenant)
    with open_client(home, folder, name) as client:
        found = client.context_list(prefix, scope=scope)
    if as_json:
        show_json([{"key": key, "version": version} for key, version in found], indent=2)
    else:
        show_table(("KEY", "VERSION"), found)
