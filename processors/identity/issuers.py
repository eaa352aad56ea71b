"""Bridges: registered keys that identify persons, each for the issuers that its registration names.

Bridges cannot verify tokens yet, so the one issuer is a file of persons that was written by hand. Only tenants founded
for development accept it; this is checked at the registration of the bridge and for each session that it opens.
"""

from __future__ import annotations

from processors.refusal import Refusal
from processors.state.tables import SINGLETON, Tables
from schemas.events.attributes import Attributes
from schemas.reasons import Reason

DEVELOPMENT_ISSUER = "urn:macaw:development"


def check_bridge(tables: Tables, attributes: Attributes) -> None:
    """Check that this tenant accepts the issuers that a bridge is registered for.

    Raises:
        Refusal: NOT_SUPPORTED for no issuer or another issuer, NOT_DEVELOPMENT.
    """
    if attributes.issuers != (DEVELOPMENT_ISSUER,):
        raise Refusal(Reason.NOT_SUPPORTED, f"`issuers` must be [{DEVELOPMENT_ISSUER}], the only one yet")
    if not tables.tenant.rows[SINGLETON].development:
        raise Refusal(Reason.NOT_DEVELOPMENT)
