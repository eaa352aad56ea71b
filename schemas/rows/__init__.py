"""State rows: the rows of the fold's tables, one record class for each schema named `*Row` in `avro/`.

Rows are a cache of the log. They travel on the `state` topic so that a worker can restart quickly, and they
are never evidence.
"""

from schemas.rows.calls import (
    CallRow,
    HeardRow,
    IdempotencyRow,
    PendingRow,
    PromptRow,
    RateBucketRow,
    RuleCellRow,
    WorkRow,
)
from schemas.rows.who import (
    CatalogueRow,
    EngineDataRow,
    KeyRow,
    OfferRow,
    PersonRow,
    PolicyRow,
    PresenceRow,
    PrincipalRow,
    ProviderRow,
    ResourceRow,
    RulingRow,
    SequenceRow,
    SessionRow,
    StateHead,
    TenantRow,
    VerifierRow,
)
from schemas.rows.workflow import (
    ApprovalGiven,
    AttestationRow,
    DelegationRow,
    GrantRow,
    RequestRow,
    VaultRow,
    VaultScopeRow,
)

__all__ = [
    "ApprovalGiven",
    "AttestationRow",
    "CallRow",
    "CatalogueRow",
    "DelegationRow",
    "EngineDataRow",
    "GrantRow",
    "HeardRow",
    "IdempotencyRow",
    "KeyRow",
    "OfferRow",
    "PendingRow",
    "PersonRow",
    "PolicyRow",
    "PresenceRow",
    "PrincipalRow",
    "PromptRow",
    "ProviderRow",
    "RateBucketRow",
    "RequestRow",
    "ResourceRow",
    "RuleCellRow",
    "RulingRow",
    "SequenceRow",
    "SessionRow",
    "StateHead",
    "TenantRow",
    "VaultRow",
    "VaultScopeRow",
    "VerifierRow",
    "WorkRow",
]
