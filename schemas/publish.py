"""Publish schemas: give each changed one the next id. Run as `python -m schemas.publish`; `--check` only compares.

A published file is never edited and never removed: records under its id may stand on a log.
"""

from __future__ import annotations

import sys
from pathlib import Path

from schemas.codec import NAMESPACE, canonical_json, published, resolve

# The records that travel on their own; all others stand inside one of these.
TOP_LEVEL = (
    "Event", "AdminAddition", "Decision", "CallPayload", "Result", "ResultPayload", "AuditEntry", "DeadLetter",
    "TenantRow", "KeyRow", "PrincipalRow", "ResourceRow", "PolicyRow", "SessionRow", "SequenceRow", "CallRow",
    "StateHead", "SessionChanged", "RateBucketRow", "RuleCellRow", "ReplyPayload", "AttestationRow", "RequestRow",
    "PendingRow", "GrantRow", "DelegationRow", "VaultScopeRow", "VaultRow", "PromptRow", "AttestationChanged",
    "ContextChanged", "DelegationChanged", "PersonRow", "WorkRow", "IdempotencyRow", "RulingRow",
    "AdminRemoval", "RootRotation", "BodyChunk", "EngineDataRow", "ProviderRow",
    "OfferRow", "PresenceRow", "HeardRow", "VerifierRow", "CatalogueRow", "EnforcementRow", "JudgedRow",
    "SealedLogin", "LoginRequested", "LoginAnswered", "LoginAnswer",
)  # fmt: skip


def unpublished() -> list[tuple[str, str]]:
    """Return (full name, JCS text) of every schema that is new or changed, and has no id yet."""
    known = {s.text for s in published().values()}
    texts = [(f"{NAMESPACE}.{n}", canonical_json(resolve(f"{NAMESPACE}.{n}"))) for n in TOP_LEVEL]
    return [(name, text) for name, text in texts if text not in known]


def main() -> int:
    """Write each unpublished schema to `published/`; with `--check` print its name and return 1 instead."""
    missing = unpublished()
    if "--check" in sys.argv[1:]:
        for name, _ in missing:
            print(f"{name} has changed and is not published: run `make schemas`")  # noqa: T201
        return 1 if missing else 0
    start = max(published(), default=0) + 1
    for number, (name, text) in enumerate(missing, start):
        Path(__file__).parent.joinpath("published", f"{number:05d}-{name}.avsc").write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
