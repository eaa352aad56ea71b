"""`macaw invoke`: ask for one operation as a registered agent."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from macaw.cli.options import Tenant

NAME = "invoke"


def command(
    resource: Annotated[str, typer.Argument(help="What to call, as tool:APP/OPERATION.")],
    *,
    name: Annotated[
        str,
        typer.Option(
            "--as", help="Who asks: a registered agent, or user:NAME for a person with an open session.", metavar="NAME"
        ),
    ],
    params: Annotated[
        str, typer.Option("--params", help="A JSON object; @FILE reads it from a file, - from stdin.", metavar="JSON")
    ] = "{}",
    timeout: Annotated[
        float, typer.Option("--timeout", help="How long to wait for the result.", metavar="SECONDS", min=0.1)
    ] = 100.0,
    tenant: Tenant = None,
) -> None:
    """Ask for one operation and print its result as JSON.

    A denial is told on stderr, with its reason code and exit status 1.
    """
    parameters = _parameters(params)

    from macaw.cli.errors import CommandError
    from macaw.cli.output import show_json
    from macaw.cli.places import open_tenant
    from processors.registry import PERSON_PREFIX
    from producers.client import Client

    home, folder = open_tenant(tenant)
    person = name.removeprefix(PERSON_PREFIX) if name.startswith(PERSON_PREFIX) else None
    if person is not None and not folder.key_file("session", person).exists():
        raise CommandError(f"no session of {name} in {folder.path}: run `macaw dev session open {person}`")
    if person is None and not folder.key_file("agent", name).exists():
        raise CommandError(f"no key of an agent {name!r} in {folder.path}: run `macaw agent register {name}`")
    connect = Client.connect if person is None else Client.for_person
    with connect(folder.tenant, person or name, home=home) as client:
        result = client.invoke(resource, parameters, seconds=timeout)
    show_json(result)


def _parameters(given: str) -> dict[str, Any]:
    """Read the parameters as strictly as the log will."""
    from processors.parameters import MalformedParametersError, parse_parameters

    try:
        return parse_parameters(_text(given)).value
    except MalformedParametersError as exc:
        raise typer.BadParameter(
            f"want one strict JSON object (found wrong: {exc.cause})", param_hint="--params"
        ) from exc
    except UnicodeDecodeError as exc:
        raise typer.BadParameter("want UTF-8", param_hint="--params") from exc


def _text(given: str) -> str:
    if given == "-":
        return sys.stdin.buffer.read().decode("utf-8")
    if given.startswith("@"):
        try:
            return Path(given[1:]).read_text("utf-8")
        except OSError as exc:
            raise typer.BadParameter(f"cannot read {given[1:]}: {exc.strerror}", param_hint="--params") from exc
    return given
