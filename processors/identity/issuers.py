"""Bridges: registered keys that say who a person is, each for the issuers that its registration names.

Until a bridge can verify tokens there is one issuer: a file of persons that somebody wrote. It is believed only in
tenants founded for development, when the bridge is registered and again whenever it speaks.
"""

from __future__ import annotations

from processors.refusal import Refusal
from processors.state.tables import SINGLETON, Tables
from schemas.attributes import Attributes
from schemas.reasons import Reason

DEVELOPMENT_ISSUER = "urn:macaw:development"


def check_bridge(tables: Tables, attributes: Attributes) -> None:
    """Check that this tenant believes the issuers that a bridge is registered for.

    Raises:
        Refusal: NOT_SUPPORTED for no issuer or another one, NOT_DEVELOPMENT.
    """
    if attributes.issuers != (DEVELOPMENT_ISSUER,):
        raise Refusal(Reason.NOT_SUPPORTED, f"a bridge is registered for the issuer {DEVELOPMENT_ISSUER} only")
    if not tables.tenant.rows[SINGLETON].development:
        raise Refusal(Reason.NOT_DEVELOPMENT)
