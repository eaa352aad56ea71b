"""Bridges: keys that open sessions for the persons and workloads of trusted identity providers."""

from __future__ import annotations

from collections.abc import Sequence

from macaw.installation.tenancy import admin_connection
from processors.identity.attributes import attributes_from
from processors.identity.issuers import ALL_TRUSTED
from producers.home.home import Home, TenantHome
from producers.home.keys import KeyPair
from producers.kafka.registering import register_key
from schemas.words import Role

PREFIX = "bridge:"
DEFAULT = "main"
ATTESTED = ("phishing_resistant",)  # a bridge that saw a strong login may say so


def register_bridge(
    home: Home, folder: TenantHome, name: str = DEFAULT, *, issuers: Sequence[str] = (ALL_TRUSTED,)
) -> KeyPair:
    """Register a bridge with the admin key, and keep its key here. Registering it again changes nothing.

    Raises:
        RefusedError: the log refused it, as for an issuer that the tenant does not trust.
        NoAnswerError, PublishError: it is not known whether it is registered; to ask again is safe.
    """
    attributes = attributes_from({"issuers": list(issuers), "attests": list(ATTESTED)})
    with admin_connection(home, folder) as connection:
        return register_key(connection, folder.key_file(Role.BRIDGE, name), Role.BRIDGE, f"{PREFIX}{name}", attributes)
