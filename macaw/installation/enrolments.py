"""Enrolment keys: made by the administrator for some names, kept here or handed to another machine."""

from __future__ import annotations

from pathlib import Path

from macaw.installation.locking import update_config
from macaw.installation.tenancy import admin_connection
from processors.identity.attributes import attributes_from
from producers.home.home import Home, HomeError, TenantHome
from producers.kafka.connection import Connection
from producers.kafka.registering import ENROLMENT_PREFIX, register_key
from schemas.events.attributes import NONE
from schemas.records import EnrolmentGrant, PrincipalRevoked
from schemas.words import Role

HANDED_ON = ("bootstrap", "broker_kind", "deployment")  # settings for the place of the log; none is secret


def create_enrolment(
    home: Home,
    folder: TenantHome,
    name: str,
    grant: EnrolmentGrant,
    *,
    expires_at: int | None = None,
    machine: Path | None = None,
) -> Path:
    """Register an enrolment key with the admin key and return its file: here, or in an installation for `machine`.

    The installation has the key, the pinned genesis and the address of the brokers; the genesis is written last. An
    earlier key in the same file that has registered all it may is revoked and replaced.

    Raises:
        RefusedError: the log refused it.
        HomeError: `machine` is this installation, or pins another genesis.
    """
    target = folder if machine is None else _installation(home, folder, machine)
    path = target.key_file("enrolment", name)
    principal = f"{ENROLMENT_PREFIX}{name}"
    with admin_connection(home, folder) as connection:
        if path.exists():
            _put_aside_if_spent(connection, target, path, principal)
        register_key(
            connection, path, "enrolment", principal, NONE, enrolment=grant, expires_at=expires_at, keys=target.keys
        )
    if target is not folder:
        (target.path / "genesis").write_text(f"{folder.genesis.hex()}\n", "ascii")
    return path


def _put_aside_if_spent(connection: Connection, target: TenantHome, path: Path, principal: str) -> None:
    kid = target.keys.load(path).kid
    row = connection.registry.key(kid)
    if row is None or row.enrolment is None:
        return  # it was not registered yet
    lives = connection.registry.live_key(kid, Role.ENROLMENT) is not None
    if lives and row.enrolled < row.enrolment.count_max:
        return
    if lives:
        connection.ask(PrincipalRevoked(principal_id=principal, kid=kid, reason="it has registered all it may"))
    path.rename(path.with_suffix(f".{kid[:4].hex()}.spent"))


def _installation(home: Home, folder: TenantHome, machine: Path) -> TenantHome:
    """Make or find the installation for another machine. Raises HomeError."""
    if machine.resolve() == home.path.parent.resolve():
        raise HomeError(f"{machine} is this installation: name another folder, or leave out --home")
    target = TenantHome(folder.tenant, machine / ".macaw" / "tenants" / folder.tenant)
    if (target.path / "genesis").exists() and target.genesis != folder.genesis:
        raise HomeError(f"{target.path} belongs to another tenant called {folder.tenant!r}: name another folder")
    settings = {name: home.config[name] for name in HANDED_ON if name in home.config}
    update_config(machine, {**settings, "bootstrap": home.bootstrap, "tenant": folder.tenant})
    return target


def grant_of(
    roles: list[str], names: str, count: int, attributes: dict[str, str], lists: dict[str, list[str]]
) -> EnrolmentGrant:
    """Return the grant of an enrolment key: names, count, roles, attributes and lists. Raises AttributeInvalidError."""
    most = attributes_from({**attributes, **lists})
    return EnrolmentGrant(roles=tuple(roles), name_pattern=names, count_max=count, attributes=most)
