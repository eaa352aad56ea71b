"""`macaw approver` and `macaw attester`: keys of systems that approve or attest, registered by the administrator."""

from __future__ import annotations

from typing import Annotated

import typer

from macaw.cli.terminal.options import AsJson, Tenant

approver_app = typer.Typer(help="Register systems that approve calls.")
attester_app = typer.Typer(help="Register systems that attest, and let one attest.")


@approver_app.callback()
def _approver_group() -> None:
    """Keep `register` a command of its own: Typer would fold a lone command into its group."""


@approver_app.command("register")
def register_approver(
    name: Annotated[str, typer.Argument(help="The approver's name.")],
    *,
    role: Annotated[list[str], typer.Option("--role", help="A role of the approver; repeat it for more.", metavar="R")],
    tenant: Tenant = None,
) -> None:
    """Register an approver with the admin key; `--as approver:NAME` then answers requests with its key."""
    from macaw.cli.terminal.output import say
    from macaw.cli.terminal.places import open_tenant
    from macaw.installation.registrations import register_with_admin

    home, folder = open_tenant(tenant)
    register_with_admin(home, folder, "approver", name, {"roles": role})
    say(f"{name} may approve as {', '.join(role)} in {folder.tenant}; its key is {folder.key_file('approver', name)}")


@attester_app.command("register")
def register_attester(
    name: Annotated[str, typer.Argument(help="The attester's name.")],
    *,
    attests: Annotated[
        list[str], typer.Option("--attests", help="A pattern of attestation keys; repeat it for more.", metavar="P")
    ],
    subjects: Annotated[
        list[str],
        typer.Option(
            "--subjects", help="A pattern of principals; * stops at / and :, ** is every principal.", metavar="P"
        ),
    ],
    tenant: Tenant = None,
) -> None:
    """Register a third-party system that attests, with the admin key, for some keys and principals."""
    from macaw.cli.terminal.output import say
    from macaw.cli.terminal.places import open_tenant
    from macaw.installation.registrations import register_with_admin

    home, folder = open_tenant(tenant)
    register_with_admin(home, folder, "attester", name, {"attests": attests, "subjects": subjects})
    say(f"{name} may attest {', '.join(attests)} of {', '.join(subjects)}")
    say(f"its key is {folder.key_file('attester', name)}")


@attester_app.command("attest")
def attest(
    name: Annotated[str, typer.Argument(help="The registered attester.")],
    session: Annotated[str, typer.Argument(help="The id of the session to attest.")],
    key: Annotated[str, typer.Argument(help="The attestation key.")],
    *,
    value: Annotated[str, typer.Option("--value", help="The attested value, as JSON.", metavar="JSON")] = "true",
    one_time: Annotated[bool, typer.Option("--one-time", help="Let the attestation serve one call only.")] = False,
    max_uses: Annotated[int | None, typer.Option("--max-uses", help="The number of calls.", min=1)] = None,
    ttl: Annotated[float | None, typer.Option("--ttl", help="The lifetime.", metavar="SECONDS", min=0.001)] = None,
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """Sign an attestation about a session."""
    from macaw.cli.terminal.given import json_of
    from macaw.cli.terminal.output import say, show_json
    from macaw.cli.terminal.places import open_tenant
    from macaw.installation.registrations import attest_as
    from producers.tools.attesting import Terms

    terms = Terms(value=json_of(value, "--value"), one_time=one_time, max_uses=max_uses, ttl_seconds=ttl)
    home, folder = open_tenant(tenant)
    attest_as(home, folder, name, session, terms.attestation(key))
    if as_json:
        show_json({"session": session, "key": key, "attested": True})
    else:
        say(f"{key} is attested for the session {session}")
