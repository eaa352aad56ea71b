"""Rotation of keys: a successor is made, then the log hears of it, and then the key file changes, in one step.

Each step can be the last of a run that was killed; the next run goes on from there:

    monitor.key                       rotated: nothing yet
    monitor.key, monitor.KID.key      the successor is made; workers have both keys at hand, and sign with the live one
    monitor.key, monitor.KID.key      the log has the rotation
    monitor.key                       the successor alone

The successor of another key lies in `NAME.key.new` meanwhile. Worker machines that share a tenant need a copy of
`monitor.KID.key` before the log hears of it: `prepare_monitor` makes it beforehand.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

from macaw.installation.archives import archive_of
from macaw.installation.decision_keys import kids_here, live_on
from macaw.installation.tenancy import admin_connection
from processors.identity.rotation import ROTATED_BY_ADMIN
from producers.home.home import Home, HomeError, TenantHome
from producers.home.keys import KeyPair
from producers.home.keystores.stores import NEW
from producers.kafka import sealing_rotation
from producers.kafka.connection import Connection
from producers.kafka.outcomes import RefusedError
from producers.kafka.registering import FIRST_ADMIN
from producers.kafka.registry_view import RegistryView
from schemas.errors import StoppedError
from schemas.events.attributes import NONE
from schemas.events.keys import KeyRotated
from schemas.records import Body, PrincipalRegistered, PrincipalRevoked
from schemas.rows import KeyRow
from schemas.topics import AUDIT, INTAKE
from schemas.words import Role
from streams.history.kept_log import kept_log


class Rotated(NamedTuple):
    """A rotation that is done: the principal, and the kids of the key before and of the key now."""

    principal_id: str
    old: bytes
    new: bytes


def rotate_key(
    home: Home,
    folder: TenantHome,
    path: Path,
    *,
    reason: str,
    expires_at: int | None = None,
    admin: str = FIRST_ADMIN,
) -> Rotated:
    """Replace the key in a file by a new one, with the admin key; go on with a rotation that was interrupted.

    If every decision key has ended, the new one is registered and not rotated: that ends the tenant's stand-still.
    `admin` is the name of the administrator, if the log does not know that key yet.

    Raises:
        RefusedError: the log refused it; the successor is discarded.
        NoAnswerError: no monitor answered yet; run again to go on.
        HomeError: the key is not registered, has ended, or is of a role without rotation; or a decision key would
            outlive the successor, and is not here.
    """
    with admin_connection(home, folder, name=admin) as connection:
        old = folder.keys.facts(path).kid
        row = _row(connection.registry, old, path)
        new = _successor(folder, path, row.role)
        pair = folder.keys.load(new)
        if connection.registry.live_key(pair.kid, row.role) is None:
            if row.role == Role.MONITOR:
                _check_outlived(connection.registry, folder, expires_at)
            body = _act(connection.registry, folder, row, old, pair, reason, expires_at)
            try:
                connection.ask(body)
            except RefusedError:
                connection.registry.refresh()
                if connection.registry.live_key(pair.kid, row.role) is None:
                    folder.keys.discard(new)
                    raise
    folder.keys.replace(new, path)
    return Rotated(row.principal_id, old, pair.kid)


def recover_monitor(home: Home, folder: TenantHome, *, reason: str) -> Rotated:
    """Replace a stolen decision key: register another, revoke the stolen one, and make a new state secret.

    The old state becomes worthless, because the thief may have made it: the workers fold the log again when they are
    started again. A run that was interrupted is gone on with.

    Raises:
        HomeError: the log cannot be folded again, so the state is still needed; nothing was changed.
        RefusedError, NoAnswerError: as `rotate_key`.
    """
    path = folder.path / "monitor.key"
    _check_foldable(home, folder)
    with admin_connection(home, folder) as connection:
        old, registry = folder.keys.facts(path).kid, connection.registry
        row = _row(registry, old, path)
        new = _successor(folder, path, row.role)
        pair = folder.keys.load(new)
        if registry.live_key(pair.kid, row.role) is None:
            offer = pair.offer(row.role, row.principal_id, folder.genesis)
            try:
                connection.ask(PrincipalRegistered(role=row.role, key=offer, attributes=NONE, tools=()))
            except RefusedError:  # the offer stands on intake: a thief of the admin key must not choose its end
                folder.keys.discard(new)
                raise
        row = registry.key(old) or row
        if row.revoked_at is None:
            connection.ask(PrincipalRevoked(principal_id=row.principal_id, kid=old, reason=reason))
    folder.keys.replace(new, path)
    folder.state_secret_file.unlink(missing_ok=True)
    folder.make_state_secret()
    return Rotated(row.principal_id, old, pair.kid)


def _check_outlived(registry: RegistryView, folder: TenantHome, expires_at: int | None) -> None:
    """Raise HomeError if a live decision key that is not here would be valid for longer than one until `expires_at`.

    A worker would not write the entry of such a rotation, for it could come to stand before a record without a key.
    """
    here, ends = kids_here(folder), math.inf if expires_at is None else expires_at
    for kid, row in live_on(registry.tables).items():
        if kid not in here and (row.expires_at or math.inf) > ends:
            raise HomeError(
                f"the decision key {kid.hex()[:16]} is valid for longer than the new one would be, and its file is not "
                f"here: copy it, or end it with `macaw key revoke {kid.hex()[:16]}`"
            )


def _check_foldable(home: Home, folder: TenantHome) -> None:
    try:
        with kept_log(home.bootstrap, folder.tenant, archive=archive_of(home, folder), security=home.security) as kept:
            kept.whole(INTAKE)
            kept.whole(AUDIT)
    except StoppedError as exc:
        raise HomeError(
            f"the log of {folder.tenant} cannot be folded again, so its state cannot be made anew, and nothing was "
            f"changed: {exc}"
        ) from exc


def prepare_monitor(folder: TenantHome) -> Path:
    """Make the coming decision key and return its file; or the one that was made before. Raises HomeError."""
    return _successor(folder, folder.path / "monitor.key", Role.MONITOR)


def rotate_sealing(home: Home, folder: TenantHome, path: Path, *, reason: str) -> Rotated:
    """Replace the half of a key that opens payloads, with that key itself.

    Raises as `producers.kafka.sealing_rotation.rotate_sealing`, and HomeError: the key is not registered.
    """
    pair = folder.keys.load(path)
    with Connection.registered(home, folder, pair, pair.kid.hex()) as connection:
        _row(connection.registry, pair.kid, path)
        row = sealing_rotation.rotate_sealing(connection, path, reason=reason)
    return Rotated(row.principal_id, pair.kid, pair.kid)


def _row(registry: RegistryView, kid: bytes, path: Path) -> KeyRow:
    row = registry.key(kid)
    if row is None:
        raise HomeError(f"the key in {path}, {kid.hex()[:16]}, is not registered: there is nothing to rotate")
    return row


def _act(
    registry: RegistryView,
    folder: TenantHome,
    row: KeyRow,
    old: bytes,
    pair: KeyPair,
    reason: str,
    expires_at: int | None,
) -> Body:
    """Return the event that makes `pair` the successor. Raises HomeError."""
    if row.role not in ROTATED_BY_ADMIN:
        raise HomeError(
            f"a key of the role {row.role} is not rotated by an admin: register a further key and revoke this one, or "
            "for an admin's key see `macaw admin add` and `macaw admin remove`"
        )
    offer = pair.offer(row.role, row.principal_id, folder.genesis)
    if registry.live_key(old, row.role) is not None:
        return KeyRotated(kid=old, key=offer, expires_at=expires_at, reason=reason)
    lives = [kid for kid in list(registry.tables.keys.rows) if registry.live_key(kid, row.role) is not None]
    if row.role == Role.MONITOR and not lives:
        return PrincipalRegistered(role=row.role, key=offer, attributes=NONE, tools=(), expires_at=expires_at)
    names = ", ".join(kid.hex()[:16] for kid in lives[:4]) or "none"
    raise HomeError(
        f"the key {old.hex()[:16]} of {row.principal_id} has ended, so it cannot be rotated (live now: {names}): copy "
        "the live key's file here, or register the principal again"
    )


def _successor(folder: TenantHome, path: Path, role: str) -> Path:
    """Return the file of a key's successor; make it where there is none."""
    new = path.with_name(path.name + NEW)
    if role == Role.MONITOR:
        coming = [one for one in folder.monitor_key_files() if one != path]
        if len(coming) > 1:
            raise HomeError(
                f"{folder.path} has more than one coming decision key: {', '.join(one.name for one in coming)}; keep "
                "the one that `macaw key list --from-log` shows as active, or any if none is; move the others away"
            )
        if coming:
            return coming[0]
    if not new.exists():
        folder.keys.create(new, role, label=f"{folder.keys.name_of(path)} (coming)")
    if role != Role.MONITOR:
        return new
    return new.rename(folder.coming_monitor_file(folder.keys.facts(new).kid))
