"""Bridges: registered keys that identify persons, each for the issuers that its registration names.

An issuer is an identity provider that the tenant trusts (`providers.py`), or a file of persons written by hand.
Only tenants founded for development accept the file; this is checked at the registration of the bridge and for each
session that it opens. The issuer `*` stands for each identity provider that the tenant trusts at the time of a login.
"""

from __future__ import annotations

from processors.refusal import Refusal
from processors.state.tables import SINGLETON, Tables
from processors.text.characters import quoted
from schemas.events.attributes import Attributes
from schemas.reasons import Reason

DEVELOPMENT_ISSUER = "urn:macaw:development"
ALL_TRUSTED = "*"  # in a bridge's registration, as this very text: no part of it is a pattern


def check_bridge(tables: Tables, attributes: Attributes) -> None:
    """Check that this tenant accepts the issuers that a bridge is registered for.

    Raises:
        Refusal: ATTRIBUTE_INVALID for no issuer, UNKNOWN_PROVIDER, NOT_DEVELOPMENT.
    """
    if not attributes.issuers:
        raise Refusal(Reason.ATTRIBUTE_INVALID, "`issuers` is empty: name the issuers that the bridge speaks for")
    for issuer in attributes.issuers:
        if issuer == ALL_TRUSTED:
            continue  # whom the tenant trusts is asked at each login
        if issuer == DEVELOPMENT_ISSUER:
            check_development(tables)
        elif (row := tables.providers.get(issuer.encode("utf-8", "surrogatepass"))) is None or row.ended_at is not None:
            raise Refusal(Reason.UNKNOWN_PROVIDER, f"the tenant does not trust {quoted(issuer)} now")


def is_provided(issuer: str | None) -> bool:
    """Return whether an issuer is meant to be an identity provider, not a file of persons; None and "" are none."""
    return issuer not in {None, "", DEVELOPMENT_ISSUER}


def speaks_for(attributes: Attributes, issuer: str | None) -> bool:
    """Return whether a bridge is registered for an issuer. Whether the tenant trusts that issuer now is not asked."""
    return issuer in attributes.issuers or (ALL_TRUSTED in attributes.issuers and is_provided(issuer))


def check_development(tables: Tables) -> None:
    """Raise Refusal NOT_DEVELOPMENT unless the tenant was founded for development."""
    if not tables.tenant.rows[SINGLETON].development:
        raise Refusal(Reason.NOT_DEVELOPMENT)
