"""Verifiers outside: their registration with the administrator's key, and the list of those that stand."""

from __future__ import annotations

from contextlib import closing
from typing import NamedTuple

from macaw.installation.tenancy import admin_connection
from processors.identity import verifiers
from processors.identity.keys import live_keys
from producers.home.home import Home, HomeError, TenantHome
from producers.home.keys import KeyPair
from producers.kafka.outcomes import RefusedError
from producers.kafka.registry_view import RegistryView
from schemas.events.attributes import NONE
from schemas.events.verdicts import VerifierDeclaration
from schemas.records import PrincipalRegistered
from schemas.words import Role


class ListedVerifier(NamedTuple):
    """A verifier on the log, and how many live keys it has; without one it gives no verdicts."""

    name: str
    declared: VerifierDeclaration
    live_keys: int


def register_verifier(home: Home, folder: TenantHome, name: str, declared: VerifierDeclaration) -> KeyPair:
    """Register a verifier, or its new declaration, with the key on this machine, made on first use; return the key.

    Raises:
        RefusedError: the log refused it.
    """
    path = folder.key_file(Role.VERIFIER, name)
    made = not path.exists()
    key = folder.keys.create(path, Role.VERIFIER) if made else folder.keys.load(path)
    body = PrincipalRegistered(
        role=Role.VERIFIER,
        key=key.offer(Role.VERIFIER, name, folder.genesis),
        attributes=NONE,
        tools=(),
        verifier=declared,
    )
    try:
        with admin_connection(home, folder) as connection:
            connection.ask(body)
    except RefusedError:
        if made:
            folder.keys.discard(path)
        raise
    return key


def listed(home: Home, folder: TenantHome) -> list[ListedVerifier]:
    """Return the verifiers of a tenant, in the order in which their verdicts count. Raises RegistryError."""
    with closing(RegistryView.of(home, folder)) as view:
        view.refresh()
        return [
            ListedVerifier(one.principal_id, one.declared, len(live_keys(view.tables, one.principal_id)))
            for one in verifiers.standing(view.tables)
        ]


def served_key(home: Home, folder: TenantHome, name: str, declared: VerifierDeclaration) -> KeyPair:
    """Return the key of a registered verifier on this machine.

    Raises:
        HomeError: it is not registered, or with another declaration than the module has now.
    """
    again = f"run `macaw verifier register {name} MODULE` where admin.key is"
    found = [one for one in listed(home, folder) if one.name == name]
    if not found:
        raise HomeError(f"no verifier {name!r} is registered in {folder.tenant}: {again}")
    if found[0].declared != declared:
        raise HomeError(f"the log has another declaration of {name!r} than the module: {again}")
    return folder.keys.load(folder.key_file(Role.VERIFIER, name))
