"""`macaw root`: the root keys are replaced, and their acts are signed where the keys are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from macaw.cli.keys.acting import Out, finish
from macaw.cli.terminal.options import AsJson, Tenant

Threshold = Annotated[
    int | None, typer.Option("--threshold", help="The signatures that an act needs from then on.", min=1, max=16)
]
Keys = Annotated[
    list[str] | None,
    typer.Option("--key", help="A public key of another machine, as `macaw key list --json` shows it.", metavar="HEX"),
]
Reason = Annotated[str, typer.Option("--reason", help="The reason, kept on the log.")]
Files = Annotated[list[Path], typer.Argument(help="The file of an act, and signed copies of it.", metavar="FILE …")]


def list_roots(*, tenant: Tenant = None, as_json: AsJson = False) -> None:
    """List the root keys of the tenant: the present ones, the digests of the next ones, and which are here."""
    from macaw.cli.terminal.output import say, show_json, show_table
    from macaw.cli.terminal.places import open_tenant
    from macaw.installation.root_keys import read_roots

    home, folder = open_tenant(tenant)
    roots = read_roots(home, folder)
    kinds = [(kid, "present") for kid in roots.kids] + [(kid, "next") for kid in roots.row.next_root_digests]
    files = {kid: str(one.path) for kid, one in roots.here.items()}
    if as_json:
        keys = [{"kid": kid.hex(), "kind": kind, "file": files.get(kid)} for kid, kind in kinds]
        show_json({"epoch": roots.row.root_epoch, "threshold": roots.row.root_threshold, "keys": keys}, indent=2)
        return
    show_table(("KID", "KIND", "FILE"), [(kid.hex()[:16], kind, files.get(kid, "elsewhere")) for kid, kind in kinds])
    say(f"{roots.row.root_threshold} must sign an act; the present epoch is {roots.row.root_epoch}")
    if set(roots.kids) & files.keys() and set(roots.row.next_root_digests) & files.keys():
        say("present and next root keys lie on this machine: move each to a machine of its own, the next ones first")


def rotate(
    *,
    drop: Annotated[
        list[str] | None,
        typer.Option("--drop", help="The kid of a root key to replace; without it, all.", metavar="HEX"),
    ] = None,
    key: Keys = None,
    threshold: Threshold = None,
    reason: Reason = "planned",
    out: Out = None,
    tenant: Tenant = None,
) -> None:
    """Replace root keys, by the present ones: fresh keys are made here, or named with --key."""
    from macaw.cli.terminal.places import open_tenant
    from macaw.installation.root_keys import propose_rotation, read_roots
    from producers.client.inputs import digest_of

    home, folder = open_tenant(tenant)
    roots = read_roots(home, folder)
    dropped = roots.kids if drop is None else [_kid(one, roots.kids) for one in drop]
    added = [digest_of(one, "a public key") for one in key or ()]
    act = propose_rotation(folder, roots, dropped=dropped, added=added, threshold=threshold, reason=reason)
    finish(home, folder, read_roots(home, folder), act, out or Path("rotate-roots.act.json"))


def recover(
    *,
    key: Keys = None,
    threshold: Threshold = None,
    reason: Reason = "recovery",
    out: Out = None,
    tenant: Tenant = None,
) -> None:
    """Put the next root keys in the place of the present ones, lost or stolen; fresh next keys are made here."""
    from macaw.cli.terminal.places import open_tenant
    from macaw.installation.root_keys import propose_recovery, read_roots
    from producers.client.inputs import digest_of

    home, folder = open_tenant(tenant)
    others = [digest_of(one, "a public key") for one in key or ()]
    act = propose_recovery(folder, read_roots(home, folder), others=others, threshold=threshold, reason=reason)
    finish(home, folder, read_roots(home, folder), act, out or Path("recover-roots.act.json"))


def sign(
    file: Annotated[Path, typer.Argument(help="The file of the act.", metavar="FILE")],
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Sign without a question.")] = False,
    tenant: Tenant = None,
) -> None:
    """Sign an act with every root key that is here, after it was shown in words. No broker is needed."""
    from macaw.cli.terminal.errors import CommandError
    from macaw.cli.terminal.given import confirmed
    from macaw.cli.terminal.output import say, show
    from macaw.cli.terminal.places import open_home
    from macaw.installation.key_names import NEXT, ROOT
    from macaw.installation.root_acts import RootActFile
    from macaw.installation.root_keys import root_files

    folder = open_home().tenant(tenant)
    act = RootActFile.load(file)
    if act.genesis != folder.genesis:
        raise CommandError(f"{file} is for the tenant {act.tenant!r} with another genesis than {folder.tenant!r} here")
    paths = [path for kind in (ROOT, NEXT) for path in root_files(folder, kind)]
    if not paths:
        raise CommandError(f"no root key is in {folder.path}: `macaw key import FILE root` brings one here")
    show(f"this act would {act.says()}, in the tenant {folder.tenant}, for epoch {act.epoch} of its root keys")
    if not yes and not confirmed("Sign it?"):
        raise CommandError("nothing was signed")
    act.signed(folder.keys.load(path).signing for path in paths).save(file)
    say(f"{file} is signed with {', '.join(path.stem for path in paths)}")
    say("once enough have signed: `macaw root submit FILE …`, where one root key is")


def submit(files: Files, *, tenant: Tenant = None) -> None:
    """Put a signed act onto the log; the signatures of all given copies count together."""
    from macaw.cli.terminal.output import say
    from macaw.cli.terminal.places import open_tenant
    from macaw.installation.root_acts import RootActFile
    from macaw.installation.root_keys import read_roots
    from macaw.installation.root_keys import submit as submit_act

    home, folder = open_tenant(tenant)
    first, *others = [RootActFile.load(file) for file in files]
    act = first.merged(others)
    answer = submit_act(home, folder, read_roots(home, folder), act)
    say(f"done: {act.says()}; audit entry {answer.result.audit_index} says so")


def _kid(text: str, kids: list[bytes]) -> bytes:
    """Return the one kid that begins with `text`. Raises BadParameter."""
    found = [kid for kid in kids if len(text) >= 8 and kid.hex().startswith(text)]
    if len(found) != 1:
        raise typer.BadParameter(
            f"{text[:64]!r} is not a present root key; `macaw root list` shows them", param_hint="--drop"
        )
    return found[0]
