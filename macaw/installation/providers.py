"""Identity providers on the log: trusted and distrusted with the admin key, and listed as the log has them."""

from __future__ import annotations

import time
from contextlib import closing

from macaw.installation.tenancy import admin_connection
from producers.home.home import Home, TenantHome
from producers.kafka.answers import Answer
from producers.kafka.connection import Connection
from producers.kafka.registry_view import RegistryView
from schemas.events.providers import IdentityProviderDistrusted, IdentityProviderTrusted
from schemas.rows import ProviderRow

SEEN_SECONDS = 10.0  # the log has it anyway
PAUSE_SECONDS = 0.02
_TERMS = ("kind", "namespace", "subjects", "name_pattern", "attributes", "audiences", "algorithms", "private_hosts")


def say_of_provider(
    home: Home, folder: TenantHome, body: IdentityProviderTrusted | IdentityProviderDistrusted
) -> Answer:
    """Put trust in a provider, or its end, onto the log, and wait until it can be read there.

    The broker shows one transaction topic by topic: the answer may be heard a moment before the registry has its cause.

    Raises:
        RefusedError, NoAnswerError.
    """
    with admin_connection(home, folder) as connection:
        answer = connection.ask(body)
        until = time.monotonic() + SEEN_SECONDS
        while not _is_seen(connection, body) and time.monotonic() < until:
            time.sleep(PAUSE_SECONDS)
        return answer


def _is_seen(connection: Connection, body: IdentityProviderTrusted | IdentityProviderDistrusted) -> bool:
    connection.registry.refresh()
    row = connection.registry.tables.providers.get(body.issuer.encode("utf-8", "surrogatepass"))
    if row is None or isinstance(body, IdentityProviderDistrusted):
        return row is not None and row.ended_at is not None
    return row.ended_at is None and all(getattr(row, name) == getattr(body, name) for name in _TERMS)


def providers_of(home: Home, folder: TenantHome) -> dict[str, ProviderRow]:
    """Return every provider that the tenant has ever trusted, by issuer. Raises RegistryError."""
    with closing(RegistryView.of(home, folder)) as view:
        view.refresh()
        return {key.decode(): row for key, row in sorted(view.tables.providers.rows.items())}
