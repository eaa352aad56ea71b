"""Revocation of one key by its kid, with the administrator's key: of a lost one, or one that a thief has registered."""

from __future__ import annotations

from macaw.installation.decision_keys import kids_here, live_on
from macaw.installation.tenancy import admin_connection
from producers.home.home import Home, HomeError, TenantHome
from producers.kafka.registry_view import RegistryView
from schemas.records import PrincipalRevoked
from schemas.rows import KeyRow
from schemas.words import Role

DIGITS_MIN = 8


def revoke_key(home: Home, folder: TenantHome, digits: str, *, reason: str) -> tuple[bytes, KeyRow]:
    """Revoke the one key with a kid of these first hex digits; return its kid, and its row from before.

    Raises:
        HomeError: no key or several begin so, root keys must act, or it is the last live decision key that is here.
        RefusedError, NoAnswerError: as `Connection.ask`.
    """
    with admin_connection(home, folder) as connection:
        connection.registry.refresh()
        kid, row = _found(folder, connection.registry, digits)
        connection.ask(PrincipalRevoked(principal_id=row.principal_id, kid=kid, reason=reason))
    return kid, row


def _found(folder: TenantHome, registry: RegistryView, digits: str) -> tuple[bytes, KeyRow]:
    rows = registry.tables.keys.rows
    found = [kid for kid in rows if len(digits) >= DIGITS_MIN and kid.hex().startswith(digits.lower())]
    if len(found) != 1:
        raise HomeError(
            f"{len(found)} keys on the log have a kid that begins with {digits[:64]!r}: give at least {DIGITS_MIN} hex "
            "digits of one, as `macaw key list --from-log` or `macaw audit signed-by` shows it"
        )
    [kid] = found
    row = rows[kid]
    if row.role == Role.ORGANISATION:
        raise HomeError(
            f"{kid.hex()[:16]} is the key of the organisation above this tenant: it ends itself with `macaw "
            "organisation revoke`, or the root keys end it with `macaw admin remove organisation`"
        )
    if row.role in {Role.ROOT, Role.ADMIN}:
        raise HomeError(
            f"{kid.hex()[:16]} is a key of the role {row.role}: the root keys end it, see `macaw admin remove` and "
            "`macaw root rotate`"
        )
    here, live = kids_here(folder), live_on(registry.tables)
    others = live.keys() - {kid}
    is_last = (kid in here and here.isdisjoint(others)) if here else not others
    if kid in live and is_last:
        raise HomeError(f"{kid.hex()[:16]} is the tenant's only decision key here: `macaw key recover` replaces it")
    return kid, row
