"""Identity providers on the log: trusted and distrusted with the admin key, and listed as the log has them."""

from __future__ import annotations

from contextlib import closing

from macaw.installation.tenancy import admin_connection
from producers.home.home import Home, TenantHome
from producers.kafka.answers import Answer
from producers.kafka.registry_view import RegistryView
from schemas.events.providers import IdentityProviderDistrusted, IdentityProviderTrusted
from schemas.rows import ProviderRow


def say_of_provider(
    home: Home, folder: TenantHome, body: IdentityProviderTrusted | IdentityProviderDistrusted
) -> Answer:
    """Put trust in a provider, or its end, onto the log. Raises RefusedError, NoAnswerError."""
    with admin_connection(home, folder) as connection:
        return connection.ask(body)


def providers_of(home: Home, folder: TenantHome) -> dict[str, ProviderRow]:
    """Return every provider that the tenant has ever trusted, by issuer. Raises RegistryError."""
    with closing(RegistryView.of(home, folder)) as view:
        view.refresh()
        return {key.decode(): row for key, row in sorted(view.tables.providers.rows.items())}
