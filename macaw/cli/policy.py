"""`macaw policy`: publish policies, and see which are in force."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from macaw.cli.options import AsJson, Tenant

app = typer.Typer(help="Publish policies and see which are in force.")

Files = Annotated[list[Path], typer.Argument(help="JSON documents.", exists=True, dir_okay=False, readable=True)]


@app.command("publish")
def publish(files: Files, *, tenant: Tenant = None) -> None:
    """Put policies into force: all of them or none, each in place of the one with its id."""
    from macaw.cli.output import say
    from macaw.cli.places import open_tenant
    from macaw.policies_in_force import read_policies
    from macaw.tenancy import publish_policies

    documents = _parsed(files)
    home, folder = open_tenant(tenant)
    in_force = read_policies(home, folder)
    _warn_of_lost(in_force.lost)
    new = {i: text for i, (text, digest) in documents.items() if in_force.digest(i) != digest}
    for policy_id in documents.keys() - new.keys():
        say(f"{policy_id} is in force already, word for word")
    if not new:
        return
    publish_policies(home, folder, list(new.values()), {i: p.digest for i, p in in_force.policies.items()})
    for policy_id in new:
        say(f"{policy_id} {'replaces the one before' if policy_id in in_force.policies else 'is in force'}")


def _parsed(files: list[Path]) -> dict[str, tuple[str, bytes]]:
    """Return (document, digest) by policy id; a fault names its file."""
    from macaw.cli.errors import CommandError
    from processors.policy.documents import parse_policy
    from processors.policy.errors import PolicyError

    documents: dict[str, tuple[str, bytes]] = {}
    for file in files:
        try:
            text = file.read_text("utf-8")
            policy = parse_policy(text.encode())
        except (UnicodeDecodeError, PolicyError) as exc:
            raise CommandError(f"{file} is no policy: {exc}; nothing was published") from exc
        if policy.policy_id in documents:
            raise CommandError(f"{file} is the second document with the id {policy.policy_id}; nothing was published")
        documents[policy.policy_id] = text, policy.digest
    return documents


def _warn_of_lost(lost: int) -> None:
    from macaw.cli.output import say

    if lost:
        say(f"{lost} publications are older than what intake keeps: the policies in them are in force, but not shown")


@app.command("list")
def list_policies(*, tenant: Tenant = None, as_json: AsJson = False) -> None:
    """List the policies in force."""
    from macaw.cli.output import show_json, show_table
    from macaw.cli.places import open_tenant
    from macaw.cli.rendering import time_of
    from macaw.policies_in_force import read_policies

    found = read_policies(*open_tenant(tenant))
    _warn_of_lost(found.lost)
    policies = sorted(found.policies.values(), key=lambda p: p.policy_id)
    if as_json:
        rows = [
            {"policy_id": p.policy_id, "digest": p.digest.hex(), "since": p.since, "audit_index": p.audit_index}
            for p in policies
        ]
        show_json(rows, indent=2)
        return
    show_table(
        ("POLICY", "DIGEST", "SINCE", "AUDIT"),
        ((p.policy_id, p.digest.hex(), time_of(p.since), p.audit_index) for p in policies),
    )


@app.command("show")
def show(policy_id: Annotated[str, typer.Argument(help="Its id.", metavar="ID")], *, tenant: Tenant = None) -> None:
    """Print the policy that is in force under an id, as JSON."""
    import json

    from macaw.cli.errors import CommandError
    from macaw.cli.output import show_json
    from macaw.cli.places import open_tenant
    from macaw.policies_in_force import read_policies

    found = read_policies(*open_tenant(tenant))
    _warn_of_lost(found.lost)
    policy = found.policies.get(policy_id)
    if policy is None:
        raise CommandError(f"no policy {policy_id!r} is in force: `macaw policy list` shows those that are")
    show_json(json.loads(policy.document), indent=2)
