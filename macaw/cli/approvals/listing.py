"""`macaw approvals list` and `show`: the calls that wait for a person, with their exact parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from macaw.cli.terminal.options import AsJson, Tenant

if TYPE_CHECKING:
    from producers.client.approvals import ShownCall

ONCE_ALONE = {"once": True}  # the scopes of a request that offers no lasting approval
Person = Annotated[
    str,
    typer.Option("--as", help="The approver: user:NAME with an open session, or approver:NAME.", metavar="NAME"),
]
Request = Annotated[str, typer.Argument(help="The call's id, as `macaw approvals list` shows it.", metavar="CALL")]


def list_requests(
    *,
    name: Person,
    by: Annotated[
        str | None,
        typer.Option(
            "--by", help="A principal: its calls alone are listed, and those that are made for it.", metavar="PRINCIPAL"
        ),
    ] = None,
    resource: Annotated[
        str | None,
        typer.Option(
            "--resource",
            help="A pattern of resources, for example tool:bank/*: calls of others are left out.",
            metavar="PATTERN",
        ),
    ] = None,
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """List the calls that wait for this person."""
    from macaw.cli.terminal.output import show_json, show_table
    from macaw.cli.terminal.places import open_tenant
    from macaw.cli.terminal.rendering import time_of
    from macaw.cli.terminal.speaking import open_client

    _check_pattern(resource)
    home, folder = open_tenant(tenant)
    with open_client(home, folder, name) as client:
        rows = [row for row in client.list_attestations() if _is_wanted(row, by, resource)]
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


def _check_pattern(resource: str | None) -> None:
    from processors.policy.errors import PolicyError
    from processors.policy.patterns import check_pattern

    if resource is None:
        return
    try:
        check_pattern(resource, "")
    except PolicyError as exc:
        raise typer.BadParameter("it is not a pattern of resources, like tool:bank/*", param_hint="--resource") from exc


def _is_wanted(row: dict[str, Any], by: str | None, resource: str | None) -> bool:
    """Return whether a request passes the filters. A principal counts in any spelling, a pattern as in a grant."""
    from processors.policy.errors import ResourceInvalidError
    from processors.policy.names import known_as
    from processors.policy.patterns import grants, resource_name

    if by is not None and known_as(by) not in {known_as(str(row.get(name))) for name in ("for_user", "for_agent")}:
        return False
    try:
        return resource is None or grants(resource, resource_name(str(row.get("resource"))))
    except ResourceInvalidError:
        return False


def show_request(request: Request, *, name: Person, tenant: Tenant = None, as_json: AsJson = False) -> None:
    """Show one call with its exact parameters, and the digest that an approval signs."""
    from macaw.cli.terminal.output import show_json
    from macaw.cli.terminal.places import open_tenant
    from macaw.cli.terminal.speaking import open_client

    home, folder = open_tenant(tenant)
    with open_client(home, folder, name) as client:
        shown = client.show_call(request)
    if as_json:
        show_json(shown.as_json(), indent=2)
    else:
        show_call(shown, shown.requests)


def show_call(shown: ShownCall, requests: tuple[dict[str, Any], ...]) -> None:
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
        if one.get("one_time") is True:
            continue
        if one.get("scopes") == ONCE_ALONE:
            show("  NOTE      an approval by this approver serves this call alone")
        else:
            show("  NOTE      this also approves LATER calls of the same requester, with OTHER parameters")
            _show_scopes(one)


def _show_scopes(asked: dict[str, Any]) -> None:
    from macaw.cli.terminal.output import show

    scopes = asked.get("scopes")
    if not isinstance(scopes, dict):
        return  # the tenant's engine has approvals as their policies say, and no others
    bounds = [f"--for at most {scopes['for_seconds']} seconds"] if "for_seconds" in scopes else []
    bounds += [f"--uses at most {scopes['uses']}"] if "uses" in scopes else []
    choices = (["--once for this call alone"] if "once" in scopes else []) + bounds
    if choices:
        show(f"  narrower  {'; '.join(choices)}")


def _approvers(asked: dict[str, Any]) -> str:
    who, quorum = " or ".join(map(str, asked.get("criteria", []))), asked.get("quorum")
    return who if quorum == 1 else f"{who}: {quorum} different people"
