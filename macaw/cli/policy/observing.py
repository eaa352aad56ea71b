"""`macaw observe`: denials that are told and not enforced, for a tenant, a policy or a resource (docs/observe.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from macaw.cli.terminal.options import AsJson, Tenant

if TYPE_CHECKING:
    from macaw.policies.traffic.observed import ObservedCalls, ObservedGroup

app = typer.Typer(help="Let calls pass that would be denied, and tell what enforcement would have said.")

Policy = Annotated[
    str | None, typer.Option("--policy", help="The id of a policy in force; without it, the tenant.", metavar="ID")
]
Resource = Annotated[
    str | None, typer.Option("--resource", help="A pattern of resources; without it, the tenant.", metavar="PATTERN")
]
ROWS_SHOWN_MAX = 50


@app.command("on")
def turn_on(
    *,
    policy: Policy = None,
    resource: Resource = None,
    reason: Annotated[str, typer.Option("--reason", help="The reason, for the log.")] = "to see what would be denied",
    tenant: Tenant = None,
) -> None:
    """Observe from the next record on: denials by policies and verifiers are told, and not enforced."""
    _set(policy, resource, reason, tenant, on=True)


@app.command("off")
def turn_off(
    *,
    policy: Policy = None,
    resource: Resource = None,
    reason: Annotated[str, typer.Option("--reason", help="The reason, for the log.")] = "enforced",
    tenant: Tenant = None,
) -> None:
    """Enforce again, from the next record on."""
    _set(policy, resource, reason, tenant, on=False)


def _set(policy: str | None, resource: str | None, reason: str, tenant: str | None, *, on: bool) -> None:
    from macaw.cli.policy.exceptions import set_one
    from macaw.cli.terminal.output import say
    from schemas.words import EnforcementKind, EnforcementScope

    named = {EnforcementScope.POLICY: policy, EnforcementScope.RESOURCE: resource}
    thing = set_one(EnforcementKind.OBSERVE, named, reason, tenant, on=on)
    say(f"{thing} is observed: denials are told, and not enforced" if on else f"{thing} is enforced")


@app.command("list")
def list_standing(*, tenant: Tenant = None, as_json: AsJson = False) -> None:
    """List the things that are observed, frozen, or open by a break-glass now."""
    from macaw.cli.terminal.output import show, show_json, show_table
    from macaw.cli.terminal.places import open_tenant
    from macaw.cli.terminal.rendering import time_of
    from macaw.installation.enforcement import standing_in
    from macaw.installation.tenancy import admin_connection

    home, folder = open_tenant(tenant)
    with admin_connection(home, folder) as connection:
        found = standing_in(connection)
    if as_json:
        show_json([one._asdict() for one in found], indent=2)
        return
    if not found:
        show("everything is enforced")
        return
    show_table(
        ("KIND", "THING", "SINCE", "UNTIL", "BY", "REASON"),
        (
            (one.kind, one.told, time_of(one.since), time_of(one.until) if one.until else "-", one.by, one.reason)
            for one in found
        ),
    )


@app.command("report")
def report(
    *,
    policy: Policy = None,
    resource: Resource = None,
    hours: Annotated[
        float | None, typer.Option("--hours", min=0, help="The hours to look back; without it, all that is kept.")
    ] = None,
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """Count the calls that enforcement would have denied, by reason, principal and resource."""
    from macaw.cli.terminal.output import show, show_json, show_table
    from macaw.cli.terminal.places import open_tenant
    from macaw.cli.terminal.rendering import time_of
    from macaw.installation.archives import archive_of
    from macaw.policies.traffic.observed import read_observed

    home, folder = open_tenant(tenant)
    archive = archive_of(home, folder)
    found = read_observed(
        home,
        folder,
        archive,
        resource=resource or "",
        digest=_digest(home, folder, archive, policy) if policy else b"",
        since=_since(hours),
    )
    if as_json:
        show_json([_row(group, calls) for group, calls in found.items()], indent=2)
        return
    if not found:
        show("no observed calls: enforcement would have denied none")
        return
    shown = list(found.items())[:ROWS_SHOWN_MAX]
    show_table(
        ("CALLS", "ENFORCED", "BY", "RESOURCE", "LAST"),
        (
            (str(n.calls), f"{one.outcome} {one.reason}", one.principal_id, one.resource, time_of(n.last))
            for one, n in shown
        ),
    )  # fmt: skip
    if len(found) > ROWS_SHOWN_MAX:
        show(f"and {len(found) - ROWS_SHOWN_MAX} more: --json has all of them")


def _digest(home: Any, folder: Any, archive: Any, policy: str) -> bytes:
    from macaw.cli.terminal.errors import CommandError
    from macaw.policies.in_force import read_policies

    digest = read_policies(home, folder, archive).digest(policy)
    if digest is None:
        raise CommandError(f"no policy {policy} is in force: `macaw policy list` shows them")
    return digest


def _since(hours: float | None) -> int:
    from producers.home.clock import clock_ms

    return 0 if hours is None else clock_ms() - int(hours * 3_600_000)


def _row(group: ObservedGroup, calls: ObservedCalls) -> dict[str, Any]:
    return {
        **group._asdict(),
        "calls": calls.calls,
        "by_break_glass": calls.glass,
        "last": calls.last,
        "last_event_id": calls.event_id,
    }
