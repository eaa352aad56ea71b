"""`macaw policy publish|withdraw`: events signed by an admin key that put policies into force and out of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from macaw.cli.terminal.options import Tenant

if TYPE_CHECKING:
    from macaw.policies.files import Read

Files = Annotated[
    list[Path],
    typer.Argument(help="JSON documents, or folders of *.json.", metavar="FILES", exists=True, readable=True),
]


Organisation = Annotated[
    Path | None,
    typer.Option(
        "--organisation",
        help="The file of the organisation's key, for `org:` policies.",
        metavar="KEYFILE",
        exists=True,
    ),
]


def publish(files: Files, *, organisation: Organisation = None, tenant: Tenant = None) -> None:
    """Put policies into force, all or none; each replaces the one with its id."""
    from macaw.cli.terminal.output import say
    from macaw.cli.terminal.places import open_tenant
    from macaw.installation.archives import archive_of
    from macaw.installation.tenancy import publish_policies
    from macaw.policies.in_force import read_policies

    documents = _read(files, shared=organisation is not None)
    home, folder = open_tenant(tenant)
    in_force = read_policies(home, folder, archive_of(home, folder))
    warn_of_lost(in_force.lost)
    new = {i: one.text for i, one in documents.items() if in_force.digest(i) != one.document.digest}
    for policy_id in documents.keys() - new.keys():
        say(f"{policy_id} is in force already, word for word")
    if not new:
        return
    replaced = {i: p.digest for i, p in in_force.policies.items()}
    publish_policies(home, folder, list(new.values()), replaced, organisation=organisation)
    for policy_id in new:
        say(f"{policy_id} {'replaces the one before' if policy_id in in_force.policies else 'is in force'}")


def _read(files: list[Path], *, shared: bool) -> dict[str, Read]:
    """Return the policies of files and folders, by id; a parent may be in force on the log instead."""
    from macaw.cli.terminal.errors import CommandError
    from macaw.policies.files import PolicyFilesError, read_documents
    from processors.policy.documents import ORGANISATION_PREFIX

    try:
        read = read_documents(files, organisation=shared, parents_elsewhere=True)
    except PolicyFilesError as exc:
        raise CommandError(f"{exc}; nothing was published") from exc
    foreign = [one for one in read if shared and not one.document.policy_id.startswith(ORGANISATION_PREFIX)]
    if foreign:
        raise CommandError(
            f"{foreign[0].file} is a policy of the tenant: the organisation's key signs ids that begin with "
            f"{ORGANISATION_PREFIX}, and no others; nothing was published"
        )
    return {one.document.policy_id: one for one in read}


def withdraw(
    policy_id: Annotated[str, typer.Argument(help="The id of a policy in force.", metavar="ID")],
    *,
    organisation: Organisation = None,
    tenant: Tenant = None,
) -> None:
    """Take a policy out of force, from the next record of the log on. The log keeps it for ever."""
    from macaw.cli.terminal.errors import CommandError
    from macaw.cli.terminal.output import say
    from macaw.cli.terminal.places import open_tenant
    from macaw.installation.archives import archive_of
    from macaw.installation.tenancy import publisher
    from macaw.policies.in_force import read_policies
    from processors.text.forms import nfc
    from producers.client import RefusedError
    from schemas.records import PolicyWithdrawn

    home, folder = open_tenant(tenant)
    in_force = read_policies(home, folder, archive_of(home, folder))
    name = nfc(policy_id)
    previous = in_force.digest(name)
    if previous is None:
        warn_of_lost(in_force.lost)
        raise CommandError(f"no policy {policy_id!r} is in force: `macaw policy list` shows those that are")
    with publisher(home, folder, organisation) as connection:
        try:
            connection.ask(PolicyWithdrawn(policy_id=name, previous=previous))
        except RefusedError as exc:
            if exc.reason == "E_DEPENDENTS":
                raise CommandError(f"{_extending(in_force.policies, name)} extends {name}: withdraw it first") from exc
            if exc.reason == "E_CONFLICT":
                raise CommandError(
                    f"{name} was changed by another admin just now; look at it and run the command again"
                ) from exc
            raise
    say(f"{name} is not in force any more")


def _extending(policies: object, parent: str) -> str:
    from processors.policy.documents import parse_policy

    assert isinstance(policies, dict)
    found = [
        i for i, one in policies.items() if parse_policy(one.document.encode(), organisation=True).extends == parent
    ]
    return " and ".join(sorted(found)[:3]) or "another policy"


def warn_of_lost(lost: int) -> None:
    """Warn if the documents of some publications are kept nowhere any more."""
    from macaw.cli.terminal.output import say

    if lost:
        say(
            f"{lost} publications are older than the records of intake, and no archive has them: their policies are in "
            "force, but not shown"
        )
