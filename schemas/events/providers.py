"""Identity providers that a tenant trusts to open sessions."""

from __future__ import annotations

from schemas.events.attributes import Attributes
from schemas.record import record


@record
class IdentityProviderTrusted:
    """An identity provider may open sessions, within these names, attributes, audiences and algorithms."""

    issuer: str
    kind: str
    namespace: str | None = None
    subjects: str
    name_pattern: str
    attributes: Attributes
    audiences: tuple[str, ...]
    algorithms: tuple[str, ...]
    private_hosts: tuple[str, ...]


@record
class IdentityProviderDistrusted:
    """An identity provider opens no further sessions; with `end_sessions` those that it opened end too."""

    issuer: str
    end_sessions: bool
    reason: str
