"""`macaw approvals`: list the calls that wait for people, show their exact parameters, approve or deny them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from macaw.cli.terminal.options import AsJson, Tenant
from schemas.words import Status

if TYPE_CHECKING:
    from producers.client import Client
    from producers.client.approvals import ShownCall

app = typer.Typer(help="List calls that wait for an approval, and answer them.")

Person = Annotated[
    str,
    typer.Option("--as", help="The approver: user:NAME with an open session, or approver:NAME.", metavar="NAME"),
]
Request = Annotated[str, typer.Argument(help="The call's id, as `macaw approvals list` shows it.", metavar="CALL")]
Key = Annotated[
    str | None, typer.Option("--key", help="The approval to answer, if the call needs several.", metavar="KEY")
]
Reason = Annotated[str, typer.Option("--reason", help="The reason, kept on the log.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")]


@app.command("list")
def list_requests(*, name: Person, tenant: Tenant = None, as_json: AsJson = False) -> None:
    """List the calls that wait for this person."""
    from macaw.cli.terminal.output import show_json, show_table
    from macaw.cli.terminal.places import open_tenant
    from macaw.cli.terminal.rendering import time_of
    from macaw.cli.terminal.speaking import open_client

    home, folder = open_tenant(tenant)
    with open_client(home, folder, name) as client:
        rows = client.list_attestations()
    if as_json:
        show_json(rows, indent=2)
        return
    cells = (
        (
            row.get("request"), row.get("key"), row.get("resource"), row.get("for_user"), row.get("for_agent"),
            f"{len(row.get('approved_by', []))} of {row.get('quorum')}", time_of(int(row.get("open_until", 0))),
        )
        for row in rows
    )  # fmt: skip
    show_table(("CALL", "KEY", "RESOURCE", "FOR", "BY", "APPROVED", "UNTIL"), cells)


@app.command("show")
def show_request(request: Request, *, name: Person, tenant: Tenant = None, as_json: AsJson = False) -> None:
    """Show one call with its exact parameters, and the digest that an approval signs."""
    from macaw.cli.terminal.output import show_json
    from macaw.cli.terminal.places import open_tenant
    from macaw.cli.terminal.speaking import open_client

    home, folder = open_tenant(tenant)
    with open_client(home, folder, name) as client:
        shown = client.show_call(request)
    if as_json:
        show_json(_as_json(shown), indent=2)
    else:
        _show(shown, shown.requests)


@app.command("approve")
def approve(
    request: Request,
    *,
    name: Person,
    key: Key = None,
    reason: Reason = "",
    yes: Yes = False,
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """Approve a call with exactly these parameters."""
    _answer(request, name, key, reason, yes=yes, tenant=tenant, as_json=as_json, approve=True)


@app.command("deny")
def deny(
    request: Request,
    *,
    name: Person,
    key: Key = None,
    reason: Reason = "",
    yes: Yes = False,
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """Deny a call; a single denial ends it."""
    _answer(request, name, key, reason, yes=yes, tenant=tenant, as_json=as_json, approve=False)


def _answer(
    request: str,
    name: str,
    key: str | None,
    reason: str,
    *,
    yes: bool,
    tenant: str | None,
    as_json: bool,
    approve: bool,
) -> None:
    from macaw.cli.terminal.errors import CommandError
    from macaw.cli.terminal.given import confirmed
    from macaw.cli.terminal.places import open_tenant
    from macaw.cli.terminal.speaking import open_client

    home, folder = open_tenant(tenant)
    with open_client(home, folder, name) as client:
        shown = client.show_call(request)
        asked = _chosen(shown, key)
        if not as_json:
            _show(shown, (asked,))
        if not yes and not confirmed("approve exactly this?" if approve else "deny this?"):
            raise CommandError("not confirmed, so nothing was signed: answer y, or give --yes")
        _sign(client, asked, reason, approve=approve)
    _tell(shown, asked, approve=approve, as_json=as_json)


def _sign(client: Client, asked: dict[str, Any], reason: str, *, approve: bool) -> None:
    """Sign the call that was shown; the client fetches it again, and refuses if it differs."""
    answer = client.approve_attestation if approve else client.deny_attestation
    answer(asked, reason=reason)


def _chosen(shown: ShownCall, key: str | None) -> dict[str, Any]:
    from macaw.cli.terminal.errors import CommandError

    if key is not None:
        return shown.request_for(key)
    if len(shown.requests) != 1:
        keys = ", ".join(str(one.get("key")) for one in shown.requests)
        raise CommandError(f"the call needs several approvals: name one of them with --key: {keys}")
    return shown.requests[0]


def _show(shown: ShownCall, requests: tuple[dict[str, Any], ...]) -> None:
    """Show the call and its requests for approval; text from agents is escaped."""
    from macaw.cli.terminal.output import plain_json, show
    from macaw.cli.terminal.rendering import time_of

    show(f"call        {shown.request}")
    show(f"resource    {shown.resource}")
    show(f"asked by    {shown.principal}")
    show("parameters")
    for line in plain_json(shown.parameters, indent=2).splitlines():
        show(f"  {line}")
    for place in shown.masked:
        show(f"  NOTE  {plain_json(place)}: a policy masks values there, and the tool gets the tokens that stand above")
    show(f"signed digest of these parameters  {shown.parameters_sha256.hex()}")
    for one in requests:
        show(f"approval    {one.get('key')} for {one.get('for_user')} by {one.get('for_agent')}")
        show(f"  approvers {_approvers(one)}")
        show(f"  so far    {', '.join(map(str, one.get('approved_by', []))) or 'none yet'}")
        show(f"  until     {time_of(int(one.get('open_until', 0)))}")
        if one.get("one_time") is not True:
            show("  NOTE      this also approves LATER calls of the same requester, with OTHER parameters")


def _tell(shown: ShownCall, asked: dict[str, Any], *, approve: bool, as_json: bool) -> None:
    from macaw.cli.terminal.output import say, show_json

    said = Status.APPROVED if approve else Status.DENIED
    if as_json:
        told = {"request": shown.request, "key": asked["key"], "parameters_sha256": asked["parameters_sha256"]}
        show_json({**told, "answer": said}, indent=2)
    else:
        say(f"{asked['key']} is {said} for {shown.resource}, call {shown.request}; the answer is on the log")


def _as_json(shown: ShownCall) -> dict[str, Any]:
    return {
        "request": shown.request,
        "resource": shown.resource,
        "principal": shown.principal,
        "parameters": shown.parameters,
        "parameters_sha256": shown.parameters_sha256.hex(),
        "masked": list(shown.masked),
        "requests": list(shown.requests),
    }


def _approvers(asked: dict[str, Any]) -> str:
    who, quorum = " or ".join(map(str, asked.get("criteria", []))), asked.get("quorum")
    return who if quorum == 1 else f"{who}: {quorum} different people"
