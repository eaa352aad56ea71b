"""`macaw approver` and `macaw attester`: keys of systems that approve or attest, registered by the administrator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from macaw.cli.terminal.options import AsJson, Tenant

if TYPE_CHECKING:
    from schemas.events.attributes import ApproverLimits

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
    resources: Annotated[
        list[str] | None,
        typer.Option(
            "--resources", help="A pattern of the resources that it may approve; repeat it.", metavar="PATTERN"
        ),
    ] = None,
    operations: Annotated[
        list[str] | None,
        typer.Option("--operations", help="The last part of such a resource's name; repeat it.", metavar="NAME"),
    ] = None,
    keys: Annotated[
        list[str] | None,
        typer.Option("--keys", help="A pattern of the attestation keys that it may approve; repeat it.", metavar="KEY"),
    ] = None,
    condition: Annotated[
        list[str] | None,
        typer.Option(
            "--condition",
            help='A condition on the call, as of a delegation: max_amount=100, ticket_ids=["T-1"], or time_window='
            '{"start": TIME, "end": TIME}; repeat it.',
            metavar="NAME=JSON",
        ),
    ] = None,
    once_only: Annotated[
        bool, typer.Option("--once-only", help="Let each yes serve only the call that it was given to.")
    ] = False,
    speaks_for: Annotated[
        list[str] | None,
        typer.Option(
            "--speaks-for",
            help="A pattern of the persons that it speaks for, like user:*; * stops at / and :, ** is every "
            "person; repeat it.",
            metavar="PATTERN",
        ),
    ] = None,
    tenant: Tenant = None,
) -> None:
    """Register an approver with the admin key; `--as approver:NAME` then answers requests with its key.

    Its limits stay with its key: to change them, revoke it and register another under a new key.
    """
    from macaw.cli.terminal.errors import CommandError
    from macaw.cli.terminal.output import say
    from macaw.cli.terminal.places import open_tenant
    from macaw.installation.registrations import limits_from, register_with_admin
    from processors.policy.errors import PolicyError

    conditions = dict(map(_condition, condition or ()))
    try:
        most = limits_from(
            resources=resources or (),
            operations=operations or (),
            conditions=conditions,
            keys=keys or (),
            once_only=once_only,
            speaks_for=speaks_for or (),
        )
    except PolicyError as exc:
        raise CommandError(f"the limits are refused: {exc}; nothing was registered") from exc
    home, folder = open_tenant(tenant)
    register_with_admin(home, folder, "approver", name, {"roles": role}, most)
    say(f"{name} may approve as {', '.join(role)} in {folder.tenant}; its key is {folder.key_file('approver', name)}")
    for line in _told(name, most):
        say(line)


def _condition(given: str) -> tuple[str, Any]:
    from macaw.cli.terminal.given import json_of

    name, equals, text = given.partition("=")
    if not equals:
        raise typer.BadParameter("write it as NAME=JSON, for example max_amount=100", param_hint="--condition")
    return name, json_of(text, "--condition")


def _told(name: str, most: ApproverLimits | None) -> list[str]:
    """Return the limits as sentences; a warning for each way in which there is none."""
    if most is None:
        warning = (
            f"WARNING  {name} has no limits: its key can approve every call that asks for its roles, and later ones"
        )
        return [warning, "         see --resources, --keys, --condition and --once-only"]
    told = [f"calls: {most.scope or 'any'}; keys: {', '.join(most.keys)}"]
    told += ["each yes serves one call"] if most.once_only else []
    if most.scope is None:
        told.append(f"WARNING  {name} may approve calls of any resource: see --resources and --condition")
    if most.speaks_for:
        patterns = ", ".join(most.speaks_for)
        told.append(f"it speaks for {patterns}: its key alone can name several, and so make a quorum")
    return told


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
