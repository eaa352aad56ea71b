"""Catalogues: rules of an operator that the verifiers of texts match beside their own."""

from __future__ import annotations

from schemas.record import record


@record
class CatalogueRule:
    """A pattern in RE2's syntax, with the rule's id and the kind of its findings."""

    id: str
    kind: str
    pattern: str


@record
class CataloguePublished:
    """A verifier matches these rules from the next record on, in the place of those that have the name."""

    name: str
    verifier: str
    rules: tuple[CatalogueRule, ...]
    previous: bytes | None = None
    reason: str


@record
class CatalogueWithdrawn:
    """No verifier matches the rules of this name from the next record on."""

    name: str
    previous: bytes
