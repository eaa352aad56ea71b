"""`macaw policy list|show`: the policies in force."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from macaw.cli.policy.publishing import warn_of_lost
from macaw.cli.terminal.options import AsJson, Tenant


def list_policies(*, tenant: Tenant = None, as_json: AsJson = False) -> None:
    """List the policies in force."""
    from macaw.cli.terminal.output import show_json, show_table
    from macaw.cli.terminal.places import open_tenant
    from macaw.cli.terminal.rendering import time_of
    from macaw.installation.archives import archive_of
    from macaw.policies.in_force import read_policies
    from processors.policy.documents import parse_policy
    from processors.policy.resolve import placement

    home, folder = open_tenant(tenant)
    found = read_policies(home, folder, archive_of(home, folder))
    warn_of_lost(found.lost)
    rows: list[dict[str, Any]] = []
    for one in sorted(found.policies.values(), key=lambda p: p.policy_id):
        place = placement(one.policy_id)
        rows.append(
            {
                "policy_id": one.policy_id,
                "digest": one.digest.hex(),
                "since": one.since,
                "audit_index": one.audit_index,
                "layer": place.layer.name.lower(),
                "grants": place.grants,
                "extends": parse_policy(one.document.encode(), organisation=True).extends,
            }
        )
    if as_json:
        show_json(rows, indent=2)
        return
    show_table(
        ("POLICY", "LAYER", "EXTENDS", "DIGEST", "SINCE", "AUDIT"),
        (
            (r["policy_id"], r["layer"], r["extends"] or "-", r["digest"], time_of(r["since"]), r["audit_index"])
            for r in rows
        ),
    )


def show(
    policy_id: Annotated[str, typer.Argument(help="The policy's id.", metavar="ID")],
    *,
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """Print the policy in force under an id: rule by rule, or as a document with --json."""
    import json

    from macaw.cli.terminal.errors import CommandError
    from macaw.cli.terminal.output import show as write
    from macaw.cli.terminal.output import show_json, show_table
    from macaw.cli.terminal.places import open_tenant
    from macaw.cli.terminal.rendering import time_of
    from macaw.installation.archives import archive_of
    from macaw.policies.in_force import read_policies
    from processors.policy.documents import parse_policy
    from processors.policy.insight.effective import lines_of
    from processors.policy.resolve import placement

    home, folder = open_tenant(tenant)
    found = read_policies(home, folder, archive_of(home, folder))
    warn_of_lost(found.lost)
    policy = found.policies.get(policy_id)
    if policy is None:
        raise CommandError(f"no policy {policy_id!r} is in force: `macaw policy list` shows those that are")
    if as_json:
        show_json(json.loads(policy.document), indent=2)
        return
    document = parse_policy(policy.document.encode(), organisation=True)
    place = placement(policy_id)
    write(f"{policy_id}: layer {place.layer.name.lower()}, {'may grant' if place.grants else 'only restricts'}")
    write(f"digest {policy.digest.hex()}, in force since {time_of(policy.since)}, audit entry {policy.audit_index}")
    if document.extends:
        write(f"extends {document.extends}, whose rules hold as well")
    show_table(
        ("WHAT", "WHERE", "SAYS", "AT"), ((line.kind, line.scope, line.says, line.at) for line in lines_of(document))
    )
