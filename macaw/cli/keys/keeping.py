"""`macaw key list`, `passphrase`, `move` and `import`: the keys that are kept here, and their stores."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from macaw.cli.terminal.options import AsJson, Tenant

if TYPE_CHECKING:
    from producers.home.home import Home, TenantHome
    from producers.home.keystores.asking import SecretSource
    from schemas.rows import KeyRow

Name = Annotated[str, typer.Argument(help="The key's name, as `macaw key list` shows it: admin, or agents/shopper.")]
To = Annotated[
    str, typer.Option("--to", help="The store: file, passphrase, keyring, or a token's name.", metavar="STORE")
]


def list_keys(
    *,
    from_log: Annotated[
        bool, typer.Option("--from-log", help="Read from the log since when each key counts, and until when.")
    ] = False,
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """List the keys of a tenant: public facts only, without a passphrase or PIN.

    The exit status is 1 if a key file cannot be read.
    """
    from macaw.cli.terminal.output import complain, show_json, show_table
    from macaw.cli.terminal.places import open_folder
    from macaw.cli.terminal.status import DONE, FAILED
    from macaw.installation.key_names import keys_in
    from producers.home.keystores.errors import KeyAccessError

    home, folder = open_folder(tenant)
    keys, rows, failures = folder.keys, [], 0
    for name, path in keys_in(folder):
        try:
            facts = keys.facts(path)
        except KeyAccessError as exc:
            complain(str(exc))
            failures += 1
            continue
        kid, public = facts.kid.hex(), facts.publics.ed25519.hex()
        rows.append({"name": name, "kid": kid, "store": facts.store, "public": public, "file": str(path)})
    columns = ["NAME", "KID", "STORE", "FILE"]
    if from_log:
        _add_terms(home, folder, rows)
        columns += ["STATUS", "SINCE", "UNTIL"]
    if as_json:
        show_json(rows, indent=2)
    else:
        show_table(columns, [_cells(row, from_log=from_log) for row in rows])
    raise typer.Exit(FAILED if failures else DONE)


def _cells(row: dict[str, Any], *, from_log: bool) -> list[object]:
    from macaw.cli.terminal.rendering import time_of

    cells = [row["name"], row["kid"][:16], row["store"], row["file"]]
    if from_log:
        times = (row["since"], row["until"])
        cells += [row["status"], *("-" if time is None else time_of(time) for time in times)]
    return cells


def _add_terms(home: Home, folder: TenantHome, rows: list[dict[str, Any]]) -> None:
    """Add the log's state of each key. Keys of sessions are not in the registry of keys."""
    from contextlib import closing

    from macaw.cli.terminal.places import require_broker
    from producers.home.clock import clock_ms
    from producers.kafka.registry_view import RegistryView

    require_broker(home)
    with closing(RegistryView.of(home, folder)) as view:
        for row in rows:
            found = view.key(bytes.fromhex(row["kid"]))
            row["status"] = "not registered" if found is None else _status(found, clock_ms())
            row["since"] = None if found is None else found.registered_at
            row["until"] = None if found is None else found.revoked_at or found.expires_at


def _status(row: KeyRow, now_ms: int) -> str:
    from processors.identity.keys import is_live
    from schemas.words import Status

    if is_live(row, now_ms):
        return Status.ACTIVE
    return Status.EXPIRED if row.revoked_at is None else Status.REVOKED


def passphrase(
    name: Name,
    *,
    remove: Annotated[bool, typer.Option("--remove", help="Keep the key in the clear from now on.")] = False,
    source: Annotated[
        str | None,
        typer.Option(
            "--from",
            help="The source of the new passphrase, file:PATH or '|COMMAND'; without it, a person types it twice.",
            metavar="SOURCE",
        ),
    ] = None,
    tenant: Tenant = None,
) -> None:
    """Set, change or remove the passphrase of a key file, in one step: the file is as before, or as wanted."""
    from macaw.cli.terminal.errors import CommandError
    from macaw.cli.terminal.output import say
    from producers.home.keystores.passphrases import asked_anew, checked
    from producers.home.keystores.settings import FILE, PASSPHRASE

    with _key(name, tenant) as (folder, path):
        keys = folder.keys
        store = keys.facts(path).store
        if store not in {FILE, PASSPHRASE}:
            raise CommandError(f"{name} lies in the store {store}, which has no passphrase of ours: move it first")
        if remove:
            keys.move(path, FILE)
            say(f"{name} is in the clear now, in {path}: its owner alone may read it")
            return
        keys.load(path)  # who does not know the old passphrase need not think of a new one
        new = asked_anew(name) if source is None else checked(_source(source).read(name), name)
        keys.encrypt(path, new)
        say(f"{name} is under the new passphrase, in {path}: change it where services read it, too")


def move(name: Name, *, to: To, tenant: Tenant = None) -> None:
    """Move a key to another store. A key does not come back from a token."""
    from macaw.cli.terminal.output import say
    from producers.home.keystores.settings import PASSPHRASE

    with _key(name, tenant) as (folder, path):
        keys = folder.keys
        before = keys.facts(path).store
        keys.move(path, to)
        if before == to and to != PASSPHRASE:
            say(f"{name} lies in {to} already: nothing was changed")
            return
        say(f"{name} has moved from {before} to {to}; its public key is the same, and {path} says where it lies")
        if before == "file":
            say("the disk may still hold the old file's blocks: if that matters, make a new key instead")


def import_key(
    file: Annotated[Path, typer.Argument(help="A key file from elsewhere, as from a backup.", metavar="FILE")],
    name: Annotated[str, typer.Argument(help="The name of the key here: root, or agents/shopper.", metavar="NAME")],
    *,
    to: To = "file",
    tenant: Tenant = None,
) -> None:
    """Bring a key that exists to this installation, into one of its stores."""
    from macaw.cli.terminal.errors import CommandError
    from macaw.cli.terminal.output import say
    from macaw.cli.terminal.places import open_folder
    from macaw.installation.key_names import place_for
    from macaw.installation.locking import only_keys_command

    _, folder = open_folder(tenant)
    path = place_for(folder, name)
    with only_keys_command(folder):
        if path.exists():
            raise CommandError(f"{path} exists, and a key is never written over: move it away first")
        pair = folder.keys.load(file)
        folder.keys.put(path, pair, to)
    say(f"{name} is the key {pair.kid.hex()[:16]}, kept in the store {to} under {path}; {file} holds it still")


@contextmanager
def _key(name: str, tenant: str | None) -> Iterator[tuple[TenantHome, Path]]:
    """Yield the folder and the file of a key that no other `macaw key` changes meanwhile."""
    from macaw.cli.terminal.places import open_folder
    from macaw.installation.key_names import key_called
    from macaw.installation.locking import only_keys_command

    _, folder = open_folder(tenant)
    with only_keys_command(folder):
        yield folder, key_called(folder, name)


def _source(text: str) -> SecretSource:
    from producers.home.keystores.asking import SecretSource

    try:
        return SecretSource.parse(text, Path.cwd())
    except ValueError:
        raise typer.BadParameter("it must be file:PATH or |COMMAND", param_hint="--from") from None
